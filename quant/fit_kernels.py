"""Compiled fits: Levenberg-Marquardt on the first moment of the noise law, many voxels side by side.

Voxels are taken in blocks of ``BLOCK`` lanes. A block is copied echo-major into a small buffer, so that every inner
loop runs over lanes of contiguous float32 and vectorises; the echo loop lies outside, so one compilation serves any
number of echoes, any echo times and any noise law. Unused lanes of the last block repeat its first voxel: every voxel
goes through the same instructions wherever it lies, which makes results independent of order, chunks and threads.

Amplitudes are in units of sigma, times are relative to the first echo and in units of the mean echo spacing. The
noise law arrives as the tuple of ``NoiseLaw.kernel_constants``. The state of a block is one flat array, row r of lane
i at ``r * BLOCK + i``: with a constant stride the compiler sees that rows do not overlap.
"""

import math
from collections.abc import Callable
from typing import Any

import numba as nb
import numpy as np

f32 = np.float32
BLOCK = 256
LEAST_ECHOES = 3  # kept by truncation whatever their size
_FAST = {"contract", "arcp", "nsz", "afn", "nnan"}  # no reassociation: the order of summation is the result

# Rows of the result of ``fit_mono``.
AMPLITUDE, RATE, SD_RATE, CHI2, ENERGY, FIRST, SAMPLES = range(7)
MONO_ROWS = 7
# Further rows of the result of ``fit_fat``: fat fraction and its SD; of the water- and the fat-dominant start, the sum
# of squares and the fat fraction where they ended.
FRACTION, SD_FRACTION, WATER_COST, FAT_COST, WATER_FRACTION, FAT_FRACTION = range(7, 13)
FAT_ROWS = 13

_MAX_EXPONENT = f32(40.0)
_INV_64 = f32(1 / 64)
# exp(-t) on [0, 0.625], weighted least squares on Chebyshev nodes, relative error 5e-8; raised to the 64th power the
# error stays below 1e-5 of the value.
_E1, _E2, _E3, _E4, _E5 = (
    f32(-0.9999968671966217),
    f32(0.4999335690993444),
    f32(-0.16619607545829593),
    f32(0.04017461434416063),
    f32(-0.006103226660275251),
)
_ONE, _ZERO, _HALF, _TWO = f32(1), f32(0), f32(0.5), f32(2)
_TINY = f32(1e-12)
_SINGULAR = f32(1e-6)  # of the product of the diagonal: float32 holds no smaller determinant
_LEAST_INFORMATION = f32(1e-9)
_LEAST_AMPLITUDE = f32(1e-3)
_LEAST_MODULATION = f32(1e-6)
_WORST = f32(1e30)
_START_DAMPING, _ACCEPTED, _REJECTED = f32(0.01), f32(0.2), f32(6)
_LARGEST_STEP = f32(0.7)  # of the rate per iteration, in 1 / mean echo spacing
_LARGEST_FRACTION_STEP = f32(0.2)
_LOWEST_FRACTION, _HIGHEST_FRACTION = f32(-0.1), f32(1.1)  # noise around 0 must be able to fall on both sides
_WATER_START, _FAT_START = f32(0.1), f32(0.9)


def compiled_entry(function: Callable[..., Any]) -> Any:
    """Compile a threaded entry point, with numba's cache on disk where one can be kept.

    numba raises ``RuntimeError`` when neither the package folder, ``NUMBA_CACHE_DIR`` nor the user's cache folder can
    be written; the fit then works all the same and compiles once per process.
    """
    try:
        return nb.njit(parallel=True, fastmath=_FAST, error_model="numpy", cache=True)(function)
    except RuntimeError:
        return nb.njit(parallel=True, fastmath=_FAST, error_model="numpy")(function)


_inner = nb.njit(fastmath=_FAST, error_model="numpy")


@_inner
def decay_of(x):  # type: ignore[no-untyped-def]  # numba infers
    """exp(-x) for 0 <= x, 0 beyond 40."""
    t = min(x, _MAX_EXPONENT) * _INV_64
    e = _ONE + t * (_E1 + t * (_E2 + t * (_E3 + t * (_E4 + t * _E5))))
    e = e * e
    e = e * e
    e = e * e
    e = e * e
    e = e * e
    return e * e


@_inner
def _moment(a, law):  # type: ignore[no-untyped-def]
    """First moment, its derivative by a, and the variance."""
    u = _ONE / (_ONE + a * a * law[0])
    p = u * (law[2] + u * (law[3] + u * (law[4] + u * (law[5] + u * (law[6] + u * (law[7] + u * law[8]))))))
    q = f32(4) * law[5] + u * (f32(5) * law[6] + u * (f32(6) * law[7] + u * (f32(7) * law[8])))
    q = law[2] + u * (f32(2) * law[3] + u * (f32(3) * law[4] + u * q))
    mean = math.sqrt(a * a + law[1] + p + _TINY)
    return mean, a * (_ONE - q * u * u * law[0]) / mean, _ONE - p


@_inner
def _information(a, law):  # type: ignore[no-untyped-def]
    """Fisher information of one sample about a."""
    u = _ONE / (_ONE + a * a * law[0])
    tail = law[13] + u * (law[14] + u * (law[15] + u * law[16]))
    return max(_ONE - u * (law[9] + u * (law[10] + u * (law[11] + u * (law[12] + u * tail)))), _LEAST_INFORMATION)


# Rows of the state of a block: the trial point, the best point with its normal equations, the sums of a trial.
_A, _R, _F, _BEST_A, _BEST_R, _BEST_F, _COST, _DAMPING = range(0, 8)
_N11, _N12, _N22, _N13, _N23, _N33, _G1, _G2, _G3 = range(8, 17)
_T11, _T12, _T22, _T13, _T23, _T33, _H1, _H2, _H3, _SUM = range(17, 27)
_ENERGY, _SAMPLES, _START_A, _START_R = range(27, 31)
_WATER_A, _WATER_R, _WATER_F, _WATER_COST = range(31, 35)
_STATE_ROWS = 35


@_inner
def _load(signal, voxels, low, inv_sigma, floor, y, w, s):  # type: ignore[no-untyped-def]
    """Copy one block echo-major in units of sigma; a lane ends (weight 0) at its first low echo."""
    for i in range(BLOCK):
        voxel = voxels[low + i] if low + i < voxels.size else voxels[low]
        weight, energy, samples = _ONE, _ZERO, _ZERO
        for e in range(signal.shape[1]):
            m = signal[voxel, e] * inv_sigma
            weight = weight if (m > floor or e < LEAST_ECHOES) else _ZERO
            y[e * BLOCK + i] = m
            w[e * BLOCK + i] = weight
            energy += m * m
            samples += weight
        s[_ENERGY * BLOCK + i] = energy
        s[_SAMPLES * BLOCK + i] = samples


@_inner
def _modulate(fraction, low, c_real, c_power, m):  # type: ignore[no-untyped-def]
    """Water-fat modulation of one block at its given fractions, echo-major; one fraction holds for all lanes."""
    for i in range(BLOCK):
        f = fraction[low + i] if low + i < fraction.size else fraction[low % fraction.size]
        for e in range(c_real.size):
            m[e * BLOCK + i] = _modulation(f, c_real[e], c_power[e])[0]


@_inner
def _start(y, times, law, max_rate, s):  # type: ignore[no-untyped-def]
    """Start of a decay from its squares freed of the noise power: p(t) - p(0) = -2R x integral of p, by trapezoids.

    Leaves amplitude in the trial row A and rate in the trial row R. Uses the rows of the sums as scratch.
    """
    power = law[1] + (_ONE if law[1] > _ZERO else _ZERO)
    for i in range(BLOCK):
        s[_T11 * BLOCK + i] = _ZERO
        s[_T12 * BLOCK + i] = _ZERO
        s[_T22 * BLOCK + i] = _ZERO
    for e in range(1, times.size):
        half = _HALF * (times[e] - times[e - 1])
        for i in range(BLOCK):
            p0 = y[i] * y[i] - power
            p1 = y[(e - 1) * BLOCK + i] * y[(e - 1) * BLOCK + i] - power
            p2 = y[e * BLOCK + i] * y[e * BLOCK + i] - power
            integral = s[_T11 * BLOCK + i] + half * (max(p1, _ZERO) + max(p2, _ZERO))
            s[_T11 * BLOCK + i] = integral
            s[_T12 * BLOCK + i] += (p0 - p2) * integral
            s[_T22 * BLOCK + i] += integral * integral
    for i in range(BLOCK):
        rate = _HALF * s[_T12 * BLOCK + i] / (s[_T22 * BLOCK + i] + _TINY)
        s[_R * BLOCK + i] = min(max(rate, _ZERO), max_rate)
        s[_A * BLOCK + i] = math.sqrt(max(y[i] * y[i] - power, _HALF))
        s[_COST * BLOCK + i] = _WORST
        s[_DAMPING * BLOCK + i] = _START_DAMPING


@_inner
def _sum_mono(y, w, times, m, law, s):  # type: ignore[no-untyped-def]
    """Normal equations and sum of squares of the trial point of a mono-exponential decay."""
    for i in range(BLOCK):
        for row in (_T11, _T12, _T22, _H1, _H2, _SUM):
            s[row * BLOCK + i] = _ZERO
    for e in range(times.size):
        t = times[e]
        for i in range(BLOCK):
            decay = m[e * BLOCK + i] * decay_of(s[_R * BLOCK + i] * t)
            a = s[_A * BLOCK + i] * decay
            mean, slope, _ = _moment(a, law)
            weight = w[e * BLOCK + i]
            r = (y[e * BLOCK + i] - mean) * weight
            j1 = slope * decay * weight
            j2 = -slope * a * t * weight
            s[_T11 * BLOCK + i] += j1 * j1
            s[_T12 * BLOCK + i] += j1 * j2
            s[_T22 * BLOCK + i] += j2 * j2
            s[_H1 * BLOCK + i] += j1 * r
            s[_H2 * BLOCK + i] += j2 * r
            s[_SUM * BLOCK + i] += r * r


@_inner
def _keep(better, new, old, s, i):  # type: ignore[no-untyped-def]
    s[old * BLOCK + i] = s[new * BLOCK + i] if better else s[old * BLOCK + i]


@_inner
def _step_mono(max_rate, s):  # type: ignore[no-untyped-def]
    """Accept or reject the trial point of every lane and propose the next one."""
    for i in range(BLOCK):
        better = s[_SUM * BLOCK + i] < s[_COST * BLOCK + i]
        _keep(better, _SUM, _COST, s, i)
        _keep(better, _A, _BEST_A, s, i)
        _keep(better, _R, _BEST_R, s, i)
        _keep(better, _T11, _N11, s, i)
        _keep(better, _T12, _N12, s, i)
        _keep(better, _T22, _N22, s, i)
        _keep(better, _H1, _G1, s, i)
        _keep(better, _H2, _G2, s, i)
        damping = s[_DAMPING * BLOCK + i] * (_ACCEPTED if better else _REJECTED)
        s[_DAMPING * BLOCK + i] = damping
        n12, g1, g2 = s[_N12 * BLOCK + i], s[_G1 * BLOCK + i], s[_G2 * BLOCK + i]
        c11 = s[_N11 * BLOCK + i] * (_ONE + damping) + _TINY
        c22 = s[_N22 * BLOCK + i] * (_ONE + damping) + _TINY
        inverse = _ONE / (c11 * c22 - n12 * n12 + _TINY * _TINY)
        step = min(max((c11 * g2 - n12 * g1) * inverse, -_LARGEST_STEP), _LARGEST_STEP)
        s[_A * BLOCK + i] = max(s[_BEST_A * BLOCK + i] + (c22 * g1 - n12 * g2) * inverse, _LEAST_AMPLITUDE)
        s[_R * BLOCK + i] = min(max(s[_BEST_R * BLOCK + i] + step, _ZERO), max_rate)


@_inner
def _appraise_mono(y, w, times, m, law, s):  # type: ignore[no-untyped-def]
    """Fisher matrix (rows T11, T12, T22) and chi squared (row SUM) at the best point."""
    for i in range(BLOCK):
        for row in (_T11, _T12, _T22, _SUM):
            s[row * BLOCK + i] = _ZERO
    for e in range(times.size):
        t = times[e]
        for i in range(BLOCK):
            decay = m[e * BLOCK + i] * decay_of(s[_BEST_R * BLOCK + i] * t)
            a = s[_BEST_A * BLOCK + i] * decay
            mean, _, variance = _moment(a, law)
            weight = w[e * BLOCK + i]
            r = y[e * BLOCK + i] - mean
            f = _information(a, law) * weight
            s[_T11 * BLOCK + i] += f * decay * decay
            s[_T12 * BLOCK + i] -= f * decay * a * t
            s[_T22 * BLOCK + i] += f * a * t * a * t
            s[_SUM * BLOCK + i] += r * r * weight / variance


@compiled_entry
def fit_mono(signal, voxels, fraction, times, c_real, c_power, law, inv_sigma, floor, max_rate, iterations, out):  # type: ignore[no-untyped-def]
    """Fit A exp(-R t) |(1 - f) + f c(t)| with f given to ``signal`` (n, e) float32 at the rows ``voxels`` (k,).

    ``times`` (e,) starts at 0; ``fraction`` (k,) is f, or (1,) for one f for all; ``c_real`` and ``c_power`` (e,) are
    the real part and squared modulus of unit fat. Samples from the first one at or below
    ``floor`` (sigma) on are left out, the first ``LEAST_ECHOES`` never. The rate ends at ``max_rate``. Fills ``out``
    (MONO_ROWS, k).
    """
    n = voxels.size
    for block in nb.prange((n + BLOCK - 1) // BLOCK):
        low = block * BLOCK
        y = np.empty(times.size * BLOCK, np.float32)
        w = np.empty(times.size * BLOCK, np.float32)
        m = np.empty(times.size * BLOCK, np.float32)
        s = np.zeros(_STATE_ROWS * BLOCK, np.float32)
        _load(signal, voxels, low, inv_sigma, floor, y, w, s)
        _modulate(fraction, low, c_real, c_power, m)
        _start(y, times, law, max_rate, s)
        for _ in range(iterations):
            _sum_mono(y, w, times, m, law, s)
            _step_mono(max_rate, s)
        _appraise_mono(y, w, times, m, law, s)
        for i in range(min(BLOCK, n - low)):
            f11, f12, f22 = s[_T11 * BLOCK + i], s[_T12 * BLOCK + i], s[_T22 * BLOCK + i]
            out[AMPLITUDE, low + i] = s[_BEST_A * BLOCK + i]
            out[RATE, low + i] = s[_BEST_R * BLOCK + i]
            out[SD_RATE, low + i] = math.sqrt(f11 / max(f11 * f22 - f12 * f12, _SINGULAR * f11 * f22))
            out[CHI2, low + i] = s[_SUM * BLOCK + i]
            out[ENERGY, low + i] = s[_ENERGY * BLOCK + i]
            out[FIRST, low + i] = y[i]
            out[SAMPLES, low + i] = s[_SAMPLES * BLOCK + i]


@_inner
def _modulation(f, c_real, c_power):  # type: ignore[no-untyped-def]
    """|(1 - f) + f c| and its derivative by f, for fat of real part ``c_real`` and squared modulus ``c_power``."""
    water = _ONE - f
    m = math.sqrt(max(water * water + f * (_TWO * water * c_real + f * c_power), _LEAST_MODULATION))
    return m, (-water + (water - f) * c_real + f * c_power) / m


@_inner
def _restart(fraction, s):  # type: ignore[no-untyped-def]
    """Put the trial point of every lane at the stored start with this fat fraction."""
    for i in range(BLOCK):
        s[_A * BLOCK + i] = s[_START_A * BLOCK + i]
        s[_R * BLOCK + i] = s[_START_R * BLOCK + i]
        s[_F * BLOCK + i] = fraction
        s[_COST * BLOCK + i] = _WORST
        s[_DAMPING * BLOCK + i] = _START_DAMPING


@_inner
def _sum_fat(y, times, c_real, c_power, law, s):  # type: ignore[no-untyped-def]
    """Normal equations and sum of squares of the trial point of a decay of water and fat."""
    for i in range(BLOCK):
        for row in (_T11, _T12, _T22, _T13, _T23, _T33, _H1, _H2, _H3, _SUM):
            s[row * BLOCK + i] = _ZERO
    for e in range(times.size):
        t, real, power = times[e], c_real[e], c_power[e]
        for i in range(BLOCK):
            decay = decay_of(s[_R * BLOCK + i] * t)
            modulation, bend = _modulation(s[_F * BLOCK + i], real, power)
            whole = s[_A * BLOCK + i] * decay
            a = whole * modulation
            mean, slope, _ = _moment(a, law)
            r = y[e * BLOCK + i] - mean
            j1, j2, j3 = slope * decay * modulation, -slope * a * t, slope * whole * bend
            s[_T11 * BLOCK + i] += j1 * j1
            s[_T12 * BLOCK + i] += j1 * j2
            s[_T22 * BLOCK + i] += j2 * j2
            s[_T13 * BLOCK + i] += j1 * j3
            s[_T23 * BLOCK + i] += j2 * j3
            s[_T33 * BLOCK + i] += j3 * j3
            s[_H1 * BLOCK + i] += j1 * r
            s[_H2 * BLOCK + i] += j2 * r
            s[_H3 * BLOCK + i] += j3 * r
            s[_SUM * BLOCK + i] += r * r


@_inner
def _step_fat(max_rate, s):  # type: ignore[no-untyped-def]
    """Accept or reject the trial point of every lane and propose the next one (Cholesky of the damped equations)."""
    for i in range(BLOCK):
        better = s[_SUM * BLOCK + i] < s[_COST * BLOCK + i]
        _keep(better, _SUM, _COST, s, i)
        _keep(better, _A, _BEST_A, s, i)
        _keep(better, _R, _BEST_R, s, i)
        _keep(better, _F, _BEST_F, s, i)
        for k in range(9):
            _keep(better, _T11 + k, _N11 + k, s, i)
        damping = s[_DAMPING * BLOCK + i] * (_ACCEPTED if better else _REJECTED)
        s[_DAMPING * BLOCK + i] = damping
        grow = _ONE + damping
        n12, n13, n23 = s[_N12 * BLOCK + i], s[_N13 * BLOCK + i], s[_N23 * BLOCK + i]
        c11 = s[_N11 * BLOCK + i] * grow + _TINY
        u12, u13 = n12 / c11, n13 / c11
        d22 = s[_N22 * BLOCK + i] * grow + _TINY - n12 * u12
        e23 = n23 - n13 * u12
        u23 = e23 / max(d22, _TINY)
        d33 = s[_N33 * BLOCK + i] * grow + _TINY - n13 * u13 - e23 * u23
        g1 = s[_G1 * BLOCK + i]
        k2 = s[_G2 * BLOCK + i] - u12 * g1
        k3 = s[_G3 * BLOCK + i] - u13 * g1 - u23 * k2
        s3 = min(max(k3 / max(d33, _TINY), -_LARGEST_FRACTION_STEP), _LARGEST_FRACTION_STEP)
        s2 = min(max(k2 / max(d22, _TINY) - u23 * s3, -_LARGEST_STEP), _LARGEST_STEP)
        s1 = g1 / c11 - u12 * s2 - u13 * s3
        s[_A * BLOCK + i] = max(s[_BEST_A * BLOCK + i] + s1, _LEAST_AMPLITUDE)
        s[_R * BLOCK + i] = min(max(s[_BEST_R * BLOCK + i] + s2, _ZERO), max_rate)
        s[_F * BLOCK + i] = min(max(s[_BEST_F * BLOCK + i] + s3, _LOWEST_FRACTION), _HIGHEST_FRACTION)


@_inner
def _choose(margin, s):  # type: ignore[no-untyped-def]
    """Best point of every lane: the water-dominant end unless the other one is better by more than ``margin``."""
    for i in range(BLOCK):
        water = s[_WATER_COST * BLOCK + i] <= s[_COST * BLOCK + i] + margin
        _keep(water, _WATER_A, _BEST_A, s, i)
        _keep(water, _WATER_R, _BEST_R, s, i)
        _keep(water, _WATER_F, _BEST_F, s, i)


@_inner
def _appraise_fat(y, times, c_real, c_power, law, s):  # type: ignore[no-untyped-def]
    """Fisher matrix (rows T11 to T33) and chi squared (row SUM) at the chosen point."""
    for i in range(BLOCK):
        for row in (_T11, _T12, _T22, _T13, _T23, _T33, _SUM):
            s[row * BLOCK + i] = _ZERO
    for e in range(times.size):
        t, real, power = times[e], c_real[e], c_power[e]
        for i in range(BLOCK):
            decay = decay_of(s[_BEST_R * BLOCK + i] * t)
            modulation, bend = _modulation(s[_BEST_F * BLOCK + i], real, power)
            whole = s[_BEST_A * BLOCK + i] * decay
            a = whole * modulation
            mean, _, variance = _moment(a, law)
            r = y[e * BLOCK + i] - mean
            f = _information(a, law)
            j1, j2, j3 = decay * modulation, -a * t, whole * bend
            s[_T11 * BLOCK + i] += f * j1 * j1
            s[_T12 * BLOCK + i] += f * j1 * j2
            s[_T22 * BLOCK + i] += f * j2 * j2
            s[_T13 * BLOCK + i] += f * j1 * j3
            s[_T23 * BLOCK + i] += f * j2 * j3
            s[_T33 * BLOCK + i] += f * j3 * j3
            s[_SUM * BLOCK + i] += r * r / variance


@_inner
def _sd_of_rate_and_fraction(f11, f12, f22, f13, f23, f33):  # type: ignore[no-untyped-def]
    """From the Fisher matrix, the amplitude eliminated first."""
    a = max(f22 - f12 * f12 / f11, _SINGULAR * f22)
    b = f23 - f12 * f13 / f11
    c = max(f33 - f13 * f13 / f11, _SINGULAR * f33)
    determinant = max(a * c - b * b, _SINGULAR * a * c)
    return math.sqrt(c / determinant), math.sqrt(a / determinant)


@compiled_entry
def fit_fat(signal, voxels, times, c_real, c_power, law, inv_sigma, max_rate, margin, iterations, out):  # type: ignore[no-untyped-def]
    """Fit A exp(-R t) |(1 - f) + f c(t)| from a water- and a fat-dominant start.

    As ``fit_mono``; ``c_real`` and ``c_power`` (e,) are the real part and squared modulus of unit fat, ``margin`` is
    by how much (sum of squares, sigma^2) the fat-dominant end must be better to be taken. Fills ``out`` (FAT_ROWS, k).
    """
    n = voxels.size
    for block in nb.prange((n + BLOCK - 1) // BLOCK):
        low = block * BLOCK
        y = np.empty(times.size * BLOCK, np.float32)
        w = np.empty(times.size * BLOCK, np.float32)
        s = np.zeros(_STATE_ROWS * BLOCK, np.float32)
        _load(signal, voxels, low, inv_sigma, -_ONE, y, w, s)
        _start(y, times, law, max_rate, s)
        for i in range(BLOCK):
            s[_START_A * BLOCK + i] = s[_A * BLOCK + i]
            s[_START_R * BLOCK + i] = s[_R * BLOCK + i]
        for start in range(2):
            if start == 1:
                for i in range(BLOCK):
                    s[_WATER_A * BLOCK + i] = s[_BEST_A * BLOCK + i]
                    s[_WATER_R * BLOCK + i] = s[_BEST_R * BLOCK + i]
                    s[_WATER_F * BLOCK + i] = s[_BEST_F * BLOCK + i]
                    s[_WATER_COST * BLOCK + i] = s[_COST * BLOCK + i]
            _restart(_WATER_START if start == 0 else _FAT_START, s)
            for _ in range(iterations):
                _sum_fat(y, times, c_real, c_power, law, s)
                _step_fat(max_rate, s)
        for i in range(min(BLOCK, n - low)):
            out[FAT_COST, low + i] = s[_COST * BLOCK + i]
            out[FAT_FRACTION, low + i] = s[_BEST_F * BLOCK + i]
        _choose(margin, s)
        _appraise_fat(y, times, c_real, c_power, law, s)
        for i in range(min(BLOCK, n - low)):
            sd_rate, sd_fraction = _sd_of_rate_and_fraction(
                s[_T11 * BLOCK + i],
                s[_T12 * BLOCK + i],
                s[_T22 * BLOCK + i],
                s[_T13 * BLOCK + i],
                s[_T23 * BLOCK + i],
                s[_T33 * BLOCK + i],
            )
            out[AMPLITUDE, low + i] = s[_BEST_A * BLOCK + i]
            out[RATE, low + i] = s[_BEST_R * BLOCK + i]
            out[SD_RATE, low + i] = sd_rate
            out[CHI2, low + i] = s[_SUM * BLOCK + i]
            out[ENERGY, low + i] = s[_ENERGY * BLOCK + i]
            out[FIRST, low + i] = y[i]
            out[SAMPLES, low + i] = s[_SAMPLES * BLOCK + i]
            out[FRACTION, low + i] = s[_BEST_F * BLOCK + i]
            out[SD_FRACTION, low + i] = sd_fraction
            out[WATER_COST, low + i] = s[_WATER_COST * BLOCK + i]
            out[WATER_FRACTION, low + i] = s[_WATER_F * BLOCK + i]
