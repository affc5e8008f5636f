"""Working images: averaged to a body-sized grid, freed of small vessels and of the noise floor."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from quant.acquisition import FloatArray, MultiEcho
from quant.liver import kernels
from quant.liver.orientation import PatientAxes
from quant.liver.parameters import FinderParameters
from quant.liver.plane import Plane, median

Stack = npt.NDArray[np.float32]

_NOISE_FLOOR_OF_P99 = 1e-3  # quantised exports can show no noise at all
_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)
FINE_PIXELS = int(_CROSS.sum())  # whose median a pixel of the fine images is
_MEDIAN_EFFICIENCY = 0.64  # of the median of normal variates relative to their mean (2 / pi)
# Mean noise power of a magnitude is 2 sigma^2 per coil. The median of the power of n averaged voxels lies below its
# mean by skewness times SD over 6: 2/3 sigma^2 / n for noise alone (non-central chi squared, any number of coils),
# 1 sigma^2 / n for bright tissue.
_MEAN_FLOOR, _MEDIAN_SHIFT = 2.0, 0.8


@dataclass(frozen=True, kw_only=True)
class WorkingImages:
    """Images on the working grid in patient axes; stacks (z, y, x) float32, signals in the acquisition's unit.

    ``fine`` and ``suppressed`` (e, z, y, x) are block averages of power (square root) after a five-point median, which
    keeps structures of one pixel's width, and after a wide one; ``echo_times_s`` (e,) belongs to both. ``first_echo``
    and ``early`` (maximum of the first two) are suppressed and free of the noise floor. ``sigma`` is the noise SD per
    channel of a native voxel, ``coils`` their effective number; ``fine_sd`` and ``suppressed_sd`` the SD left after the
    medians. ``x_mm``, ``y_mm`` are patient coordinates. ``blocks`` are native rows and columns per working pixel,
    ``origin`` the working row and column at which the images begin.
    """

    fine: Stack
    suppressed: Stack
    echo_times_s: npt.NDArray[np.float64]
    field_t: float
    sigma: float
    coils: float
    suppressed_sd: float
    fine_sd: float
    plane: Plane
    slice_spacing_mm: float
    blocks: tuple[int, int]
    origin: tuple[int, int]
    x_mm: Stack
    y_mm: Stack

    @property
    def first_echo(self) -> Stack:
        """Vessel-suppressed first echo without noise floor."""
        return without_floor(self.suppressed[0], self.floor_power)

    @property
    def early(self) -> Stack:
        """Brightest of the first two echoes: tissue of any fat-water phase."""
        return without_floor(self.suppressed[:2].max(0), self.floor_power)

    @property
    def floor_power(self) -> float:
        """What noise adds to the power of the images, which are medians of block averages."""
        return self.sigma**2 * (_MEAN_FLOOR * self.coils - _MEDIAN_SHIFT / (self.blocks[0] * self.blocks[1]))

    @property
    def voxel_mm3(self) -> float:
        """Volume of one working voxel, slice gaps included."""
        return self.plane.pixel_mm2 * self.slice_spacing_mm

    def cropped(self, rows: slice, columns: slice) -> "WorkingImages":
        """The same images within a box of working pixels."""
        box = (..., rows, columns)
        return replace(
            self,
            fine=self.fine[box],
            suppressed=self.suppressed[box],
            x_mm=self.x_mm[box],
            y_mm=self.y_mm[box],
            origin=(self.origin[0] + rows.start, self.origin[1] + columns.start),
        )


def without_floor(magnitude: FloatArray, floor_power: float) -> Stack:
    """Magnitude with the power that noise adds taken off its power."""
    return np.asarray(np.sqrt(np.maximum(magnitude**2 - floor_power, 0)), np.float32)


def prepare(
    acquisition: MultiEcho, axes: PatientAxes, noise: tuple[float, float], parameters: FinderParameters
) -> WorkingImages:
    """Working images of an acquisition whose arrays turn by ``axes``; ``noise`` is sigma and coils of its fit."""
    spacing = (float(np.linalg.norm(axes.row_step_mm)), float(np.linalg.norm(axes.column_step_mm)))
    rows, columns = (int(np.ceil(parameters.coarsest_native_mm / mm - 1e-6)) for mm in spacing)
    blocks = rows, columns
    used = _echoes_used(len(acquisition.echo_times_s), parameters.max_echoes)
    magnitude = acquisition.signal if _is_plain_magnitude(acquisition.signal) else acquisition.magnitude
    magnitude = np.ascontiguousarray(magnitude, np.float32)  # the magnitude keeps the signal's order in memory
    turned = axes.view(magnitude)
    sigma = _in_steps(max(noise[0], _NOISE_FLOOR_OF_P99 * float(np.percentile(turned[..., 0], 99))))
    echoes = _block_averages(magnitude, turned, used, blocks)
    plane = Plane(row_mm=spacing[0] * blocks[0], column_mm=spacing[1] * blocks[1])
    disc = plane.disc(parameters.vessel_median_mm)[0]
    suppressed = np.stack([median(echo, disc) for echo in echoes])
    averaged = blocks[0] * blocks[1]
    x_mm, y_mm = _coordinates(axes, blocks, echoes.shape[1:])
    return WorkingImages(
        fine=np.stack([median(echo, _CROSS) for echo in echoes]),
        suppressed=suppressed,
        echo_times_s=acquisition.echo_times_s[used],
        field_t=acquisition.field_t,
        sigma=sigma,
        coils=noise[1],
        suppressed_sd=sigma / np.sqrt(max(1.0, _MEDIAN_EFFICIENCY * disc.sum()) * averaged),
        fine_sd=sigma / np.sqrt(_MEDIAN_EFFICIENCY * FINE_PIXELS * averaged),
        plane=plane,
        slice_spacing_mm=axes.slice_spacing_mm,
        blocks=blocks,
        origin=(0, 0),
        x_mm=x_mm,
        y_mm=y_mm,
    )


def _in_steps(sigma: float) -> float:
    """To the next of sixteen steps per octave: how voxels are stored moves the last digits of the fit's noise, and a
    region that followed them would depend on it."""
    return float(2 ** (np.round(16 * np.log2(max(sigma, float(np.finfo(np.float32).tiny)))) / 16))


def _echoes_used(count: int, limit: int) -> npt.NDArray[np.intp]:
    used = [*range(min(6, count)), *range(6, count, 2)]
    return np.array(used[:limit], np.intp)


def _is_plain_magnitude(signal: npt.NDArray[Any]) -> bool:
    """Whether the signal can be read as it is: magnitude is then not copied."""
    return signal.dtype == np.float32 and bool(signal.flags.c_contiguous)


def _block_averages(magnitude: Stack, turned: Stack, echoes: npt.NDArray[np.intp], blocks: tuple[int, int]) -> Stack:
    """Root mean power of blocks (e, z, y, x) of ``turned``, a view of ``magnitude`` (z, y, x, e)."""
    size = magnitude.itemsize
    first = (turned.ctypes.data - magnitude.ctypes.data) // size
    steps = tuple(step // size for step in turned.strides[:3])
    shape = len(turned), turned.shape[1] // blocks[0], turned.shape[2] // blocks[1]
    out = np.empty((len(echoes), *shape), np.float32)
    kernels.block_power_means(magnitude.reshape(-1), first, steps, blocks, echoes, out)
    return out


def _coordinates(axes: PatientAxes, blocks: tuple[int, ...], shape: tuple[int, ...]) -> tuple[Stack, Stack]:
    rows = np.arange(shape[1]) * blocks[0] + (blocks[0] - 1) / 2
    columns = np.arange(shape[2]) * blocks[1] + (blocks[1] - 1) / 2
    points = (
        axes.first_voxel_mm[:, None, None]
        + rows[:, None, None] * axes.row_step_mm
        + columns[:, None] * axes.column_step_mm
    )
    return points[..., 0].astype(np.float32), points[..., 1].astype(np.float32)
