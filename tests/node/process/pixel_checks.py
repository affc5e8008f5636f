"""What tests of read pixels share."""

import numpy as np
from numpy.testing import assert_allclose

from node.process.pixels import LoadedAcquisition
from tests.node.mr_images import Scan


def agrees(loaded: LoadedAcquisition, scan: Scan, step: float = 0.05) -> None:
    """Equal to what was written, to half a stored step, after the tenfold scale of the plain images."""
    assert_allclose(loaded.acquisition.magnitude / 10, np.abs(scan.truth), atol=step * 1.01)
