"""Candidates for the field of every voxel: where water and fat explain the complex echoes best.

For a field offset and an R2* the best amplitudes of water and fat, and their common phase, follow in closed form
(variable projection; Hernando 2008, 10.1002/mrm.21301; common phase: Bydder 2011, 10.1016/j.mri.2010.08.011). So the
residual is scanned over one period of the field for a few values of R2*, and its deepest minima are kept: one of them
is right, others have water and fat exchanged (``quant.complex_field`` decides which).
"""

from dataclasses import dataclass

import numba as nb
import numpy as np
import numpy.typing as npt

from quant.fit_block import BLOCK, compiled_entry, inlined

Array = npt.NDArray[np.float64]
Candidates = npt.NDArray[np.float32]

f32 = np.float32
NONE = f32(1e30)
"""Cost of a candidate that does not exist."""
_R2STAR_PER_S = (25.0, 120.0, 350.0, 800.0)
_POINTS_PER_ECHO = 5.3  # of the scan, for one period and each echo of the longest train
_LARGEST_DIVISOR = 3
_OFF_GRID = 0.01  # of the grid step: echo times so close to a grid count as on it
_MOST_POINTS = 1024  # nearly equal echo times ask for a range without end; this one passes any field of tissue
_OPEN_RANGE = 1.5  # of the reciprocal of the closest spacing, to both sides, where the field has no period


@dataclass(frozen=True, kw_only=True)
class FieldRange:
    """Field offsets that the echoes can tell apart: ``span_hz`` wide around 0, cyclic where ``cyclic``.

    Echo times on a grid of step d cannot tell fields that differ by 1/d.
    """

    span_hz: float
    cyclic: bool
    points: int

    @classmethod
    def of(cls, echo_times_s: Array) -> "FieldRange":
        steps = np.diff(echo_times_s)
        for divisor in range(1, _LARGEST_DIVISOR + 1):
            step = float(steps.min()) / divisor
            for _ in range(2):
                number = np.round((echo_times_s - echo_times_s[0]) / step)
                step = float((echo_times_s - echo_times_s[0]) @ number / (number @ number))
            off = np.abs((echo_times_s - echo_times_s[0]) / step - number).max()
            if off <= _OFF_GRID and _POINTS_PER_ECHO * (number[-1] + 1) <= _MOST_POINTS:
                return cls(span_hz=1 / step, cyclic=True, points=_even(_POINTS_PER_ECHO * (number[-1] + 1)))
        duration = float(np.ptp(echo_times_s))
        span = min(2 * _OPEN_RANGE / float(steps.min()), (_MOST_POINTS / _POINTS_PER_ECHO - 1) / duration)
        return cls(span_hz=span, cyclic=False, points=_even(_POINTS_PER_ECHO * (span * duration + 1)))

    @property
    def candidates(self) -> int:
        """How many to keep for each voxel: where near-periods lie inside the range, each has minima of its own."""
        return 3 if self.cyclic else 5

    def hz(self) -> Array:
        """Offsets of the scan, ascending, (points,)."""
        return (np.arange(self.points) / self.points - 0.5) * self.span_hz

    def hz_at(self, offset: Candidates) -> Candidates:
        """Field in hertz of an offset in points of the scan."""
        return np.asarray((offset / self.points - 0.5) * self.span_hz, dtype=np.float32)


def _even(number: float) -> int:
    return 2 * int(np.ceil(number / 2))


def scan_table(echo_times_s: Array, fat: npt.NDArray[np.complex128], fields: FieldRange) -> npt.NDArray[np.complex64]:
    """Conjugated unit signals (points, R2*, 2, e) that span water and ``fat`` (e,) with a common phase."""
    turn = np.exp(2j * np.pi * np.multiply.outer(fields.hz(), echo_times_s - echo_times_s[0]))
    bases = []
    for r2star in _R2STAR_PER_S:
        decay = np.exp(-r2star * (echo_times_s - echo_times_s[0]))
        pair = np.stack([decay + 0j, decay * fat])
        real = np.concatenate([pair.real, pair.imag], axis=1)
        ortho = np.linalg.qr(real.T)[0].T  # orthonormal for real amplitudes
        bases.append(ortho[:, : decay.size] + 1j * ortho[:, decay.size :])
    table = np.conj(turn[:, None, None, :] * np.stack(bases)[None])
    return np.ascontiguousarray(table, dtype=np.complex64)


@compiled_entry
def scan(signal, voxels, real, imaginary, scale, cyclic, offset, cost, stiffness):  # type: ignore[no-untyped-def]
    """Scan ``signal`` (n, e) complex64 at the rows ``voxels`` (k,).

    ``real`` and ``imaginary`` are the two parts of the table (points, R2*, 2, e); ``scale`` divides sigma out. Fills,
    for every voxel and candidate (k, c), the ``offset`` in points of the scan and the ``cost`` (sum of squares left
    over, sigma^2), best first, and the ``stiffness`` (k,): second derivative of the cost by the offset at the best.
    """
    points, rates, _, echoes = real.shape
    n = voxels.size
    for block in nb.prange((n + BLOCK - 1) // BLOCK):
        low = block * BLOCK
        yr = np.empty((echoes, BLOCK), np.float32)
        yi = np.empty((echoes, BLOCK), np.float32)
        total = np.zeros(BLOCK, np.float32)
        h = np.empty((4, BLOCK), np.float32)
        power = np.empty((points, BLOCK), np.float32)
        for i in range(BLOCK):
            voxel = voxels[low + i] if low + i < n else voxels[low]
            for e in range(echoes):
                sample = signal[voxel, e]
                yr[e, i] = sample.real * scale
                yi[e, i] = sample.imag * scale
                total[i] += yr[e, i] * yr[e, i] + yi[e, i] * yi[e, i]
        for p in range(points):
            row = power[p]
            row[:] = f32(0)
            for r in range(rates):
                _project(yr, yi, real[p, r], imaginary[p, r], h)
                for i in range(BLOCK):
                    ar, ai, br, bi = h[0, i], h[1, i], h[2, i], h[3, i]
                    sr = ar * ar - ai * ai + br * br - bi * bi
                    si = f32(2) * (ar * ai + br * bi)
                    both = ar * ar + ai * ai + br * br + bi * bi
                    row[i] = max(row[i], f32(0.5) * (both + np.sqrt(sr * sr + si * si)))
        for i in range(min(BLOCK, n - low)):
            stiffness[low + i] = _peaks(power, i, total[i], cyclic, offset[low + i], cost[low + i])


@inlined(fastmath={"contract", "arcp", "nsz", "afn", "nnan"})
def _project(yr, yi, tr, ti, h):  # type: ignore[no-untyped-def]
    """Inner products of one block with two unit signals: real and imaginary part of the first, then of the second."""
    h[:] = f32(0)
    for e in range(tr.shape[1]):
        a, b, c, d = tr[0, e], ti[0, e], tr[1, e], ti[1, e]
        for i in range(BLOCK):
            u, v = yr[e, i], yi[e, i]
            h[0, i] += a * u - b * v
            h[1, i] += a * v + b * u
            h[2, i] += c * u - d * v
            h[3, i] += c * v + d * u


@inlined(fastmath=False)
def _peaks(power, i, total, cyclic, offset, cost):  # type: ignore[no-untyped-def]
    """The highest local maxima of column i of ``power``, refined by a parabola; returns the best one's curvature."""
    points = power.shape[0]
    for k in range(offset.size):
        offset[k] = f32(0)
        cost[k] = NONE
    stiffness = f32(0)
    for p in range(points):
        if not cyclic and (p == 0 or p == points - 1):
            continue
        left, here, right = (
            power[p - 1 if p > 0 else points - 1, i],
            power[p, i],
            power[p + 1 if p + 1 < points else 0, i],
        )
        if not (here >= left and here > right):
            continue
        bend = left - f32(2) * here + right
        shift = f32(0.5) * (left - right) / min(bend, -f32(1e-20))
        value = total - (here - f32(0.25) * (left - right) * shift)
        k = offset.size - 1
        if value >= cost[k]:
            continue
        while k > 0 and value < cost[k - 1]:
            cost[k] = cost[k - 1]
            offset[k] = offset[k - 1]
            k -= 1
        cost[k] = value
        offset[k] = f32(p) + shift
        if k == 0:
            stiffness = -bend
    return stiffness
