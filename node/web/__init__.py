"""The web page: routes, templates, log-in, metrics. Knows starlette; asks ``node.app`` for everything it shows."""
