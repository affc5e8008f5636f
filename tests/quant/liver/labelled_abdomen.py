"""Multi-echo signals on real anatomies (label maps of two patients): anatomy that no phantom of ours has shaped."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from quant.acquisition import Geometry, MultiEcho

VISCERAL_FAT, LUNG, LIVER = 3, 4, 6
# Label: (S0 relative to liver, R2* at 1.5 T in 1/s, fat fraction); rough literature values. R2* of liver is given.
_TISSUE: dict[int, tuple[float, float, float]] = {
    0: (0.0, 50, 0.0), 1: (1.1, 30, 0.93), 2: (0.95, 32, 0.03), 3: (1.05, 32, 0.88), 4: (0.15, 500, 0.0),
    5: (1.05, 28, 0.02), 6: (1.0, 0, 0.0), 7: (1.1, 9, 0.0), 8: (1.1, 9, 0.0), 9: (1.2, 3, 0.0), 10: (1.25, 4, 0.0),
    11: (1.1, 9, 0.0), 12: (1.1, 7, 0.0), 13: (1.05, 25, 0.0), 14: (1.1, 22, 0.0), 15: (1.05, 32, 0.85),
    16: (1.1, 15, 0.05), 17: (0.0, 60, 0.0), 18: (0.95, 40, 0.1), 19: (1.0, 25, 0.05), 20: (1.0, 28, 0.06),
    21: (0.8, 90, 0.45), 22: (0.25, 250, 0.1), 23: (1.3, 3, 0.0), 24: (1.1, 12, 0.0), 25: (0.9, 25, 0.0),
    26: (1.25, 3, 0.0), 27: (0.95, 32, 0.05), 28: (0.8, 15, 0.0),
}  # fmt: skip
_FAT_PPM = np.array([-3.80, -3.40, -2.60, -1.94, -0.39, 0.60])
_FAT_SHARE = np.array([0.087, 0.693, 0.128, 0.004, 0.039, 0.047]) / 0.998


@dataclass(frozen=True, kw_only=True)
class LabelledAbdomen:
    """A simulated acquisition and the share of liver in each voxel (z, y, x), and its true R2*."""

    acquisition: MultiEcho
    liver_share: npt.NDArray[np.float64]
    r2star_per_s: float


def simulate(
    path: Path,
    *,
    r2star_per_s: float,
    field_t: float = 1.5,
    fat_fraction: float = 0.05,
    snr: float = 60.0,
    pixel: int = 2,
    thickness: int = 4,
    seed: int = 0,
    liver_becomes: int | None = None,
) -> LabelledAbdomen:
    """``pixel`` and ``thickness`` in label voxels of 1.5 mm; ``liver_becomes`` replaces the liver by another tissue."""
    stored = np.load(path)
    rng = np.random.default_rng(seed)
    labels = _cut(stored["labels"].transpose(2, 1, 0), pixel, thickness)
    truth = labels == LIVER
    if liver_becomes is not None:
        labels = np.where(truth, liver_becomes, labels)
    times = (1.0 + (1.4 if field_t < 2 else 0.9) * np.arange(10)) * 1e-3
    clean = _signal(labels, times, r2star_per_s, fat_fraction, field_t, pixel, thickness, rng)
    noise = rng.normal(size=(2, *clean.shape)) / snr
    magnitude = 1000 * np.abs(clean + noise[0] + 1j * noise[1])
    geometry = _geometry(stored["affine_lps"], truth.shape[0] // thickness, pixel, thickness)
    return LabelledAbdomen(
        acquisition=MultiEcho(
            signal=magnitude.astype(np.float32), echo_times_s=times, field_t=field_t, geometry=geometry
        ),
        liver_share=_average(truth & (liver_becomes is None), pixel, thickness),
        r2star_per_s=r2star_per_s,
    )


def _cut(labels: npt.NDArray[Any], pixel: int, thickness: int) -> npt.NDArray[Any]:
    padded = np.pad(labels, ((0, 0), (12, 12), (12, 12)))
    n = [size // step * step for size, step in zip(padded.shape, (thickness, pixel, pixel), strict=True)]
    return padded[: n[0], : n[1], : n[2]]


def _signal(
    labels: npt.NDArray[Any],
    times: npt.NDArray[np.float64],
    r2star: float,
    fat_fraction: float,
    field_t: float,
    pixel: int,
    thickness: int,
    rng: np.random.Generator,
) -> npt.NDArray[np.complex128]:
    table = np.array([_TISSUE[i] for i in range(29)])
    others = np.arange(29) != LIVER
    table[:, 0] *= rng.uniform(0.9, 1.1, 29)
    table[others, 1] *= rng.uniform(0.75, 1.3, 28) * (1.0 if field_t < 2 else 1.5)
    table[LIVER, 1:] = r2star, fat_fraction
    texture = ndimage.gaussian_filter(rng.normal(size=labels.shape), 4)
    rate = table[labels, 1] * np.exp(0.05 * texture / texture.std())
    y, x = np.mgrid[-1 : 1 : labels.shape[1] * 1j, -1 : 1 : labels.shape[2] * 1j]
    shading = np.exp(0.25 * (rng.normal() * x + rng.normal() * y))
    fat = (_FAT_SHARE * np.exp(2j * np.pi * 42.577 * field_t * np.outer(times, _FAT_PPM))).sum(1)
    echoes = []
    for time, phasor in zip(times, fat, strict=True):
        share = table[labels, 2]
        density = table[labels, 0] * shading * (1 - share + share * phasor)
        echoes.append(_average(density * np.exp(-rate * time), pixel, thickness))
    return np.stack(echoes, axis=-1)


def _average(values: npt.NDArray[Any], pixel: int, thickness: int) -> npt.NDArray[Any]:
    z, y, x = values.shape
    return values.reshape(z // thickness, thickness, y // pixel, pixel, x // pixel, pixel).mean((1, 3, 5))


def _geometry(affine: npt.NDArray[np.float64], n_slices: int, pixel: int, thickness: int) -> Geometry:
    step = np.abs(np.diag(affine)[:3])
    corner = np.array([pixel / 2 - 0.5 - 12, pixel / 2 - 0.5 - 12, thickness / 2 - 0.5, 1])
    first = (affine @ corner)[:3]
    rise = np.arange(n_slices)[:, None] * np.array([0, 0, step[2] * thickness])
    return Geometry(
        positions_mm=first + rise,
        row_direction=np.array([-1.0, 0, 0]),
        column_direction=np.array([0, -1.0, 0]),
        spacing_mm=(step[2] * thickness, step[1] * pixel, step[0] * pixel),
        slice_thickness_mm=step[2] * thickness,
    )
