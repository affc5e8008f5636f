"""Noise level and effective coil number of an acquisition, estimated from the images themselves.

Air around the body, where there is any, holds pure noise: its mean power is 2 n sigma^2 and the variance of its power
from echo to echo 4 n sigma^4, so both n and sigma follow. Where the background was zeroed, smoothed or lies outside
the image, sigma is taken inside the body from what neighbouring voxels and echoes do not share.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter
from scipy.special import gammaincinv

from quant.acquisition import BoolArray
from quant.noise_law import MAX_COILS
from quant.screening import LARGEST_SAMPLE
from quant.threads import side_by_side

Array = npt.NDArray[np.float64]

_SLICES = 8
_LEAST_BACKGROUND_SHARE = 0.02  # of the voxels, within the peak of air
_LEAST_BACKGROUND_VOXELS = 500
_BIN = 0.05  # of the histogram of ln(local power)
_LARGEST_AIR_DECAY = 0.25  # relative change of mean power between the first and the last echo used
_LARGEST_GHOST = 4.0  # power of the first echo, times that of the noise, that air may have
_SEVERAL_COILS = 1.5  # seen in air from which magnitudes are not those of one complex image
_LEAST_CONTRAST = 4.0  # power of the brightest tissue at the first echo over that of air
_MANY_COILS = 12.0  # from which air has to prove that it is no dark tissue: that scatters as little
_LARGEST_TYPICAL_DECAY = 0.1  # relative change of power between the first and the last echo in most of that air
_LEAST_COILS_SEEN = 0.75  # below, the background is burstier than any noise law: interpolated, masked or ghosted
_WHOLE_COIL_TOLERANCE = 0.12  # an estimate this close to one coil is taken as one: magnitude of a single image
_HIGH_PASS_LAG = 3  # voxels; beyond the reach of the usual twofold interpolation (zero filling)
_BODY_SNR = 8.0
_BODY_ROUNDS = 3
_BODY_TERMS = 3  # of the polynomial in echo time that a body voxel's logarithm is freed of
_LEAST_BODY_SAMPLES = 400
_BODY_QUANTILE = 0.05
_LARGEST_UNEVENNESS = 1.6  # variance between neighbours over variance between echoes: 1 in pure noise
_LARGEST_OVER_BODY = 1.5  # sigma of air over sigma of the body, which itself errs upwards


FROM_AIR = "background"
"""``NoiseModel.source`` of magnitudes whose air tells sigma and coils."""
FROM_MAGNITUDES_OF_TISSUE = "body residual"
"""``NoiseModel.source`` of magnitudes without usable air: they may not tell the coils."""


@dataclass(frozen=True, kw_only=True)
class NoiseModel:
    """Non-central chi noise: ``sigma`` in signal units per real channel, effective ``coils`` (1 = Rician).

    ``source`` says where the two numbers come from, in words for the report; ``from_background`` whether air was seen.
    """

    sigma: float
    coils: float
    source: str
    from_background: bool = True

    def __post_init__(self) -> None:
        if not (np.isfinite(self.sigma) and self.sigma > 0):
            raise ValueError(f"sigma must be positive, not {self.sigma}")
        if not 1 <= self.coils <= MAX_COILS:
            raise ValueError(f"coils must lie between 1 and {MAX_COILS:g}, not {self.coils}")


def estimate_noise(magnitude: npt.NDArray[Any], echo_times_s: npt.ArrayLike) -> NoiseModel:
    """Noise of a magnitude acquisition (z, y, x, e); raises ``ValueError`` where nothing can be estimated.

    ``source`` is "background" (sigma and coils from air) or "body residual": sigma from the tissue, up to a tenth too
    high where it is full of edges, and one coil. ``quant.noise_refine`` improves on the latter with the fit itself.
    """
    data = _whole(np.asarray(_some_slices(magnitude), dtype=np.float32))
    air, body = _air_of(data), _body_sigma(data, np.asarray(echo_times_s, dtype=np.float64))
    if air is not None and not _contradicted(air.sigma, body):
        return NoiseModel(sigma=air.sigma, coils=air.coils, source=FROM_AIR)
    return _from_body(body, FROM_MAGNITUDES_OF_TISSUE)


def estimate_complex_noise(signal: npt.NDArray[Any], echo_times_s: npt.ArrayLike) -> NoiseModel:
    """Noise of one complex image per echo (z, y, x, e): Rician magnitude, sigma of the real and imaginary parts.

    Where air shows that its magnitudes are those of several coils (a sum of squares with a phase put beside it), the
    noise is that of ``estimate_noise``.
    """
    data = _whole(np.abs(_some_slices(signal)).astype(np.float32, copy=False))
    times = np.asarray(echo_times_s, dtype=np.float64)
    air, body = side_by_side(lambda: _air_of(data), lambda: _body_sigma(data, times))
    if air is not None and air.coils > _SEVERAL_COILS:
        return estimate_noise(data, echo_times_s)
    if air is not None and not _contradicted(air.rician_sigma, body):
        return NoiseModel(sigma=air.rician_sigma, coils=1.0, source="background of the complex image")
    return _from_body(body, "body residual of the complex image")


def _some_slices(signal: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """At most ``_SLICES`` slices, evenly spread: they hold far more samples than the estimate needs."""
    step = -(-signal.shape[0] // _SLICES)
    return signal[step // 2 :: step]


def _whole(data: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """``data`` with 0, as in blanked air, for samples that are no numbers or too large to be squared."""
    broken = ~(data < LARGEST_SAMPLE)
    return np.where(broken, np.float32(0), data) if broken.any() else data


@dataclass(frozen=True, kw_only=True)
class _Body:
    """Sigma seen in tissue; ``certain`` where enough of it stays well above that sigma at every echo."""

    sigma: float
    certain: bool


def _contradicted(air_sigma: float, body: _Body | None) -> bool:
    """Whether the tissue shows that what looks like air varies more than noise."""
    return body is not None and body.certain and air_sigma >= _LARGEST_OVER_BODY * body.sigma


def _from_body(body: _Body | None, source: str) -> NoiseModel:
    if body is None or not body.certain:
        raise ValueError(
            "the images hold neither air nor enough tissue above their noise, so that the noise cannot be estimated"
        )
    return NoiseModel(sigma=body.sigma, coils=1.0, source=source, from_background=False)


@dataclass(frozen=True, kw_only=True)
class _Air:
    """Noise seen in air; ``rician_sigma`` is sigma if the coil number is known to be 1."""

    sigma: float
    coils: float
    rician_sigma: float


def _air_of(data: npt.NDArray[np.float32]) -> _Air | None:
    """Noise of the air in ``data`` (z, y, x, e), or ``None`` where the image holds no usable air.

    Only the last third of the echoes (at least three) is used, since ghosts of the bright body decay with it. Air is
    the lowest peak of the histogram of their local power, without what was much brighter before (tissue that has
    decayed into the noise), provided that it no longer decays.
    """
    late = data[..., -max(3, data.shape[3] // 3) :]
    noisy = np.all(data > 0, axis=3)
    whole = uniform_filter(noisy.astype(np.float32), size=(1, 3, 3), mode="nearest") > 0.999
    if np.count_nonzero(whole) < _LEAST_BACKGROUND_VOXELS:
        return None
    local = _local_power(late)
    window = _lowest_peak(np.log(local[whole]))
    if window is None:
        return None
    low, centre, high = np.exp(window)
    first = _local_power(data[..., :1])
    if np.quantile(first, 0.99) < _LEAST_CONTRAST * centre:
        return None  # nothing stands out of it: all of the image is tissue
    whole &= (local >= low) & (local <= high) & (first <= _LARGEST_GHOST * centre)
    if np.count_nonzero(whole) < _LEAST_BACKGROUND_VOXELS:
        return None
    power: Array = np.square(late, dtype=np.float64)
    air = power[whole]
    if abs(air[:, 0].mean() / air[:, -1].mean() - 1) > _LARGEST_AIR_DECAY or not _is_even(power, whole):
        return None
    coils = _coils(air)
    if coils is None or (coils > _MANY_COILS and _mostly_decays(data, whole)):
        return None
    mean = float(air.mean())
    return _Air(sigma=float(np.sqrt(mean / (2 * coils))), coils=coils, rician_sigma=float(np.sqrt(mean / 2)))


def _mostly_decays(data: npt.NDArray[np.float32], air: BoolArray) -> bool:
    """Whether power falls from the first to the last echo of ``data`` (z, y, x, e) at most places of ``air`` (z, y, x).

    Dark tissue decays everywhere; in air, the odd piece of tissue does that soon decays into it.
    """
    first, last = (_local_power(data[..., e : e + 1])[air] for e in (0, data.shape[3] - 1))
    return float(np.median(first / last)) - 1 > _LARGEST_TYPICAL_DECAY


def _local_power(data: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Mean of the squares over the echoes and 3 x 3 voxels, (z, y, x)."""
    power = np.mean(np.square(data), axis=3, dtype=np.float32)
    smoothed: npt.NDArray[np.float32] = uniform_filter(power, size=(1, 3, 3), mode="nearest")
    return smoothed


def _lowest_peak(logarithm: npt.NDArray[np.float32]) -> tuple[float, float, float] | None:
    """Lower end, centre and upper end of the lowest peak that holds enough voxels, as wide as its lower side."""
    low, high = np.quantile(logarithm, (0.0005, 0.9995))
    bins = int(max((high - low) / _BIN, 8))
    counts, edges = np.histogram(logarithm, bins=bins, range=(low, high))
    smooth = np.convolve(counts, np.array([1, 2, 3, 2, 1]) / 9, mode="same")
    centres = (edges[1:] + edges[:-1]) / 2
    for k in range(bins):
        left, right = max(k - 6, 0), min(k + 7, bins)
        near = float(counts[left:right].sum()) / logarithm.size
        if smooth[k] >= smooth[left:right].max() and near >= _LEAST_BACKGROUND_SHARE:
            below = logarithm[logarithm <= centres[k]]
            spread = float(centres[k] - np.quantile(below, 0.3173))
            width = float(np.clip(4 * spread, 0.25, 1.5))
            return float(centres[k]) - width, float(centres[k]), float(centres[k]) + width
    return None


def _coils(power: Array) -> float | None:
    """Effective coils from squared magnitudes of air (k, e), comparing echoes within each voxel.

    The comparison within voxels keeps a noise level that varies over the image (parallel imaging) out of the coil
    number. ``None`` where the values are not distributed like noise.
    """
    mean = power.mean(axis=1)
    variance = power.var(axis=1, ddof=1)
    coils = float((mean**2 - variance / power.shape[1]).sum() / max(float(variance.sum()), 1e-300))
    if not _LEAST_COILS_SEEN <= coils <= MAX_COILS * (1 + _WHOLE_COIL_TOLERANCE):
        return None
    return as_whole_coil(min(coils, MAX_COILS))


def as_whole_coil(coils: float) -> float:
    """1 for what is one coil within the error of an estimate, otherwise the number itself."""
    return 1.0 if coils < 1 + _WHOLE_COIL_TOLERANCE else coils


def _is_even(power: Array, air: BoolArray) -> bool:
    """Whether voxels of ``air`` (z, y, x) differ from near ones no more than from themselves at another echo.

    In noise both differences of ``power`` (z, y, x, e) are alike; dark tissue differs in space but hardly in time.
    """
    lag = _HIGH_PASS_LAG
    both = air[:, :, lag:] & air[:, :, :-lag]
    if np.count_nonzero(both) < _LEAST_BACKGROUND_VOXELS // 4:
        return False
    here, there = power[:, :, lag:][both], power[:, :, :-lag][both]
    in_space = float(np.mean((here - there) ** 2))
    in_time = float(np.mean((here[:, 1:] - here[:, :-1]) ** 2))
    return in_space < _LARGEST_UNEVENNESS * in_time


def _body_sigma(data: npt.NDArray[np.float32], times: Array) -> _Body | None:
    """Sigma from tissue well above the noise floor; ``None`` where there is too little of it.

    Each voxel's logarithm is freed of a low polynomial in echo time, the rest scaled to the sigma of one sample and
    differenced over the corners of a square ``_HIGH_PASS_LAG`` voxels wide: what remains of anatomy, fat and field
    inhomogeneity is smooth in space and drops out. Edges remain; they only add, so the sum of squares over the echoes
    is read at a low quantile of its chi-squared law.
    """
    first = data[..., 0]
    positive = first[first > 0]
    if positive.size < _LEAST_BODY_SAMPLES:
        return None
    terms = max(_BODY_TERMS if times.size > 4 else 2, times.size // 2)
    basis = np.linalg.qr(np.vander((times - times.mean()) / np.ptp(times), terms))[0]
    rejection = np.eye(times.size) - basis @ basis.T
    lowest = np.float32(1e-6) * float(positive.max())
    slices = [_residual_energy(np.maximum(each, lowest), rejection) for each in data]  # one by one: bounds the memory
    floor = _corners(data.min(axis=3), np.minimum, np.minimum)
    return _low_quantile_sigma(np.stack(slices), floor, times.size - terms)


def _residual_energy(data: npt.NDArray[np.float32], rejection: Array) -> npt.NDArray[np.float32]:
    """Mean square (y, x) of what ``rejection`` leaves of one slice (y, x, e), in units of one sample's variance."""
    residual = np.log(data) @ rejection.astype(np.float32)
    residual /= np.sqrt(data**-2 @ (rejection**2).astype(np.float32))  # to unit sigma per sample
    corners = _corners(residual[None], np.add, np.subtract)[0]
    return np.asarray(np.mean(np.square(corners), axis=2) / 4)  # four independent samples each


def _corners(values: npt.NDArray[np.float32], along: np.ufunc, across: np.ufunc) -> npt.NDArray[np.float32]:
    """The four corners of a square at every place: the diagonals joined by ``along``, the two sums by ``across``."""
    lag = _HIGH_PASS_LAG
    one = along(values[:, lag:, lag:], values[:, :-lag, :-lag])
    other = along(values[:, :-lag, lag:], values[:, lag:, :-lag])
    joined: npt.NDArray[np.float32] = across(one, other)
    return joined


def _low_quantile_sigma(energy: npt.NDArray[np.float32], floor: npt.NDArray[np.float32], dof: int) -> _Body | None:
    """Sigma from the mean square of residuals (z, y, x) where the weakest echo is far above sigma, iterated.

    It begins with the brighter half of the voxels. Where these, too, decay into the noise, what they give is too low.
    """
    expected = np.sqrt(2 * gammaincinv(dof / 2, _BODY_QUANTILE) / dof)
    usable = floor > (np.quantile(floor[floor > 0], 0.5) if np.any(floor > 0) else 0)
    sigma, enough = np.nan, True
    for _ in range(_BODY_ROUNDS):
        enough = int(np.count_nonzero(usable)) >= _LEAST_BODY_SAMPLES
        if not enough:
            break
        sigma = float(np.sqrt(np.quantile(energy[usable], _BODY_QUANTILE)) / expected)
        usable = floor > _BODY_SNR * sigma
    return _Body(sigma=sigma, certain=enough) if sigma > 0 else None  # NaN compares false
