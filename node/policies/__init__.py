"""Follow-up policy tables that ship with the node."""
