"""Order, names, split and duplicates of files change nothing; any one image removed is named or refused."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from pydicom.dataset import Dataset

from node.intake.assembly import AcquisitionPlan
from node.process.found import Found, read_headers
from node.process.pixels import LoadedAcquisition, read_acquisition
from tests.further import further
from tests.node.mr_images import CORONAL, OBLIQUE, Scan, classics, enhanced, save

SCAN = Scan(echo_times_ms=(1.2, 2.4, 3.6, 4.8), n_slices=3, orientation=OBLIQUE, kinds=("magnitude", "phase"))
SLOW = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def found_in(folder: Path) -> tuple[Found, AcquisitionPlan]:
    found = read_headers([folder], lambda _: None)
    (plan,) = [plan for plan in found.plans() if plan.declined is None]
    return found, plan


def loaded_from(folder: Path) -> LoadedAcquisition:
    found, plan = found_in(folder)
    return read_acquisition(found.files_of(plan))


def fresh(folder: Path) -> Path:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    return folder


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    folder = tmp_path_factory.mktemp("truth")
    for number, ds in enumerate(classics(SCAN)):
        save(ds, folder / f"{number}.dcm")
    return loaded_from(folder).acquisition.signal


@SLOW
@given(chance=st.randoms(use_true_random=False), series=st.integers(min_value=1, max_value=5))
def test_order_names_series_and_duplicates(
    truth: np.ndarray, tmp_path: Path, chance: random.Random, series: int
) -> None:
    every = classics(SCAN)
    chance.shuffle(every)
    for ds in every:
        ds.SeriesInstanceUID, ds.SeriesNumber = f"1.2.3.{chance.randrange(series)}", chance.randrange(9)
        ds.InstanceNumber = chance.randrange(4)
    folder = fresh(tmp_path)
    written = [*every, *chance.sample(every, 5)]
    for name, ds in zip(chance.sample(range(len(written)), len(written)), written, strict=True):
        below = folder / f"association{chance.randrange(3)}"
        below.mkdir(exist_ok=True)
        save(ds, below / f"{name}.{chance.choice(['dcm', 'IMA', 'txt'])}")
    loaded = loaded_from(folder)
    assert_array_equal(loaded.acquisition.signal, truth)
    assert not any(line.code == "incomplete_grid" for line in loaded.qc)


@pytest.mark.parametrize("lost", [0, 5, 13, 23, *further(n for n in range(24) if n not in (0, 5, 13, 23))])
def test_any_one_image_removed_is_named(tmp_path: Path, lost: int) -> None:
    every = classics(SCAN)
    gone = every.pop(lost)
    for number, ds in enumerate(every):
        save(ds, tmp_path / f"{number}.dcm")
    _, plan = found_in(tmp_path)
    z, microseconds, kind = (int(part) for part in gone.SOPInstanceUID.split(".")[-3:])
    (line,) = plan.missing
    assert line.startswith(f"slice {z + 1} at ")
    assert f"({microseconds / 1000:g} ms), {('magnitude', 'phase')[kind]}" in line
    loaded = loaded_from(tmp_path)
    codes = {line.code for line in loaded.qc}
    if kind == 0:
        assert "incomplete_grid" in codes
        assert loaded.acquisition.signal.shape != (3, 6, 5, 4)
    else:
        assert "phase_not_used" in codes
        assert not loaded.acquisition.is_complex


def per_echo(scan: Scan) -> list[Dataset]:
    return [enhanced(scan.but(echo_times_ms=(t,))) for t in scan.echo_times_ms]


@pytest.mark.parametrize("lost", range(12))
def test_any_one_frame_removed_is_named(tmp_path: Path, lost: int) -> None:
    scan = SCAN.but(kinds=("magnitude",))
    objects = per_echo(scan)
    echo, frame = divmod(lost, scan.n_slices)
    ds = objects[echo]
    del ds.PerFrameFunctionalGroupsSequence[frame]
    size = 2 * ds.Rows * ds.Columns
    ds.PixelData = ds.PixelData[: frame * size] + ds.PixelData[(frame + 1) * size :]
    ds.NumberOfFrames -= 1
    for number, found in enumerate(objects):
        save(found, tmp_path / f"{number}.dcm")
    _, plan = found_in(tmp_path)
    (line,) = plan.missing
    assert line.startswith(f"slice {frame + 1} at ")
    assert f"({scan.echo_times_ms[echo]:g} ms), magnitude" in line


@SLOW
@given(chance=st.randoms(use_true_random=False))
def test_one_enhanced_object_per_echo_in_any_order_and_series(tmp_path: Path, chance: random.Random) -> None:
    scan = SCAN.but(orientation=CORONAL)
    objects: Sequence[Dataset] = chance.sample(per_echo(scan), len(scan.echo_times_ms))
    folder = fresh(tmp_path)
    for number, ds in enumerate(objects):
        ds.SeriesInstanceUID = f"1.2.3.{chance.randrange(3)}"
        save(ds, folder / f"{number}.dcm")
    loaded = loaded_from(folder)
    assert loaded.acquisition.echo_times_s.tolist() == [0.0012, 0.0024, 0.0036, 0.0048]
    error = np.abs(loaded.acquisition.magnitude - np.abs(scan.truth))
    assert error.max() < 0.1  # half a step of a frame's own scale
