"""The complex fit on echoes of real patients, against a search over field and R2* written here.

The search solves water and fat (a phase each) at every field and R2* of a grid, voxel by voxel, and keeps the best
solution with more water and the best with more fat. Where one of them leaves far less than the other, the echoes
themselves say what the voxel is: there the fit has to agree.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.io import loadmat

from node.process.pixels import read_acquisition
from quant.fit import R2StarMap, fit_r2star
from quant.flags import FitFlag

SharedData = Callable[[str], Path]
Array = npt.NDArray[np.float64]

_SAMPLE = 1200
_CLEAR = 6.0  # ratio of what two solutions leave (energy) from which the echoes decide
_FAT_PPM = np.array([-3.80, -3.40, -2.60, -1.94, -0.39, 0.60])
_FAT_PARTS = np.array([0.087, 0.693, 0.128, 0.004, 0.039, 0.048]) / 0.999


@dataclass(frozen=True, kw_only=True)
class Case:
    """Complex echoes (z, y, x, e) and which way they turn: 1 with fat below water, -1 against."""

    signal: npt.NDArray[np.complex64]
    echo_times_s: Array
    field_t: float
    sense: int

    def fit(self) -> R2StarMap:
        return fit_r2star(self.signal, self.echo_times_s, field_t=self.field_t, model="complex_fat", threads=2)

    def tissue(self) -> npt.NDArray[np.int64]:
        """Rows of about ``_SAMPLE`` bright voxels of the raveled volume."""
        first = np.abs(self.signal[..., 0]).reshape(-1)
        bright = np.flatnonzero(first > 0.15 * np.percentile(first, 99))
        return bright[:: max(1, bright.size // _SAMPLE)]

    def fat(self) -> npt.NDArray[np.complex128]:
        turns = np.multiply.outer(self.echo_times_s, _FAT_PPM * 42.577478518 * self.field_t)
        return np.asarray(np.exp(self.sense * 2j * np.pi * turns) @ _FAT_PARTS)


@cache
def _case(path: Path, sense: int) -> Case:
    record = loadmat(path)["imDataParams"][0, 0]
    return Case(
        signal=np.ascontiguousarray(np.moveaxis(record["images"][:, :, :, 0, :], 2, 0), dtype=np.complex64),
        echo_times_s=record["TE"].ravel().astype(np.float64),
        field_t=float(record["FieldStrength"].ravel()[0]),
        sense=sense,
    )


@cache
def _fitted(path: Path, sense: int) -> R2StarMap:
    return _case(path, sense).fit()


@pytest.fixture
def dome(shared_data: SharedData) -> tuple[Case, R2StarMap]:
    """Three slices through liver dome and heart, 1.5 T, four echoes."""
    path = shared_data("fatwater-ismrm2012") / "12.mat"
    return _case(path, 1), _fitted(path, 1)


@pytest.fixture
def chest(shared_data: SharedData) -> tuple[Case, R2StarMap]:
    """A slice through heart, lungs and the tops of liver and spleen, 3 T, six echoes, turning the other way."""
    path = shared_data("fatwater-b0nice") / "99.mat"
    return _case(path, -1), _fitted(path, -1)


@dataclass(frozen=True, kw_only=True)
class Search:
    """What the best solutions leave of the energy of each voxel (k,), with more water and with more fat."""

    water: Array
    fat: Array

    @property
    def least(self) -> Array:
        return np.minimum(self.water, self.fat)


def _search(case: Case, voxels: npt.NDArray[np.int64]) -> Search:
    samples = case.signal.reshape(-1, case.echo_times_s.size)[voxels].astype(np.complex128)
    times, fat = case.echo_times_s, case.fat()
    energy = np.sum(np.abs(samples) ** 2, axis=1)
    least = {species: np.full(voxels.size, np.inf) for species in ("water", "fat")}
    period = 1 / np.diff(times).min()
    for r2star in np.arange(0.0, 320.0, 16.0):
        basis = np.exp(-r2star * (times - times[0]))[:, None] * np.stack([np.ones_like(fat), fat], axis=1)
        solve = np.linalg.pinv(basis)
        for b0_hz in np.linspace(-period / 2, period / 2, 160, endpoint=False):
            turned = samples * np.exp(-2j * np.pi * b0_hz * times)
            amounts = turned @ solve.T
            left = np.sum(np.abs(turned - amounts @ basis.T) ** 2, axis=1) / energy
            more_fat = np.abs(amounts[:, 1]) > np.abs(amounts[:, 0])
            for species, where in (("fat", more_fat), ("water", ~more_fat)):
                least[species] = np.where(where, np.minimum(left, least[species]), least[species])
    return Search(**least)


def _left_by(case: Case, found: R2StarMap, voxels: npt.NDArray[np.int64]) -> Array:
    """Share of the energy that R2* and field of ``found`` leave with the best water and fat."""
    assert found.b0_hz is not None
    times, fat = case.echo_times_s, case.fat()
    samples = case.signal.reshape(-1, times.size)[voxels].astype(np.complex128)
    r2star = found.r2star_per_s.reshape(-1)[voxels].astype(np.float64)
    b0_hz = found.b0_hz.reshape(-1)[voxels].astype(np.float64)
    one = np.exp((2j * np.pi * b0_hz - r2star)[:, None] * times)
    basis = np.stack([one, one * fat], axis=2)
    amounts = np.linalg.pinv(basis) @ samples[:, :, None]
    left = samples - (basis @ amounts)[:, :, 0]
    return np.asarray(np.sum(np.abs(left) ** 2, axis=1) / np.sum(np.abs(samples) ** 2, axis=1))


def _by_phase(found: R2StarMap, voxels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Those of ``voxels`` that have R2* and field from the complex fit."""
    assert found.b0_hz is not None
    told = np.isfinite(found.r2star_per_s) & np.isfinite(found.b0_hz)
    return voxels[told.reshape(-1)[voxels]]


def _explained(
    found: R2StarMap, search: Search, voxels: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], Array, Array]:
    where = (found.flags.reshape(-1)[voxels] & FitFlag.POOR_FIT) == 0
    return voxels[where], search.water[where], search.fat[where]


def _exchanged(found: R2StarMap, search: Search, voxels: npt.NDArray[np.int64]) -> tuple[float, int]:
    """Share of the measured voxels that the echoes decide where the fit says the opposite, and their number.

    At the edge of the lung the model explains neither answer; voxels that are flagged so do not count.
    """
    assert found.pdff is not None
    voxels, water, fat = _explained(found, search, voxels)
    pdff = found.pdff.reshape(-1)[voxels]
    is_fat, is_water = water > _CLEAR * fat, fat > _CLEAR * water
    decided = (is_fat | is_water) & np.isfinite(pdff)
    wrong = (is_fat & (pdff < 0.3)) | (is_water & (pdff > 0.7))
    return float(np.mean(wrong[decided])), int(decided.sum())


def _ellipse(shape: tuple[int, ...], row: int, column: int, half_rows: int, half_columns: int) -> npt.NDArray[np.bool_]:
    y, x = np.ogrid[: shape[0], : shape[1]]
    return np.asarray(((y - row) / half_rows) ** 2 + ((x - column) / half_columns) ** 2 < 1)


def _steps(values: npt.NDArray[Any], where: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """Absolute differences between neighbours of one slice, both of them in ``where``."""
    along_x = np.abs(np.diff(values, axis=1))[where[:, 1:] & where[:, :-1]]
    along_y = np.abs(np.diff(values, axis=0))[where[1:] & where[:-1]]
    return np.concatenate([along_x, along_y])


@pytest.mark.parametrize("name", ["dome", "chest"])
def test_fit_leaves_no_more_than_the_search(name: str, request: pytest.FixtureRequest) -> None:
    case, found = request.getfixturevalue(name)
    voxels = _by_phase(found, case.tissue())
    assert voxels.size > 900
    left, searched = _left_by(case, found, voxels), _search(case, voxels).least
    assert np.median(np.sqrt(left)) < 1.01 * np.median(np.sqrt(searched))
    # the field has to be smooth, the search need not be: a few voxels may leave more
    assert np.mean(np.sqrt(left) > np.sqrt(searched) + 0.03) < 0.06


@pytest.mark.parametrize("name", ["dome", "chest"])
def test_water_and_fat_are_where_the_echoes_put_them(name: str, request: pytest.FixtureRequest) -> None:
    case, found = request.getfixturevalue(name)
    voxels = case.tissue()
    wrong, decided = _exchanged(found, _search(case, voxels), voxels)
    assert decided > 300
    assert wrong < 0.01


def test_liver_of_the_dome_is_whole(dome: tuple[Case, R2StarMap]) -> None:
    _, found = dome
    assert found.pdff is not None
    assert found.b0_hz is not None
    ellipses = ((78, 68, 44, 32), (78, 68, 38, 28), (80, 68, 34, 26))
    for k, ellipse in enumerate(ellipses):
        liver = _ellipse(found.pdff.shape[1:], *ellipse)
        pdff, r2star = found.pdff[k][liver], found.r2star_per_s[k][liver]
        assert np.mean(np.abs(pdff) < 0.15) > 0.98  # NaN counts against it
        assert abs(float(np.nanmedian(pdff))) < 0.05
        assert 15 < float(np.nanmedian(r2star)) < 45  # a healthy liver at 1.5 T
        told = liver & np.isfinite(found.pdff[k])
        assert np.percentile(_steps(found.b0_hz[k], told), 99.5) < 15  # Hz per pixel: no exchange within the liver
        assert np.median(_steps(found.pdff[k], told)) < 0.03


def test_waters_of_the_chest_are_water(chest: tuple[Case, R2StarMap]) -> None:
    """Heart, and the organ under the left diaphragm, an island in the lung in a field of its own."""
    _, found = chest
    assert found.pdff is not None
    shape = found.pdff.shape[1:]
    for ellipse, least in (((150, 140, 25, 30), 0.99), ((125, 203, 14, 8), 0.95)):
        pdff = found.pdff[0][_ellipse(shape, *ellipse)]
        told = np.isfinite(pdff)
        assert told.mean() > 0.7
        assert np.mean(pdff[told] < 0.3) > least
    assert np.count_nonzero(found.pdff[0] > 0.8) > 300  # thin subcutaneous fat


@pytest.mark.parametrize(("name", "turned"), [("dome", False), ("chest", True)])
def test_sense_of_rotation_is_found(name: str, turned: bool, request: pytest.FixtureRequest) -> None:
    case, found = request.getfixturevalue(name)
    assert found.phase_note is not None
    assert ("against" in found.phase_note) == turned
    back = Case(
        signal=np.conj(case.signal), echo_times_s=case.echo_times_s, field_t=case.field_t, sense=-case.sense
    ).fit()
    assert back.phase_note is not None
    assert ("against" in back.phase_note) != turned
    assert found.b0_hz is not None
    assert back.b0_hz is not None
    both = np.isfinite(found.b0_hz) & np.isfinite(back.b0_hz)
    assert np.mean(np.abs(found.r2star_per_s - back.r2star_per_s)[both] < 2) > 0.99


def test_three_echoes_are_too_few(shared_data: SharedData) -> None:
    case = _case(shared_data("fatwater-ismrm2012") / "17.mat", 1)
    with pytest.raises(ValueError, match="3 echoes are too few for complex_fat"):
        case.fit()
    found = fit_r2star(case.signal, case.echo_times_s, field_t=case.field_t, threads=2)
    assert found.model.startswith("magnitude")
    assert found.phase_note is not None
    assert found.phase_note.startswith("Phase not used")


def test_echoes_in_phase_are_fitted_by_magnitude(shared_data: SharedData) -> None:
    """All twelve echoes in phase: they do not show fat, and asked for it all the same, R2* is that of the magnitude."""
    acquisition = read_acquisition(sorted(shared_data("ge-mfgre-abdomen").rglob("*.dcm"))).acquisition
    middle = acquisition.signal[2:3]
    by_rule = fit_r2star(middle, acquisition.echo_times_s, field_t=acquisition.field_t, threads=2)
    assert by_rule.model == "magnitude_first_moment"
    assert by_rule.phase_note == "Phase not used: the echo times do not tell water from fat."
    asked = fit_r2star(middle, acquisition.echo_times_s, field_t=acquisition.field_t, model="complex_fat", threads=2)
    bright = np.abs(middle[..., 0]) > 0.3 * np.abs(middle[..., 0]).max()
    phased = bright & ((asked.flags & FitFlag.PHASE_NOT_USED) == 0) & np.isfinite(asked.r2star_per_s)
    assert phased.sum() > 1000
    apart = (asked.r2star_per_s - by_rule.r2star_per_s)[phased]
    assert abs(float(np.nanmedian(apart))) < 3
