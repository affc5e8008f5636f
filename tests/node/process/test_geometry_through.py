"""From any stack to maps: every voxel of a map is found, by position alone, where its tissue was."""

import io
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from numpy.testing import assert_allclose
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.config import load_config
from node.model import JobInput, PipelineOutput
from node.process.pipeline import run
from tests.further import further
from tests.node.mr_images import AXIAL, CORONAL, OBLIQUE, SAGITTAL, Scan, classics, enhanced, save_all

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Placed(Scan):
    """A ball in air whose R2* rises with the patient's own coordinates; one tenth of a per cent of noise."""

    echo_times_ms: tuple[float, ...] = (1.2, 2.4, 3.6, 4.8, 6.0, 7.2, 8.4, 9.6)
    rows: int = 40
    columns: int = 28
    spacing_mm: tuple[float, float, float] = (9.0, 2.0, 3.0)

    def points(
        self, position: Array, orientation: Array, spacing: tuple[float, float], shape: tuple[int, int]
    ) -> Array:
        """Patient coordinates (y, x, 3) of a plane's pixels."""
        row, column = orientation.reshape(2, 3)
        y, x = np.mgrid[: shape[0], : shape[1]][..., None]
        return np.asarray(position + x * spacing[1] * row + y * spacing[0] * column)

    @property
    def centre(self) -> Array:
        """Of the ball: the middle of the stack."""
        middle = np.array(self.position(self.n_slices - 1)) / 2 + np.array(self.position(0)) / 2
        return self.points(middle, np.array(self.orientation), self.spacing_mm[1:], (self.rows, self.columns))[20, 14]

    def r2star_per_s(self, points: Array) -> Array:
        """NaN in air."""
        away = points - self.centre
        ball = np.linalg.norm(away, axis=-1) < 32
        return np.where(ball, 120 + away @ np.array([1.0, 0.7, -0.5]), np.nan)

    def signal(self, z: int, echo_time_ms: float) -> npt.NDArray[np.complex128]:
        points = self.points(
            np.array(self.position(z)), np.array(self.orientation), self.spacing_mm[1:], (self.rows, self.columns)
        )
        decay = np.nan_to_num(2000 * np.exp(-self.r2star_per_s(points) * echo_time_ms / 1000))
        noise = np.random.default_rng([z, round(1000 * echo_time_ms)]).normal(0, 2.0, (2, self.rows, self.columns))
        return np.asarray(decay + noise[0] + 1j * noise[1])


def maps_of(output: PipelineOutput, role: str) -> list[Dataset]:
    return [dcmread(io.BytesIO(output.files[o["file"]])) for o in output.record["objects"] if o["role"] == role]


def measured(every: list[Dataset], folder: Path) -> PipelineOutput:
    files = save_all(every, folder)
    accepted_at = datetime(2026, 1, 2, 11, 30, tzinfo=UTC)
    return run(JobInput(job_id="d" * 32, files=tuple(files), accepted_at=accepted_at), load_config(None))


@pytest.mark.parametrize(
    ("form", "orientation"),
    [
        ("classic", CORONAL),
        ("classic", OBLIQUE),
        ("enhanced", SAGITTAL),
        ("enhanced", OBLIQUE),
        *further([("classic", AXIAL), ("classic", SAGITTAL), ("enhanced", AXIAL), ("enhanced", CORONAL)]),
    ],
)
def test_map_voxels_lie_where_their_tissue_is(tmp_path: Path, orientation: tuple[float, ...], form: str) -> None:
    scan = Placed(orientation=orientation)
    every = (
        classics(scan) if form == "classic" else [enhanced(scan.but(echo_times_ms=(t,))) for t in scan.echo_times_ms]
    )
    random.Random(3).shuffle(every)
    output = measured(every, tmp_path)
    found = maps_of(output, "map.r2star")
    assert len(found) == scan.n_slices
    for ds in found:
        points = scan.points(
            np.array(ds.ImagePositionPatient, dtype=float),
            np.array(ds.ImageOrientationPatient, dtype=float),
            tuple(float(v) for v in ds.PixelSpacing),
            (ds.Rows, ds.Columns),
        )
        truth = scan.r2star_per_s(points)
        inside = np.isfinite(truth)
        stored = ds.pixel_array.astype(float) * float(ds.get("RescaleSlope", 1)) + float(ds.get("RescaleIntercept", 0))
        assert inside.sum() > 100
        assert np.median(np.abs(stored[inside] - truth[inside])) < 1.0
        assert np.quantile(np.abs(stored[inside] - truth[inside]), 0.99) < 4.0
        assert ds.FrameOfReferenceUID == "1.2.3.9"
    (float_map,) = maps_of(output, "pm.r2star")
    positions = [g.PlanePositionSequence[0].ImagePositionPatient for g in float_map.PerFrameFunctionalGroupsSequence]
    expected = [scan.position(z) for z in range(scan.n_slices)]
    assert_allclose(sorted(np.array(positions, dtype=float).tolist()), sorted(expected), atol=1e-4)
