"""R2* of a region: from the distribution of its voxel fits, and from its pooled decay."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from quant.acquisition import BoolArray, MultiEcho
from quant.fit import R2StarMap
from quant.flags import FitFlag
from quant.local_fat import LARGEST_ERROR, fat_and_error, shrunk_fraction
from quant.models import FatHandling, amplitude
from quant.noise import FROM_MAGNITUDES_OF_TISSUE, NoiseModel
from quant.noise_law import noise_law
from quant.region_noise import residuals, sd_of_median, slices_to_compare, voxels_per_independent
from quant.result import Statistics
from quant.screening import LARGEST_SAMPLE
from quant.voxel_fit import Setup, fit_given_fat

Array = npt.NDArray[np.float64]

_MEDIAN_EFFICIENCY = float(np.sqrt(np.pi / 2))  # standard error of a median over that of a mean, normal data
_IQR_PER_SD = 1.348980  # interquartile range of a normal distribution, in standard deviations
_Z95 = 1.959964
_DOUBTFUL = FitFlag.FAILED | FitFlag.NOISE_ONLY | FitFlag.NO_DECAY | FitFlag.POOR_FIT
_CURVE_POINTS = 100
_DISAGREEMENT = 2.0  # joint standard deviations between pooled and median
_AGREEMENT = 0.03  # of the median
_MANY_AT_LIMIT = 0.25
_SHARP_PDFF = 0.03  # error of the fat fraction up to which the pooled decay goes by its own
_STEP = 0.01  # of the fat fraction, to see how R2* depends on it
_MANY_COILS = 8.0
_HARMLESS = 0.03  # of R2*, that fat may shift unseen
_LEAST_PDFF, _SIGNIFICANCE = 0.03, 3.0  # from which fat left out counts as seen
_TYPICAL_PDFF = 0.10  # of a fatty liver, for what fat left out would do


@dataclass(frozen=True, kw_only=True)
class PooledDecay:
    """Mean magnitude of the region at every echo, and the curve fitted to it (with its noise floor).

    ``echo_times_s``, ``signal`` and ``model`` are (e,); ``curve_times_s`` and ``curve`` trace the same model finely
    from TE = 0; ``noise_floor`` is the mean magnitude of noise alone. Signals in the input's unit.
    """

    echo_times_s: Array
    signal: Array
    model: Array
    curve_times_s: Array
    curve: Array
    noise_floor: float


@dataclass(frozen=True, kw_only=True)
class RegionMeasurement:
    """R2* (1/s) of a region of ``n_voxels`` voxels.

    ``median``, ``q1`` and ``q3`` count voxels beyond the range of R2* as larger and voxels without decay as smaller
    than all others, so that dropping them does not shift the median; ``mean`` and ``sd`` are of the voxels that have
    a value. ``sd_fit_per_s`` is the standard error of the median that the noise causes (``region_noise.sd_of_median``);
    ``voxel_sd_per_s`` is the median of what it is for single voxels. ``voxels_per_independent`` says how many voxels
    carry as much as one with noise of its own: more than 1 in interpolated images.

    Where fat is in the fit it includes ``sd_by_fat_per_s``, what the error of the pooled fat fraction does to R2*: the
    voxels share it, it does not average out.

    ``pooled_r2star_per_s`` is the fit to the mean decay with its standard error ``pooled_sd_per_s`` (with that of the
    fat fraction, where there is one); it reads lower than the median where R2* varies inside the region (4 to 7 % at
    1400 to 2000/s with 10 % variation) and is the less noisy near the measurable limit. ``pooled_difference`` is
    (pooled - median) / median.

    ``best_r2star_per_s`` with ``best_sd_per_s`` is the median as long as the pooled fit agrees with it within
    ``_DISAGREEMENT`` of their joint SD (without the shared part) or ``_AGREEMENT`` of the value. It is the pooled fit
    where they disagree and the voxels alone are not to be trusted: at their limit (``fraction_at_limit`` above
    ``_MANY_AT_LIMIT``) or unable to tell their fat (``fat`` "pooled" or "not_told").

    ``fat`` says how fat was handled in most voxels of the region (``quant.models.FatHandling``). With "not_told" and
    "not_modelled", ``fat_shift_per_s`` is how much higher the pooled R2* would read (lower if negative) if the tissue
    held 10 % of fat; otherwise it is 0.

    ``coil_shift_per_s`` is how much higher the pooled R2* would read with the noise of eight coils combined, where
    neither air nor tissue tells the coils and one is taken; otherwise it is 0.

    ``fraction_at_limit`` is the share of voxels that are not measurable one by one (``FitFlag.AT_LIMIT``);
    ``fraction_failed`` that of voxels without a value for another reason, or with a poor fit. ``n_saturated`` voxels
    of the mask were left out of everything.
    """

    n_voxels: int
    n_saturated: int
    median: float
    mean: float
    sd: float
    q1: float
    q3: float
    sd_fit_per_s: float
    pooled_r2star_per_s: float
    pooled_sd_per_s: float
    pooled_decay: PooledDecay
    pooled_pdff: float | None
    fraction_at_limit: float
    fraction_failed: float
    pdff_percent: Statistics | None
    fat: FatHandling = "not_modelled"
    fat_shift_per_s: float = 0.0
    sd_by_fat_per_s: float = 0.0
    coil_shift_per_s: float = 0.0
    voxel_sd_per_s: float = 0.0
    voxels_per_independent: float = 1.0

    @property
    def tissue_sd_per_s(self) -> float:
        """Standard deviation of R2* over the region that the noise of its voxels does not explain, from quartiles."""
        return _tissue_sd(self.q1, self.q3, self.voxel_sd_per_s)

    @property
    def best_r2star_per_s(self) -> float:
        """Median or pooled R2*, by the rule above."""
        return self.pooled_r2star_per_s if self._pooled_is_better else self.median

    @property
    def best_sd_per_s(self) -> float:
        """Standard error of ``best_r2star_per_s``."""
        return self.pooled_sd_per_s if self._pooled_is_better else self.sd_fit_per_s

    @property
    def _pooled_is_better(self) -> bool:
        if not np.isfinite(self.pooled_r2star_per_s):
            return False
        variance = self.sd_fit_per_s**2 + self.pooled_sd_per_s**2 - 2 * self.sd_by_fat_per_s**2
        joint = _DISAGREEMENT * float(np.sqrt(max(variance, 0.0)))
        if abs(self.pooled_r2star_per_s - self.median) <= max(joint, _AGREEMENT * self.median):
            return False
        return self.fraction_at_limit > _MANY_AT_LIMIT or self.fat in ("pooled", "not_told")

    @property
    def pooled_difference(self) -> float:
        """Pooled R2* relative to the median of the voxel fits, minus 1."""
        return self.pooled_r2star_per_s / self.median - 1


def measure_region(acquisition: MultiEcho, fit: R2StarMap, mask: BoolArray) -> RegionMeasurement:
    """Measure the voxels of ``mask`` (z, y, x) from the fit and from the signal itself.

    Raises ``ValueError`` when the mask has another shape, holds no voxel that is not saturated, or when fewer than
    half of its voxels have an R2* (or lie beyond the range of R2*).
    """
    if mask.shape != fit.r2star_per_s.shape or mask.dtype != np.bool_:
        raise ValueError(f"mask must be bool of shape {fit.r2star_per_s.shape}, not {mask.dtype} of {mask.shape}")
    used = mask if acquisition.saturated is None else mask & ~acquisition.saturated
    used = used & ((fit.flags & FitFlag.SATURATED) == 0)
    n = int(np.count_nonzero(used))
    if n == 0:
        raise ValueError("mask holds no voxel, or only saturated ones")
    flags, values = fit.flags[used], fit.r2star_per_s[used].astype(np.float64)
    setup = _setup(acquisition, fit)
    q1, median, q3 = _quartiles(values, flags, setup)
    finite = values[np.isfinite(values)]
    voxel_sd = float(np.nanmedian(fit.sd_r2star_per_s[used])) if finite.size else np.inf
    shared = _voxels_per_independent(acquisition, fit, used & np.isfinite(fit.r2star_per_s), setup)
    pooled_signal = _mean_decay(acquisition, fit, used)
    told = _fat_by_phase(fit, used, shared)
    pooled = _pooled(pooled_signal, setup, n / shared, with_fat=fit.pdff is not None, told=told)
    fat = _fat_handling(fit, used, pooled)
    sd_by_noise = sd_of_median(voxel_sd, _tissue_sd(q1, q3, voxel_sd), n / shared)
    return RegionMeasurement(
        n_voxels=n,
        n_saturated=int(np.count_nonzero(mask)) - n,
        median=median,
        mean=float(finite.mean()) if finite.size else median,
        sd=float(finite.std(ddof=1)) if finite.size > 1 else 0.0,
        q1=q1,
        q3=q3,
        sd_fit_per_s=float(np.hypot(sd_by_noise, pooled.sd_by_fat_per_s)),
        pooled_r2star_per_s=pooled.r2star_per_s,
        pooled_sd_per_s=pooled.sd_per_s,
        pooled_decay=pooled.decay,
        pooled_pdff=pooled.pdff,
        fraction_at_limit=float(np.mean((flags & FitFlag.AT_LIMIT) != 0)),
        fraction_failed=float(np.mean((flags & _DOUBTFUL) != 0)),
        pdff_percent=None if fit.pdff is None else _pdff_statistics(100 * fit.pdff[used].astype(np.float64)),
        fat=fat,
        sd_by_fat_per_s=pooled.sd_by_fat_per_s,
        fat_shift_per_s=pooled.fat_shift_per_s if fat in ("not_told", "not_modelled") else 0.0,
        coil_shift_per_s=_coil_shift(fit, pooled_signal, setup, pooled),
        voxel_sd_per_s=voxel_sd,
        voxels_per_independent=shared,
    )


def _mean_decay(acquisition: MultiEcho, fit: R2StarMap, used: BoolArray) -> Array:
    """Mean magnitude (e,) of the voxels ``used`` whose samples are magnitudes, as the fit saw them."""
    samples = acquisition.signal[used]
    whole = np.all(np.abs(samples) < LARGEST_SAMPLE, axis=1)  # NaN compares false
    if not np.iscomplexobj(samples):
        whole &= np.all(samples >= 0, axis=1)
    magnitude = np.abs(samples[whole]).astype(np.float32, copy=False)
    if fit.echo_gain is not None:
        magnitude = magnitude / np.broadcast_to(fit.echo_gain, acquisition.signal.shape)[used][whole]
    return np.asarray(magnitude.mean(axis=0, dtype=np.float64))


def _voxels_per_independent(acquisition: MultiEcho, fit: R2StarMap, where: BoolArray, setup: Setup) -> float:
    """From the residuals of the voxels ``where`` (z, y, x), which all have a value."""
    if not where.any():
        return 1.0
    slices = slices_to_compare(where)
    box = (slices, *(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(where[slices])[1:]))
    chosen, compared = where[box], np.zeros_like(where)
    compared[box] = chosen
    signal = np.abs(acquisition.signal[box][chosen])
    if fit.echo_gain is not None:
        signal = signal / np.broadcast_to(fit.echo_gain, acquisition.signal.shape)[box][chosen]
    s0, r2star = (a[box][chosen].astype(np.float64) for a in (fit.s0, fit.r2star_per_s))
    return voxels_per_independent(residuals(signal, s0, r2star, fit.pdff_of_fit(compared), setup), chosen)


def _tissue_sd(q1: float, q3: float, voxel_sd: float) -> float:
    return float(np.sqrt(max(((q3 - q1) / _IQR_PER_SD) ** 2 - voxel_sd**2, 0.0)))


def _fat_handling(fit: R2StarMap, used: BoolArray, pooled: "_Pooled") -> FatHandling:
    """As in the voxels, unless the pooled decay of the region contradicts.

    Where it cannot tell the fraction, neither could the smaller surroundings of its voxels; and a region fitted as
    water needs no fat only if its pooled decay can tell so well that what it may have overlooked is harmless, and shows
    none.
    """
    fat = fit.fat_in(used)
    if fat in ("pooled", "not_needed") and not pooled.tells_fat:
        return "not_told"
    if fat == "not_needed" and pooled.unseen_shift_per_s > _HARMLESS * pooled.r2star_per_s:
        return "not_told"
    return "not_modelled" if fat == "not_needed" and pooled.shows_fat else fat


def _fat_by_phase(fit: R2StarMap, used: BoolArray, shared: float) -> tuple[float, float] | None:
    """Median fat fraction of the voxels and its standard error, where most were told by their phase; so many of them
    share their noise."""
    if fit.pdff is None or fit.b0_hz is None:
        return None
    own = fit.pdff[used & np.isfinite(fit.b0_hz)].astype(np.float64)
    if 2 * own.size < np.count_nonzero(used) or own.size < 2:
        return None
    return float(np.median(own)), _MEDIAN_EFFICIENCY * float(own.std(ddof=1)) * float(np.sqrt(shared / own.size))


def _setup(acquisition: MultiEcho, fit: R2StarMap) -> Setup:
    noise = NoiseModel(sigma=fit.sigma, coils=fit.coils, source=fit.noise_source)
    return Setup(echo_times_s=acquisition.echo_times_s, field_t=acquisition.field_t, noise=noise)


def _quartiles(values: Array, flags: npt.NDArray[np.int32], setup: Setup) -> tuple[float, float, float]:
    """Quartiles of R2*, voxels at the ends of the range ranked as such."""
    ranked = values.copy()
    missing = np.isnan(values)
    ranked[missing & ((flags & FitFlag.AT_LIMIT) != 0)] = setup.max_rate / setup.spacing_s
    ranked[missing & ((flags & FitFlag.NO_DECAY) != 0)] = 0.0
    ranked = ranked[~np.isnan(ranked)]
    if 2 * ranked.size < values.size:
        raise ValueError(f"mask: only {ranked.size} of its {values.size} voxels have an R2*")
    q1, median, q3 = np.quantile(ranked, (0.25, 0.5, 0.75))
    return float(q1), float(median), float(q3)


@dataclass(frozen=True, kw_only=True)
class _Pooled:
    """Fit of the mean decay. ``tells_fat`` and ``shows_fat`` hold whether or not fat is in the fit.

    ``unseen_shift_per_s`` is what the error of the fat fraction (one SD) does to R2*.
    """

    r2star_per_s: float
    sd_per_s: float
    sd_by_fat_per_s: float
    fat_shift_per_s: float
    pdff: float | None
    tells_fat: bool
    shows_fat: bool
    unseen_shift_per_s: float
    decay: PooledDecay


def _pooled(
    signal: Array, setup: Setup, independent: float, *, with_fat: bool, told: tuple[float, float] | None
) -> _Pooled:
    """Fit the mean magnitude (e,) of so many ``independent`` voxels.

    Its own fat fraction keeps it independent of the phase; that and its error ``told`` by phase stand in for one that
    is not sharp.

    The mean of magnitudes follows the first moment of the noise law at the voxels' own sigma; only its scatter
    shrinks with the number of voxels.
    """
    law = noise_law(setup.noise.coils)
    row, pooled = np.ascontiguousarray(signal[None], np.float32), replace(setup, averaged=max(1, round(independent)))
    fraction, error, likely = (float(a[0]) for a in fat_and_error(row, np.array([independent]), pooled))
    if told is not None and error > _SHARP_PDFF:
        (fraction, error), likely = told, told[1]
    tells = error <= LARGEST_ERROR
    pdff = float(shrunk_fraction(np.array(fraction), np.array(likely))) if with_fat and tells else None
    assumed = np.array([0.0 if pdff is None else pdff], np.float32)
    fit = fit_given_fat(np.repeat(row, 3, axis=0), assumed + np.array([0, _STEP, _TYPICAL_PDFF], np.float32), pooled)
    slope = float(fit.r2star_per_s[1] - fit.r2star_per_s[0]) / _STEP
    by_fat = 0.0 if pdff is None else abs(slope) * error
    measured = not (fit.at_top[0] or fit.at_zero[0])
    r2star, s0 = float(fit.r2star_per_s[0]), float(fit.s0[0])
    curve_times = np.linspace(0, 1.05 * float(setup.echo_times_s[-1]), _CURVE_POINTS)

    def curve(times: Array) -> Array:
        clean = amplitude(times, s0=s0, r2star_per_s=r2star, pdff=pdff, field_t=setup.field_t)
        return law.mean(clean / setup.noise.sigma) * setup.noise.sigma

    decay = PooledDecay(
        echo_times_s=setup.echo_times_s,
        signal=signal,
        model=curve(setup.echo_times_s),
        curve_times_s=curve_times,
        curve=curve(curve_times),
        noise_floor=float(law.mean(0.0)) * setup.noise.sigma,
    )
    return _Pooled(
        r2star_per_s=r2star if measured else np.nan,
        sd_per_s=float(np.hypot(fit.sd_r2star_per_s[0], by_fat)) if measured else np.nan,
        sd_by_fat_per_s=by_fat,
        fat_shift_per_s=float(fit.r2star_per_s[2] - fit.r2star_per_s[0]),
        pdff=pdff,
        tells_fat=tells,
        unseen_shift_per_s=abs(slope) * error,
        shows_fat=tells and fraction > max(_LEAST_PDFF, _SIGNIFICANCE * error),
        decay=decay,
    )


def _coil_shift(fit: R2StarMap, signal: Array, setup: Setup, pooled: _Pooled) -> float:
    """See ``RegionMeasurement.coil_shift_per_s``; ``signal`` (e,) is the mean decay."""
    if fit.noise_source != FROM_MAGNITUDES_OF_TISSUE or fit.coils > 1 or not np.isfinite(pooled.r2star_per_s):
        return 0.0
    many = replace(setup, noise=replace(setup.noise, coils=_MANY_COILS))
    row = np.ascontiguousarray(signal[None], np.float32)
    assumed = np.array([0.0 if pooled.pdff is None else pooled.pdff], np.float32)
    return float(fit_given_fat(row, assumed, many).r2star_per_s[0]) - pooled.r2star_per_s


def _pdff_statistics(percent: Array) -> Statistics | None:
    """PDFF in per cent over the voxels that have one; ``None`` where fewer than half of them do."""
    known = percent[np.isfinite(percent)]
    if 2 * known.size < percent.size or known.size < 2:
        return None
    q1, median, q3 = (float(q) for q in np.quantile(known, (0.25, 0.5, 0.75)))
    half = _Z95 * _MEDIAN_EFFICIENCY * float(known.std(ddof=1)) / np.sqrt(known.size)
    return Statistics(
        median=median,
        mean=float(known.mean()),
        sd=float(known.std(ddof=1)),
        q1=q1,
        q3=q3,
        interval95=(median - half, median + half),
    )
