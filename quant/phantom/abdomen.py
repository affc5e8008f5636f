"""The digital abdomen: one call that makes a multi-echo acquisition of a known body, with its truth."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from quant.acquisition import BoolArray, FloatArray, Geometry, MultiEcho
from quant.models import fat_phasor
from quant.phantom.anatomy import AbdomenAnatomy
from quant.phantom.field import FieldMap, field_map
from quant.phantom.labels import Label, Tissue, tissue_at
from quant.phantom.organs import build_layers
from quant.phantom.paint import Body, LabelArray, LabelledBody, Waves, majority, pure, sample_labels
from quant.phantom.signal import (
    ComplexArray,
    SliceFields,
    TissueTable,
    add_ghosts,
    dephasing,
    noisy_complex,
    noisy_magnitude,
    slice_signal,
    tissue_maps,
)
from quant.phantom.stack import Orientation, SliceStack, slice_points

Kind = Literal["magnitude", "complex"]
LIVER_S0 = 1000.0
"""Signal of pure liver at echo time zero where the receive profile is 1."""
WHOLE_LIVER = (Label.LIVER, Label.HEPATIC_VEIN, Label.PORTAL_VEIN, Label.LIVER_LESION, Label.BILE_DUCT)
_CENTRE = np.zeros(3)


@dataclass(frozen=True, kw_only=True)
class PhantomTruth:
    """What the phantom was made of. Maps are (z, y, x); NaN where nothing emits signal.

    ``labels`` uint8 (``Label``; the majority of a voxel's samples), ``r2star_per_s`` and ``pdff`` (fraction) float32 of
    that tissue, ``b0_hz`` float32; ``liver`` marks voxels of nothing but parenchyma, ``whole_liver`` adds its vessels,
    ducts and lesions, ``vessels`` are the hepatic and portal veins. ``sigma`` is the noise per channel in the unit of
    the signal, ``liver_s0`` the liver's S0 in that unit.
    """

    labels: LabelArray
    r2star_per_s: FloatArray
    pdff: FloatArray
    b0_hz: FloatArray
    liver: BoolArray
    whole_liver: BoolArray
    vessels: BoolArray
    tissues: dict[Label, Tissue]
    requested_r2star_per_s: float
    requested_pdff_percent: float
    sigma: float
    coils: int
    liver_s0: float
    snr: float
    seed: int
    anatomy: AbdomenAnatomy
    stack: SliceStack


@dataclass(frozen=True, kw_only=True)
class Phantom:
    """A simulated acquisition and its truth."""

    acquisition: MultiEcho
    truth: PhantomTruth


def default_echo_times_s(
    field_t: float, *, echoes: int = 12, te1_ms: float | None = None, delta_te_ms: float | None = None
) -> npt.NDArray[np.float64]:
    """The default protocol: first echo and spacing 1.0 and 1.4 ms up to 2 T, 1.0 and 0.9 ms above."""
    first = 1.0 if te1_ms is None else te1_ms
    step = (1.4 if field_t < 2 else 0.9) if delta_te_ms is None else delta_te_ms
    return np.round((first + step * np.arange(echoes)) * 1e-3, 9)


def make_abdomen(
    *,
    r2star_per_s: float = 67.73,
    pdff_percent: float = 2.0,
    field_t: float = 1.5,
    echo_times_s: FloatArray | None = None,
    n_slices: int = 12,
    matrix: int | tuple[int, int] = 256,
    fov_mm: float = 400.0,
    slice_thickness_mm: float = 8.0,
    gap_mm: float = 2.0,
    level_mm: float = 5.0,
    orientation: Orientation = "axial",
    tilt_deg: float = 0.0,
    swivel_deg: float = 0.0,
    snr: float = 50.0,
    kind: Kind = "magnitude",
    coils: int = 1,
    seed: int = 0,
    anatomy: AbdomenAnatomy | None = None,
    body: LabelledBody | None = None,
) -> Phantom:
    """A digital abdomen measured with a multi-echo gradient echo.

    ``matrix`` is the number of rows and columns (or a pair), ``level_mm`` the height of the stack's middle above the
    portal bifurcation (dome near +85, tip of the right lobe near -95), ``snr`` the liver's S0 over the noise per
    channel, ``coils`` the channels of a root-sum-of-squares magnitude. ``body`` replaces the digital anatomy by
    another one, say a label map of a patient; tissues and disturbances then follow its own ``anatomy``. Equal arguments
    give equal arrays.
    """
    if body is not None and anatomy is not None:
        raise ValueError("a body brings its own anatomy: give one of the two")
    rows, columns = (matrix, matrix) if isinstance(matrix, int) else matrix
    stack = SliceStack(
        n_slices=n_slices,
        rows=rows,
        columns=columns,
        fov_mm=fov_mm,
        slice_thickness_mm=slice_thickness_mm,
        gap_mm=gap_mm,
        orientation=orientation,
        tilt_deg=tilt_deg,
        swivel_deg=swivel_deg,
        centre_mm=(0.0, 0.0, level_mm),
    )
    times = default_echo_times_s(field_t) if echo_times_s is None else np.asarray(echo_times_s, dtype=np.float64)
    request = _Request(
        r2star_per_s=r2star_per_s,
        pdff_percent=pdff_percent,
        field_t=field_t,
        echo_times_s=times,
        snr=snr,
        kind=kind,
        coils=coils,
        seed=seed,
        anatomy=body.anatomy if body is not None else anatomy or AbdomenAnatomy(),
    )
    return _simulate(request, stack, body or _body(request, stack.orientation))


@dataclass(frozen=True, kw_only=True)
class _Request:
    r2star_per_s: float
    pdff_percent: float
    field_t: float
    echo_times_s: npt.NDArray[np.float64]
    snr: float
    kind: Kind
    coils: int
    seed: int
    anatomy: AbdomenAnatomy

    def __post_init__(self) -> None:
        if self.r2star_per_s <= 0 or self.snr <= 0:
            raise ValueError("r2star_per_s and snr must be above 0")
        if not 0 <= self.pdff_percent <= 100:
            raise ValueError(f"pdff_percent must lie between 0 and 100, not {self.pdff_percent!r}")
        if not 0.1 <= self.field_t <= 7:
            raise ValueError(f"field_t must lie between 0.1 and 7 tesla, not {self.field_t!r}")
        if self.kind not in ("magnitude", "complex"):
            raise ValueError(f"kind must be magnitude or complex, not {self.kind!r}")
        if self.coils < 1 or (self.kind == "complex" and self.coils != 1):
            raise ValueError("coils must be at least 1, and 1 for complex data")

    def generator(self, purpose: int) -> np.random.Generator:
        """An independent stream per purpose, so that noise does not change with anatomy."""
        return np.random.default_rng([self.seed, purpose])

    def tissues(self) -> dict[Label, Tissue]:
        tissues = {label: tissue_at(label, self.field_t) for label in Label}
        for label, rate in self.anatomy.r2star_overrides.items():
            tissues[label] = replace(tissues[label], r2star_per_s=rate)
        for label, pdff in self.anatomy.pdff_overrides.items():
            tissues[label] = replace(tissues[label], pdff=pdff)
        for label, s0 in self.anatomy.s0_overrides.items():
            tissues[label] = replace(tissues[label], s0=s0)
        liver = replace(tissues[Label.LIVER], r2star_per_s=self.r2star_per_s, pdff=self.pdff_percent / 100)
        return tissues | {Label.LIVER: liver}


def _body(request: _Request, orientation: str) -> Body:
    generator = request.generator(1)
    up = (0.0, 1.0, 0.0) if orientation == "prone" else (0.0, -1.0, 0.0)
    layers = build_layers(request.anatomy, generator, up)
    offset = generator.normal(0, (5.0, 4.0, 0.0)) * request.anatomy.variation
    warp = Waves.draw(generator, channels=3, lengths_mm=(70.0, 170.0), sd=1.8 * request.anatomy.variation, count=8)
    return Body(layers=layers, anatomy=request.anatomy, offset_mm=offset, warp=warp)


def _simulate(request: _Request, stack: SliceStack, body: LabelledBody) -> Phantom:
    """The order of the method: labels, smooth fields, signal, noise, truth."""
    geometry, shape = stack.geometry, (stack.n_slices, stack.rows, stack.columns)
    samples = sample_labels(body, geometry, shape)
    liver = pure(samples, Label.LIVER)
    tissues = request.tissues()
    table = TissueTable.of(tissues)
    table = replace(table, texture=table.texture * (request.anatomy.texture / 0.03))
    fields = _smooth_fields(request, body, geometry, liver)
    field = field_map(body, np.array(stack.centre_mm), request.field_t, request.generator(3))
    b0, across = _b0(field, geometry, shape)
    clean = LIVER_S0 * _clean_signal(request, samples, fields, table, across)
    truth = _truth(request, stack, samples, fields, table, tissues, b0)
    acquisition = MultiEcho(
        signal=_measured(request, clean, b0, fields),
        echo_times_s=request.echo_times_s,
        field_t=request.field_t,
        geometry=geometry,
    )
    return Phantom(acquisition=acquisition, truth=truth)


def _voxel_field(waves: Waves, body: LabelledBody, geometry: Geometry, shape: tuple[int, int, int]) -> FloatArray:
    """A smooth field (c, z, y, x) at the voxel centres, fixed to the body."""
    slices = [waves.at(body.body_coordinates(slice_points(geometry, z, shape[1:], _CENTRE))) for z in range(shape[0])]
    return np.stack(slices, axis=1).reshape(-1, *shape)


def _smooth_fields(request: _Request, body: LabelledBody, geometry: Geometry, liver: BoolArray) -> list[SliceFields]:
    """Per slice; the liver's factors have median 1 over pure parenchyma, so has the receive profile."""
    generator, shape = request.generator(2), (len(liver), *liver.shape[1:])
    slow = Waves.draw(generator, channels=3, lengths_mm=(35.0, 140.0), sd=1.0, count=14)
    variation, own, fat = _voxel_field(slow, body, geometry, shape)
    spread = request.anatomy.heterogeneity
    r2star = _median_one(np.maximum(1 + spread * own, 0.2), liver)
    pdff = _median_one(np.maximum(1 + 0.8 * spread * fat, 0.1), liver)
    receive = _median_one(_receive_profile(request, body, geometry, shape), liver)
    texture = gaussian_filter(generator.standard_normal(shape), (0.0, 0.9, 0.9))
    texture = (texture / texture.std()).astype(np.float32)
    return [
        SliceFields(
            variation=variation[z], liver_r2star=r2star[z], liver_pdff=pdff[z], texture=texture[z], receive=receive[z]
        )
        for z in range(shape[0])
    ]


def _median_one(field: FloatArray, where: BoolArray) -> FloatArray:
    reference = float(np.median(field[where])) if where.any() else float(np.median(field))
    return (field / reference).astype(np.float32)


def _receive_profile(
    request: _Request, body: LabelledBody, geometry: Geometry, shape: tuple[int, int, int]
) -> FloatArray:
    """Surface coils in front and behind: bright skin, darker depth, a little more in front, a seed's own tilt."""
    generator = request.generator(4)
    lean = generator.normal(0, 0.25, 3)
    profile = np.empty(shape, dtype=np.float32)
    for z in range(shape[0]):
        x, y, height = body.body_coordinates(slice_points(geometry, z, shape[1:], _CENTRE))
        depth = (x / 170) ** 2 + (y / 110) ** 2
        tilt = lean[0] * x / 170 + (lean[1] - 0.35) * y / 110 + lean[2] * height / 150
        profile[z] = np.exp(request.anatomy.coil_shading * (0.8 * np.minimum(depth, 1.5) + tilt)).reshape(shape[1:])
    return profile


def _b0(field: FieldMap, geometry: Geometry, shape: tuple[int, int, int]) -> tuple[FloatArray, FloatArray]:
    """B0 shift at the voxel centres and its difference across the slice thickness, hertz, (z, y, x) each."""
    b0, across = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.float32)
    half = np.array([0.5, 0.0, 0.0])
    for z in range(shape[0]):
        b0[z] = field.at(slice_points(geometry, z, shape[1:], _CENTRE)).reshape(shape[1:])
        top, bottom = (field.at(slice_points(geometry, z, shape[1:], s * half)) for s in (1, -1))
        across[z] = (top - bottom).reshape(shape[1:])
    return b0, across


def _clean_signal(
    request: _Request, samples: LabelArray, fields: list[SliceFields], table: TissueTable, across: FloatArray
) -> ComplexArray:
    """Noise-free signal (z, y, x, e) without the phase of the field; liver S0 is 1."""
    times, fat = request.echo_times_s, fat_phasor(request.echo_times_s, request.field_t)
    generator, amplitude = request.generator(5), request.anatomy.ghosts
    signal = np.empty((len(samples), *samples.shape[2:], len(times)), dtype=np.complex64)
    for z, (labels, smooth) in enumerate(zip(samples, fields, strict=True)):
        signal[z] = slice_signal(labels, smooth, table, times, fat)
        signal[z] *= dephasing(across[z], times)
        if amplitude:
            moving = np.isin(labels[0], (Label.SUBCUTANEOUS_FAT, Label.SKIN, Label.GAS)) * 1.0 + 0.2 * (labels[0] > 0)
            moving *= np.linspace(1.4, 0.2, labels.shape[1])[:, None]
            shift = int(generator.integers(labels.shape[1] // 9, labels.shape[1] // 5))
            signal[z] = add_ghosts(signal[z], moving, amplitude, shift, float(generator.uniform(0, 2 * np.pi)))
    return signal


def _measured(
    request: _Request, clean: ComplexArray, b0: FloatArray, fields: list[SliceFields]
) -> npt.NDArray[np.generic]:
    """Magnitude float32 or complex64 (z, y, x, e) with noise."""
    sigma, generator = LIVER_S0 / request.snr, request.generator(6)
    if request.kind == "magnitude":
        return noisy_magnitude(np.abs(clean), sigma, request.coils, generator)
    offset = np.stack([0.6 * slice_fields.variation for slice_fields in fields])
    turn = 2 * np.pi * b0[..., None] * request.echo_times_s.astype(np.float32) + offset[..., None]
    return noisy_complex(clean * np.exp(1j * turn).astype(np.complex64), sigma, generator)


def _truth(
    request: _Request,
    stack: SliceStack,
    samples: LabelArray,
    fields: list[SliceFields],
    table: TissueTable,
    tissues: dict[Label, Tissue],
    b0: FloatArray,
) -> PhantomTruth:
    labels = majority(samples)
    smooth = tuple(np.stack([getattr(f, name) for f in fields]) for name in ("variation", "liver_r2star", "liver_pdff"))
    s0, r2star, pdff = tissue_maps(labels, smooth, table)
    silent = s0 == 0
    return PhantomTruth(
        labels=labels,
        r2star_per_s=np.where(silent, np.nan, r2star).astype(np.float32),
        pdff=np.where(silent, np.nan, pdff).astype(np.float32),
        b0_hz=b0,
        liver=pure(samples, Label.LIVER),
        whole_liver=np.isin(labels, WHOLE_LIVER),
        vessels=np.isin(labels, (Label.HEPATIC_VEIN, Label.PORTAL_VEIN)),
        tissues=tissues,
        requested_r2star_per_s=request.r2star_per_s,
        requested_pdff_percent=request.pdff_percent,
        sigma=LIVER_S0 / request.snr,
        coils=request.coils,
        liver_s0=LIVER_S0,
        snr=request.snr,
        seed=request.seed,
        anatomy=request.anatomy,
        stack=stack,
    )
