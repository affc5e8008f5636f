"""The node itself: receive, assemble, queue, process, deliver, operate."""
