"""Why a voxel has no number, or a doubtful one."""

from enum import IntFlag


class FitFlag(IntFlag):
    """Bits of ``R2StarMap.flags``; 0 is a voxel measured without reservation.

    A voxel with ``AT_LIMIT`` keeps its value when the fit converged inside the search range (it is too uncertain to
    stand alone) and is NaN when R2* ran into the upper end of the range. ``NOISE_ONLY``, ``NO_DECAY`` and ``FAILED``
    are always NaN.
    """

    NONE = 0
    AT_LIMIT = 1  # Cramer-Rao standard deviation of R2* above 25 % of R2*, or R2* at the upper end of the range
    NOISE_ONLY = 2  # no echo differs from what noise alone gives
    POOR_FIT = 4  # residual not explained by noise and above 5 % of the first echo
    SATURATED = 8  # stored values reached the end of their range: the decay is clipped
    FAILED = 16  # no usable samples, or the fit did not converge
    FAT_WATER_SWAP = 32  # water and fat may be exchanged: both explain the magnitudes
    NO_DECAY = 64  # the signal does not fall with echo time: R2* at 0, the lower end of the range
    OUTSIDE = 128  # not in the mask that was to be fitted
    PHASE_NOT_USED = 256  # of a complex acquisition, fitted by its magnitude


UNFIT = FitFlag.NOISE_ONLY | FitFlag.FAILED | FitFlag.NO_DECAY | FitFlag.OUTSIDE
"""Flags of which each alone means that ``r2star_per_s`` is NaN."""
