"""The method: pixels in, result folder out; no queue, no network."""
