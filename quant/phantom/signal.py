"""The signal of the digital abdomen: six-peak fat, R2* decay, partial volume, field, receive profile, ghosts, noise.

Water and fat share one R2* (10.1002/mrm.21737); S(t) = S0 [(1 - f) + f C(t)] exp(-R2* t) exp(i (2 pi B0 t + phase)).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from quant.acquisition import FloatArray
from quant.phantom.labels import Label, Tissue

ComplexArray = np.ndarray[tuple[int, ...], np.dtype[np.complexfloating]]


@dataclass(frozen=True, kw_only=True)
class TissueTable:
    """Tissue values by label, (256,) each: relative S0, R2* in 1/s, fat fraction, relative R2* spread and texture."""

    s0: FloatArray
    r2star_per_s: FloatArray
    pdff: FloatArray
    spread: FloatArray
    texture: FloatArray

    @classmethod
    def of(cls, tissues: Mapping[Label, Tissue]) -> "TissueTable":
        columns = {name: np.zeros(256, dtype=np.float32) for name in cls.__dataclass_fields__}
        for label, tissue in tissues.items():
            for name, column in columns.items():
                column[label] = getattr(tissue, name)
        return cls(**columns)


@dataclass(frozen=True, kw_only=True)
class SliceFields:
    """What varies smoothly inside one slice, (y, x) each: relative R2* and fat deviations of all tissues
    (standard deviation 1), liver's own relative factors, texture (standard deviation 1), receive profile."""

    variation: FloatArray
    liver_r2star: FloatArray
    liver_pdff: FloatArray
    texture: FloatArray
    receive: FloatArray


def slice_signal(
    samples: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
    fields: SliceFields,
    table: TissueTable,
    echo_times_s: FloatArray,
    fat: ComplexArray,
) -> ComplexArray:
    """Signal (y, x, e) of one slice from its labels (k, y, x) at the k sub-samples, before field and noise."""
    water_and_fat = np.zeros((*samples.shape[1:], len(echo_times_s)), dtype=np.complex64)
    uniform = (samples == samples[:1]).all(axis=0)
    _add(water_and_fat, samples[0], uniform & (table.s0[samples[0]] > 0), 1.0, fields, table, echo_times_s, fat)
    for sample in samples:
        mixed = ~uniform & (table.s0[sample] > 0)
        _add(water_and_fat, sample, mixed, 1.0 / len(samples), fields, table, echo_times_s, fat)
    return water_and_fat


def _add(
    out: ComplexArray,
    labels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
    where: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
    weight: float,
    fields: SliceFields,
    table: TissueTable,
    echo_times_s: FloatArray,
    fat: ComplexArray,
) -> None:
    """Add ``weight`` times the signal of ``labels`` (y, x) to ``out`` (y, x, e) at the voxels ``where``."""
    at = np.nonzero(where)
    label = labels[at]
    s0, r2star, pdff = tissue_maps(label, tuple(f[at] for f in _smooth(fields)), table)
    s0 = weight * s0 * fields.receive[at] * (1 + table.texture[label] * fields.texture[at])
    decay = s0[:, None] * np.exp(-r2star[:, None] * echo_times_s.astype(np.float32))
    out[at] += decay * (1 + pdff[:, None] * (fat.astype(np.complex64) - 1))


def _smooth(fields: SliceFields) -> tuple[FloatArray, FloatArray, FloatArray]:
    return fields.variation, fields.liver_r2star, fields.liver_pdff


def tissue_maps(
    label: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], smooth: tuple[FloatArray, ...], table: TissueTable
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Relative S0, R2* (1/s) and fat fraction, shaped like ``label``, with the smooth variation of the tissues."""
    variation, liver_r2star, liver_pdff = smooth
    liver = label == Label.LIVER
    factor = np.where(liver, liver_r2star, np.maximum(1 + table.spread[label] * variation, 0.2))
    pdff = np.clip(table.pdff[label] * np.where(liver, liver_pdff, 1.0), 0, 1)
    return table.s0[label], table.r2star_per_s[label] * factor, pdff


def dephasing(difference_hz: FloatArray, echo_times_s: FloatArray) -> FloatArray:
    """Signal loss (..., e) of a rectangular slice whose field changes by ``difference_hz`` (...) across it."""
    loss: FloatArray = np.abs(np.sinc(difference_hz[..., None] * echo_times_s)).astype(np.float32)
    return loss


def add_ghosts(
    signal: ComplexArray, moving: FloatArray, amplitude: float, shift_voxels: int, phase: float
) -> ComplexArray:
    """Breathing ghosts: copies of the moving tissue displaced along the column direction (phase encoding), (y, x, e).

    A periodic displacement modulates k-space and returns side bands at +- the shift; the second pair is weaker.
    """
    source = signal * moving[..., None]
    total = signal.copy()
    for order, share in ((1, 1.0), (2, 0.4)):
        turn = np.exp(1j * phase * order)
        for sign in (-1, 1):
            total += amplitude * share * turn**sign * np.roll(source, sign * order * shift_voxels, axis=0)
    return total.astype(np.complex64)


def noisy_magnitude(magnitude: FloatArray, sigma: float, coils: int, generator: np.random.Generator) -> FloatArray:
    """Root sum of squares over ``coils`` equal coils with noise ``sigma`` per channel: non-central chi with
    2 x coils degrees of freedom (Rician for one coil; 10.1002/mrm.1910160203)."""
    real = magnitude + sigma * generator.standard_normal(magnitude.shape, dtype=np.float32)
    power = real**2 + (sigma * generator.standard_normal(magnitude.shape, dtype=np.float32)) ** 2
    if coils > 1:
        power += 2 * sigma**2 * generator.standard_gamma(coils - 1.0, magnitude.shape, dtype=np.float32)
    return np.asarray(np.sqrt(power), dtype=np.float32)


def noisy_complex(signal: ComplexArray, sigma: float, generator: np.random.Generator) -> ComplexArray:
    """Complex signal with white noise of standard deviation ``sigma`` in the real and in the imaginary part."""
    noise = generator.standard_normal((*signal.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    return (signal + np.float32(sigma) * noise).astype(np.complex64)
