"""Decays of known truth with the noise of a magnitude image: what the magnitude fits are scored on."""

from dataclasses import dataclass

import numpy as np

GYROMAGNETIC_MHZ_PER_T = 42.577478518
# Liver fat as in quant.models (Hamilton 2011, 10.1002/nbm.1622): shift from water in ppm, amplitude.
FAT_PPM = np.array([-3.80, -3.40, -2.60, -1.94, -0.39, 0.60])
FAT_SHARE = np.array([0.087, 0.693, 0.128, 0.004, 0.039, 0.048]) / 0.999


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Field strength and echo times (e,) of an acquisition."""

    field_t: float
    echo_times_s: np.ndarray

    @property
    def fat(self) -> np.ndarray:
        """Complex signal (e,) of unit fat."""
        hz = FAT_PPM * GYROMAGNETIC_MHZ_PER_T * self.field_t
        return np.exp(2j * np.pi * np.outer(self.echo_times_s, hz)) @ FAT_SHARE


def _even(field_t: float, first_ms: float, step_ms: float, echoes: int) -> Protocol:
    return Protocol(field_t=field_t, echo_times_s=1e-3 * (first_ms + step_ms * np.arange(echoes)))


def _uneven(field_t: float, *times_ms: float) -> Protocol:
    return Protocol(field_t=field_t, echo_times_s=1e-3 * np.array(times_ms))


PROTOCOLS = {
    "1.5T/6": _even(1.5, 1.2, 1.1, 6),
    "1.5T/12": _even(1.5, 0.99, 1.05, 12),
    "3T/6": _even(3.0, 0.95, 0.75, 6),
    "3T/12": _even(3.0, 0.95, 0.75, 12),
    # two interleaved trains, and a train that lost echoes
    "1.5T/6 uneven": _uneven(1.5, 1.2, 2.0, 3.4, 4.2, 5.6, 6.4),
    "3T/9 uneven": _uneven(3.0, 0.95, 1.7, 2.45, 3.95, 4.7, 5.45, 6.95, 7.7, 9.2),
}


def amplitudes(protocol: Protocol, *, snr: float, r2star_per_s: np.ndarray | float, pdff: float = 0.0) -> np.ndarray:
    """Noise-free magnitude (..., e) in units of sigma; ``snr`` is S0 / sigma at TE = 0."""
    decay = np.exp(-np.asarray(r2star_per_s, dtype=np.float64)[..., None] * protocol.echo_times_s)
    return snr * np.abs((1 - pdff) + pdff * protocol.fat) * decay


def magnitudes(clean: np.ndarray, *, coils: int, seed: int) -> np.ndarray:
    """Root sum of squares over ``coils`` channels of unit noise, all signal in the first one; float32."""
    rng = np.random.default_rng(seed)
    power = (clean + rng.standard_normal(clean.shape)) ** 2 + rng.standard_normal(clean.shape) ** 2
    for _ in range(2 * (coils - 1)):
        power += rng.standard_normal(clean.shape) ** 2
    return np.sqrt(power).astype(np.float32)
