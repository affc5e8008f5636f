"""Small complex volumes with known water, fat, R2* and field, written independently of the phantom of the product."""

from dataclasses import dataclass

import numpy as np

from quant.models import fat_phasor

TIMES_3T = 0.95e-3 + 0.75e-3 * np.arange(6)
LABELS = {"air": 0, "fat": 1, "muscle": 2, "liver": 3}


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Maps (z, y, x) and the complex signal (z, y, x, e) with noise ``sigma``."""

    signal: np.ndarray
    label: np.ndarray
    r2star_per_s: np.ndarray
    pdff: np.ndarray
    b0_hz: np.ndarray
    sigma: float


def body(
    *,
    gradient: float = 0.02,
    snr: float = 40.0,
    shape: tuple[int, int, int] = (4, 72, 96),
    times: np.ndarray = TIMES_3T,
    field_t: float = 3.0,
    liver_r2star: tuple[float, ...] = (30, 60, 120, 250),
    liver_pdff: tuple[float, ...] = (0.0, 0.1, 0.3),
    seed: int = 0,
) -> Truth:
    """A slice of body with a fat ring and a tiled liver.

    ``gradient`` is the largest field change per pixel as a share of the reciprocal of the closest echo spacing.
    """
    rng = np.random.default_rng(seed)
    depth, height, width = shape
    z, y, x = np.meshgrid(np.arange(depth), np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    ring = (x / 0.92) ** 2 + (y / 0.85) ** 2
    label = np.where(ring < 1, LABELS["muscle"], LABELS["air"])
    label[(ring < 1) & (ring > 0.75)] = LABELS["fat"]
    liver = ((x + 0.25) / 0.5) ** 2 + (y / 0.6) ** 2 < 1
    label[liver] = LABELS["liver"]
    column = np.clip(((x + 0.75) * len(liver_r2star)).astype(int), 0, len(liver_r2star) - 1)
    row = np.clip(((y + 0.6) / 1.2 * len(liver_pdff)).astype(int), 0, len(liver_pdff) - 1)
    s0 = np.choose(label, [0, 1.1, 0.7, 0.9]) * (1 - 0.2 * y)
    r2star = np.where(liver, np.array(liver_r2star)[column], np.choose(label, [0, 40, 35, 0]))
    pdff = np.where(liver, np.array(liver_pdff)[row], np.choose(label, [0, 0.92, 0.02, 0]))
    field = x * y + 0.6 * y**2 - 0.5 * x**2 + 0.05 * z + 0.8 * np.exp(-((x + 0.2) ** 2 + (y + 0.5) ** 2) / 0.15)
    steepest = max(float(np.abs(np.diff(field, axis=axis)).max()) for axis in (1, 2))
    b0 = field * gradient / steepest / float(np.diff(times).min())
    phase = 0.4 * x + 0.3 * y + 0.2
    clean = (1 - pdff[..., None]) + pdff[..., None] * fat_phasor(times, field_t)
    clean = s0[..., None] * clean * np.exp(-r2star[..., None] * times)
    clean = clean * np.exp(1j * (2 * np.pi * b0[..., None] * times + phase[..., None]))
    sigma = 0.9 / snr
    noise = sigma * (rng.standard_normal(clean.shape) + 1j * rng.standard_normal(clean.shape))
    return Truth(
        signal=(clean + noise).astype(np.complex64),
        label=label,
        r2star_per_s=r2star,
        pdff=pdff,
        b0_hz=b0,
        sigma=sigma,
    )


def with_bipolar_readout(signal: np.ndarray, *, constant_rad: float, across_rad: float, gain: float) -> np.ndarray:
    """Odd and even echoes differ by twice these: a phase that grows along x over the image, and a gain."""
    columns, echoes = signal.shape[2:]
    half = gain + 1j * (constant_rad + across_rad * np.arange(columns) / columns)
    sign = np.where(np.arange(echoes) % 2 == 0, 1, -1)
    return (signal * np.exp(half[:, None] * sign)).astype(np.complex64)
