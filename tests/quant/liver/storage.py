"""The same measurement as another scanner would store it, and fits that flag what a test wants."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from quant.acquisition import Geometry, MultiEcho
from quant.fit import R2StarMap


def reorder(array: npt.NDArray[Any], transpose: bool, flip_rows: bool, flip_columns: bool) -> npt.NDArray[Any]:
    """Voxel order of ``stored_otherwise``; the slices follow, since they must ascend along the new normal."""
    backwards = transpose ^ flip_rows ^ flip_columns
    steps = tuple(slice(None, None, -1) if flip else slice(None) for flip in (backwards, flip_rows, flip_columns))
    return np.ascontiguousarray(array[steps].swapaxes(1, 2) if transpose else array[steps])


def stored_otherwise(acquisition: MultiEcho, transpose: bool, flip_rows: bool, flip_columns: bool) -> MultiEcho:
    """Voxels in another order, with the geometry that leaves each where it is in the patient."""
    old = acquisition.geometry
    first, row, column = old.positions_mm, old.row_direction, old.column_direction
    n_rows, n_columns = acquisition.signal.shape[1:3]
    if flip_rows:
        first, column = first + (n_rows - 1) * old.spacing_mm[1] * column, -column
    if flip_columns:
        first, row = first + (n_columns - 1) * old.spacing_mm[2] * row, -row
    spacing_z, spacing_y, spacing_x = old.spacing_mm
    if transpose:
        row, column, spacing_y, spacing_x = column, row, spacing_x, spacing_y
    return replace(
        acquisition,
        signal=reorder(acquisition.signal, transpose, flip_rows, flip_columns),
        geometry=Geometry(
            positions_mm=first[::-1] if transpose ^ flip_rows ^ flip_columns else first,
            row_direction=row,
            column_direction=column,
            spacing_mm=(spacing_z, spacing_y, spacing_x),
            slice_thickness_mm=old.slice_thickness_mm,
        ),
    )


def flagged_fit(acquisition: MultiEcho, flags: npt.NDArray[np.int32] | int = 0) -> R2StarMap:
    """A fit with these flags and the noise of the images' corners; the other values do not matter to the search."""
    ends = np.r_[:6, -6:0]
    corner = np.sort(np.abs(acquisition.signal[:, ends][:, :, ends, -1]).astype(float), axis=None)
    shape = acquisition.signal.shape[:3]
    ones = np.ones(shape, np.float32)
    return R2StarMap(
        r2star_per_s=50 * ones,
        s0=ones,
        pdff=None,
        b0_hz=None,
        sd_r2star_per_s=ones,
        residual=ones,
        flags=np.zeros(shape, np.int32) + np.asarray(flags, np.int32),
        sigma=float(np.sqrt((corner**2).mean() / 2)),
        coils=1.0,
        noise_source="test",
        measurable_limit_per_s=None,
        model="test",
        noise_model="test",
        echoes_used=acquisition.signal.shape[3],
    )
