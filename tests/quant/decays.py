"""Simulated decays: independent voxels of known truth with non-central chi noise."""

import numpy as np
import numpy.typing as npt

from quant.acquisition import Geometry, MultiEcho

Array = npt.NDArray[np.float64]
SIGMA = 12.5


def even_times(first_ms: float, step_ms: float, echoes: int) -> Array:
    return 1e-3 * (first_ms + step_ms * np.arange(echoes))


def noisy(clean: Array, *, coils: int, seed: int, sigma: float = SIGMA) -> npt.NDArray[np.float32]:
    """Root-sum-of-squares magnitude of ``coils`` channels, all signal in the first one, of ``clean`` (..., e)."""
    rng = np.random.default_rng(seed)
    power = (clean + sigma * rng.standard_normal(clean.shape)) ** 2 + (sigma * rng.standard_normal(clean.shape)) ** 2
    for _ in range(coils - 1):
        power += (sigma * rng.standard_normal(clean.shape)) ** 2 + (sigma * rng.standard_normal(clean.shape)) ** 2
    return np.sqrt(power).astype(np.float32)


def fat_signal(times_s: Array, field_t: float) -> npt.NDArray[np.complex128]:
    """Unit fat, written out from the published table (ppm, per cent) independently of the product."""
    lines = ((-3.80, 8.7), (-3.40, 69.3), (-2.60, 12.8), (-1.94, 0.4), (-0.39, 3.9), (0.60, 4.8))
    total = sum(share for _, share in lines)
    return sum(share / total * np.exp(2j * np.pi * 42.577 * field_t * ppm * times_s) for ppm, share in lines)  # type: ignore[return-value]  # sum of arrays


def decay(times_s: Array, r2star: float, *, snr: float = 50.0, pdff: float = 0.0, field_t: float = 1.5) -> Array:
    """Noise-free magnitude (e,) whose S0 is ``snr`` times ``SIGMA``."""
    mixture = np.abs((1 - pdff) + pdff * fat_signal(times_s, field_t))
    return snr * SIGMA * mixture * np.exp(-r2star * times_s)


def block(
    times_s: Array, r2star: float, n: int, *, coils: int = 1, snr: float = 50.0, pdff: float = 0.0, field_t: float = 1.5
) -> npt.NDArray[np.float32]:
    """``n`` equal voxels as a signal (1, 1, n, e)."""
    clean = np.broadcast_to(decay(times_s, r2star, snr=snr, pdff=pdff, field_t=field_t), (1, 1, n, times_s.size))
    return noisy(clean, coils=coils, seed=int(r2star) + 7919 * coils)


def acquisition(signal: npt.NDArray[np.generic], times_s: Array, field_t: float = 1.5, **more: object) -> MultiEcho:
    """``signal`` (z, y, x, e) in an upright box."""
    geometry = Geometry(
        positions_mm=np.array([[0.0, 0.0, 8.0 * z] for z in range(signal.shape[0])]),
        row_direction=np.array([1.0, 0.0, 0.0]),
        column_direction=np.array([0.0, 1.0, 0.0]),
        spacing_mm=(8.0, 1.5, 1.5),
        slice_thickness_mm=8.0,
    )
    return MultiEcho(signal=signal, echo_times_s=times_s, field_t=field_t, geometry=geometry, **more)


def body_in_air(times_s: Array, *, coils: int, r2star: float = 60.0, seed: int = 1) -> npt.NDArray[np.float32]:
    """A 2 x 64 x 64 slab: a tissue square of SNR 50 with a smooth brightness, air around it."""
    y, x = np.mgrid[0:64, 0:64]
    inside = (abs(y - 32) < 18) & (abs(x - 32) < 20)
    s0 = np.where(inside, 1 + 0.2 * np.sin(x / 15.0), 0.0)
    clean = np.broadcast_to(s0[None, :, :, None] * decay(times_s, r2star), (2, 64, 64, times_s.size))
    return noisy(clean, coils=coils, seed=seed)
