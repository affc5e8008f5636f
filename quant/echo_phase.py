"""Phase that single echoes have beyond that of water, fat and field: eddy currents, a first echo that is off.

Such an error is common to all tissue, up to slow change over the image. Water alone turns evenly from echo to echo, so
many voxels together tell it, although it is small against what water and fat do to each of them. A constant of all
echoes and a turn in proportion to the echo time are initial phase and field: they cannot be told, and do not matter.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant import complex_kernels as kernels
from quant.complex_scan import FieldRange
from quant.complex_volume import ANY_FRACTION, ComplexSignal, candidates, fit_rows
from quant.voxel_fit import Setup, Voxels

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

_ROUNDS = 6
_WATERY = 0.5  # fat fraction up to which a voxel has a say: fat's own spectrum is less well known
_LEAST_SHARE = 0.1  # of the sample that must be so
_ROBUST = 0.02  # of a voxel's energy unexplained at which its say is halved
_RIDGE = 1e-6  # of the largest eigenvalue; directions below cannot be told
_SETTLED = 1e-3  # radians, and of the gain


def plane(voxels: Voxels, shape: tuple[int, int, int]) -> Array:
    """1, x and y (k, 3) of the voxels (k,) of the raveled ``shape``, x and y from -1 to 1 over the image."""
    _, y, x = np.unravel_index(voxels, shape)
    across, down = (2 * i / max(n - 1, 1) - 1 for i, n in ((x, shape[2]), (y, shape[1])))
    return np.stack([np.ones(voxels.size), across, down], axis=1)


@dataclass(frozen=True, kw_only=True)
class EchoErrors:
    """What the echoes have beyond physics, see ``plane``: ``phases`` (e, 3) in radians, and ``log_gain`` (3,), the
    logarithm by which even echoes are too bright and odd ones too dark (bipolar readout through an uneven passband)."""

    phases: Array
    log_gain: Array

    @property
    def largest_phase(self) -> float:
        """Largest phase anywhere in the image, radians."""
        return float(np.abs(self.phases).sum(axis=1).max())

    def taken_from(self, signal: ComplexSignal, where: Array) -> ComplexSignal:
        """Copy of ``signal`` (k, e) at ``where`` (k, 3), see ``plane``, without them."""
        out = np.empty_like(signal)
        gain = where @ self.log_gain
        for e, sign in enumerate(_alternating(signal.shape[1])):
            out[:, e] = signal[:, e] * np.exp(-sign * gain - 1j * (where @ self.phases[e])).astype(np.complex64)
        return out

    def gain(self, where: Array) -> Array:
        """How many times too bright the echoes are, (k, e) at ``where`` (k, 3)."""
        return np.asarray(np.exp(np.multiply.outer(where @ self.log_gain, _alternating(len(self.phases)))))


def _alternating(echoes: int) -> Array:
    return np.where(np.arange(echoes) % 2, -1.0, 1.0)


def refined(
    errors: EchoErrors, data: ComplexSignal, where: Array, setup: Setup, *, gain_changes: bool
) -> EchoErrors | None:
    """From ``errors`` on, those that leave the least of ``data`` (k, e) at ``where`` (k, 3) unexplained.

    Gauss-Newton over all voxels at once; each voxel's own water, fat, R2*, field and phase are projected out (Golub
    and Pereyra 1973, 10.1137/0710036). The gain alternates from echo to echo; ``gain_changes`` lets it change over
    the image. ``None`` where too few voxels are mostly water.
    """
    echoes = setup.echo_times_s.size
    even_turn = np.stack([np.ones(echoes), setup.kernel_times], axis=1)  # initial phase and field
    for _ in range(_ROUNDS):
        equations = _equations(errors.taken_from(data, where), where, setup)
        if equations is None:
            return None
        normal, right = equations
        free = right.size if gain_changes else right.size - 2
        step = np.zeros(right.size)
        step[:free] = np.linalg.pinv(normal[:free, :free], rcond=_RIDGE, hermitian=True) @ right[:free]
        phases = errors.phases + step[:-3].reshape(echoes, 3)
        phases -= even_turn @ np.linalg.lstsq(even_turn, phases, rcond=None)[0]
        moved = max(float(np.abs(phases - errors.phases).max()), float(np.abs(step[-3:]).max()))
        errors = EchoErrors(phases=phases, log_gain=errors.log_gain + step[-3:])
        if moved < _SETTLED:
            break
    return errors


def _equations(data: ComplexSignal, where: Array, setup: Setup) -> tuple[Array, Array] | None:
    """Normal equations (3e + 3, 3e + 3) and (3e + 3,) of the phases and of the alternating gain."""
    echoes, fields = setup.echo_times_s.size, FieldRange.of(setup.echo_times_s)
    every = np.arange(len(data))
    offset, cost, _ = candidates(data, every, setup, fields)
    best = np.take_along_axis(offset, np.argmin(cost, axis=1)[:, None], axis=1)[:, 0]
    rows = fit_rows(data, every, fields.hz_at(best), setup, own_phase=False, fractions=ANY_FRACTION)
    watery = rows[kernels.FRACTION] < _WATERY
    if np.count_nonzero(watery) < _LEAST_SHARE * len(data):
        return None
    samples, spot = data[watery].astype(np.complex128), where[watery]
    model, own = _model(samples, rows[:, watery].astype(np.float64), setup)
    basis, _ = np.linalg.qr(_as_real(own))
    moves = np.zeros((len(samples), echoes, 3 * echoes + 3), np.complex128)
    for e in range(echoes):
        moves[:, e, 3 * e : 3 * e + 3] = 1j * model[:, e, None] * spot
    moves[:, :, -3:] = (model * _alternating(echoes))[:, :, None] * spot[:, None, :]
    moves_real, left = _as_real(moves), _as_real((samples - model)[:, :, None])
    energy = np.square(np.abs(samples)).sum(axis=1)
    unexplained = np.square(left[:, :, 0]).sum(axis=1) / energy
    weight = np.sqrt(1 / (energy * (1 + unexplained / _ROBUST)))[:, None, None]
    moves_real = weight * (moves_real - basis @ (basis.swapaxes(1, 2) @ moves_real))
    left = weight * (left - basis @ (basis.swapaxes(1, 2) @ left))
    flat = moves_real.reshape(-1, 3 * echoes + 3)
    return flat.T @ flat, flat.T @ left.reshape(-1)


def _as_real(values: npt.NDArray[np.complex128]) -> Array:
    """(k, e, n) complex as (k, 2e, n) real."""
    return np.concatenate([values.real, values.imag], axis=1)


def _model(samples: Complex, rows: Array, setup: Setup) -> tuple[Complex, npt.NDArray[np.complex128]]:
    """Signal (k, e) of water and fat at one phase, and its derivatives (k, e, 5) by what each voxel has of its own."""
    times, fat = setup.kernel_times.astype(np.float64), setup.fat
    exponent = 2j * np.pi * rows[kernels.TURN] - rows[kernels.RATE]
    decay = np.exp(exponent[:, None] * times)
    fraction = rows[kernels.FRACTION][:, None]
    shape = ((1 - fraction) + fraction * fat) * decay
    size = (np.conj(shape) * samples).sum(axis=1, keepdims=True) / np.square(np.abs(shape)).sum(axis=1, keepdims=True)
    model = size * shape
    tangents = [shape, 1j * shape, size * (fat - 1) * decay, -times * model, 1j * times * model]
    return model, np.stack(tangents, axis=2)
