"""Lists of voxels worked off by slabs of whole slices, side by side; means over the neighbours within a slice."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter

from quant.threads import each_part
from quant.voxel_fit import Voxels

_Sample = TypeVar("_Sample", np.float32, np.complex64)


def each_slab(
    voxels: Voxels, shape: tuple[int, int, int], slices: int, run: Callable[[slice, slice, Voxels], None]
) -> None:
    """Call ``run(slab, rows, within)`` for slabs of at most ``slices`` slices, as many at a time as threads allow.

    ``slab`` is the range of slices, ``rows`` those of the list ``voxels`` (k,) (ascending rows of the raveled volume
    ``shape``) that lie in it, ``within`` their places in the raveled slab.
    """
    in_slice = shape[1] * shape[2]

    def of_slab(slab: slice) -> None:
        first, last = np.searchsorted(voxels, (slab.start * in_slice, slab.stop * in_slice))
        rows = slice(int(first), int(last))
        run(slab, rows, voxels[rows] - slab.start * in_slice)

    each_part(shape[0], slices, of_slab)


def in_plane_mean(
    values: npt.NDArray[_Sample], voxels: Voxels, shape: tuple[int, int, int], *, size: int
) -> npt.NDArray[_Sample]:
    """Mean over ``size`` x ``size`` voxels around each, where all that is not listed counts as 0.

    ``values`` (k,) belong to ``voxels`` (k,), ascending rows of the raveled volume ``shape`` (z, y, x).
    """
    mean = np.empty_like(values)

    def of_slice(_: slice, rows: slice, within: Voxels) -> None:
        whole = np.zeros(shape[1:], values.dtype)
        whole.reshape(-1)[within] = values[rows]
        mean[rows] = uniform_filter(whole, size=size, mode="constant").reshape(-1)[within]

    each_slab(voxels, shape, 1, of_slice)
    return mean
