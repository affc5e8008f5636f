"""Ledger, queue and workers."""
