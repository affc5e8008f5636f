"""Compiled fit of a decay with the fat fraction given: Levenberg-Marquardt on the first moment of the noise law.

How blocks, units and rows are laid out: ``quant.fit_block``.
"""

import math

import numba as nb
import numpy as np

from quant.fit_block import (
    AMPLITUDE,
    BEST_A,
    BEST_R,
    BLOCK,
    CHI2,
    COST,
    DECAYED,
    DISTANCE,
    ENERGY,
    FIRST,
    FIRST_FREE_ROW,
    LARGEST_LAST_STEP,
    LARGEST_STEP,
    LEAST_AMPLITUDE,
    LEFT,
    ONE,
    RATE,
    ROW_ENERGY,
    ROW_SAMPLES,
    SAMPLES,
    SD_RATE,
    SHRINK,
    SINGULAR,
    SUM,
    TINY,
    TWO,
    ZERO,
    A,
    R,
    begin_decay,
    compiled_entry,
    damped,
    decay_of,
    distance_left,
    information,
    inner,
    keep,
    load,
    modulation,
    moment,
    next_steps,
    restart,
    start,
    within,
)

__all__ = ["BLOCK", "MONO_ROWS", "compiled_entry", "decay_of", "fit_mono"]

MONO_ROWS = 8

_N11, _N12, _N22, _G1, _G2, _T11, _T12, _T22, _H1, _H2 = range(FIRST_FREE_ROW, FIRST_FREE_ROW + 10)
_STATE_ROWS = FIRST_FREE_ROW + 10


@inner
def _modulate(fraction, low, c_real, c_power, m):  # type: ignore[no-untyped-def]  # numba infers
    """Squared water-fat modulation of one block at its given fractions, echo-major; one fraction may hold for all."""
    for i in range(BLOCK):
        f = fraction[low + i] if low + i < fraction.size else fraction[low % fraction.size]
        for e in range(c_real.size):
            m[e * BLOCK + i] = modulation(f, c_real[e], c_power[e])[0]


@inner
def _sum(y, w, times, steps, m, law, s):  # type: ignore[no-untyped-def]
    """Normal equations, for the logarithm of A and for R, and sum of squares of the trial point."""
    begin_decay(A, s)
    for i in range(BLOCK):
        for row in (_T11, _T12, _T22, _H1, _H2, SUM):
            s[row * BLOCK + i] = ZERO
    for e in range(times.size):
        next_steps(e, steps, R, s)
        t = times[e]
        for i in range(BLOCK):
            decayed = s[DECAYED * BLOCK + i] * s[SHRINK * BLOCK + i]
            s[DECAYED * BLOCK + i] = decayed
            a2 = decayed * decayed * m[e * BLOCK + i]
            mean, gain, _ = moment(a2, law)
            weight = w[e * BLOCK + i]
            r = (y[e * BLOCK + i] - mean) * weight
            j = gain * a2 * weight
            jj, jr = j * j, j * r
            s[_T11 * BLOCK + i] += jj
            s[_T12 * BLOCK + i] -= jj * t
            s[_T22 * BLOCK + i] += jj * (t * t)
            s[_H1 * BLOCK + i] += jr
            s[_H2 * BLOCK + i] -= jr * t
            s[SUM * BLOCK + i] += r * r


@inner
def _step(max_rate, s):  # type: ignore[no-untyped-def]
    """Accept or reject the trial point of every lane and propose the next one."""
    for i in range(BLOCK):
        better = s[SUM * BLOCK + i] < s[COST * BLOCK + i]
        keep(better, SUM, COST, s, i)
        keep(better, A, BEST_A, s, i)
        keep(better, R, BEST_R, s, i)
        keep(better, _T11, _N11, s, i)
        keep(better, _T12, _N12, s, i)
        keep(better, _T22, _N22, s, i)
        keep(better, _H1, _G1, s, i)
        keep(better, _H2, _G2, s, i)
        damping = damped(better, s, i)
        n12, g1, g2 = s[_N12 * BLOCK + i], s[_G1 * BLOCK + i], s[_G2 * BLOCK + i]
        c11 = s[_N11 * BLOCK + i] * (ONE + damping) + TINY
        c22 = s[_N22 * BLOCK + i] * (ONE + damping) + TINY
        best = s[BEST_R * BLOCK + i]
        s2 = (c11 * g2 - n12 * g1) / (c11 * c22 - n12 * n12 + TINY * TINY)
        s2 = within(s2, LARGEST_STEP, best, ZERO, max_rate)
        s1 = (g1 - n12 * s2) / c11
        step2 = s1 * (s[_N11 * BLOCK + i] * s1 + TWO * n12 * s2) + s2 * s2 * s[_N22 * BLOCK + i]
        distance_left(better, step2, abs(s2) < LARGEST_LAST_STEP, s, i)
        s[A * BLOCK + i] = max(s[BEST_A * BLOCK + i] * (ONE + s1), LEAST_AMPLITUDE)
        s[R * BLOCK + i] = best + s2


@inner
def _settle(tolerance, s):  # type: ignore[no-untyped-def]
    """Take the last proposed step of the lanes that need no look at where it leads."""
    for i in range(BLOCK):
        settled = s[LEFT * BLOCK + i] < tolerance
        keep(settled, A, BEST_A, s, i)
        keep(settled, R, BEST_R, s, i)


@inner
def _appraise(y, w, times, steps, m, law, s):  # type: ignore[no-untyped-def]
    """Fisher matrix (rows T11, T12, T22) and chi squared (row SUM) at the best point."""
    begin_decay(BEST_A, s)
    for i in range(BLOCK):
        for row in (_T11, _T12, _T22, SUM):
            s[row * BLOCK + i] = ZERO
    for e in range(times.size):
        next_steps(e, steps, BEST_R, s)
        t = times[e]
        for i in range(BLOCK):
            decayed = s[DECAYED * BLOCK + i] * s[SHRINK * BLOCK + i]
            s[DECAYED * BLOCK + i] = decayed
            a2 = decayed * decayed * m[e * BLOCK + i]
            mean, _, variance = moment(a2, law)
            weight = w[e * BLOCK + i]
            r = y[e * BLOCK + i] - mean
            f = information(a2, law) * a2 * weight
            s[_T11 * BLOCK + i] += f
            s[_T12 * BLOCK + i] -= f * t
            s[_T22 * BLOCK + i] += f * (t * t)
            s[SUM * BLOCK + i] += r * r * weight / variance


@compiled_entry
def fit_mono(signal, voxels, fraction, times, steps, fat, law, inv_sigma, floor, max_rate, iterations, tolerance, out):  # type: ignore[no-untyped-def]
    """Fit A exp(-R t) |(1 - f) + f c(t)| with f given to ``signal`` (n, e) float32 at the rows ``voxels`` (k,).

    ``times`` (e,) starts at 0, ``steps`` (e,) are its differences from 0 on; ``fraction`` (k,) is f, or (1,) for one f
    for all; ``fat`` is a pair of arrays (e,), the real part and the squared modulus of unit fat. Samples from the first
    one at or below ``floor`` (sigma) on are left out, the first ``LEAST_ECHOES`` never. The rate ends at ``max_rate``.
    Fills ``out`` (MONO_ROWS, k). A voxel whose ``DISTANCE`` stayed at or above ``tolerance`` would move on with more
    ``iterations``.
    """
    n = voxels.size
    for block in nb.prange((n + BLOCK - 1) // BLOCK):
        low = block * BLOCK
        y = np.empty(times.size * BLOCK, np.float32)
        w = np.empty(times.size * BLOCK, np.float32)
        m = np.empty(times.size * BLOCK, np.float32)
        s = np.zeros(_STATE_ROWS * BLOCK, np.float32)
        load(signal, voxels, low, inv_sigma, floor, y, w, s)
        _modulate(fraction, low, fat[0], fat[1], m)
        start(y, times, law, max_rate, s)
        restart(s)
        for _ in range(iterations):
            _sum(y, w, times, steps, m, law, s)
            _step(max_rate, s)
        _settle(tolerance, s)
        _appraise(y, w, times, steps, m, law, s)
        for i in range(min(BLOCK, n - low)):
            f11, f12, f22 = s[_T11 * BLOCK + i], s[_T12 * BLOCK + i], s[_T22 * BLOCK + i]
            out[AMPLITUDE, low + i] = s[BEST_A * BLOCK + i]
            out[RATE, low + i] = s[BEST_R * BLOCK + i]
            out[SD_RATE, low + i] = math.sqrt(f11 / max(f11 * f22 - f12 * f12, SINGULAR * f11 * f22))
            out[CHI2, low + i] = s[SUM * BLOCK + i]
            out[ENERGY, low + i] = s[ROW_ENERGY * BLOCK + i]
            out[FIRST, low + i] = y[i]
            out[SAMPLES, low + i] = s[ROW_SAMPLES * BLOCK + i]
            out[DISTANCE, low + i] = s[LEFT * BLOCK + i]
