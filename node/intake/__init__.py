"""Receiving side: durable spool, headers, assembly of acquisitions."""
