"""Decoding of real files against independent readers: a public converter's NIfTI, and one image in nine encodings."""

import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from node.errors import UnreadableError
from node.intake.admission import DECODABLE
from node.intake.headers import quiet_pydicom, read_header
from node.intake.planes import Plane
from node.intake.tags import text
from node.process.frames import read_planes
from node.process.scaling import modality_values, phase_unit_rad
from node.process.signal import read_source

SharedData = Callable[[str], Path]
Array = npt.NDArray[np.float64]


def read_nifti(path: Path) -> tuple[Array, Array]:
    """Values (i, j, k) and the affine to LPS of a NIfTI-1 file of signed 16-bit integers (nifti1.h)."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    shape = struct.unpack_from("<3h", raw, 42)
    assert struct.unpack_from("<h", raw, 70) == (4,)
    slope, offset = struct.unpack_from("<2f", raw, 112)
    affine = np.vstack([np.reshape(struct.unpack_from("<12f", raw, 280), (3, 4)), [0, 0, 0, 1]])
    stored = np.frombuffer(raw, "<i2", offset=352)[: np.prod(shape)].reshape(shape, order="F")
    return stored * float(slope) + float(offset), np.diag([-1, -1, 1, 1]) @ affine


def at_plane(values: Array, affine: Array, plane: Plane, shape: tuple[int, int]) -> Array:
    """The converter's values at the centres of a plane's pixels, found by position alone."""
    assert plane.position_mm is not None
    assert plane.orientation is not None
    assert plane.pixel_spacing_mm is not None
    row, column = np.reshape(plane.orientation, (2, 3))
    y, x = np.mgrid[: shape[0], : shape[1]][..., None]
    between_rows, between_columns = plane.pixel_spacing_mm
    points = np.array(plane.position_mm) + x * between_columns * row + y * between_rows * column
    voxels = np.linalg.solve(affine, np.concatenate([points, np.ones((*shape, 1))], axis=-1)[..., None])[..., :3, 0]
    nearest = np.rint(voxels).astype(int)
    assert np.abs(voxels - nearest).max() < 0.02
    return values[tuple(np.moveaxis(nearest, -1, 0))]


@pytest.mark.parametrize(
    ("folder", "file", "converted"),
    [
        (
            "philips-enhanced-2echo",
            "2001_WIP_fcMRI_Field_Mapping_e2_phMag.dcm",
            {("magnitude", 2.3): "2001_enh_e1", ("magnitude", 4.6): "2001_enh_e2",
             ("phase", 2.3): "2001_enh_e1_ph", ("phase", 4.6): "2001_enh_e2_ph"},
        ),
        ("philips-enhanced-b0map", "IM_0027_fMAP.dcm", {("magnitude", 1.52): "Philips_WIP_B0_NS_801_e1"}),
    ],
)  # fmt: skip
def test_every_philips_frame_equals_the_converter(
    shared_data: SharedData, folder: str, file: str, converted: dict[tuple[str, float], str]
) -> None:
    root = shared_data(folder)
    source = read_source(root / file)
    volumes = {}
    for key, name in converted.items():
        (path,) = [p for p in (root / "converted").glob(f"{name}.nii*")]
        volumes[key] = read_nifti(path)
        side_car = json.loads((root / "converted" / f"{name}.json").read_text())
        assert 1000 * side_car["EchoTime"] == pytest.approx(key[1])
    frames = [plane for plane in source.planes.values() if plane.echo_time_s is not None]
    ratios = []
    pixels = read_planes(source.path, source.header, [plane.frame_number or 0 for plane in frames])
    for plane, stored in zip(frames, pixels, strict=True):
        ours = modality_values(stored, plane).astype(np.float64)
        values, affine = volumes[plane.kind, round(1000 * (plane.echo_time_s or 0), 4)]
        theirs = at_plane(values, affine, plane, stored.shape)
        if plane.kind == "phase":
            unit = phase_unit_rad(source.header, plane)
            assert unit is not None
            assert_allclose(ours * unit[0] + unit[1], theirs, atol=5e-4)
        else:
            ratio = theirs.sum() / ours.sum()  # the converter gives Philips' floating-point values
            assert_allclose(ours * ratio, theirs, atol=1e-5 * theirs.max())
            ratios.append(ratio)
    assert len(frames) == sum(values.shape[2] for values, _ in volumes.values())
    assert max(ratios) / min(ratios) - 1 < 1e-5  # one scale for every frame: no echo is weighted


def test_nine_encodings_of_one_image_decode_alike(shared_data: SharedData) -> None:
    files = sorted(p for p in shared_data("transfer-syntaxes").iterdir() if p.suffix == ".dcm")
    assert len(files) == 9
    sources = [read_source(path) for path in files]
    syntaxes = {text(source.header.file_meta, "TransferSyntaxUID") for source in sources}
    assert len(syntaxes) == 7
    assert syntaxes <= DECODABLE
    first, *others = [next(read_planes(source.path, source.header, [0])) for source in sources]
    for other in others:
        assert_array_equal(other, first)
    assert {(read_header(path).declined or ("",))[0] for path in files} == {"epi_mosaic"}


def test_odd_encodings_decode_or_are_refused_by_name(shared_data: SharedData) -> None:
    files = sorted(p for p in shared_data("compressed-and-odd").iterdir() if p.suffix == ".dcm")
    outcomes = {path.name: _decoded(path) for path in files}
    assert sum(not words for words in outcomes.values()) >= 4
    assert all(name in words for name, words in outcomes.items() if words)
    assert all(read_header(path).declined for path in files)  # none is a multi-echo gradient echo


def _decoded(path: Path) -> str:
    """Empty when every plane decodes; else the refusal in words."""
    source = read_source(path)
    try:
        with quiet_pydicom():
            return "" if list(read_planes(path, source.header, sorted(source.planes))) else f"{path.name}: no plane"
    except UnreadableError as error:
        return str(error)
