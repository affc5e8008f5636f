"""What the phase of complex echoes is good for: which way it turns, whether odd and even echoes differ, or nothing.

All is judged on a sample of bright voxels by what the best water, fat, R2* and field leave unexplained.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from quant.complex_scan import FieldRange
from quant.complex_volume import ComplexSignal, candidates
from quant.voxel_fit import Setup, Voxels

Array = npt.NDArray[np.float64]

_SAMPLE = 8192
_REVERSED = 0.97  # share of the misfit left below which the other sense of rotation is taken
_BIPOLAR = 0.85  # share of the misfit left below which a difference of odd and even echoes is corrected
_UNUSABLE = 0.2  # of the signal unexplained, in the median voxel
_CONSTANT = 0.5  # share of samples without any phase
_LEAST_MIDDLES = 2
_FEW = 4096
_MOST_TURNS = 3  # of four times the half difference over the image
_EVEN = 0.02  # relative difference of two spacings that count as equal


@dataclass(frozen=True, kw_only=True)
class PhaseVerdict:
    """``usable`` or not, with ``note``, a sentence for the record; ``setup`` turns the way the images do.

    ``odd_even`` (4,) is half of what even echoes have before odd ones, ``None`` where they do not differ: phase at the
    first voxel and its slopes along x and y (radians, per voxel), and the logarithm of their gain.
    """

    usable: bool
    note: str
    setup: Setup
    odd_even: Array | None = None


def judge_phase(signal: ComplexSignal, voxels: Voxels, shape: tuple[int, int, int], setup: Setup) -> PhaseVerdict:
    """Judge the phase of ``signal`` (n, e), the raveled volume ``shape``, by its voxels of signal ``voxels`` (k,)."""
    sample = _bright(signal, voxels)
    if sample.size == 0:
        return PhaseVerdict(usable=False, note="no voxel has signal above the noise", setup=setup)
    data = np.ascontiguousarray(signal[sample])
    if np.mean(data.imag == 0) > _CONSTANT or np.mean(data.real == 0) > _CONSTANT:
        return PhaseVerdict(usable=False, note="the images hold no phase", setup=setup)
    usual = _judged(data, sample, shape, setup)
    turned = _judged(data, sample, shape, replace(setup, reversed_precession=True))
    best = turned if turned.misfit < _REVERSED * usual.misfit else usual
    setup, correction, unexplained = best.setup, best.odd_even, best.unexplained
    turn = "turned against the usual sense" if setup.reversed_precession else "in the usual sense"
    if unexplained > _UNUSABLE:
        note = f"water and fat in a field leave {100 * unexplained:.0f} % of the complex signal unexplained"
        return PhaseVerdict(usable=False, note=note, setup=setup)
    note = f"phase used, {turn}"
    if correction is not None:
        note += ", odd and even echoes brought into line"
    return PhaseVerdict(usable=True, note=note, setup=setup, odd_even=correction)


def corrected(signal: ComplexSignal, voxels: Voxels, shape: tuple[int, int, int], odd_even: Array) -> ComplexSignal:
    """Copy of ``signal`` (k, e), of the voxels (k,) of the raveled ``shape``, without the difference of its echoes."""
    _, y, x = np.unravel_index(voxels, shape)
    phase = odd_even[0] + odd_even[1] * x + odd_even[2] * y
    factor = np.exp(-(odd_even[3] + 1j * phase)).astype(np.complex64)
    out = signal.copy()
    out[:, 0::2] *= factor[:, None]
    out[:, 1::2] /= factor[:, None]
    return out


def _bright(signal: ComplexSignal, voxels: Voxels) -> Voxels:
    """At most ``_SAMPLE`` of the brighter half of the voxels, spread over the list."""
    if voxels.size == 0:
        return voxels
    first = np.abs(signal[voxels, 0])
    bright = voxels[first >= np.median(first)]
    return np.ascontiguousarray(bright[:: max(1, -(-bright.size // _SAMPLE))])


def _misfit(data: ComplexSignal, setup: Setup) -> Array:
    """Share of the energy of each row (k, e) that the best candidate leaves beyond noise."""
    _, cost, _ = candidates(data, np.arange(len(data)), setup, FieldRange.of(setup.echo_times_s))
    energy = np.square(np.abs(data)).sum(axis=1, dtype=np.float64) / setup.noise.sigma**2
    noise = 2 * setup.echo_times_s.size - 5
    return np.asarray(np.maximum(cost.min(axis=1) - noise, 0) / energy, dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class _Sense:
    """One sense of rotation: what it leaves, in the mean of the energy and of the signal in the median voxel."""

    setup: Setup
    odd_even: Array | None
    misfit: float
    unexplained: float


def _judged(data: ComplexSignal, sample: Voxels, shape: tuple[int, int, int], setup: Setup) -> _Sense:
    odd_even = _odd_even(data, sample, shape, setup)
    left = _misfit(data if odd_even is None else corrected(data, sample, shape, odd_even), setup)
    return _Sense(
        setup=setup, odd_even=odd_even, misfit=float(left.mean()), unexplained=float(np.median(np.sqrt(left)))
    )


def _odd_even(data: ComplexSignal, sample: Voxels, shape: tuple[int, int, int], setup: Setup) -> Array | None:
    """Half the difference between odd and even echoes (bipolar readout), ``None`` where correcting it gains nothing.

    In y[e-1] y[e+1] / y[e]^2 of three evenly spaced echoes the field, R2* and the phase of water cancel; four times
    the half difference remains, with alternating sign (Yu 2010, 10.1002/jmri.22111). Fat bends that start, so the four
    coefficients are then chosen for the least misfit.
    """
    steps = np.diff(setup.echo_times_s)
    middles = [e for e in range(1, steps.size) if abs(steps[e] / steps[e - 1] - 1) < _EVEN]
    if len(middles) < _LEAST_MIDDLES:
        return None
    product = np.zeros(len(data), np.complex128)
    for e in middles:
        triple = data[:, e - 1].astype(np.complex128) * data[:, e + 1] * np.conj(data[:, e]) ** 2
        product += triple if e % 2 else np.conj(triple)
    product /= np.abs(product) ** 0.75 + 1e-30
    start = np.append(_phase_plane(product, sample, shape) / 4, 0.0)

    def misfit(half: Array, some: slice) -> float:
        return float(np.mean(_misfit(corrected(data[some], sample[some], shape, half), setup)))

    every, few = slice(None), slice(None, None, max(1, len(data) // _FEW))
    before = misfit(np.zeros(4), every)
    if misfit(start, every) >= _BIPOLAR * before:
        return None
    scale = np.array([1.0, 1 / shape[2], 1 / shape[1], 0.1])
    found = minimize(
        lambda x: misfit(start + x * scale, few),
        np.zeros(4),
        method="Nelder-Mead",
        options={
            "initial_simplex": 0.1 * np.vstack([np.zeros(4), np.eye(4)]),
            "maxfev": 120,
            "xatol": 1e-3,
            "fatol": 0,
        },
    )
    return np.asarray(start + found.x * scale)


def _phase_plane(product: npt.NDArray[np.complex128], sample: Voxels, shape: tuple[int, int, int]) -> Array:
    """Constant and slopes along x and y (radians, per voxel) of the phase of ``product`` (k,)."""
    _, y, x = np.unravel_index(sample, shape)
    turns = np.linspace(-_MOST_TURNS, _MOST_TURNS, 8 * _MOST_TURNS + 1)
    slopes_x, slopes_y = 2 * np.pi * turns / shape[2], 2 * np.pi * turns / shape[1]
    along = np.exp(-1j * np.multiply.outer(slopes_x, x)) * product
    score = np.abs(along @ np.exp(-1j * np.multiply.outer(y, slopes_y)))
    best = np.unravel_index(np.argmax(score), score.shape)
    found = slopes_x[best[0]], slopes_y[best[1]]
    constant = np.angle(np.sum(product * np.exp(-1j * (found[0] * x + found[1] * y))))
    return np.array([constant, *found])
