"""What the compiled fits share: blocks of voxels side by side, the noise law, the start of a decay, compilation.

Voxels are taken in blocks of ``BLOCK`` lanes. A block is copied echo-major into a small buffer, so that every inner
loop runs over lanes of contiguous float32 and vectorises; the echo loop lies outside, so one compilation serves any
number of echoes, any echo times and any noise law. Unused lanes of the last block repeat its first voxel: every voxel
goes through the same instructions wherever it lies, which makes results independent of order, chunks and threads.

Amplitudes are in units of sigma, times are relative to the first echo and in units of the mean echo spacing. The
noise law arrives as the tuple of ``NoiseLaw.kernel_constants``. The state of a block is one flat array, row r of lane
i at ``r * BLOCK + i``: with a constant stride the compiler sees that rows do not overlap.
"""

import hashlib
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numba as nb
import numpy as np

f32 = np.float32
BLOCK = 256
LEAST_ECHOES = 3  # kept by truncation whatever their size
_FAST = {"contract", "arcp", "nsz", "afn", "nnan"}  # no reassociation: the order of summation is the result

# Rows of the result of every fit.
AMPLITUDE, RATE, SD_RATE, CHI2, ENERGY, FIRST, SAMPLES, DISTANCE = range(8)
"""``DISTANCE`` is how far from its minimum the fit ended, squared, in standard deviations (``distance_left``)."""

ONE, ZERO, HALF, TWO = f32(1), f32(0), f32(0.5), f32(2)
TINY = f32(1e-12)
SINGULAR = f32(1e-6)  # of the product of the diagonal: float32 holds no smaller determinant
WORST = f32(1e30)
LEAST_AMPLITUDE = f32(1e-3)
LARGEST_STEP = f32(0.7)  # of the rate per iteration, in 1 / mean echo spacing
LARGEST_LAST_STEP = f32(0.1)  # of the rate and of the fat fraction that may be taken without looking where it leads
START_DAMPING, ACCEPTED, REJECTED, LARGEST_DAMPING = f32(0.01), f32(0.2), f32(6), f32(1e9)

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
_LEAST_INFORMATION = f32(1e-9)
_LEAST_MODULATION = f32(1e-6)
_STEEPEST = f32(0.95)  # of the slope that trapezoids make of an infinitely steep decay

# Rows of the state of a block that every fit has: the trial point and the best one, their sums of squares.
A, R, BEST_A, BEST_R, COST, SUM, DAMPING, STEP2, LEFT, ROW_ENERGY, ROW_SAMPLES, DECAYED, SHRINK = range(13)
FIRST_FREE_ROW = 13


def compiled_entry(function: Callable[..., Any], *, fast: bool = True) -> Any:
    """Compile a threaded entry point, with numba's cache on disk where one can be kept.

    numba raises ``RuntimeError`` when neither the package folder, ``NUMBA_CACHE_DIR`` nor the user's cache folder can
    be written; the fit then works all the same and compiles once per process. numba notices a change in the file of
    the entry only, so the code of the functions it calls becomes part of the name it is cached under. ``fast``
    arithmetic knows no NaN.
    """
    function.__qualname__ = f"{function.__qualname__}_{_digest_of_callees(function)}"
    options: dict[str, Any] = {
        "parallel": True,
        "nogil": True,
        "fastmath": _FAST if fast else False,
        "error_model": "numpy",
    }
    try:
        return nb.njit(cache=True, **options)(function)
    except RuntimeError:
        return nb.njit(**options)(function)


exact_entry = partial(compiled_entry, fast=False)
"""For functions that have to recognise NaN."""


def _digest_of_callees(function: Callable[..., Any]) -> str:
    """Of the code of all compiled functions that ``function`` reaches, and of the constants they use."""
    parts: list[str] = []
    waiting: list[Any] = [function]
    seen: set[Any] = set()
    while waiting:
        reached = waiting.pop()
        if reached in seen:
            continue
        seen.add(reached)
        code = reached.__code__
        used = [(name, reached.__globals__.get(name)) for name in code.co_names]
        constants = [pair for pair in used if isinstance(pair[1], int | float | tuple | np.generic)]
        parts.append(repr((code.co_name, code.co_code, code.co_consts, constants)))
        waiting += [callee.py_func for _, callee in used if hasattr(callee, "py_func")]
    return hashlib.sha256("".join(sorted(parts)).encode()).hexdigest()[:12]


inner = nb.njit(fastmath=_FAST, error_model="numpy")
"""For functions called from an entry point; the compiler inlines some. All inlined, the magnitude fits would take 40 %
longer."""

inlined = partial(nb.njit, error_model="numpy", forceinline=True)
"""For functions that always become part of the entry point they are called from.

Any other is compiled by itself and once more with the entry: a process that compiles runs the former, one that loads
numba's cache the latter, and fast arithmetic may round differently in the two.
"""


@inner
def decay_of(x):  # type: ignore[no-untyped-def]  # numba infers
    """exp(-x) for 0 <= x, 0 beyond 40."""
    t = min(x, _MAX_EXPONENT) * _INV_64
    e = ONE + t * (_E1 + t * (_E2 + t * (_E3 + t * (_E4 + t * _E5))))
    e = e * e
    e = e * e
    e = e * e
    e = e * e
    e = e * e
    return e * e


@inner
def moment(a2, law):  # type: ignore[no-untyped-def]
    """First moment of amplitude a by ``a2`` = a^2, its derivative by ln a divided by a^2, and the variance."""
    u = ONE / (ONE + a2 * law[0])
    p = u * (law[2] + u * (law[3] + u * (law[4] + u * (law[5] + u * (law[6] + u * (law[7] + u * law[8]))))))
    q = f32(4) * law[5] + u * (f32(5) * law[6] + u * (f32(6) * law[7] + u * (f32(7) * law[8])))
    q = law[2] + u * (f32(2) * law[3] + u * (f32(3) * law[4] + u * q))
    square = a2 + law[1] + p + TINY
    inverse = ONE / math.sqrt(square)
    return square * inverse, (ONE - q * u * u * law[0]) * inverse, ONE - p


@inner
def information(a2, law):  # type: ignore[no-untyped-def]
    """Fisher information of one sample about its amplitude a, by ``a2`` = a^2."""
    u = ONE / (ONE + a2 * law[0])
    tail = law[13] + u * (law[14] + u * (law[15] + u * law[16]))
    return max(ONE - u * (law[9] + u * (law[10] + u * (law[11] + u * (law[12] + u * tail)))), _LEAST_INFORMATION)


@inner
def modulation(f, c_real, c_power):  # type: ignore[no-untyped-def]
    """|(1 - f) + f c|^2 and half its derivative by f, for fat c of real part ``c_real``, |c|^2 = ``c_power``."""
    water = ONE - f
    square = max(water * water + f * (TWO * water * c_real + f * c_power), _LEAST_MODULATION)
    return square, (water - f) * c_real + f * c_power - water


@inner
def begin_decay(amplitude, s):  # type: ignore[no-untyped-def]
    """Put row ``amplitude`` into ``DECAYED``, from where ``next_steps`` and ``DECAYED * SHRINK`` go echo by echo."""
    for i in range(BLOCK):
        s[DECAYED * BLOCK + i] = s[amplitude * BLOCK + i]


@inner
def next_steps(e, steps, rate, s):  # type: ignore[no-untyped-def]
    """Row ``SHRINK``: the decay over the time since the echo before ``e``, computed anew only where that changes."""
    if e == 0 or steps[e] != steps[e - 1]:
        for i in range(BLOCK):
            s[SHRINK * BLOCK + i] = decay_of(s[rate * BLOCK + i] * steps[e])


@inner
def load(signal, voxels, low, inv_sigma, floor, y, w, s):  # type: ignore[no-untyped-def]
    """Copy one block echo-major in units of sigma; a lane ends (weight 0) at its first low echo."""
    for i in range(BLOCK):
        voxel = voxels[low + i] if low + i < voxels.size else voxels[low]
        for e in range(signal.shape[1]):
            y[e * BLOCK + i] = signal[voxel, e]
    for i in range(BLOCK):
        s[ROW_ENERGY * BLOCK + i] = ZERO
        s[ROW_SAMPLES * BLOCK + i] = ZERO
        s[SUM * BLOCK + i] = ONE
    for e in range(signal.shape[1]):
        for i in range(BLOCK):
            m = y[e * BLOCK + i] * inv_sigma
            before = s[SUM * BLOCK + i]
            weight = before if (m > floor or e < LEAST_ECHOES) else ZERO
            s[SUM * BLOCK + i] = weight
            y[e * BLOCK + i] = m
            w[e * BLOCK + i] = weight
            s[ROW_ENERGY * BLOCK + i] += m * m
            s[ROW_SAMPLES * BLOCK + i] += weight


@inner
def start(y, times, law, max_rate, s):  # type: ignore[no-untyped-def]
    """Start of a decay from its squares freed of the noise power: p(t) - p(0) = -2R x integral of p, by trapezoids.

    Trapezoids of the mean width overestimate the integral of an exponential by (k/2) / tanh(k/2), k = 2R, which is
    undone. Leaves amplitude in the trial row A and rate in the trial row R.
    """
    power = law[1] + (ONE if law[1] > ZERO else ZERO)
    for i in range(BLOCK):
        s[BEST_A * BLOCK + i] = ZERO
        s[SUM * BLOCK + i] = ZERO
        s[BEST_R * BLOCK + i] = ZERO
    for e in range(1, times.size):
        half = HALF * (times[e] - times[e - 1])
        for i in range(BLOCK):
            p0 = y[i] * y[i] - power
            p1 = y[(e - 1) * BLOCK + i] * y[(e - 1) * BLOCK + i] - power
            p2 = y[e * BLOCK + i] * y[e * BLOCK + i] - power
            integral = s[BEST_A * BLOCK + i] + half * (max(p1, ZERO) + max(p2, ZERO))
            s[BEST_A * BLOCK + i] = integral
            s[SUM * BLOCK + i] += (p0 - p2) * integral
            s[BEST_R * BLOCK + i] += integral * integral
    for i in range(BLOCK):
        x = min(max(HALF * s[SUM * BLOCK + i] / (s[BEST_R * BLOCK + i] + TINY), ZERO), _STEEPEST)
        rate = x * (f32(15) - f32(4) * x * x) / (f32(15) - f32(9) * x * x)  # artanh x
        s[R * BLOCK + i] = min(rate, max_rate)
        s[A * BLOCK + i] = math.sqrt(max(y[i] * y[i] - power, HALF))


@inner
def restart(s):  # type: ignore[no-untyped-def]
    """Forget the best point of every lane."""
    for i in range(BLOCK):
        s[COST * BLOCK + i] = WORST
        s[DAMPING * BLOCK + i] = START_DAMPING
        s[STEP2 * BLOCK + i] = ONE
        s[LEFT * BLOCK + i] = WORST


@inner
def keep(better, new, old, s, i):  # type: ignore[no-untyped-def]
    """Row ``old`` becomes row ``new`` in lane ``i`` if ``better``."""
    fresh, kept = s[new * BLOCK + i], s[old * BLOCK + i]  # read both: a choice of addresses would not vectorise
    s[old * BLOCK + i] = fresh if better else kept


@inner
def within(step, largest, value, low, high):  # type: ignore[no-untyped-def]
    """``step`` from ``value``, at most ``largest`` either way and not beyond ``low`` and ``high``."""
    step = max(step, -largest, low - value)
    return min(step, largest, high - value)


@inner
def damped(better, s, i):  # type: ignore[no-untyped-def]
    """New damping of lane ``i``."""
    damping = min(s[DAMPING * BLOCK + i] * (ACCEPTED if better else REJECTED), LARGEST_DAMPING)
    s[DAMPING * BLOCK + i] = damping
    return damping


@inner
def distance_left(better, step2, near, s, i):  # type: ignore[no-untyped-def]
    """Record how far lane ``i`` will be from its minimum after a step of ``step2`` (squared, standard deviations).

    Gauss-Newton contracts by about the same factor each time, so the next step would be this one times its ratio to
    the one before. Steps that are not ``near`` leave a lane unfinished; a rejected trial says nothing.
    """
    last, left = s[STEP2 * BLOCK + i], s[LEFT * BLOCK + i]
    expected = step2 * min(step2 / (last + TINY), ONE) if near else WORST
    s[LEFT * BLOCK + i] = expected if better else left
    s[STEP2 * BLOCK + i] = step2 if better else last
