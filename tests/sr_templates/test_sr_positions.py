"""Every number is found again at its place in the patient, by every reader and in every kind of object."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest

from quant.acquisition import Geometry
from sr_templates.result_set import BuiltSet
from tests.sr_templates.sr_sources import (
    COLUMNS,
    ROWS,
    build,
    make_classic,
    make_enhanced,
    make_geometry,
    make_maps,
    make_mask,
)

N = 3
SOURCES = {
    "axial descending": lambda: make_classic(make_geometry("axial", N), "descending"),
    "sagittal shuffled": lambda: make_classic(make_geometry("sagittal", N), "shuffled"),
    "oblique": lambda: make_classic(make_geometry("oblique", N)),
    "coronal enhanced": lambda: make_enhanced(make_geometry("coronal", N)),
    "sagittal enhanced": lambda: make_enhanced(make_geometry("sagittal", N)),
}
Array = np.ndarray[Any, np.dtype[np.float64]]


@pytest.fixture(scope="module", params=list(SOURCES))
def placed(request: pytest.FixtureRequest) -> tuple[Geometry, BuiltSet]:
    source = SOURCES[request.param]()
    return source.geometry, build(source)


def truth_at(geometry: Geometry, points_mm: Array, values: Any) -> Array:
    """The input at points (n, 3) in the patient, which lie on voxel centres."""
    offset = points_mm - geometry.positions_mm[0]
    z = offset @ geometry.normal / geometry.spacing_mm[0]
    y = offset @ geometry.column_direction / geometry.spacing_mm[1]
    x = offset @ geometry.row_direction / geometry.spacing_mm[2]
    index = np.rint(np.stack([z, y, x])).astype(int)
    assert np.abs(np.stack([z, y, x]) - index).max() < 1e-3
    return np.asarray(values[tuple(index)], dtype=np.float64)


def read_nrrd(path: Path) -> tuple[Array, Array]:
    """Points (n, 3) in LPS millimetres and values (n,) of an NRRD file as dcmqi writes it."""
    head, _, body = path.read_bytes().partition(b"\n\n")
    fields = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
    assert fields["space"] == "left-posterior-superior"
    kind = {"float": "<f4", "short": "<i2", "unsigned char": "u1", "uchar": "u1"}[fields["type"]]
    data = gzip.decompress(body) if fields["encoding"] == "gzip" else body
    sizes = [int(size) for size in fields["sizes"].split()]
    values = np.frombuffer(data, kind).reshape(sizes[::-1]).astype(np.float64)
    vectors = np.array([vector_of(text) for text in fields["space directions"].split()])
    index = np.stack(np.meshgrid(*(np.arange(size) for size in values.shape), indexing="ij"), axis=-1)
    points = vector_of(fields["space origin"]) + index[..., ::-1].reshape(-1, 3) @ vectors
    return points, values.ravel()


def vector_of(text: str) -> Array:
    return np.array([float(part) for part in text.strip("()").split(",")])


def expected_map(values: Any) -> Any:
    """The map as stored: the corner that viewers look at first is air, 0."""
    stored = values.copy()
    stored[0, 0, 0] = 0
    return stored


def test_dcmqi_places_the_float_maps(
    placed: tuple[Geometry, BuiltSet],
    write_set: Callable[[BuiltSet], dict[str, Path]],
    run_tool: Callable[..., str],
    tmp_path: Path,
) -> None:
    geometry, built = placed
    paths, maps = write_set(built), make_maps(N)
    for key, truth in (("r2star", maps.r2star_per_s), ("lic", maps.lic_mg_per_g)):
        path = paths[f"pm-{key}-0001.dcm"]
        run_tool("paramap2itkimage", "--inputDICOM", path, "--outputDirectory", tmp_path, "--prefix", key)
        points, values = read_nrrd(tmp_path / f"{key}-pmap.nrrd")
        assert values.size == N * ROWS * COLUMNS
        np.testing.assert_allclose(values, truth_at(geometry, points, expected_map(truth)), rtol=1e-6)


def test_dcmqi_places_the_region(
    placed: tuple[Geometry, BuiltSet],
    write_set: Callable[[BuiltSet], dict[str, Path]],
    run_tool: Callable[..., str],
    tmp_path: Path,
) -> None:
    geometry, built = placed
    path = write_set(built)["seg-0001.dcm"]
    run_tool("segimage2itkimage", "--inputDICOM", path, "--outputDirectory", tmp_path, "--prefix", "seg")
    points, values = read_nrrd(tmp_path / "seg-1.nrrd")
    assert values.sum() == make_mask(N).sum()
    np.testing.assert_array_equal(values, truth_at(geometry, points, make_mask(N)))


@pytest.mark.parametrize("file", ["pm-r2star-0001.dcm", "seg-0001.dcm"])
def test_highdicom_places_map_and_region(
    placed: tuple[Geometry, BuiltSet], file: str, write_set: Callable[[BuiltSet], dict[str, Path]]
) -> None:
    geometry, built = placed
    path = write_set(built)[file]
    if file.startswith("pm"):
        volume, truth = hd.imread(path).get_volume(), expected_map(make_maps(N).r2star_per_s)
    else:
        volume, truth = hd.seg.segread(path).get_volume(combine_segments=True), make_mask(N)
    index = np.indices(volume.array.shape).reshape(3, -1)
    points = (volume.affine[:3, :3] @ index).T + volume.affine[:3, 3]
    found = volume.array.ravel().astype(np.float64)
    np.testing.assert_allclose(found, truth_at(geometry, points, truth), rtol=1e-6)


def test_classic_images_hold_the_number_at_its_place(placed: tuple[Geometry, BuiltSet]) -> None:
    geometry, built = placed
    maps = make_maps(N)
    for key, per_unit, truth in (
        ("r2star", 1, maps.r2star_per_s),
        ("lic", 1000, maps.lic_mg_per_g),
        ("t2star", 100, maps.t2star_ms),
        ("pdff", 10, maps.pdff_percent),
    ):
        images = [item.dataset for item in built.objects if item.role == f"map.{key}"]
        assert len(images) == N
        for ds in images:
            y, x = np.indices((ROWS, COLUMNS)).reshape(2, -1)
            orientation = np.array(ds.ImageOrientationPatient, dtype=float)
            points = (
                np.array(ds.ImagePositionPatient, dtype=float)
                + np.outer(x * float(ds.PixelSpacing[1]), orientation[:3])
                + np.outer(y * float(ds.PixelSpacing[0]), orientation[3:])
            )
            expected = np.nan_to_num(np.rint(truth_at(geometry, points, truth) * per_unit))
            np.testing.assert_array_equal(np.frombuffer(ds.PixelData, "<u2"), expected)


def test_frame_k_of_the_float_map_is_slice_k_and_names_its_echoes(placed: tuple[Geometry, BuiltSet]) -> None:
    geometry, built = placed
    ds = next(item.dataset for item in built.objects if item.role == "pm.r2star")
    along = [
        np.array(group.PlanePositionSequence[0].ImagePositionPatient, dtype=float) @ geometry.normal
        for group in ds.PerFrameFunctionalGroupsSequence
    ]
    assert np.all(np.diff(along) > 0)
    classic = [item.dataset for item in built.objects if item.role == "map.r2star"]
    for group, image in zip(ds.PerFrameFunctionalGroupsSequence, classic, strict=True):
        frame_sources = group.DerivationImageSequence[0].SourceImageSequence
        assert references(frame_sources) == references(image.SourceImageSequence)
        assert sum(len(numbers) or 1 for _, numbers in references(frame_sources)) == 6


def references(items: Any) -> list[tuple[str, tuple[int, ...]]]:
    """Instances and frame numbers of a Source Image Sequence."""
    found = []
    for item in items:
        numbers = item.get("ReferencedFrameNumber", ())
        numbers = (numbers,) if isinstance(numbers, int) else tuple(int(number) for number in numbers)
        found.append((str(item.ReferencedSOPInstanceUID), numbers))
    return found
