"""The main field inside the digital abdomen: air and lung against tissue, and what a first-order shim leaves.

The field shift of a susceptibility distribution is its convolution with the dipole kernel (1/3 - kz^2/k^2;
10.1002/cmr.b.10034). Air is +9.4 ppm against tissue, inflated lung about two thirds of that.
"""

from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.ndimage import gaussian_filter, map_coordinates

from quant.acquisition import FloatArray
from quant.models import GYROMAGNETIC_HZ_PER_T
from quant.phantom.labels import Label
from quant.phantom.paint import LabelledBody, Waves

_AIR_PPM = 9.4
_LUNG_PPM = 6.0
_STEP_MM = 8.0
_HALF_EXTENT_MM = np.array([232.0, 176.0, 232.0])


@dataclass(frozen=True, kw_only=True)
class FieldMap:
    """B0 shift (hertz) on a coarse patient grid with corner ``origin_mm``, plus smooth residual shim terms."""

    grid_hz: FloatArray
    origin_mm: FloatArray
    residual: Waves
    residual_hz: float

    def at(self, points: FloatArray) -> FloatArray:
        """B0 shift (n,) in hertz at patient coordinates (3, n)."""
        index = (points - self.origin_mm[:, None]) / _STEP_MM
        grid: FloatArray = map_coordinates(self.grid_hz, index, order=1, mode="nearest", output=np.float32)
        return np.asarray(grid + self.residual_hz * self.residual.at(points)[0])


def field_map(body: LabelledBody, centre_mm: FloatArray, field_t: float, generator: np.random.Generator) -> FieldMap:
    """The field of the body around ``centre_mm``, shimmed to first order over its tissue."""
    origin = centre_mm - _HALF_EXTENT_MM
    axes = [
        np.arange(int(2 * half / _STEP_MM)) * _STEP_MM + start
        for half, start in zip(_HALF_EXTENT_MM, origin, strict=True)
    ]
    points = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1).astype(np.float32)
    labels = body.labels_at(points).reshape([len(axis) for axis in axes])
    ppm = np.select(
        [labels == Label.LUNG, labels == Label.GAS, labels == Label.BACKGROUND], [_LUNG_PPM, _AIR_PPM, _AIR_PPM], 0.0
    )
    shift = _dipole_field(gaussian_filter(ppm, 0.6)) * field_t * GYROMAGNETIC_HZ_PER_T * 1e-6
    tissue = (ppm == 0) & (np.abs(points[2] - centre_mm[2]).reshape(ppm.shape) < 70)
    design = np.concatenate([np.ones((1, points.shape[1])), points]).T
    if tissue.sum() > 100:
        shim, *_ = np.linalg.lstsq(design[tissue.ravel()], shift[tissue], rcond=None)
        shift = shift - (design @ shim).reshape(shift.shape)
    scale = body.anatomy.susceptibility
    return FieldMap(
        grid_hz=(scale * gaussian_filter(shift, 0.5)).astype(np.float32),
        origin_mm=origin,
        residual=Waves.draw(generator, channels=1, lengths_mm=(250.0, 500.0), sd=1.0),
        residual_hz=12.0 * field_t * scale,
    )


def _dipole_field(ppm: FloatArray) -> FloatArray:
    """Field shift (ppm of B0 along z) of a susceptibility grid (x, y, z) of equal steps, padded against wrap-around."""
    padded = [fft.next_fast_len(2 * n, real=True) for n in ppm.shape]
    kx, ky, kz = np.meshgrid(*(fft.fftfreq(n) for n in padded[:2]), fft.rfftfreq(padded[2]), indexing="ij", sparse=True)
    squared = kx**2 + ky**2 + kz**2
    squared[0, 0, 0] = 1.0
    kernel = 1 / 3 - kz**2 / squared
    background = float(ppm[0, 0, 0])
    spectrum = fft.rfftn((ppm - background).astype(np.float32), padded)
    field: FloatArray = fft.irfftn(spectrum * kernel, padded)
    return field[tuple(slice(n) for n in ppm.shape)]
