"""Noise law of magnitude images: the non-central chi distribution, in a form that compiled kernels can evaluate.

A root-sum-of-squares image of n coils has magnitude M with M^2 / sigma^2 non-central chi squared with 2n degrees of
freedom and non-centrality a^2, where a is the true amplitude over sigma, sigma the standard deviation of the real
(or imaginary) part of one coil (Constantinides 1997, 10.1002/mrm.1910380524; n = 1 is the Rician law, Gudbjartsson
1995, 10.1002/mrm.1910340618). A correlated or adaptively combined array behaves as a law with a real-valued effective
n (Aja-Fernandez 2013, 10.1002/mrm.24409), so n need not be whole. All quantities below are in units of sigma.

With u = 1 / (1 + a^2 / 2n), which runs from 1 (no signal) to 0 (strong signal), the variance of M and the Fisher
information of one sample about a are smooth in u: both are 1 minus a short polynomial in u without constant term.
The mean follows exactly: mean^2 = a^2 + 2n - variance. Largest errors over 1 <= n <= 64: variance 4e-4, mean
2e-4, information 1e-4 (``tests/quant/test_noise_law.py`` holds them against the confluent hypergeometric function).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, ive

Array = npt.NDArray[np.float64]

MAX_COILS = 64.0
VARIANCE_TERMS = 7
INFORMATION_TERMS = 8
_FIT_NODES = 80
_QUADRATURE_NODES = 160
_TAIL = 8.5  # standard deviations to either side of the mean that the quadrature covers; sd <= 1


@dataclass(frozen=True, kw_only=True)
class NoiseLaw:
    """Moments and Fisher information of one magnitude sample as functions of its true amplitude a, unit sigma.

    ``floor_power`` is 2n - 1 (0 for Gaussian noise). ``variance_deficit`` are the coefficients of u, u^2, ... in
    1 - variance, ``information_deficit`` those in 1 - information.
    """

    coils: float
    floor_power: float
    variance_deficit: tuple[float, ...]
    information_deficit: tuple[float, ...]

    def mean(self, amplitude: npt.ArrayLike) -> Array:
        """First moment of the magnitude."""
        a = np.asarray(amplitude, dtype=np.float64)
        return np.sqrt(a * a + self.floor_power + self._deficit(self.variance_deficit, a))

    def mean_slope(self, amplitude: npt.ArrayLike) -> Array:
        """Derivative of the first moment by the amplitude."""
        a = np.asarray(amplitude, dtype=np.float64)
        u = self._u(a)
        slope = np.polynomial.polynomial.polyval(u, [k * c for k, c in enumerate(self.variance_deficit, start=1)])
        with np.errstate(invalid="ignore", divide="ignore"):
            value = a * (1 - slope * u * u / (2 * self.coils)) / self.mean(a)
        return np.where(a == 0, 1.0 if self.floor_power == 0 else 0.0, value)

    def variance(self, amplitude: npt.ArrayLike) -> Array:
        """Variance of the magnitude."""
        return 1 - self._deficit(self.variance_deficit, np.asarray(amplitude, dtype=np.float64))

    def information(self, amplitude: npt.ArrayLike) -> Array:
        """Fisher information of one sample about its amplitude: 1 where the noise is Gaussian, 0 without signal."""
        a = np.asarray(amplitude, dtype=np.float64)
        return np.maximum(1 - self._deficit(self.information_deficit, a), 0.0)

    def kernel_constants(self) -> npt.NDArray[np.float32]:
        """What the compiled kernels take: 1/2n, 2n - 1, variance terms, information terms."""
        head = (1 / (2 * self.coils), self.floor_power)
        return np.array([*head, *self.variance_deficit, *self.information_deficit], dtype=np.float32)

    def _u(self, a: Array) -> Array:
        return 1 / (1 + a * a / (2 * self.coils))

    def _deficit(self, coefficients: tuple[float, ...], a: Array) -> Array:
        return np.asarray(np.polynomial.polynomial.polyval(self._u(a), (0.0, *coefficients)))


GAUSSIAN = NoiseLaw(
    coils=1.0,
    floor_power=0.0,
    variance_deficit=(0.0,) * VARIANCE_TERMS,
    information_deficit=(0.0,) * INFORMATION_TERMS,
)
"""No noise floor: the mean is the amplitude. For magnitudes it holds only far above the floor."""


@lru_cache(maxsize=64)
def noise_law(coils: float) -> NoiseLaw:
    """The non-central chi law of ``coils`` coils, 1 to 64, real-valued."""
    if not 1 <= coils <= MAX_COILS:
        raise ValueError(f"coils must lie between 1 and {MAX_COILS:g}, not {coils}")
    angles = (np.arange(_FIT_NODES) + 0.5) / _FIT_NODES * np.pi
    u = np.clip((1 - np.cos(angles)) / 2, 1e-4, 1 - 1e-7)  # Chebyshev nodes: the fit is nearly minimax
    amplitude = np.sqrt(2 * coils * (1 / u - 1))
    variance, information = _exact_variance_and_information(amplitude, coils)
    return NoiseLaw(
        coils=coils,
        floor_power=2 * coils - 1,
        variance_deficit=_polynomial_without_constant(u, 1 - variance, VARIANCE_TERMS),
        information_deficit=_polynomial_without_constant(u, 1 - information, INFORMATION_TERMS),
    )


def _polynomial_without_constant(u: Array, values: Array, terms: int) -> tuple[float, ...]:
    powers = u[:, None] ** np.arange(1, terms + 1)
    return tuple(float(c) for c in np.linalg.lstsq(powers, values, rcond=None)[0])


def _exact_variance_and_information(amplitude: Array, coils: float) -> tuple[Array, Array]:
    """By Gauss-Legendre quadrature of the density; ``amplitude`` (k,) gives two arrays (k,)."""
    nodes, weights = np.polynomial.legendre.leggauss(_QUADRATURE_NODES)
    a = amplitude[:, None]
    centre = np.sqrt(a * a + 2 * coils - 0.5)
    low, high = np.maximum(centre - _TAIL, 0), centre + _TAIL
    m = (low + high) / 2 + (high - low) / 2 * nodes
    bessel, next_bessel = ive(coils - 1, m * a), ive(coils, m * a)
    usable = bessel > 0  # below, the exponentially scaled Bessel functions underflow: leading term of their series
    safe = np.where(usable, bessel, 1.0)
    log_density = np.where(
        usable,
        coils * np.log(m) + (1 - coils) * np.log(a) - (m - a) ** 2 / 2 + np.log(safe),
        (2 * coils - 1) * np.log(m) - (m * m + a * a) / 2 - (coils - 1) * np.log(2) - gammaln(coils),
    )
    score = -a + m * np.where(usable, next_bessel / safe, m * a / (2 * coils))
    probability = np.exp(log_density - log_density.max(axis=1, keepdims=True)) * weights
    probability /= probability.sum(axis=1, keepdims=True)
    mean = (probability * m).sum(axis=1, keepdims=True)
    return (probability * (m - mean) ** 2).sum(axis=1), (probability * score**2).sum(axis=1)
