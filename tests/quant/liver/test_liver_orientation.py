"""The search sees the patient, not the storage order (DICOM PS3.3 C.7.6.2.1.1)."""

from itertools import product

import numpy as np
import pytest

from quant.acquisition import Geometry, MultiEcho
from quant.liver.orientation import axial_axes
from quant.liver.types import RegionNotFoundError
from tests.quant.liver.storage import stored_otherwise


def _acquisition(row: tuple[float, ...] = (1.0, 0, 0), column: tuple[float, ...] = (0, 1.0, 0)) -> MultiEcho:
    signal = np.random.default_rng(0).random((3, 5, 7, 2), np.float32)
    normal = np.cross(row, column)
    return MultiEcho(
        signal=signal,
        echo_times_s=np.array([0.001, 0.002]),
        field_t=1.5,
        geometry=Geometry(
            positions_mm=np.array([-20.0, 30.0, 5.0]) + np.arange(3)[:, None] * 8 * normal,
            row_direction=np.array(row, float),
            column_direction=np.array(column, float),
            spacing_mm=(8.0, 2.0, 1.5),
            slice_thickness_mm=6.0,
        ),
    )


@pytest.mark.parametrize("how", list(product((False, True), repeat=3)))
def test_any_storage_order_turns_to_the_same_patient_axes(how: tuple[bool, bool, bool]) -> None:
    plain, other = _acquisition(), stored_otherwise(_acquisition(), *how)
    reference = axial_axes(plain.geometry, plain.signal.shape[:3])
    axes = axial_axes(other.geometry, other.signal.shape[:3])
    np.testing.assert_array_equal(axes.turn(other.signal), reference.turn(plain.signal))
    np.testing.assert_allclose(axes.first_voxel_mm, reference.first_voxel_mm, atol=1e-9)
    np.testing.assert_allclose(axes.row_step_mm, [0, 2.0, 0], atol=1e-12)
    np.testing.assert_allclose(axes.column_step_mm, [1.5, 0, 0], atol=1e-12)
    np.testing.assert_array_equal(axes.restore(axes.turn(other.signal)), other.signal)


def test_patient_coordinates_agree_with_the_dicom_equation() -> None:
    acquisition = stored_otherwise(_acquisition((0.98, 0.199, 0), (-0.199, 0.98, 0)), True, False, True)
    axes, geometry = axial_axes(acquisition.geometry, acquisition.signal.shape[:3]), acquisition.geometry
    z, y, x = np.indices(acquisition.signal.shape[:3])
    points = (
        geometry.positions_mm[z]
        + x[..., None] * geometry.row_direction * geometry.spacing_mm[2]
        + y[..., None] * geometry.column_direction * geometry.spacing_mm[1]
    )
    turned = axes.turn(points)
    n_y, n_x = turned.shape[1:3]
    steps = np.arange(n_y)[:, None, None] * axes.row_step_mm + np.arange(n_x)[:, None] * axes.column_step_mm
    np.testing.assert_allclose(turned, axes.first_voxel_mm[:, None, None] + steps, atol=1e-9)


@pytest.mark.parametrize(
    ("row", "column", "word"),
    [
        ((1.0, 0, 0), (0, 0, -1.0), "coronal"),
        ((0, 1.0, 0), (0, 0, -1.0), "sagittal"),
        ((1.0, 0, 0), (0, np.cos(np.radians(35)), np.sin(np.radians(35))), "tilted 35 degrees"),
    ],
)
def test_other_slice_orientations_are_refused(row: tuple[float, ...], column: tuple[float, ...], word: str) -> None:
    acquisition = _acquisition(row, column)
    with pytest.raises(RegionNotFoundError, match=word) as caught:
        axial_axes(acquisition.geometry, acquisition.signal.shape[:3])
    assert caught.value.reason.code == "roi_not_axial"


def test_tilts_up_to_thirty_degrees_are_axial() -> None:
    tilt = np.radians(29)
    acquisition = _acquisition((1.0, 0, 0), (0, np.cos(tilt), np.sin(tilt)))
    assert axial_axes(acquisition.geometry, acquisition.signal.shape[:3]).row_step_mm[2] > 0
