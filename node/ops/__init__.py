"""Operating the node: log events, status, health."""
