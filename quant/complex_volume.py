"""Water, fat, R2* and field of a whole complex volume: candidates, the field that fits together, refinement.

``fit_complex_volume`` gives every voxel a fit; what to make of it (flags, fallback to the magnitude) is decided in
``quant.fit_complex``.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter

from quant import complex_kernels as kernels
from quant.complex_field import settle
from quant.complex_scan import NONE, FieldRange, scan, scan_table
from quant.models import main_fat_shift_hz
from quant.slabs import each_slab, in_plane_mean
from quant.threads import each_part
from quant.voxel_fit import Setup, Voxels

Array = npt.NDArray[np.float64]
Map = npt.NDArray[np.float32]
ComplexSignal = npt.NDArray[np.complex64]

_ITERATIONS = 10
_CANDIDATE_ITERATIONS = 6
ANY_FRACTION = (-2.0, 2.0)
"""Range of the fat fraction that noise may take."""
_SWEEPS = 4
_STIFFNESS = 0.05  # weight of a squared field difference, times the curvature of the less certain neighbour's cost
_LARGEST_STEP = 0.1  # of the turn per mean spacing: a larger jump costs no more, tissue across air has its own field
_AXES = (1.0, 1.0, 0.3)  # relative weight along x, y, z: slices are thicker than pixels
_SLOPE_BOX = (3, 7, 7)  # voxels over which the field's slope is averaged
_SMOOTH_BOX = 3  # voxels in plane
_OUTLIER, _OUTLIER_TO_FAT = 0.15, 0.45  # of the field's period, of the shift of fat (an exchange moves the field by
# that): further from its surroundings, a voxel's field counts as exchanged
_CHUNK = 1 << 16
_SLAB = 4  # slices whose slopes are worked out at a time


@dataclass(frozen=True, kw_only=True)
class ComplexFit:
    """Result for the k fitted voxels, arrays (k,) of float32.

    ``amplitude`` is |water + fat| at the first echo in sigma, ``turn`` the field in turns per mean echo spacing,
    ``chi2`` the sum of squares left over (sigma^2), ``energy`` that of the samples, ``first`` the magnitude of the
    first sample; ``exchanged`` marks voxels whose field does not fit that of their neighbours.
    """

    amplitude: Map
    r2star_per_s: Map
    sd_r2star_per_s: Map
    b0_hz: Map
    pdff: Map
    sd_pdff: Map
    chi2: Map
    energy: Map
    first: Map
    exchanged: npt.NDArray[np.bool_]


def fit_complex_volume(signal: ComplexSignal, voxels: Voxels, shape: tuple[int, int, int], setup: Setup) -> ComplexFit:
    """Fit the rows ``voxels`` (k,) of ``signal`` (n, e), the raveled volume ``shape``."""
    fields = FieldRange.of(setup.echo_times_s)
    offset, cost, stiffness = candidates(signal, voxels, setup, fields)
    index = np.full(int(np.prod(shape)), -1, np.int32)
    index[voxels] = np.arange(voxels.size, dtype=np.int32)
    label = np.zeros(voxels.size, np.int64)
    settle(
        index.reshape(shape),
        offset,
        cost,
        _slopes(signal, voxels, shape, setup, fields),
        stiffness,
        (_STIFFNESS * np.array(_AXES)).astype(np.float32),
        np.float32((_LARGEST_STEP * fields.points / (fields.span_hz * setup.spacing_s)) ** 2),
        np.float32(fields.points if fields.cyclic else 0),
        np.zeros((voxels.size, 3, fields.candidates), np.float32),
        label,
        _SWEEPS,
    )
    chosen = np.take_along_axis(offset, label[:, None], axis=1)[:, 0]
    smooth = _smooth(chosen, stiffness, voxels, shape, fields)
    outlier_hz = min(_OUTLIER * fields.span_hz, _OUTLIER_TO_FAT * main_fat_shift_hz(setup.field_t))
    chosen = _nearest(offset, cost, smooth, fields, outlier_hz)
    rows = np.empty((kernels.ROWS, voxels.size), np.float32)

    def refine(part: slice) -> None:
        start_hz = fields.hz_at(chosen[part])
        rows[:, part] = fit_rows(signal, voxels[part], start_hz, setup, own_phase=True, fractions=ANY_FRACTION)

    each_part(voxels.size, _CHUNK, refine)
    return _result(rows, fields.hz_at(smooth), setup, fields, outlier_hz)


def _scan(signal: ComplexSignal, voxels: Voxels, setup: Setup, fields: FieldRange) -> tuple[Map, Map, Map]:
    """Candidates of ``voxels``: offset (k, c) in scan points, cost (k, c), stiffness (k,) per point squared."""
    table = scan_table(setup.echo_times_s, setup.fat, fields)
    offset = np.empty((voxels.size, fields.candidates), np.float32)
    cost = np.empty((voxels.size, fields.candidates), np.float32)
    stiffness = np.empty(voxels.size, np.float32)
    scan(
        signal,
        voxels,
        np.ascontiguousarray(table.real),
        np.ascontiguousarray(table.imag),
        np.float32(1 / setup.noise.sigma),
        fields.cyclic,
        offset,
        cost,
        stiffness,
    )
    return offset, cost, stiffness


def candidates(signal: ComplexSignal, voxels: Voxels, setup: Setup, fields: FieldRange) -> tuple[Map, Map, Map]:
    """As ``_scan``, each candidate followed to its minimum over field, R2* and fat fraction.

    The scan's few values of R2* leave a misfit that may favour the wrong candidate. Water and fat share their phase and
    are not negative here: that tells right from exchanged far better than free amplitudes do.
    """
    offset, cost, stiffness = _scan(signal, voxels, setup, fields)
    per_turn = fields.points / (setup.spacing_s * fields.span_hz)

    def follow(part: slice) -> None:
        here = voxels[part]
        for c in range(fields.candidates):
            there = cost[part, c] < NONE
            start_hz = fields.hz_at(offset[part, c][there])
            rows = fit_rows(
                signal,
                here[there],
                start_hz,
                setup,
                own_phase=False,
                fractions=(0.0, 1.0),
                iterations=_CANDIDATE_ITERATIONS,
            )
            cost[part, c][there] = rows[kernels.CHI2]
            offset[part, c][there] = rows[kernels.TURN] * per_turn + fields.points / 2

    each_part(voxels.size, _CHUNK, follow)
    return offset, cost, stiffness


def _slopes(
    signal: ComplexSignal, voxels: Voxels, shape: tuple[int, int, int], setup: Setup, fields: FieldRange
) -> Map:
    """Change of the field to the next voxel along x, y, z, in scan points, (k, 3), told without knowing water from fat.

    The phase between two echoes is that of the field plus that of the tissue; between like neighbours the latter
    cancels, and over a box around them the mean is that of the field.
    """
    steps = np.diff(setup.echo_times_s)
    closest = np.flatnonzero(steps <= 1.05 * steps.min())
    whole = np.zeros(shape, np.complex64)

    def turn_between_echoes(part: slice) -> None:
        here = voxels[part]
        product = np.zeros(here.size, np.complex64)
        for e in closest:
            product += np.conj(signal[here, e]) * signal[here, e + 1]
        whole.reshape(-1)[here] = product / (np.sqrt(np.abs(product)) + np.float32(1e-20))

    each_part(voxels.size, _CHUNK, turn_between_echoes)
    slope = np.zeros((voxels.size, 3), np.float32)
    per_radian = fields.points / (2 * np.pi * float(steps[closest].mean()) * fields.span_hz)

    def of_slab(slab: slice, rows: slice, within: Voxels) -> None:
        low, high = max(slab.start - 1, 0), min(slab.stop + 1, shape[0])  # the box reaches one slice beyond
        for column, axis in enumerate((2, 1, 0)):
            if shape[axis] < 2:
                continue
            mean = uniform_filter(_turn_to_next(whole, axis, low, high), size=_SLOPE_BOX, mode="nearest")
            of_voxels = mean[slab.start - low : slab.stop - low].reshape(-1)[within]
            slope[rows, column] = per_radian * np.angle(of_voxels)

    each_slab(voxels, shape, _SLAB, of_slab)
    return slope


def _turn_to_next(whole: ComplexSignal, axis: int, low: int, high: int) -> ComplexSignal:
    """Turn from each voxel of the slices ``low`` to ``high`` of ``whole`` (z, y, x) to the next along ``axis``."""
    turned = np.zeros((high - low, *whole.shape[1:]), np.complex64)
    if axis == 0:
        there = whole[low + 1 : high + 1]
        turned[: len(there)] = there * np.conj(whole[low : low + len(there)])
        return turned
    along, onto = np.moveaxis(whole[low:high], axis, 0), np.moveaxis(turned, axis, 0)
    onto[:-1] = along[1:] * np.conj(along[:-1])
    return turned


def _smooth(chosen: Map, stiffness: Map, voxels: Voxels, shape: tuple[int, int, int], fields: FieldRange) -> Map:
    """Offset (k,) averaged over the immediate neighbours, on the circle where the field has a period."""
    per_point = np.float32(2 * np.pi / fields.points)
    phasor = np.empty(voxels.size, np.complex64)

    def turn(part: slice) -> None:
        phasor[part] = stiffness[part] * np.exp(1j * (per_point * chosen[part]))

    each_part(voxels.size, _CHUNK, turn)
    mean = in_plane_mean(phasor, voxels, shape, size=_SMOOTH_BOX)
    offset = np.empty(voxels.size, np.float32)

    def turn_back(part: slice) -> None:
        offset[part] = np.mod(np.angle(mean[part]) / per_point, np.float32(fields.points))

    each_part(voxels.size, _CHUNK, turn_back)
    return offset


def _apart(a: Map, b: Map, period: float, *, cyclic: bool) -> Map:
    d = a - b
    return np.asarray(np.abs(d - period * np.round(d / period) if cyclic else d), dtype=np.float32)


def _nearest(offset: Map, cost: Map, smooth: Map, fields: FieldRange, outlier_hz: float) -> Map:
    """Of each voxel's candidates the one next to its surroundings; theirs where none is near."""
    chosen = np.empty_like(smooth)

    def choose(part: slice) -> None:
        there = smooth[part]
        apart = _apart(offset[part], there[:, None], fields.points, cyclic=fields.cyclic)
        apart[cost[part] >= NONE] = np.inf
        nearest = np.argmin(apart, axis=1)[:, None]
        found = np.take_along_axis(apart, nearest, axis=1)[:, 0] <= outlier_hz / fields.span_hz * fields.points
        chosen[part] = np.where(found, np.take_along_axis(offset[part], nearest, axis=1)[:, 0], there)

    each_part(smooth.size, _CHUNK, choose)
    return chosen


def fit_rows(
    signal: ComplexSignal,
    voxels: Voxels,
    start_hz: Map,
    setup: Setup,
    *,
    own_phase: bool,
    fractions: tuple[float, float],
    iterations: int = _ITERATIONS,
) -> Map:
    """Rows of ``complex_kernels`` (ROWS, k), from the field ``start_hz`` (k,) and a rough R2*.

    ``own_phase``: water and fat with a phase each, else with a common one; ``fractions`` is the range of fat.
    """
    phasor = setup.fat
    rows = np.empty((kernels.ROWS, voxels.size), np.float32)
    kernels.fit_complex(
        signal,
        voxels,
        _rough_rate(signal, voxels, setup),
        (start_hz * setup.spacing_s).astype(np.float32),
        setup.kernel_times,
        phasor.real.astype(np.float32),
        phasor.imag.astype(np.float32),
        np.float32(1 / setup.noise.sigma),
        np.float32(setup.max_rate),
        np.float32(own_phase),
        np.float32(fractions[0]),
        np.float32(fractions[1]),
        iterations,
        rows,
    )
    return rows


def _rough_rate(signal: ComplexSignal, voxels: Voxels, setup: Setup) -> Map:
    """R2* (k,) per mean spacing, from the mean magnitude of the earlier and the later half of the echoes."""
    times = setup.kernel_times
    half = times.size // 2
    early, late = np.zeros((2, voxels.size), np.float32)
    for e in range(half):
        early += np.abs(signal[voxels, e])
        late += np.abs(signal[voxels, times.size - half + e])
    span = times[-half:].mean() - times[:half].mean()
    rate = np.log(np.maximum(early, 1e-20) / np.maximum(late, 1e-20)) / span
    return np.asarray(np.clip(rate, 10 * setup.spacing_s, setup.max_rate), dtype=np.float32)


def _result(rows: Map, smooth_hz: Map, setup: Setup, fields: FieldRange, outlier_hz: float) -> ComplexFit:
    b0_hz = rows[kernels.TURN] / np.float32(setup.spacing_s)
    if fields.cyclic:
        b0_hz -= np.float32(fields.span_hz) * np.round(b0_hz / np.float32(fields.span_hz))
    return ComplexFit(
        amplitude=rows[kernels.AMPLITUDE],
        r2star_per_s=rows[kernels.RATE] / np.float32(setup.spacing_s),
        sd_r2star_per_s=rows[kernels.SD_RATE] / np.float32(setup.spacing_s),
        b0_hz=b0_hz,
        pdff=rows[kernels.FRACTION],
        sd_pdff=rows[kernels.SD_FRACTION],
        chi2=rows[kernels.CHI2],
        energy=rows[kernels.ENERGY],
        first=rows[kernels.FIRST],
        exchanged=_apart(b0_hz, smooth_hz, fields.span_hz, cyclic=fields.cyclic) > outlier_hz,
    )
