"""What the phase of complex echoes is good for: which way it turns, what single echoes have of their own, or nothing.

All is judged on a sample of bright voxels by what the best water, fat, R2* and field leave unexplained.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from quant.complex_scan import FieldRange
from quant.complex_volume import ComplexSignal, candidates
from quant.echo_phase import EchoErrors, plane, refined
from quant.models import main_fat_shift_hz
from quant.voxel_fit import Setup, Voxels

Array = npt.NDArray[np.float64]

_SAMPLE = 4096
_REVERSED = 0.95  # share of what is left below which the other sense of rotation is taken
_BETTER = 0.85  # share of the misfit left below which echoes are corrected
_WELL_EXPLAINED = 0.03  # of the signal unexplained: only then is the sense of rotation told before any correction
_FAULTLESS = 0.004  # of the signal unexplained: no correction is looked for; 3 degrees on one echo leave twice that
_UNUSABLE = 0.2  # of the signal unexplained, in the median voxel
_CONSTANT = 0.5  # share of samples without any phase
_LEAST_MIDDLES = 2
_SPARSE = 4  # of the sample, one in so many tells the slopes
_MOST_TURNS = 3  # of four times the half difference of odd and even echoes over the image
_HALF_TURN = 0.1  # turns of fat per echo about 0.5 at which it alternates as bipolar echoes do
_EVEN = 0.02  # relative difference of two spacings that count as equal


@dataclass(frozen=True, kw_only=True)
class PhaseVerdict:
    """``usable`` or not, with ``note``, words for the record; ``setup`` turns the way the images do.

    ``faulty`` is a phase that is there and explains too little. ``errors`` are to be taken from the echoes, ``None``
    where they need no correction.
    """

    usable: bool
    note: str
    setup: Setup
    errors: EchoErrors | None = None
    faulty: bool = False


def judge_phase(signal: ComplexSignal, voxels: Voxels, shape: tuple[int, int, int], setup: Setup) -> PhaseVerdict:
    """Judge the phase of ``signal`` (n, e), the raveled volume ``shape``, by its voxels of signal ``voxels`` (k,)."""
    sample = _bright(signal, voxels)
    if sample.size == 0:
        return PhaseVerdict(usable=False, note="no voxel has signal above the noise", setup=setup)
    data, where = np.ascontiguousarray(signal[sample]), plane(sample, shape)
    if np.mean(data.imag == 0) > _CONSTANT or np.mean(data.real == 0) > _CONSTANT:
        return PhaseVerdict(usable=False, note="the images hold no phase", setup=setup)
    senses = [_judged(data, where, each) for each in (setup, replace(setup, reversed_precession=True))]
    if min(sense.unexplained for sense in senses) > _WELL_EXPLAINED:
        senses = [_corrected(sense, data, where) for sense in senses]
        best = _better(*senses)
    else:
        best = _better(*senses)
        best = best if best.unexplained < _FAULTLESS else _corrected(best, data, where)
    return _verdict(best)


def _verdict(best: "_Sense") -> PhaseVerdict:
    if best.unexplained > _UNUSABLE:
        note = f"water and fat in a field leave {100 * best.unexplained:.0f} % of the complex signal unexplained"
        return PhaseVerdict(usable=False, note=note, setup=best.setup, faulty=True)
    if best.bipolar and abs(_turn_of_fat(best.setup) % 1 - 0.5) < _HALF_TURN:
        note = "odd and even echoes differ in phase, and so does fat at this echo spacing: the two cannot be told apart"
        return PhaseVerdict(usable=False, note=note, setup=best.setup)
    note = "phase used"
    if best.setup.reversed_precession:
        note += ", which turns against the usual sense"
    if best.errors is not None:
        which = "odd and even echoes" if best.bipolar else "echoes"
        note += f", {which} brought into line (up to {np.degrees(best.errors.largest_phase):.0f} degrees)"
    return PhaseVerdict(usable=True, note=note, setup=best.setup, errors=best.errors)


def _turn_of_fat(setup: Setup) -> float:
    """Turns of fat against water from one echo to the next."""
    return main_fat_shift_hz(setup.field_t) * setup.spacing_s


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
    """One sense of rotation: what it leaves, in the mean of the energy and of the signal in the median voxel, once
    ``errors`` are taken out."""

    setup: Setup
    errors: EchoErrors | None
    bipolar: bool
    misfit: float
    unexplained: float


def _better(usual: _Sense, turned: _Sense) -> _Sense:
    """By what they leave in the mean, which tissue that nothing explains may govern, and in the median voxel."""
    left = [sense.misfit * (sense.unexplained + _FAULTLESS) for sense in (usual, turned)]
    return turned if left[1] < _REVERSED * left[0] else usual


def _left_by(data: ComplexSignal, where: Array, setup: Setup, errors: EchoErrors | None, *, bipolar: bool) -> _Sense:
    left = _misfit(data if errors is None else errors.taken_from(data, where), setup)
    unexplained = float(np.median(np.sqrt(left)))
    return _Sense(setup=setup, errors=errors, bipolar=bipolar, misfit=float(left.mean()), unexplained=unexplained)


def _judged(data: ComplexSignal, where: Array, setup: Setup) -> _Sense:
    """As the images come, or with odd and even echoes brought into line where that explains much more."""
    plain = _left_by(data, where, setup, None, bipolar=False)
    odd_even = _odd_even(data, where, setup)
    if odd_even is None:
        return plain
    aligned = _left_by(data, where, setup, odd_even, bipolar=True)
    return aligned if aligned.misfit < _BETTER * plain.misfit else plain


def _corrected(sense: _Sense, data: ComplexSignal, where: Array) -> _Sense:
    """With every echo brought into line where that explains much more, or improves on odd and even ones.

    A gain that changes over the image is taken only where it explains much more again.
    """
    aligned = _aligned(sense, data, where, gain_changes=False)
    if aligned.misfit < (1 if sense.bipolar else _BETTER) * sense.misfit:
        sense = aligned
    changing = _aligned(sense, data, where, gain_changes=True)
    return changing if changing.misfit < _BETTER * sense.misfit else sense


def _aligned(sense: _Sense, data: ComplexSignal, where: Array, *, gain_changes: bool) -> _Sense:
    echoes = sense.setup.echo_times_s.size
    start = sense.errors or EchoErrors(phases=np.zeros((echoes, 3)), log_gain=np.zeros(3))
    errors = refined(start, data, where, sense.setup, gain_changes=gain_changes)
    return sense if errors is None else _left_by(data, where, sense.setup, errors, bipolar=sense.bipolar)


def _odd_even(data: ComplexSignal, where: Array, setup: Setup) -> EchoErrors | None:
    """Phase that alternates between odd and even echoes (bipolar readout), ``None`` where too few echoes tell it.

    In y[e-1] y[e+1] / y[e]^2 of three evenly spaced echoes the field, R2* and the phase of water cancel; four times
    the half difference remains, with alternating sign (Yu 2010, 10.1002/jmri.22111). Fat bends it: it is a start.
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
    sign = np.where(np.arange(setup.echo_times_s.size) % 2, -1.0, 1.0)
    return EchoErrors(phases=np.outer(sign, _phase_plane(product, where) / 4), log_gain=np.zeros(3))


def _phase_plane(product: npt.NDArray[np.complex128], where: Array) -> Array:
    """Coefficients (3,) of ``where`` (k, 3), radians, that follow the phase of ``product`` (k,)."""
    _, x, y = where.T
    slopes = np.pi * np.linspace(-_MOST_TURNS, _MOST_TURNS, 8 * _MOST_TURNS + 1)  # x and y run over 2
    few = slice(None, None, _SPARSE)
    along = np.exp(-1j * np.multiply.outer(slopes, x[few])) * product[few]
    score = np.abs(along @ np.exp(-1j * np.multiply.outer(y[few], slopes)))
    by_x, by_y = np.unravel_index(np.argmax(score), score.shape)
    found = slopes[by_x], slopes[by_y]
    constant = np.angle(np.sum(product * np.exp(-1j * (found[0] * x + found[1] * y))))
    return np.array([constant, *found])
