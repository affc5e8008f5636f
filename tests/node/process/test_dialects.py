"""The same abdomen through every dialect and kind: the same R2* within half a per cent, the same geometry."""

from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.testing import assert_allclose

from node.config import load_config
from node.process.found import read_headers
from node.process.pipeline import Measured, measure
from node.process.pixels import read_acquisition
from node.simulate import DIALECTS, Dialect, write_phantom
from quant.phantom import Phantom, make_abdomen
from tests.further import further

Kind = Literal["magnitude", "complex"]
TRUTH_PER_S = 90.0


@cache
def abdomen(kind: Kind) -> Phantom:
    return make_abdomen(r2star_per_s=TRUTH_PER_S, n_slices=3, matrix=(80, 96), tilt_deg=8, snr=80, kind=kind)


def through(dialect: Dialect, kind: Kind, folder: Path) -> Measured:
    write_phantom(abdomen(kind), folder, dialect=dialect, kind=kind)
    found = read_headers([folder], lambda _: None)
    (plan,) = found.plans()
    assert plan.complete
    return measure(read_acquisition(found.files_of(plan)), load_config(None), lambda _: None)


def region_r2star_per_s(measured: Measured) -> float:
    assert measured.measurement is not None, measured.refusals
    return float(measured.measurement.best_r2star_per_s)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    return through("generic", "magnitude", tmp_path_factory.mktemp("generic"))


@pytest.mark.parametrize("kind", ["magnitude", *further(["complex"])])
@pytest.mark.parametrize("dialect", [dialect for dialect in DIALECTS if dialect != "enhanced"])
def test_same_number_and_same_place(reference: Measured, dialect: Dialect, kind: Kind, tmp_path: Path) -> None:
    measured = through(dialect, kind, tmp_path)
    assert region_r2star_per_s(measured) == pytest.approx(region_r2star_per_s(reference), rel=0.005)
    assert region_r2star_per_s(measured) == pytest.approx(TRUTH_PER_S, rel=0.01)
    ours, theirs = measured.loaded.acquisition.geometry, reference.loaded.acquisition.geometry
    assert_allclose(ours.positions_mm, theirs.positions_mm, atol=1e-3)  # Siemens XA writes six digits
    assert_allclose(ours.spacing_mm, theirs.spacing_mm, rtol=1e-4)
    assert_allclose(
        np.array([ours.row_direction, ours.column_direction]), [theirs.row_direction, theirs.column_direction]
    )
    assert measured.loaded.acquisition.is_complex == (kind == "complex")


def test_the_older_name_writes_the_same_object(tmp_path: Path) -> None:
    pixels = []
    for name in ("enhanced", "philips-enhanced"):
        (path,) = write_phantom(abdomen("magnitude"), tmp_path / name, dialect=name)
        pixels.append(read_acquisition([path]).acquisition.signal)
    assert np.array_equal(*pixels)
