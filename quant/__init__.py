"""Pure numerics of liver iron measurement: arrays and plain values in, arrays and plain values out.

Nothing here knows DICOM, files, the clock, logging or the network.
"""

METHOD_VERSION = "2"
"""Changes whenever a reported LIC can change for the same input; part of every job key and every report."""
