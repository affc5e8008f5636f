"""Fit of a list of voxels under one named model: prepares echo times and noise law, calls the compiled kernels."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import chdtri

from quant import fit_block as rows_of
from quant import fit_fat_kernels, fit_kernels, row_kernels
from quant.fit_variants import fit_plus_constant
from quant.models import SignalModel, fat_phasor, sd_with_fat
from quant.noise import NoiseModel
from quant.noise_law import GAUSSIAN, NoiseLaw, noise_law

Array = npt.NDArray[np.float64]
Signal = npt.NDArray[np.float32]
Single = npt.NDArray[np.float32]
Values = npt.NDArray[Any]
Voxels = npt.NDArray[np.int64]
_Columns = slice | Voxels

_MONO_ITERATIONS, _FAT_ITERATIONS = 4, 4  # enough for most voxels ...
_MORE_ITERATIONS = (8, 30)  # ... for almost all others, all over again, and for the rest, once more
_TOLERANCE = 2e-5  # squared distance to the minimum, in standard deviations
_LEAST_TOLERANCE = 1e-7  # float32 holds no less
FAT_MARGIN = 15.1
"""Chi squared (1 degree of freedom, 1 in 10,000) by which a fat-dominant solution must be better to be taken.

Liver is water-dominant; below the margin the data do not tell the two apart (Bray 2022, 10.1002/mrm.29493). At 1 %
(6.63) some 0.3 % of the voxels of a liver at SNR 50 would come out exchanged, which alone widens the scatter of R2* by
up to a third; at 0.1 % (10.83) still by a fifth.
"""
_WATER_MARGIN = 6.63  # (1 %) by which the water-dominant one must be better for a voxel not to be called ambiguous
LARGEST_SD_PDFF = 0.05
"""Cramer-Rao SD of PDFF above which one voxel's fat is not fitted but taken from its surroundings.

Above it (R2* around 600/s and more) the fat fraction of a voxel runs away and takes R2* with it: on phantoms without
fat the median R2* at 1200/s is off by -14 to +20 %, against 1 % with the fat fraction fixed. Whether a voxel is above
is decided on its fit with the assumed fraction, not on the free fit: deciding on the free fit would keep it where it
came out low and drop it where it came out high.
"""
NOISE_ONLY_LEVEL = 1e-3
"""Probability that noise alone passes for signal."""
_REFERENCE_PDFF = 0.10  # fat fraction at which that SD is computed
_LARGEST_DECAY_PER_ECHO = 6.0  # R2* range ends where the signal falls by e^6 between the two closest echoes ...
_LARGEST_DECAY_TO_FIRST = 12.0  # ... or by e^12 before the first
RANGE_END = 0.999
_EVEN = 1e-5  # of the mean spacing: differences of spacing that do not count
_SNR_RANGE, _SNR_NODES = (1.0, 1e4), 33
_TRUNCATION_FACTOR = 1.5  # times the mean of noise alone


@dataclass(frozen=True, kw_only=True)
class VoxelFit:
    """Result for k voxels, arrays (k,) of float32 from ``fit_voxels``, else of float64; nothing is masked yet.

    ``energy`` is the sum of squared samples and ``first`` the first sample, in units of sigma; ``chi2`` the residual
    against the noise law with ``dof`` degrees of freedom; ``at_top`` and ``at_zero`` mark R2* at the ends of its
    range; ``ambiguous`` marks voxels in which water and fat may be exchanged; ``pdff`` is NaN where assumed; ``b0_hz``
    comes from complex fits.
    """

    s0: Values
    r2star_per_s: Values
    sd_r2star_per_s: Values
    chi2: Values
    dof: Values
    energy: Values
    first: Values
    at_top: npt.NDArray[np.bool_]
    at_zero: npt.NDArray[np.bool_]
    pdff: Values | None = None
    sd_pdff: Values | None = None
    ambiguous: npt.NDArray[np.bool_] | None = None
    b0_hz: Values | None = None

    def cast(self, dtype: type[np.floating[Any]]) -> "VoxelFit":
        """The same with its numbers in ``dtype``."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        numbers = {name: a for name, a in values.items() if a is not None and a.dtype != bool}
        with np.errstate(over="ignore"):  # becomes infinite, and the voxel a failed one
            return replace(self, **{name: a.astype(dtype, copy=False) for name, a in numbers.items()})


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What all voxels of one acquisition share.

    ``local_pdff`` (n,) holds in voxels that cannot tell their fat (``LARGEST_SD_PDFF``), NaN and ``None`` stand for
    water alone. ``averaged`` is the number of voxels that each given decay is the mean of: their noise scatters that
    much less around the same first moment. ``reversed_precession`` tells that the phase of the images falls where the
    Larmor frequency is higher; magnitudes do not depend on it.
    """

    echo_times_s: Array
    field_t: float
    noise: NoiseModel
    local_pdff: npt.NDArray[np.float32] | None = None
    averaged: int = 1
    reversed_precession: bool = False

    @cached_property
    def fat(self) -> npt.NDArray[np.complex128]:
        """Complex signal (e,) of unit fat, in the sense of rotation of the images."""
        phasor = fat_phasor(self.echo_times_s, self.field_t)
        return np.conj(phasor) if self.reversed_precession else phasor

    @cached_property
    def spacing_s(self) -> float:
        """Mean echo spacing, the kernels' unit of time."""
        return float(np.ptp(self.echo_times_s)) / (self.echo_times_s.size - 1)

    @cached_property
    def kernel_times(self) -> npt.NDArray[np.float32]:
        """Echo times relative to the first one, in units of the mean spacing."""
        return np.asarray((self.echo_times_s - self.echo_times_s[0]) / self.spacing_s, dtype=np.float32)

    @cached_property
    def kernel_steps(self) -> Single:
        """Differences of ``kernel_times`` from 0 on, exactly equal where echoes are evenly spaced."""
        steps = np.diff(self.kernel_times, prepend=np.float32(0))
        for e in range(2, steps.size):
            if abs(steps[e] - steps[e - 1]) < _EVEN:
                steps[e] = steps[e - 1]
        return steps

    @cached_property
    def max_rate(self) -> float:
        """Upper end of the R2* range, per mean spacing."""
        closest = float(np.diff(self.echo_times_s).min())
        largest = min(_LARGEST_DECAY_PER_ECHO / closest, _LARGEST_DECAY_TO_FIRST / float(self.echo_times_s[0]))
        return largest * self.spacing_s


def fit_voxels(signal: Signal, voxels: Voxels, setup: Setup, model: SignalModel) -> VoxelFit:
    """Fit the rows ``voxels`` (k,) of ``signal`` (n, e), C-contiguous float32."""
    match model:
        case SignalModel.FIRST_MOMENT:
            return _in_units(_mono_rows(signal, voxels, setup, noise_law(setup.noise.coils)), setup)
        case SignalModel.FAT_FIRST_MOMENT:
            return _fit_with_fat(signal, voxels, setup)
        case SignalModel.PLAIN:
            return _in_units(_mono_rows(signal, voxels, setup, GAUSSIAN), setup)
        case SignalModel.TRUNCATED:
            law = noise_law(setup.noise.coils)
            floor = _TRUNCATION_FACTOR * float(law.mean(0.0))
            return _in_units(_mono_rows(signal, voxels, setup, GAUSSIAN, floor=floor), setup)
        case SignalModel.SQUARED:
            return _fit_squared(signal, voxels, setup).cast(np.float32)
        case SignalModel.PLUS_CONSTANT:
            return _fit_plus_constant(signal, voxels, setup).cast(np.float32)
        case SignalModel.COMPLEX_FAT:
            raise ValueError(f"{model} is fitted to complex volumes, not to voxels of magnitude")


@lru_cache(maxsize=64)
def noise_only_below(coils: float, echoes: int) -> tuple[float, float]:
    """Sum of squared samples and square of the first one, in sigma^2, below both of which a voxel is noise alone."""
    energy, first = (float(chdtri(2 * coils * n, NOISE_ONLY_LEVEL)) for n in (echoes, 1))
    return energy, first


def _mono_rows(
    signal: Signal,
    voxels: Voxels,
    setup: Setup,
    law: NoiseLaw,
    *,
    floor: float = float(np.finfo(np.float32).min),
    pdff: Single | None = None,
    height: int = fit_kernels.MONO_ROWS,
) -> Single:
    """Rows (height, k), of which the first ``MONO_ROWS`` are filled; fat fraction ``pdff`` (k,), ``None`` for water."""
    rows = np.empty((height, voxels.size), np.float32)
    fat, fractions = unit_fat(setup), np.zeros(1, np.float32) if pdff is None else pdff

    def run(columns: _Columns, iterations: int, out: Single) -> None:
        fit_kernels.fit_mono(
            signal,
            voxels[columns],
            fractions if pdff is None else fractions[columns],
            setup.kernel_times,
            setup.kernel_steps,
            fat,
            tuple(law.kernel_constants()),
            np.float32(1 / setup.noise.sigma),
            np.float32(floor),
            np.float32(setup.max_rate),
            iterations,
            np.float32(_tolerance(setup)),
            out,
        )

    _run(run, _MONO_ITERATIONS, rows[: fit_kernels.MONO_ROWS], setup)
    return rows


def _run(run: Callable[[_Columns, int, Single], None], iterations: int, rows: Single, setup: Setup) -> None:
    """Fill ``rows`` (r, k) by ``run``, and again, with more iterations, the columns that are worth it."""
    run(slice(None), iterations, rows)
    columns, latest = np.arange(rows.shape[1]), rows
    for more in _MORE_ITERATIONS:
        columns = columns[_unfinished(latest, setup)]
        if columns.size == 0:
            return
        latest = np.empty((len(rows), columns.size), np.float32)
        run(columns, more, latest)
        row_kernels.put(latest, columns, rows)


def _unfinished(rows: Single, setup: Setup) -> npt.NDArray[np.bool_]:
    """Columns of ``rows`` (k,) that are worth more iterations: not at their minimum, and not noise alone."""
    marks = np.empty(rows.shape[1], np.bool_)
    quiet = noise_only_below(setup.noise.coils, setup.echo_times_s.size) if setup.averaged == 1 else (0.0, 0.0)
    row_kernels.mark_unfinished(rows, np.float32(_tolerance(setup)), *(np.float32(q) for q in quiet), marks)
    return marks


def unit_fat(setup: Setup) -> tuple[Single, Single]:
    """Real part and squared modulus (e,) of the signal of unit fat."""
    phasor = fat_phasor(setup.echo_times_s, setup.field_t)
    return phasor.real.astype(np.float32), (np.abs(phasor) ** 2).astype(np.float32)


def _tolerance(setup: Setup) -> float:
    """Squared distance to the minimum that may remain, in standard deviations of one voxel."""
    return max(_TOLERANCE / setup.averaged, _LEAST_TOLERANCE)


def _in_units(rows: Single, setup: Setup) -> VoxelFit:
    """The result that the rows (r, k) of a fit kernel hold; they are used up."""
    at_zero, at_top = np.empty((2, rows.shape[1]), np.bool_)
    row_kernels.in_units(
        rows,
        np.float32(setup.noise.sigma),
        np.float32(setup.spacing_s),
        np.float32(setup.echo_times_s[0] / setup.spacing_s),
        np.float32(setup.averaged),
        (np.float32((1 - RANGE_END) * 1e-3), np.float32(RANGE_END * setup.max_rate)),
        at_zero,
        at_top,
    )
    return VoxelFit(
        s0=rows[rows_of.AMPLITUDE],
        r2star_per_s=rows[rows_of.RATE],
        sd_r2star_per_s=rows[rows_of.SD_RATE],
        chi2=rows[rows_of.CHI2],
        dof=rows[rows_of.SAMPLES],
        energy=rows[rows_of.ENERGY],
        first=rows[rows_of.FIRST],
        at_top=at_top,
        at_zero=at_zero,
    )


def _fat_in_units(rows: Single, setup: Setup) -> VoxelFit:
    """As ``_in_units`` for ``FAT_ROWS`` rows, NaN as the fat fraction of columns where it was not fitted."""
    ambiguous = np.empty(rows.shape[1], np.bool_)
    margins = (np.float32(_WATER_MARGIN), np.float32(FAT_MARGIN))
    row_kernels.fat_in_units(rows, np.float32(setup.averaged), margins, ambiguous)
    return replace(
        _in_units(rows, setup),
        pdff=rows[fit_fat_kernels.FRACTION],
        sd_pdff=rows[fit_fat_kernels.SD_FRACTION],
        ambiguous=ambiguous,
    )


def _fit_with_fat(signal: Signal, voxels: Voxels, setup: Setup) -> VoxelFit:
    """Water and fat where a voxel can tell them, the fraction of the surroundings (or 0) elsewhere.

    Unless that fraction does not explain the echoes and another one does: then R2*, by which it was judged, is wrong.
    """
    local = None if setup.local_pdff is None else np.nan_to_num(setup.local_pdff[voxels])
    law = noise_law(setup.noise.coils)
    rows = _mono_rows(signal, voxels, setup, law, pdff=local, height=fit_fat_kernels.FAT_ROWS)
    told = np.flatnonzero(_tells_fat(rows, setup))
    row_kernels.put(_free_fat_rows(signal, voxels[told], setup), told, rows)
    unexplained = rows[rows_of.CHI2] > chdtri(setup.echo_times_s.size - 2, NOISE_ONLY_LEVEL)
    unexplained[told] = False
    others = np.flatnonzero(unexplained)
    freed = _free_fat_rows(signal, voxels[others], setup)
    better = freed[rows_of.CHI2] < rows[rows_of.CHI2, others] - FAT_MARGIN
    row_kernels.put(np.ascontiguousarray(freed[:, better]), others[better], rows)
    return _fat_in_units(rows, setup)


def fit_given_fat(signal: Signal, pdff: Single, setup: Setup) -> VoxelFit:
    """Fit every row of ``signal`` (k, e) with its fat fraction ``pdff`` (k,) given."""
    rows = _mono_rows(signal, np.arange(len(signal)), setup, noise_law(setup.noise.coils), pdff=pdff)
    return _in_units(rows, setup).cast(np.float64)


def _tells_fat(rows: Single, setup: Setup) -> npt.NDArray[np.bool_]:
    """Voxels (k,) whose echoes can tell fat, judged by their SNR and R2* in a fit that does not fit the fraction."""
    top = setup.max_rate / setup.spacing_s
    limits = _highest_r2star_that_tells_fat(tuple(setup.echo_times_s), setup.field_t, setup.noise.coils, top)
    marks = np.empty(rows.shape[1], np.bool_)
    row_kernels.mark_below(
        rows,
        np.float32(setup.echo_times_s[0] / setup.spacing_s),
        tuple(np.log(_SNR_RANGE)),
        setup.spacing_s * np.array(limits),
        marks,
    )
    return marks


@lru_cache(maxsize=64)
def _highest_r2star_that_tells_fat(
    echo_times_s: tuple[float, ...], field_t: float, coils: float, top: float
) -> tuple[float, ...]:
    """R2* (1/s, at most ``top``) up to which the SD of one voxel's PDFF stays below ``LARGEST_SD_PDFF``, by SNR.

    One for each node of the SNR range; 0 where there is none.
    """
    times, law = np.array(echo_times_s), noise_law(coils)

    def excess(r2star: float, snr: float) -> float:
        _, sd = sd_with_fat(times, law, snr=snr, r2star_per_s=r2star, pdff=_REFERENCE_PDFF, field_t=field_t)
        return float(np.log(min(sd, 1e6) / LARGEST_SD_PDFF))

    def highest(snr: float) -> float:
        if excess(0.0, snr) > 0:
            return 0.0
        return top if excess(top, snr) < 0 else float(brentq(excess, 0.0, top, args=(snr,), xtol=1.0))

    return tuple(highest(float(snr)) for snr in np.geomspace(*_SNR_RANGE, _SNR_NODES))


def fit_free_fat(signal: Signal, voxels: Voxels, setup: Setup) -> VoxelFit:
    """Water and fat from both starts, whether or not the voxels can tell them."""
    return _fat_in_units(_free_fat_rows(signal, voxels, setup), setup).cast(np.float64)


def _free_fat_rows(signal: Signal, voxels: Voxels, setup: Setup) -> Single:
    fat = unit_fat(setup)

    def run(columns: _Columns, iterations: int, out: Single) -> None:
        fit_fat_kernels.fit_fat(
            signal,
            voxels[columns],
            setup.kernel_times,
            setup.kernel_steps,
            fat,
            tuple(noise_law(setup.noise.coils).kernel_constants()),
            np.float32(1 / setup.noise.sigma),
            np.float32(setup.max_rate),
            np.float32(FAT_MARGIN / setup.averaged),
            iterations,
            np.float32(_tolerance(setup)),
            out,
        )

    rows = np.empty((fit_fat_kernels.FAT_ROWS, voxels.size), np.float32)
    _run(run, _FAT_ITERATIONS, rows, setup)
    return rows


def _fit_squared(signal: Signal, voxels: Voxels, setup: Setup) -> VoxelFit:
    """M^2 - 2 n sigma^2 is S0^2 exp(-2 R2* TE) on average: a plain exponential of twice the rate."""
    scaled = signal[voxels].astype(np.float64) / setup.noise.sigma
    squares = np.ascontiguousarray(scaled**2 - 2 * setup.noise.coils, dtype=np.float32)
    unit = replace(setup, noise=replace(setup.noise, sigma=1.0))
    doubled = _in_units(_mono_rows(squares, np.arange(voxels.size), unit, GAUSSIAN), unit).cast(np.float64)
    fit = replace(doubled, s0=np.sqrt(doubled.s0) * setup.noise.sigma, r2star_per_s=doubled.r2star_per_s / 2)
    return _appraised(fit, scaled, setup, offset=np.zeros(voxels.size), parameters=2)


def _fit_plus_constant(signal: Signal, voxels: Voxels, setup: Setup) -> VoxelFit:
    scaled = signal[voxels].astype(np.float64) / setup.noise.sigma
    largest = setup.max_rate / setup.spacing_s
    s0, r2star, constant = fit_plus_constant(scaled, setup.echo_times_s, largest)
    nothing = np.zeros(voxels.size)
    fit = VoxelFit(
        s0=s0 * setup.noise.sigma,
        r2star_per_s=r2star,
        sd_r2star_per_s=nothing,
        chi2=nothing,
        dof=nothing,
        energy=nothing,
        first=nothing,
        at_top=r2star >= RANGE_END * largest,
        at_zero=s0 <= 0,
    )
    return _appraised(fit, scaled, setup, offset=constant, parameters=3)


def _appraised(fit: VoxelFit, scaled: Array, setup: Setup, *, offset: Array, parameters: int) -> VoxelFit:
    """Residual and SD of the research fits, as if the noise were Gaussian; ``scaled`` (k, e) in units of sigma."""
    times = setup.echo_times_s
    decay = np.exp(-fit.r2star_per_s[:, None] * times)
    a = fit.s0[:, None] / setup.noise.sigma * decay
    f11, f12, f22 = (decay**2).sum(1), (-times * decay * a).sum(1), ((times * a) ** 2).sum(1)
    determinant = np.maximum(f11 * f22 - f12**2, 1e-12 * f11 * f22)
    return replace(
        fit,
        sd_r2star_per_s=np.sqrt(f11 / np.maximum(determinant, 1e-300)),
        chi2=((scaled - a - offset[:, None]) ** 2).sum(1),
        dof=np.full(len(scaled), float(times.size - parameters)),
        energy=(scaled**2).sum(1),
        first=scaled[:, 0],
    )
