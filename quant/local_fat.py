"""Fat fraction from the pooled decays of neighbouring voxels, for voxels whose own decay cannot tell it.

Blocks of alike voxels are averaged in the slice at three scales (about 25, 225 and 2025 voxels); a voxel takes the
finest scale that is sharp enough, else the one with the smallest error. Only alike neighbours are pooled: a decay with
a slower one mixed in is bent as if there were fat. What bending remains is an error of the fraction, computed to first
order and added to its noise: ``_SLOW_SHARE`` of signal that hardly decays (vessels, partial volume), a spread of R2*
inside the block (``_SPREAD``) and a noise level misjudged by ``_SIGMA_ERROR``. One per cent of slow signal feigns 1 %
of fat at 600/s, 3 % at 800/s, 6 % at 1000/s and 11 % at 1200/s (1.5 and 3 T alike): the fraction means less and less.
It is stated with that error, but drawn towards 0 by a fifth of that share only: at 1000/s one per cent of slow signal
costs R2* 5 % without and 8 to 10 % with a fraction, and 5, 10 or 20 % of fat without a fraction 4, 9 or 20 %.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from quant.noise_law import noise_law
from quant.pool_kernels import fraction_errors, merge
from quant.threads import each_part
from quant.voxel_fit import Array, Setup, Signal, fit_free_fat, unit_fat

_VOXELS_ACROSS = 5  # of the finest block
_BLOCKS_ACROSS = 3  # of the next scale
_SCALES = 3
_LEAST_SHARE = 0.4  # of a block that must be alike
_LIKENESS = 0.25  # relative difference of signal above the floor, from the median of the block ...
_LIKENESS_NOISE = 3.0  # ... plus this many standard deviations of noise
_LEAST_SIGNAL = 1.5  # sigma above the floor: blocks below are air
_SPREAD = 0.06  # relative standard deviation of R2* among pooled voxels
_SIGMA_ERROR = 0.03
_SLOW_SHARE, _SLOW_PER_S = 0.01, 30.0  # of S0 at most, and its R2* ...
_LIKELY_SHARE = 0.2  # ... of which so much is reckoned with when the fraction is used
_SHARP_ENOUGH = 0.02
LARGEST_ERROR = 0.12
"""Error of a pooled fat fraction above which it is not used."""
_MOSTLY_FAT, _MOSTLY_FAT_BELOW_PER_S = 0.5, 300.0  # so much iron is not found in fat
_CHUNK = 8192  # blocks fitted at a time: bounds the memory


@dataclass(frozen=True, kw_only=True)
class LocalFat:
    """Pooled fat fraction, its error and likely error (z, y, x) at the finest blocks; NaN where none can be told."""

    pdff: Array
    error: Array
    likely: Array
    block: tuple[int, int]
    shape: tuple[int, int, int]

    @property
    def of_voxels(self) -> npt.NDArray[np.float32]:
        """The fraction to assume, (n,), NaN where not told."""
        shrunk = shrunk_fraction(self.pdff, self.likely).astype(np.float32)
        whole = shrunk.repeat(self.block[0], axis=1).repeat(self.block[1], axis=2)
        return np.ascontiguousarray(whole[:, : self.shape[1], : self.shape[2]]).reshape(-1)


def shrunk_fraction(pdff: Array, error: Array) -> Array:
    """Drawn towards 0 the more, the less it exceeds its error, and 0 where it does not (positive-part James-Stein)."""
    return np.asarray(pdff * np.maximum(1 - (error / np.maximum(np.abs(pdff), 1e-6)) ** 2, 0))


@dataclass(frozen=True, kw_only=True)
class _Blocks:
    """Sums of decays (z, y, x, e) over ``count`` (z, y, x) voxels each."""

    total: Signal
    count: npt.NDArray[np.float32]


def pool_fat(signal: Signal, usable: npt.NDArray[np.bool_], shape: tuple[int, int, int], setup: Setup) -> LocalFat:
    """Fat of the blocks of ``signal`` (n, e), the raveled volume ``shape``, from the voxels ``usable`` (n,)."""
    size = _finest_block(shape)
    volume, mask = signal.reshape(*shape, -1), usable.reshape(shape)
    blocks = _merged(_Blocks(total=volume, count=mask.astype(np.float32)), size, setup)
    voxels = size[0] * size[1]
    fine = _fat_of(blocks, voxels, setup)
    coarse, repeat = blocks, 1
    for _ in range(_SCALES - 1):
        coarse, repeat = _merged(coarse, (_BLOCKS_ACROSS, _BLOCKS_ACROSS), setup), repeat * _BLOCKS_ACROSS
        voxels *= _BLOCKS_ACROSS**2
        wide = [_spread_out(a, repeat, blocks.count.shape) for a in _fat_of(coarse, voxels, setup)]
        likely, wide_likely = fine[2], np.nan_to_num(wide[2], nan=np.inf)
        better = (blocks.count > 0) & ~(likely <= _SHARP_ENOUGH) & (wide_likely < likely)
        fine = [np.where(better, w, f) for w, f in zip(wide, fine, strict=True)]
    told = (fine[1] <= LARGEST_ERROR) & (blocks.count > 0)
    pdff, error, likely = (np.where(told, a, np.nan) for a in fine)
    return LocalFat(pdff=pdff, error=error, likely=likely, block=size, shape=shape)


def _finest_block(shape: tuple[int, int, int]) -> tuple[int, int]:
    """Rows and columns, some 25 voxels also where the image is a narrow strip."""
    rows = min(shape[1], _VOXELS_ACROSS)
    return rows, min(shape[2], -(-(_VOXELS_ACROSS**2) // rows))


def _spread_out(values: Array, repeat: int, shape: tuple[int, ...]) -> Array:
    return values.repeat(repeat, axis=1).repeat(repeat, axis=2)[:, : shape[1], : shape[2]]


def _merged(blocks: _Blocks, size: tuple[int, int], setup: Setup) -> _Blocks:
    """Blocks of ``size`` blocks, summed over those whose early and late signal is near the median of theirs."""
    z, y, x, echoes = blocks.total.shape
    summed = np.empty((z, -(-y // size[0]), -(-x // size[1]), echoes), np.float32)
    number = np.empty(summed.shape[:3], np.float32)
    merge(
        blocks.total,
        blocks.count,
        size,
        max(1, echoes // 3),
        np.float32(noise_law(setup.noise.coils).mean(0.0)),
        np.float32(setup.noise.sigma),
        np.float32(_LIKENESS),
        np.float32(_LIKENESS_NOISE),
        np.float32(_LEAST_SHARE),
        np.float32(_LEAST_SIGNAL),
        summed,
        number,
    )
    return _Blocks(total=summed, count=number)


def _fat_of(blocks: _Blocks, voxels: int, setup: Setup) -> list[Array]:
    """Fat fraction, its error and likely error of every block (z, y, x) of up to ``voxels``; infinite where none is."""
    filled = np.flatnonzero(blocks.count)
    found = np.full((3, blocks.count.size), np.inf)
    found[0] = np.nan

    def fit(some: slice) -> None:
        part = filled[some]
        count = blocks.count.reshape(-1)[part].astype(np.float64)
        total = blocks.total.reshape(-1, setup.echo_times_s.size)[part]
        mean = np.ascontiguousarray(total / count[:, None], dtype=np.float32)
        found[:, part] = fat_and_error(mean, count, replace(setup, averaged=voxels))

    each_part(filled.size, _CHUNK, fit)
    return [a.reshape(blocks.count.shape) for a in found]


def fat_and_error(mean: Signal, count: Array, setup: Setup) -> tuple[Array, Array, Array]:
    """Fat fraction (k,) of mean decays (k, e) of ``count`` (k,) voxels each, its error from noise and bending, to be
    stated, and its likely error, by which it is to be used.

    ``setup.averaged`` is the typical count.
    """
    fit = fit_free_fat(mean, np.arange(len(mean)), setup)
    assert fit.pdff is not None
    snr = fit.s0 / setup.noise.sigma
    noise, bent, slow = _errors(snr, fit.r2star_per_s, fit.pdff, setup)
    misfit = np.maximum(fit.chi2 / setup.averaged * count / np.maximum(fit.dof, 1), 1.0)
    error, likely = (np.sqrt(noise**2 / count * misfit + bent**2 + (share * slow) ** 2) for share in (1, _LIKELY_SHARE))
    broken = fit.at_top | ~np.isfinite(error)
    broken |= (fit.pdff > _MOSTLY_FAT) & (fit.r2star_per_s > _MOSTLY_FAT_BELOW_PER_S)
    return fit.pdff, np.where(broken, np.inf, error), np.where(broken, np.inf, likely)


def _errors(snr: Array, r2star_per_s: Array, pdff: Array, setup: Setup) -> Array:
    """SD of the fat fraction of one voxel by noise, and its shifts by bent decays and by slow signal (3, k)."""
    found = np.empty((3, snr.size))
    law = tuple(noise_law(setup.noise.coils).kernel_constants())
    bends = (_SPREAD, _SIGMA_ERROR, _SLOW_SHARE, _SLOW_PER_S)
    fraction_errors(snr, r2star_per_s, pdff, setup.echo_times_s, unit_fat(setup), law, bends, *found)
    return found
