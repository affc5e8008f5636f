"""NIfTI-1 single files, as far as external segmentation programs need them (nifti1.h, nifti.nimh.nih.gov).

Arrays are (z, y, x) here and (x, y, z) with the first index fastest in the file; the affine maps voxel indices
(x, y, z) to millimetres with axes to the right, front and head (RAS), DICOM's are to the left, back and head (LPS).
"""

import gzip
import struct
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from quant.acquisition import Geometry

_HEADER_BYTES, _OFFSET = 348, 352
_TYPES: dict[int, type[np.generic]] = {
    2: np.uint8,
    4: np.int16,
    8: np.int32,
    16: np.float32,
    64: np.float64,
    256: np.int8,
    512: np.uint16,
    768: np.uint32,
}
_FLOAT32 = 16
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_LARGEST_BYTES = 1 << 30


class NiftiError(ValueError):
    """The file is no NIfTI-1 single file that can be read."""


def affine_of(geometry: Geometry) -> npt.NDArray[np.float64]:
    """Voxel indices (x, y, z) to RAS millimetres, (4, 4)."""
    spacing_z, spacing_y, spacing_x = geometry.spacing_mm
    affine = np.eye(4)
    affine[:3, 0] = geometry.row_direction * spacing_x
    affine[:3, 1] = geometry.column_direction * spacing_y
    affine[:3, 2] = geometry.normal * spacing_z
    affine[:3, 3] = geometry.positions_mm[0]
    return np.asarray(_LPS_TO_RAS @ affine, np.float64)


def write_nifti(path: Path, volume: npt.NDArray[np.float32], geometry: Geometry) -> None:
    """Writes (z, y, x) as float32."""
    affine, header = affine_of(geometry), bytearray(_OFFSET)
    struct.pack_into("<i", header, 0, _HEADER_BYTES)
    struct.pack_into("<8h", header, 40, 3, *volume.shape[::-1], 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, _FLOAT32, 32)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    qfac = 1.0 if np.linalg.det(affine[:3, :3]) > 0 else -1.0
    struct.pack_into("<8f", header, 76, qfac, *spacing, 1, 1, 1, 1)
    struct.pack_into("<3f", header, 108, _OFFSET, 1.0, 0.0)
    header[123] = 2  # millimetres
    struct.pack_into("<2h", header, 252, 0, 1)  # the sform holds the affine
    struct.pack_into("<12f", header, 280, *affine[:3].ravel())
    header[344:348] = b"n+1\0"
    path.write_bytes(bytes(header) + np.ascontiguousarray(volume, "<f4").tobytes())


def read_nifti(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Voxels (z, y, x) and affine (4, 4) of a ``.nii`` or ``.nii.gz`` file with an sform.

    Raises:
        NiftiError: what the file lacks.
    """
    data = _content(path)
    if len(data) < _OFFSET or data[344:347] != b"n+1":
        raise NiftiError(f"{path.name} is not a NIfTI-1 single file")
    order: Literal["<", ">"] = "<" if struct.unpack_from("<i", data)[0] == _HEADER_BYTES else ">"
    dimensions = struct.unpack_from(f"{order}8h", data, 40)
    code = struct.unpack_from(f"{order}h", data, 70)[0]
    offset, slope, intercept = struct.unpack_from(f"{order}3f", data, 108)
    if code not in _TYPES or struct.unpack_from(f"{order}h", data, 254)[0] < 1:
        raise NiftiError(f"{path.name} has data type {code} or no sform")
    shape = tuple(int(n) for n in dimensions[1 : 1 + max(3, dimensions[0])])
    if min(shape) < 1 or any(n != 1 for n in shape[3:]):
        raise NiftiError(f"{path.name} is not one volume but of size {shape}")
    dtype = np.dtype(_TYPES[code]).newbyteorder(order)
    count = int(np.prod(shape[:3], dtype=np.int64))
    if not _OFFSET <= offset <= len(data) - count * dtype.itemsize:
        raise NiftiError(f"{path.name} is shorter than its header says")
    voxels = np.frombuffer(data, dtype, count, int(offset)).reshape(shape[2::-1])
    if slope not in (0.0, 1.0) or intercept != 0.0:
        voxels = voxels * (slope or 1.0) + intercept
    affine = np.vstack([np.array(struct.unpack_from(f"{order}12f", data, 280)).reshape(3, 4), [0, 0, 0, 1]])
    return voxels, affine


def _content(path: Path) -> bytes:
    try:
        if path.suffix != ".gz":
            return path.read_bytes()
        with gzip.open(path) as file:
            data = file.read(_LARGEST_BYTES + 1)
    except (OSError, EOFError) as error:
        raise NiftiError(f"{path.name} cannot be read: {error}") from error
    if len(data) > _LARGEST_BYTES:
        raise NiftiError(f"{path.name} unpacks to more than {_LARGEST_BYTES >> 20} MiB")
    return data


def on_grid(
    voxels: npt.NDArray[Any], affine: npt.NDArray[np.float64], geometry: Geometry, shape: tuple[int, ...]
) -> npt.NDArray[Any]:
    """The voxels in the acquisition's order, where the file may hold its axes turned or flipped.

    Raises:
        NiftiError: the grid is another one.
    """
    wanted = affine_of(geometry)
    to_file = np.linalg.inv(affine) @ wanted
    turn = np.rint(to_file[:3, :3]).astype(int)
    if not np.allclose(to_file[:3, :3], turn, atol=0.02) or sorted(np.abs(turn).sum(0)) != [1, 1, 1]:
        raise NiftiError("the answer lies on another grid than the images")
    order = [int(np.argmax(np.abs(turn[:, axis]))) for axis in range(3)]  # file axis of each of our axes (x, y, z)
    moved = voxels.transpose(2, 1, 0).transpose(order)  # ours (x, y, z)
    moved = np.flip(moved, tuple(axis for axis in range(3) if turn[order[axis], axis] < 0))
    if moved.shape[::-1] != tuple(shape):
        raise NiftiError(f"the answer has size {moved.shape[::-1]}, the images {tuple(shape)}")
    first = [voxels.shape[2 - order[axis]] - 1 if turn[order[axis], axis] < 0 else 0 for axis in range(3)]
    start = np.zeros(4)
    start[[order[axis] for axis in range(3)]] = first
    start[3] = 1
    if not np.allclose((affine @ start)[:3], wanted[:3, 3], atol=0.5):
        raise NiftiError("the answer lies elsewhere in the patient than the images")
    return np.ascontiguousarray(moved.transpose(2, 1, 0))
