"""Cramer-Rao bounds of R2* and PDFF from magnitudes, computed apart from ``quant`` to check it.

The information of one sample about its amplitude a is the mean square of d log p(m; a) / da, taken by differences of
scipy's non-central chi squared density on a fine grid of m.
"""

from functools import lru_cache

import numpy as np
from scipy.stats import ncx2

from bench.fit.magnitude_phantom import Protocol, amplitudes

_HIGHEST = 25.0  # sigma; above, the information is 1 - (2n - 1) / 2 a^2
_STEP = 1e-3


@lru_cache(maxsize=8)
def _table(coils: int) -> tuple[np.ndarray, np.ndarray]:
    grid = np.concatenate([np.linspace(0.02, 6, 300), np.linspace(6.1, _HIGHEST, 190)])
    return grid, np.array([_information_at(a, coils) for a in grid])


def _information_at(a: float, coils: int) -> float:
    centre = np.sqrt(a * a + 2 * coils)
    m = np.linspace(max(centre - 9, 1e-4), centre + 9, 4001)
    low, middle, high = (ncx2.logpdf(m * m, 2 * coils, x * x) for x in (a - _STEP, a, a + _STEP))
    density = 2 * m * np.exp(middle)
    score = (high - low) / (2 * _STEP)
    return float(np.trapezoid(score**2 * density, m) / np.trapezoid(density, m))


def information(a: np.ndarray, coils: int) -> np.ndarray:
    """Fisher information of one sample about its amplitude ``a``, unit sigma."""
    grid, values = _table(coils)
    near = np.interp(a, np.concatenate([[0.0], grid]), np.concatenate([[0.0], values]))
    return np.where(a < _HIGHEST, near, 1 - (2 * coils - 1) / (2 * np.maximum(a, 1.0) ** 2))


def bounds(
    protocol: Protocol, *, snr: float, r2star_per_s: float, coils: int, pdff: float | None = None
) -> tuple[float, float]:
    """SD of R2* (1/s) and of PDFF of an unbiased fit; ``pdff`` ``None`` is water alone, its SD then NaN.

    The derivatives are differences of the noise-free signal.
    """
    fraction = pdff or 0.0
    base = amplitudes(protocol, snr=snr, r2star_per_s=r2star_per_s, pdff=fraction)
    step = 1e-3 * max(r2star_per_s, 10.0)
    columns = [
        base / snr,
        (
            amplitudes(protocol, snr=snr, r2star_per_s=r2star_per_s + step, pdff=fraction)
            - amplitudes(protocol, snr=snr, r2star_per_s=r2star_per_s - step, pdff=fraction)
        )
        / (2 * step),
    ]
    if pdff is not None:
        columns.append(
            (
                amplitudes(protocol, snr=snr, r2star_per_s=r2star_per_s, pdff=fraction + 1e-4)
                - amplitudes(protocol, snr=snr, r2star_per_s=r2star_per_s, pdff=fraction - 1e-4)
            )
            / 2e-4
        )
    jacobian = np.stack(columns)
    scale = np.linalg.norm(jacobian, axis=1)
    unit = jacobian / scale[:, None]
    covariance = np.linalg.pinv((unit * information(base, coils)) @ unit.T) / np.outer(scale, scale)
    return float(np.sqrt(covariance[1, 1])), float(np.sqrt(covariance[2, 2])) if pdff is not None else np.nan
