"""The processes of a node: each role is one, started and watched by the supervisor."""
