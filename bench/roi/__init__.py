"""The automatic liver region on digital abdomens and on label maps of real ones, against targets (``__main__``)."""
