"""Simulated magnitude decays and their Cramer-Rao bounds, independent of ``quant``.

A root-sum-of-squares magnitude M of n coils has (M / sigma)^2 non-central chi squared with 2n degrees of freedom and
non-centrality a^2 (Constantinides 1997, 10.1002/mrm.1910380524); sigma is 1 throughout. The Fisher information of one
sample about a is integrated from numerical derivatives of scipy's density, and tabulated over a.
"""

from functools import lru_cache

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.stats import ncx2

from bench.fit.complex_phantom import Protocol

_NODES = 161
_LARGEST_SNR = 200.0
_REACH, _SAMPLES = 8.0, 1601
_STEP = 1e-3


def clean(protocol: Protocol, *, r2star_per_s: float, snr: float, pdff: float = 0.0) -> np.ndarray:
    """Noise-free magnitude (e,) of S0 = ``snr``."""
    mixture = np.abs((1 - pdff) + pdff * protocol.fat())
    return snr * mixture * np.exp(-r2star_per_s * protocol.times)


def noisy(amplitude: np.ndarray, coils: int, generator: np.random.Generator) -> np.ndarray:
    """Magnitudes of ``amplitude`` (...), all of it in one of ``coils`` equal coils."""
    power = (amplitude + generator.standard_normal(amplitude.shape)) ** 2
    power += generator.chisquare(2 * coils - 1, amplitude.shape)
    return np.sqrt(power).astype(np.float32)


def bound(
    protocol: Protocol, *, r2star_per_s: float, snr: float, coils: int, pdff: float | None = None
) -> tuple[float, float]:
    """Least SD of R2* (1/s) and of PDFF (NaN when ``pdff`` is ``None`` and water alone is fitted) of one voxel."""

    def model(p: np.ndarray) -> np.ndarray:
        fraction = p[2] if p.size > 2 else 0.0
        return clean(protocol, r2star_per_s=1000 * p[1], snr=p[0], pdff=fraction)

    at = np.array([snr, r2star_per_s / 1000, *([] if pdff is None else [pdff])])
    columns = []
    for k in range(at.size):
        step = np.zeros(at.size)
        step[k] = 1e-5 * max(abs(at[k]), 0.1)
        columns.append((model(at + step) - model(at - step)) / (2 * step[k]))
    jacobian = np.stack(columns, axis=1) * np.sqrt(information(model(at), coils))[:, None]
    scale = np.linalg.norm(jacobian, axis=0)
    covariance = np.linalg.pinv((jacobian / scale).T @ (jacobian / scale)) / np.outer(scale, scale)
    sd = np.sqrt(np.diag(covariance))
    return float(1000 * sd[1]), float(sd[2]) if pdff is not None else float("nan")


def information(amplitude: np.ndarray, coils: int) -> np.ndarray:
    """Fisher information (...) of one magnitude about its true ``amplitude`` (...)."""
    return _information_table(coils)(amplitude)


@lru_cache(maxsize=8)
def _information_table(coils: int) -> PchipInterpolator:
    nodes = _LARGEST_SNR * np.linspace(0, 1, _NODES) ** 2  # denser where it bends
    return PchipInterpolator(nodes, [_information_at(max(float(a), 1e-3), coils) for a in nodes])


def _information_at(a: float, coils: int) -> float:
    centre = np.sqrt(a * a + 2 * coils)
    m = np.linspace(max(centre - _REACH, 1e-6), centre + _REACH, _SAMPLES)
    step = min(_STEP, a / 2)
    up, down = (ncx2.logpdf(m * m, 2 * coils, (a + s) ** 2) for s in (step, -step))
    density = 2 * m * ncx2.pdf(m * m, 2 * coils, a * a)
    score = (up - down) / (2 * step)
    return float(np.trapezoid(density * np.where(density > 0, score, 0) ** 2, m))
