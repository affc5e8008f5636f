"""Compiled fit of a decay of water and fat: as ``quant.fit_kernels``, with the fat fraction as third parameter.

Each voxel is fitted from a water-dominant start, and from the fat-dominant mirror image of where that ended. How
blocks, units and rows are laid out: ``quant.fit_block``.
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
    distance_left,
    f32,
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

FRACTION, SD_FRACTION, WATER_COST, FAT_COST, WATER_FRACTION, FAT_FRACTION = range(8, 14)
"""Further rows of the result: fat fraction and its SD; of the water- and the fat-dominant start, the sum of squares and
the fat fraction where they ended."""
FAT_ROWS = 14

_LARGEST_FRACTION_STEP = f32(0.2)
_LOWEST_FRACTION, _HIGHEST_FRACTION = f32(-0.1), f32(1.1)  # noise around 0 must be able to fall on both sides
_WATER_START, _LEAST_FAT_START = f32(0.1), f32(0.75)
_SLOWER = f32(0.05)  # per mean echo spacing: the beats of fat pass for decay, so R is lower at the fat-dominant end

_F, _BEST_F = range(FIRST_FREE_ROW, FIRST_FREE_ROW + 2)
_WATER_A, _WATER_R, _WATER_F, _WATER_COST, _WATER_LEFT = range(FIRST_FREE_ROW + 2, FIRST_FREE_ROW + 7)
_N11, _N12, _N22, _N13, _N23, _N33, _G1, _G2, _G3 = range(FIRST_FREE_ROW + 7, FIRST_FREE_ROW + 16)
_T11, _T12, _T22, _T13, _T23, _T33, _H1, _H2, _H3 = range(FIRST_FREE_ROW + 16, FIRST_FREE_ROW + 25)
_STATE_ROWS = FIRST_FREE_ROW + 25


@inner
def _sum(y, times, steps, c_real, c_power, law, s):  # type: ignore[no-untyped-def]  # numba infers
    """Normal equations, for the logarithm of A, for R and f, and sum of squares of the trial point."""
    begin_decay(A, s)
    for i in range(BLOCK):
        for row in (_T11, _T12, _T22, _T13, _T23, _T33, _H1, _H2, _H3, SUM):
            s[row * BLOCK + i] = ZERO
    for e in range(times.size):
        next_steps(e, steps, R, s)
        t, real, power = times[e], c_real[e], c_power[e]
        for i in range(BLOCK):
            decayed = s[DECAYED * BLOCK + i] * s[SHRINK * BLOCK + i]
            s[DECAYED * BLOCK + i] = decayed
            square, bend = modulation(s[_F * BLOCK + i], real, power)
            whole2 = decayed * decayed
            mean, gain, _ = moment(whole2 * square, law)
            r = y[e * BLOCK + i] - mean
            gain = gain * whole2
            j1, j3 = gain * square, gain * bend
            j11, j13, j1r = j1 * j1, j1 * j3, j1 * r
            s[_T11 * BLOCK + i] += j11
            s[_T12 * BLOCK + i] -= j11 * t
            s[_T22 * BLOCK + i] += j11 * (t * t)
            s[_T13 * BLOCK + i] += j13
            s[_T23 * BLOCK + i] -= j13 * t
            s[_T33 * BLOCK + i] += j3 * j3
            s[_H1 * BLOCK + i] += j1r
            s[_H2 * BLOCK + i] -= j1r * t
            s[_H3 * BLOCK + i] += j3 * r
            s[SUM * BLOCK + i] += r * r


@inner
def _step(max_rate, s):  # type: ignore[no-untyped-def]
    """Accept or reject the trial point of every lane and propose the next one (damped equations, amplitude first).

    A parameter held by its range or the largest step leaves the others to find their best given that.
    """
    for i in range(BLOCK):
        better = s[SUM * BLOCK + i] < s[COST * BLOCK + i]
        keep(better, SUM, COST, s, i)
        keep(better, A, BEST_A, s, i)
        keep(better, R, BEST_R, s, i)
        keep(better, _F, _BEST_F, s, i)
        for k in range(9):
            keep(better, _T11 + k, _N11 + k, s, i)
        grow = ONE + damped(better, s, i)
        n12, n13, n23 = s[_N12 * BLOCK + i], s[_N13 * BLOCK + i], s[_N23 * BLOCK + i]
        c11 = s[_N11 * BLOCK + i] * grow + TINY
        u12, u13 = n12 / c11, n13 / c11
        d22 = max(s[_N22 * BLOCK + i] * grow + TINY - n12 * u12, TINY)
        d33 = max(s[_N33 * BLOCK + i] * grow + TINY - n13 * u13, TINY)
        d23 = n23 - n13 * u12
        g1 = s[_G1 * BLOCK + i]
        k2, k3 = s[_G2 * BLOCK + i] - u12 * g1, s[_G3 * BLOCK + i] - u13 * g1
        s2 = (d33 * k2 - d23 * k3) / max(d22 * d33 - d23 * d23, TINY * TINY)
        s2 = within(s2, LARGEST_STEP, s[BEST_R * BLOCK + i], ZERO, max_rate)
        s3 = (k3 - d23 * s2) / d33
        s3 = within(s3, _LARGEST_FRACTION_STEP, s[_BEST_F * BLOCK + i], _LOWEST_FRACTION, _HIGHEST_FRACTION)
        s2 = within((k2 - d23 * s3) / d22, LARGEST_STEP, s[BEST_R * BLOCK + i], ZERO, max_rate)
        s1 = g1 / c11 - u12 * s2 - u13 * s3
        step2 = s1 * (s[_N11 * BLOCK + i] * s1 + TWO * (n12 * s2 + n13 * s3))
        step2 += s2 * (s[_N22 * BLOCK + i] * s2 + TWO * n23 * s3) + s3 * s3 * s[_N33 * BLOCK + i]
        near = max(abs(s2), abs(s3)) < LARGEST_LAST_STEP
        distance_left(better, step2, near, s, i)
        s[A * BLOCK + i] = max(s[BEST_A * BLOCK + i] * (ONE + s1), LEAST_AMPLITUDE)
        s[R * BLOCK + i] = s[BEST_R * BLOCK + i] + s2
        s[_F * BLOCK + i] = s[_BEST_F * BLOCK + i] + s3


@inner
def _settle(tolerance, s):  # type: ignore[no-untyped-def]
    """Take the last proposed step of the lanes that need no look at where it leads."""
    for i in range(BLOCK):
        settled = s[LEFT * BLOCK + i] < tolerance
        keep(settled, A, BEST_A, s, i)
        keep(settled, R, BEST_R, s, i)
        keep(settled, _F, _BEST_F, s, i)


@inner
def _begin_with_water(s):  # type: ignore[no-untyped-def]
    """Put the trial point of every lane, a decay so far, at a little fat."""
    restart(s)
    for i in range(BLOCK):
        s[_F * BLOCK + i] = _WATER_START


@inner
def _begin_with_fat(s):  # type: ignore[no-untyped-def]
    """Keep where the water-dominant start ended, and put the trial point at its mirror image: nearly as good a fit."""
    for i in range(BLOCK):
        s[_WATER_A * BLOCK + i] = s[BEST_A * BLOCK + i]
        s[_WATER_R * BLOCK + i] = s[BEST_R * BLOCK + i]
        s[_WATER_F * BLOCK + i] = s[_BEST_F * BLOCK + i]
        s[_WATER_COST * BLOCK + i] = s[COST * BLOCK + i]
        s[_WATER_LEFT * BLOCK + i] = s[LEFT * BLOCK + i]
    restart(s)
    for i in range(BLOCK):
        s[A * BLOCK + i] = s[BEST_A * BLOCK + i]
        s[R * BLOCK + i] = max(s[BEST_R * BLOCK + i] - _SLOWER, ZERO)
        s[_F * BLOCK + i] = max(ONE - s[_BEST_F * BLOCK + i], _LEAST_FAT_START)


@inner
def _choose(margin, s):  # type: ignore[no-untyped-def]
    """Best point of every lane: the water-dominant end unless the other one is better by more than ``margin``."""
    for i in range(BLOCK):
        water = s[_WATER_COST * BLOCK + i] <= s[COST * BLOCK + i] + margin
        keep(water, _WATER_A, BEST_A, s, i)
        keep(water, _WATER_R, BEST_R, s, i)
        keep(water, _WATER_F, _BEST_F, s, i)
        s[LEFT * BLOCK + i] = max(s[LEFT * BLOCK + i], s[_WATER_LEFT * BLOCK + i])


@inner
def _appraise(y, times, steps, c_real, c_power, law, s):  # type: ignore[no-untyped-def]
    """Fisher matrix (rows T11 to T33) and chi squared (row SUM) at the chosen point."""
    begin_decay(BEST_A, s)
    for i in range(BLOCK):
        for row in (_T11, _T12, _T22, _T13, _T23, _T33, SUM):
            s[row * BLOCK + i] = ZERO
    for e in range(times.size):
        next_steps(e, steps, BEST_R, s)
        t, real, power = times[e], c_real[e], c_power[e]
        for i in range(BLOCK):
            decayed = s[DECAYED * BLOCK + i] * s[SHRINK * BLOCK + i]
            s[DECAYED * BLOCK + i] = decayed
            square, bend = modulation(s[_BEST_F * BLOCK + i], real, power)
            a2 = decayed * decayed * square
            mean, _, variance = moment(a2, law)
            r = y[e * BLOCK + i] - mean
            f = information(a2, law) * decayed * decayed
            f11, f13 = f * square, f * bend
            s[_T11 * BLOCK + i] += f11
            s[_T12 * BLOCK + i] -= f11 * t
            s[_T22 * BLOCK + i] += f11 * (t * t)
            s[_T13 * BLOCK + i] += f13
            s[_T23 * BLOCK + i] -= f13 * t
            s[_T33 * BLOCK + i] += f13 * bend / square
            s[SUM * BLOCK + i] += r * r / variance


@inner
def _sd_of_rate_and_fraction(f11, f12, f22, f13, f23, f33):  # type: ignore[no-untyped-def]
    """From the Fisher matrix, the amplitude eliminated first."""
    a = max(f22 - f12 * f12 / f11, SINGULAR * f22)
    b = f23 - f12 * f13 / f11
    c = max(f33 - f13 * f13 / f11, SINGULAR * f33)
    determinant = max(a * c - b * b, SINGULAR * a * c)
    return math.sqrt(c / determinant), math.sqrt(a / determinant)


@inner
def _write(y, low, n, s, out):  # type: ignore[no-untyped-def]
    """Rows of the result that describe the chosen point and the water-dominant end."""
    for i in range(min(BLOCK, n - low)):
        sd_rate, sd_fraction = _sd_of_rate_and_fraction(
            s[_T11 * BLOCK + i],
            s[_T12 * BLOCK + i],
            s[_T22 * BLOCK + i],
            s[_T13 * BLOCK + i],
            s[_T23 * BLOCK + i],
            s[_T33 * BLOCK + i],
        )
        out[AMPLITUDE, low + i] = s[BEST_A * BLOCK + i]
        out[RATE, low + i] = s[BEST_R * BLOCK + i]
        out[SD_RATE, low + i] = sd_rate
        out[CHI2, low + i] = s[SUM * BLOCK + i]
        out[ENERGY, low + i] = s[ROW_ENERGY * BLOCK + i]
        out[FIRST, low + i] = y[i]
        out[SAMPLES, low + i] = s[ROW_SAMPLES * BLOCK + i]
        out[DISTANCE, low + i] = s[LEFT * BLOCK + i]
        out[FRACTION, low + i] = s[_BEST_F * BLOCK + i]
        out[SD_FRACTION, low + i] = sd_fraction
        out[WATER_COST, low + i] = s[_WATER_COST * BLOCK + i]
        out[WATER_FRACTION, low + i] = s[_WATER_F * BLOCK + i]


@compiled_entry
def fit_fat(signal, voxels, times, steps, fat, law, inv_sigma, max_rate, margin, iterations, tolerance, out):  # type: ignore[no-untyped-def]
    """Fit A exp(-R t) |(1 - f) + f c(t)| from a water- and a fat-dominant start.

    As ``quant.fit_kernels.fit_mono``; ``margin`` is by how much (sum of squares, sigma^2) the fat-dominant end must be
    better to be taken, ``DISTANCE`` the larger one of both starts. Fills ``out`` (FAT_ROWS, k).
    """
    n = voxels.size
    for block in nb.prange((n + BLOCK - 1) // BLOCK):
        low = block * BLOCK
        y = np.empty(times.size * BLOCK, np.float32)
        w = np.empty(times.size * BLOCK, np.float32)
        s = np.zeros(_STATE_ROWS * BLOCK, np.float32)
        load(signal, voxels, low, inv_sigma, -ONE, y, w, s)
        start(y, times, law, max_rate, s)
        for attempt in range(2):
            if attempt == 0:
                _begin_with_water(s)
            else:
                _begin_with_fat(s)
            for _ in range(iterations):
                _sum(y, times, steps, fat[0], fat[1], law, s)
                _step(max_rate, s)
            _settle(tolerance, s)
        for i in range(min(BLOCK, n - low)):
            out[FAT_COST, low + i] = s[COST * BLOCK + i]
            out[FAT_FRACTION, low + i] = s[_BEST_F * BLOCK + i]
        _choose(margin, s)
        _appraise(y, times, steps, fat[0], fat[1], law, s)
        _write(y, low, n, s, out)
