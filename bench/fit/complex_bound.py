"""Cramer-Rao bounds of the complex water-fat model, from numerical derivatives; independent of ``quant``."""

from dataclasses import dataclass

import numpy as np

from bench.fit.complex_phantom import Protocol


@dataclass(frozen=True)
class Bound:
    """Least SD of an unbiased fit of one voxel."""

    r2star_per_s: float
    pdff: float
    b0_hz: float


def bound(protocol: Protocol, *, r2star_per_s: float, pdff: float, snr: float, common_phase: bool) -> Bound:
    """Bound with one phase for water and fat (5 unknowns) or one each (6); noise 1, S0 = ``snr``."""
    times, fat = protocol.times, protocol.fat()

    def model(p: np.ndarray) -> np.ndarray:
        water = p[0] * np.exp(1j * p[2])
        oil = p[1] * fat * np.exp(1j * (p[2] if common_phase else p[5]))
        s = (water + oil) * np.exp((2j * np.pi * 100 * p[4] - 1000 * p[3]) * times)
        return np.concatenate([s.real, s.imag])

    # a fraction of exactly 0 or 1 leaves one phase without meaning: the bound is continuous, so step aside
    f = min(max(pdff, 1e-3), 1 - 1e-3)
    at = np.array([snr * (1 - f), snr * f, 0.3, r2star_per_s / 1000, 0.2, 0.3])[: 5 if common_phase else 6]
    columns = []
    for k in range(at.size):
        step = np.zeros(at.size)
        step[k] = 1e-5 * max(abs(at[k]), 0.1)
        columns.append((model(at + step) - model(at - step)) / (2 * step[k]))
    jacobian = np.stack(columns, axis=1)
    scale = np.linalg.norm(jacobian, axis=0)
    scaled = jacobian / scale
    covariance = np.linalg.pinv(scaled.T @ scaled) / np.outer(scale, scale)
    of_fraction = np.zeros(at.size)
    of_fraction[:2] = -f / snr, (1 - f) / snr
    return Bound(
        r2star_per_s=float(1000 * np.sqrt(covariance[3, 3])),
        pdff=float(np.sqrt(of_fraction @ covariance @ of_fraction)),
        b0_hz=float(100 * np.sqrt(covariance[4, 4])),
    )
