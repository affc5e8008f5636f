"""Compiled parts of ``quant.local_fat``: sums over tiles of alike blocks, and the error of their fat fraction.

Threaded over rows of tiles and over blocks; each is computed by itself, so the number of threads does not matter.
"""

import math

import numba as nb
import numpy as np

from quant.fit_block import BLOCK, exact_entry, f32, inner, modulation, moment

_ZERO = f32(0)
_RIDGE = 1e-9
_LEAST = 1e-30  # length of a column
_BY_S0, _BY_RATE, _BY_FRACTION, _VARIANCE, _SLOPE, _FLOOR = range(6)  # Jacobian of the mean, and what it is made of
_ROWS = 6


@exact_entry
def merge(total, count, size, third, floor, sigma, likeness, noise_sd, least_share, least_signal, summed, number):  # type: ignore[no-untyped-def]  # numba infers
    """Sum tiles of ``size`` (rows, columns) blocks over the blocks alike in early and late signal.

    ``total`` (z, y, x, e) are sums over ``count`` (z, y, x) voxels. A block is alike where its mean signal above
    ``floor`` (sigma), both over the first ``third`` echoes and over the others, is within ``likeness`` of the (lower)
    median of the tile plus ``noise_sd`` standard deviations. Fills ``summed`` (z, Y, X, e) and ``number`` (z, Y, X),
    0 where less than ``least_share`` of the tile is alike, or its first echo less than ``least_signal`` sigma above
    the floor.
    """
    slices, rows, columns, echoes = total.shape
    tile_rows, tile_columns = number.shape[1], number.shape[2]
    for line in nb.prange(slices * tile_rows):
        z, tile_y = line // tile_rows, line % tile_rows
        above = np.empty((2, size[0] * size[1] + 1), np.float32)  # and room for one of no voxels
        ordered = np.empty(size[0] * size[1], np.float32)
        middle = np.empty(2, np.float32)
        for tile_x in range(tile_columns):
            top, left = tile_y * size[0], tile_x * size[1]
            bottom, right = min(top + size[0], rows), min(left + size[1], columns)
            known = 0
            for y in range(top, bottom):
                for x in range(left, right):
                    _levels(total, z, y, x, third, floor, f32(sigma * count[z, y, x]), above, known)
                    known += count[z, y, x] > _ZERO
            for part in range(2 if known else 0):
                middle[part] = _lower_median(above, part, known, ordered)
            alike, voxels, known = 0, _ZERO, 0
            for e in range(echoes):
                summed[z, tile_y, tile_x, e] = _ZERO
            for y in range(top, bottom):
                for x in range(left, right):
                    here = count[z, y, x]
                    if here > _ZERO:
                        early_noise = noise_sd / math.sqrt(here * third)
                        late_noise = noise_sd / math.sqrt(here * (echoes - third))
                        near = _is_near(above[0, known], middle[0], likeness, early_noise)
                        near &= _is_near(above[1, known], middle[1], likeness, late_noise)
                        known += 1
                        if near:
                            alike += 1
                            voxels += here
                            _add(total, z, y, x, summed, tile_y, tile_x)
            enough = alike >= least_share * size[0] * size[1]
            bright = summed[z, tile_y, tile_x, 0] > (floor + least_signal) * sigma * voxels
            number[z, tile_y, tile_x] = voxels if enough and bright else _ZERO


@inner
def _add(total, z, y, x, summed, tile_y, tile_x):  # type: ignore[no-untyped-def]
    for e in range(total.shape[3]):
        summed[z, tile_y, tile_x, e] += total[z, y, x, e]


@inner
def _is_near(value, middle, likeness, noise):  # type: ignore[no-untyped-def]
    return abs(value - middle) <= likeness * max(middle, _ZERO) + noise


@inner
def _lower_median(values, row, known, ordered):  # type: ignore[no-untyped-def]
    """Of the first ``known`` values of a row, few as they are; ``ordered`` is room to sort them."""
    for k in range(known):
        value, place = values[row, k], k
        while place > 0 and ordered[place - 1] > value:
            ordered[place] = ordered[place - 1]
            place -= 1
        ordered[place] = value
    return ordered[(known - 1) // 2]


@inner
def _levels(total, z, y, x, third, floor, unit, above, k):  # type: ignore[no-untyped-def]
    """Mean signal over the floor of the early and the late echoes, in sigma; ``unit`` is sigma times the voxels."""
    early, late = _ZERO, _ZERO
    for e in range(third):
        early += total[z, y, x, e]
    for e in range(third, total.shape[3]):
        late += total[z, y, x, e]
    above[0, k] = early / (third * unit) - floor
    above[1, k] = late / ((total.shape[3] - third) * unit) - floor


@exact_entry
def fraction_errors(snr, r2star, pdff, times, fat, law, bends, noise, bent, slow):  # type: ignore[no-untyped-def]
    """SD of the fat fraction (k,) of one voxel by noise, and its shift by bent decays: least squares to first order.

    ``times`` (e,) in seconds; ``fat`` real part and squared modulus (e,) of unit fat; ``bends`` the relative SD of R2*,
    the error of sigma, the share of slow signal and its R2*. Fills ``noise``, ``bent`` (by spread and sigma) and
    ``slow``, infinite where the fit is not finite.
    """
    n, echoes = snr.size, times.size
    spread, louder, slow_share, slow_rate = bends
    for block in nb.prange((n + BLOCK - 1) // BLOCK):
        rows = np.empty((_ROWS, echoes), np.float64)
        for i in range(block * BLOCK, min((block + 1) * BLOCK, n)):
            noise[i], bent[i], slow[i] = math.inf, math.inf, math.inf
            if not (math.isfinite(snr[i]) and math.isfinite(r2star[i]) and math.isfinite(pdff[i])):
                continue
            for e in range(echoes):
                square, bend = modulation(pdff[i], fat[0][e], fat[1][e])
                decay, m = math.exp(-r2star[i] * times[e]), math.sqrt(square)
                a2 = (snr[i] * decay) ** 2 * square
                mean, gain, variance = moment(a2, law)
                slope = gain * math.sqrt(a2)
                rows[_BY_S0, e], rows[_BY_RATE, e] = slope * decay * m, -gain * a2 * times[e]
                rows[_BY_FRACTION, e] = slope * snr[i] * decay * bend / m
                rows[_VARIANCE, e], rows[_SLOPE, e], rows[_FLOOR, e] = variance, slope, mean - gain * a2
            _turn_into_gain(rows)
            by_noise, by_spread, by_sigma, by_slow = 0.0, 0.0, 0.0, 0.0
            for e in range(echoes):
                gain = rows[_BY_FRACTION, e]
                by_noise += gain * gain * rows[_VARIANCE, e]
                by_spread -= gain * rows[_BY_RATE, e] * times[e] * (spread * r2star[i]) ** 2 / 2
                by_sigma += gain * louder * rows[_FLOOR, e]
                by_slow += gain * rows[_SLOPE, e] * slow_share * snr[i] * math.exp(-slow_rate * times[e])
            noise[i] = math.sqrt(by_noise)
            bent[i] = math.sqrt(by_spread**2 + by_sigma**2)
            slow[i] = abs(by_slow)


@inner
def _turn_into_gain(rows):  # type: ignore[no-untyped-def]
    """Replace the third column of the Jacobian by what one unit of each sample adds to the fitted third parameter."""
    n11, n12, n13, n22, n23, n33 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for e in range(rows.shape[1]):
        j1, j2, j3 = rows[_BY_S0, e], rows[_BY_RATE, e], rows[_BY_FRACTION, e]
        n11, n12, n13 = n11 + j1 * j1, n12 + j1 * j2, n13 + j1 * j3
        n22, n23, n33 = n22 + j2 * j2, n23 + j2 * j3, n33 + j3 * j3
    l1, l2, l3 = math.sqrt(n11) + _LEAST, math.sqrt(n22) + _LEAST, math.sqrt(n33) + _LEAST
    d, a, b, c = 1 + _RIDGE, n12 / (l1 * l2), n13 / (l1 * l3), n23 / (l2 * l3)  # columns of length 1: cosines
    c1, c2, c3 = a * c - b * d, a * b - c * d, d * d - a * a
    determinant = b * c1 + c * c2 + d * c3
    for e in range(rows.shape[1]):
        gain = c1 * rows[_BY_S0, e] / l1 + c2 * rows[_BY_RATE, e] / l2 + c3 * rows[_BY_FRACTION, e] / l3
        rows[_BY_FRACTION, e] = gain / (determinant * l3)
