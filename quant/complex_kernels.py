"""Compiled fit of water, fat, R2* and field to complex echoes: Gauss-Newton with damping, many voxels side by side.

The signal is A ((1 - f) + f c(t)) exp(l t) with complex amplitude A, complex rate l = -R + 2 pi i b and fat fraction f,
complex where water and fat have a phase each (the PDFF is its real part), real where they share one. The derivatives by
log A and l are the signal and t times the signal, whose inner products are real: R2* and field are one complex unknown,
SD(R2*) is 2 pi SD(b), and a step costs three complex unknowns instead of six real ones.

Blocks, lanes and units as in ``quant.fit_kernels``: echo-major float32, amplitudes in sigma, times from the first echo
in mean spacings; the arithmetic of a voxel does not depend on its neighbours.
"""

import math

import numba as nb
import numpy as np

from quant.fit_block import BLOCK, compiled_entry, decay_of, inlined

f32 = np.float32
_inner = inlined(fastmath={"contract", "arcp", "nsz", "afn", "nnan"})

# Rows of the result: amplitude |A|, R, its SD, field b, fat fraction and its SD, chi squared, energy, first magnitude.
AMPLITUDE, RATE, SD_RATE, TURN, FRACTION, SD_FRACTION, CHI2, ENERGY, FIRST = range(9)
ROWS = 9

# Rows of the state: trial and best point, the sums of the trial, the sums of the best point, cost and damping.
_AR, _AI, _R, _W, _FR, _FI = range(6)
_POINT = 6
_BEST = 6
_G11, _G12, _G22, _G33, _G13R, _G13I, _G23R, _G23I, _R1R, _R1I, _R2R, _R2I, _R3R, _R3I, _SUM = range(12, 27)
_SUMS = 15
_KEPT = 27
_DAMPING = 42
_STATE_ROWS = 43

_ONE, _ZERO = f32(1), f32(0)
_TINY = f32(1e-12)
_WORST = f32(1e30)
_START_DAMPING, _ACCEPTED, _REJECTED = f32(0.01), f32(0.15), f32(8)
_LARGEST_STEP = f32(0.5)  # of R and of the angle, per mean spacing and iteration
_LARGEST_FRACTION_STEP = f32(0.5)
_SINGULAR = f32(1e-6)
_TWO_PI = f32(2 * math.pi)
# sin(2 pi x) / x and cos(2 pi x) on [-0.5, 0.5] in powers of x^2: least squares on Chebyshev nodes, error 4e-7.
_S0, _S1, _S2, _S3, _S4, _S5 = (
    f32(6.28318279),
    f32(-41.34141933),
    f32(81.59613741),
    f32(-76.579674),
    f32(41.20368208),
    f32(-12.26876145),
)
_C0, _C1, _C2, _C3, _C4, _C5, _C6 = (
    f32(0.99999999),
    f32(-19.7392045),
    f32(64.93911741),
    f32(-85.45013861),
    f32(60.16762308),
    f32(-25.96756845),
    f32(6.52861337),
)


@_inner
def _rotation(turns):  # type: ignore[no-untyped-def]  # numba infers
    """Cosine and sine of an angle in turns."""
    x = turns - np.rint(turns)
    q = x * x
    co = _C0 + q * (_C1 + q * (_C2 + q * (_C3 + q * (_C4 + q * (_C5 + q * _C6)))))
    return co, x * (_S0 + q * (_S1 + q * (_S2 + q * (_S3 + q * (_S4 + q * _S5)))))


@_inner
def _load(signal, voxels, low, scale, yr, yi):  # type: ignore[no-untyped-def]
    for i in range(BLOCK):
        voxel = voxels[low + i] if low + i < voxels.size else voxels[low]
        for e in range(signal.shape[1]):
            sample = signal[voxel, e]
            yr[e * BLOCK + i] = sample.real * scale
            yi[e * BLOCK + i] = sample.imag * scale


@_inner
def _start(yr, yi, times, c_real, c_imag, rate, turn, low, own_phase, lowest, highest, s):  # type: ignore[no-untyped-def]
    """Amplitudes by linear least squares at the given rate and field, as A and f."""
    n = rate.size
    for i in range(BLOCK):
        at = low + i if low + i < n else low
        r, w = rate[at], turn[at]
        ww, ff, wfr, wfi = _ZERO, _ZERO, _ZERO, _ZERO
        br, bi, dr, di = _ZERO, _ZERO, _ZERO, _ZERO
        for e in range(times.size):
            decay = decay_of(r * times[e])
            co, si = _rotation(w * times[e])
            co, si = decay * co, decay * si
            ur, ui = co * yr[e * BLOCK + i] + si * yi[e * BLOCK + i], co * yi[e * BLOCK + i] - si * yr[e * BLOCK + i]
            cr, ci = c_real[e], c_imag[e]
            d2 = decay * decay
            ww += d2
            ff += d2 * (cr * cr + ci * ci)
            wfr += d2 * cr
            wfi += d2 * ci
            br += ur
            bi += ui
            dr += cr * ur + ci * ui
            di += cr * ui - ci * ur
        inverse = _ONE / (ww * ff - wfr * wfr - wfi * wfi + _TINY)
        water_r = (ff * br - (wfr * dr - wfi * di)) * inverse
        water_i = (ff * bi - (wfr * di + wfi * dr)) * inverse
        fat_r = (ww * dr - (wfr * br + wfi * bi)) * inverse
        fat_i = (ww * di - (wfr * bi - wfi * br)) * inverse
        ar, ai = water_r + fat_r, water_i + fat_i
        power = ar * ar + ai * ai + _TINY
        s[_AR * BLOCK + i], s[_AI * BLOCK + i] = ar, ai
        s[_R * BLOCK + i], s[_W * BLOCK + i] = r, w
        s[_FR * BLOCK + i] = min(max((fat_r * ar + fat_i * ai) / power, lowest), highest)
        s[_FI * BLOCK + i] = own_phase * min(max((fat_i * ar - fat_r * ai) / power, -_ONE), _ONE)
        s[(_KEPT + _SUMS - 1) * BLOCK + i] = _WORST
        s[_DAMPING * BLOCK + i] = _START_DAMPING


@_inner
def _sum(yr, yi, times, c_real, c_imag, s):  # type: ignore[no-untyped-def]
    """Normal equations and sum of squares of the trial point."""
    for row in range(_G11, _SUM + 1):
        for i in range(BLOCK):
            s[row * BLOCK + i] = _ZERO
    for e in range(times.size):
        t, cr, ci = times[e], c_real[e], c_imag[e]
        for i in range(BLOCK):
            decay = decay_of(s[_R * BLOCK + i] * t)
            co, si = _rotation(s[_W * BLOCK + i] * t)
            co, si = decay * co, decay * si
            pr, pi = (
                s[_AR * BLOCK + i] * co - s[_AI * BLOCK + i] * si,
                s[_AR * BLOCK + i] * si + s[_AI * BLOCK + i] * co,
            )
            er, ei = cr - _ONE, ci
            mr = _ONE + s[_FR * BLOCK + i] * er - s[_FI * BLOCK + i] * ei
            mi = s[_FR * BLOCK + i] * ei + s[_FI * BLOCK + i] * er
            vr, vi = pr * mr - pi * mi, pr * mi + pi * mr
            xr, xi = pr * er - pi * ei, pr * ei + pi * er
            dr, di = yr[e * BLOCK + i] - vr, yi[e * BLOCK + i] - vi
            power = vr * vr + vi * vi
            s[_G11 * BLOCK + i] += power
            s[_G12 * BLOCK + i] += t * power
            s[_G22 * BLOCK + i] += t * t * power
            s[_G33 * BLOCK + i] += xr * xr + xi * xi
            kr, ki = vr * xr + vi * xi, vr * xi - vi * xr
            s[_G13R * BLOCK + i] += kr
            s[_G13I * BLOCK + i] += ki
            s[_G23R * BLOCK + i] += t * kr
            s[_G23I * BLOCK + i] += t * ki
            jr, ji = vr * dr + vi * di, vr * di - vi * dr
            s[_R1R * BLOCK + i] += jr
            s[_R1I * BLOCK + i] += ji
            s[_R2R * BLOCK + i] += t * jr
            s[_R2I * BLOCK + i] += t * ji
            s[_R3R * BLOCK + i] += xr * dr + xi * di
            s[_R3I * BLOCK + i] += xr * di - xi * dr
            s[_SUM * BLOCK + i] += dr * dr + di * di


@_inner
def _step(max_rate, own_phase, lowest, highest, s):  # type: ignore[no-untyped-def]
    """Accept or reject the trial point of every lane and propose the next one."""
    for i in range(BLOCK):
        better = s[_SUM * BLOCK + i] < s[(_KEPT + _SUMS - 1) * BLOCK + i]
        for k in range(_POINT):
            s[(_BEST + k) * BLOCK + i] = s[(k) * BLOCK + i] if better else s[(_BEST + k) * BLOCK + i]
        for k in range(_SUMS):
            s[(_KEPT + k) * BLOCK + i] = s[(_G11 + k) * BLOCK + i] if better else s[(_KEPT + k) * BLOCK + i]
        damping = s[_DAMPING * BLOCK + i] * (_ACCEPTED if better else _REJECTED)
        s[_DAMPING * BLOCK + i] = damping
        grow = _ONE + damping
        g11 = s[_KEPT * BLOCK + i] * grow + _TINY
        g12, g13r, g13i = s[(_KEPT + 1) * BLOCK + i], s[(_KEPT + 4) * BLOCK + i], s[(_KEPT + 5) * BLOCK + i]
        d22 = max(s[(_KEPT + 2) * BLOCK + i] * grow - g12 * g12 / g11, _SINGULAR * s[(_KEPT + 2) * BLOCK + i] + _TINY)
        e23r = s[(_KEPT + 6) * BLOCK + i] - g12 * g13r / g11
        e23i = s[(_KEPT + 7) * BLOCK + i] - g12 * g13i / g11
        d33 = s[(_KEPT + 3) * BLOCK + i] * grow - (g13r * g13r + g13i * g13i) / g11 - (e23r * e23r + e23i * e23i) / d22
        d33 = max(d33, _SINGULAR * s[(_KEPT + 3) * BLOCK + i] + _TINY)
        r1r, r1i = s[(_KEPT + 8) * BLOCK + i], s[(_KEPT + 9) * BLOCK + i]
        r2r, r2i = s[(_KEPT + 10) * BLOCK + i] - g12 * r1r / g11, s[(_KEPT + 11) * BLOCK + i] - g12 * r1i / g11
        r3r = s[(_KEPT + 12) * BLOCK + i] - (g13r * r1r + g13i * r1i) / g11 - (e23r * r2r + e23i * r2i) / d22
        r3i = s[(_KEPT + 13) * BLOCK + i] - (g13r * r1i - g13i * r1r) / g11 - (e23r * r2i - e23i * r2r) / d22
        f, r = s[(_BEST + _FR) * BLOCK + i], s[(_BEST + _R) * BLOCK + i]
        fr = min(max(r3r / d33, -_LARGEST_FRACTION_STEP), _LARGEST_FRACTION_STEP)
        fr = min(max(f + fr, lowest), highest) - f  # the others go by the step that is taken
        fi = own_phase * min(max(r3i / d33, -_LARGEST_FRACTION_STEP), _LARGEST_FRACTION_STEP)
        lr = min(max((r2r - e23r * fr + e23i * fi) / d22, -_LARGEST_STEP), _LARGEST_STEP)
        lr = r - min(max(r - lr, _ZERO), max_rate)
        li = min(max((r2i - e23r * fi - e23i * fr) / d22, -_LARGEST_STEP), _LARGEST_STEP)
        ar = (r1r - g12 * lr - g13r * fr + g13i * fi) / g11
        ai = (r1i - g12 * li - g13r * fi - g13i * fr) / g11
        br, bi = s[(_BEST + _AR) * BLOCK + i], s[(_BEST + _AI) * BLOCK + i]
        s[_AR * BLOCK + i] = br + br * ar - bi * ai
        s[_AI * BLOCK + i] = bi + br * ai + bi * ar
        s[_R * BLOCK + i] = r - lr
        s[_W * BLOCK + i] = s[(_BEST + _W) * BLOCK + i] + li / _TWO_PI
        s[_FR * BLOCK + i] = f + fr
        s[_FI * BLOCK + i] = min(max(s[(_BEST + _FI) * BLOCK + i] + fi, -highest), highest)


@_inner
def _report(i, at, yr, yi, s, out):  # type: ignore[no-untyped-def]
    """Values and Cramer-Rao standard deviations of lane i at its best point."""
    g11, g12, g22, g33 = (
        s[_KEPT * BLOCK + i],
        s[(_KEPT + 1) * BLOCK + i],
        s[(_KEPT + 2) * BLOCK + i],
        s[(_KEPT + 3) * BLOCK + i],
    )
    g13r, g13i = s[(_KEPT + 4) * BLOCK + i], s[(_KEPT + 5) * BLOCK + i]
    d22 = max(g22 - g12 * g12 / g11, _SINGULAR * g22)
    er, ei = s[(_KEPT + 6) * BLOCK + i] - g12 * g13r / g11, s[(_KEPT + 7) * BLOCK + i] - g12 * g13i / g11
    d33 = max(g33 - (g13r * g13r + g13i * g13i) / g11, _SINGULAR * g33)
    left = max(d22 * d33 - er * er - ei * ei, _SINGULAR * d22 * d33)
    energy = _ZERO
    for e in range(yr.size // BLOCK):
        energy += yr[e * BLOCK + i] * yr[e * BLOCK + i] + yi[e * BLOCK + i] * yi[e * BLOCK + i]
    ar, ai = s[(_BEST + _AR) * BLOCK + i], s[(_BEST + _AI) * BLOCK + i]
    out[AMPLITUDE, at] = math.sqrt(ar * ar + ai * ai)
    out[RATE, at] = s[(_BEST + _R) * BLOCK + i]
    out[SD_RATE, at] = math.sqrt(d33 / left)
    out[TURN, at] = s[(_BEST + _W) * BLOCK + i]
    out[FRACTION, at] = s[(_BEST + _FR) * BLOCK + i]
    out[SD_FRACTION, at] = math.sqrt(d22 / left)
    out[CHI2, at] = s[(_KEPT + _SUMS - 1) * BLOCK + i]
    out[ENERGY, at] = energy
    out[FIRST, at] = math.sqrt(yr[i] * yr[i] + yi[i] * yi[i])


@compiled_entry
def fit_complex(  # type: ignore[no-untyped-def]
    signal, voxels, rate, turn, times, c_real, c_imag, scale, max_rate, own_phase, lowest, highest, iterations, out
):
    """Fit ``signal`` (n, e) complex64 at the rows ``voxels`` (k,) from the start ``rate``, ``turn`` (k,).

    ``rate`` is R2* and ``turn`` the field in turns, both per mean spacing; ``c_real``, ``c_imag`` (e,) unit fat;
    ``scale`` divides sigma out. ``own_phase`` 1 gives water and fat a phase each, 0 a common one; the real part of the
    fat fraction stays between ``lowest`` and ``highest``. Fills ``out`` (ROWS, k); the standard deviations are those
    of a phase each.
    """
    n, echoes = voxels.size, times.size
    for block in nb.prange((n + BLOCK - 1) // BLOCK):
        low = block * BLOCK
        yr = np.empty(echoes * BLOCK, np.float32)
        yi = np.empty(echoes * BLOCK, np.float32)
        s = np.zeros(_STATE_ROWS * BLOCK, np.float32)
        _load(signal, voxels, low, scale, yr, yi)
        _start(yr, yi, times, c_real, c_imag, rate, turn, low, own_phase, lowest, highest, s)
        for _ in range(iterations):
            _sum(yr, yi, times, c_real, c_imag, s)
            _step(max_rate, own_phase, lowest, highest, s)
        for i in range(min(BLOCK, n - low)):
            _report(i, low + i, yr, yi, s, out)
