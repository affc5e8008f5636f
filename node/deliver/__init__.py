"""Outbox and delivery to destinations."""
