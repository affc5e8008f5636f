"""Decoding and scaling against other readers of the same files."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from numpy.testing import assert_allclose

from node.intake.headers import read_dataset
from node.intake.planes import planes_of
from node.process.frames import read_planes, stored_limit
from node.process.scaling import modality_values, phase_unit_rad
from tests.node.mr_images import Scan, classic, override

SharedData = Callable[[str], Path]


def test_philips_enhanced_values_equal_those_of_another_converter(shared_data: SharedData) -> None:
    """dcm2niix' NIfTI of the same object: display values over both slopes, phase in radians, both axes flipped."""
    folder = shared_data("philips-enhanced-2echo")
    path = next(folder.glob("*phMag.dcm"))
    ds = read_dataset(path)
    planes = planes_of(ds)
    for kind, echo_time_s, name in (
        ("magnitude", 0.0023, "2001_enh_e1.nii.gz"),
        ("magnitude", 0.0046, "2001_enh_e2.nii.gz"),
        ("phase", 0.0023, "2001_enh_e1_ph.nii.gz"),
        ("phase", 0.0046, "2001_enh_e2_ph.nii.gz"),
    ):
        chosen = [p for p in planes if p.kind == kind and p.echo_time_s == pytest.approx(echo_time_s)]
        chosen.sort(key=lambda plane: plane.position_mm[2] if plane.position_mm else 0.0)
        stored = read_planes(path, ds, [plane.frame_number or 0 for plane in chosen])
        scales = [(p.slope or 0) * (p.scale_slope or 0) for p in chosen]
        pairs = zip(stored, chosen, scales, strict=True)
        values = np.stack([modality_values(pixels, plane) / scale for pixels, plane, scale in pairs])
        reference = _nifti(folder / "converted" / name)  # (x, y, z)
        assert values.shape == (53, 80, 80)
        assert_allclose(values, reference.transpose(2, 1, 0)[:, ::-1, ::-1], rtol=1e-5, atol=1e-3)


def _nifti(path: Path) -> npt.NDArray[np.float64]:
    """NIfTI-1, as its header defines it (nifti1.h): dimensions at 40, type at 70, offset at 108, scaling at 112."""
    raw = gzip.decompress(path.read_bytes())
    dimensions = struct.unpack_from("<8h", raw, 40)
    (kind,) = struct.unpack_from("<h", raw, 70)
    offset, slope, intercept = struct.unpack_from("<3f", raw, 108)
    dtype = {4: "<i2", 16: "<f4", 512: "<u2"}[kind]
    shape = dimensions[1:4]
    stored = np.frombuffer(raw, dtype, int(np.prod(shape)), int(offset)).reshape(shape, order="F")
    return stored.astype(np.float64) * (slope or 1.0) + intercept


@pytest.mark.parametrize(
    ("changes", "stored", "radians"),
    [
        ({"RescaleSlope": "2", "RescaleIntercept": "-4096", "RescaleType": "US"}, 4095, np.pi * 4094 / 4096),
        ({"RescaleSlope": "2", "RescaleIntercept": "-4096", "RescaleType": "US"}, 0, -np.pi),
        ({"RescaleSlope": None, "RescaleIntercept": None, "Manufacturer": "SIEMENS"}, 2048, 0.0),
        ({"RescaleSlope": None, "RescaleIntercept": None, "Manufacturer": "Siemens Healthineers"}, 0, -np.pi),
        ({"RescaleSlope": "1.5345543", "RescaleIntercept": "-3142", "RescaleType": "mrad"}, 4095, 3.142),
        ({"RescaleSlope": "0.001", "RescaleIntercept": "0", "RescaleType": "rad"}, 1000, 1.0),
        ({"RescaleSlope": None, "RescaleIntercept": None, "Manufacturer": "Other"}, 2048, None),
    ],
)
def test_phase_in_radians_whatever_the_unit(changes: dict[str, Any], stored: int, radians: float | None) -> None:
    ds = override(classic(Scan(), 0, 1.2, "phase"), {"RescaleType": None, **changes})
    (plane,) = planes_of(ds)
    unit = phase_unit_rad(ds, plane)
    if radians is None:
        assert unit is None
    else:
        assert unit is not None
        value = modality_values(np.array([stored], dtype=np.uint16), plane)[0] * unit[0] + unit[1]
        assert value == pytest.approx(radians, abs=1e-4)


@pytest.mark.parametrize(("bits", "signed", "limit"), [(12, 0, 4095), (16, 0, 65535), (16, 1, 32767), (12, 1, 2047)])
def test_stored_limit(bits: int, signed: int, limit: int) -> None:
    ds = override(classic(Scan(), 0, 1.2), {"BitsStored": bits, "PixelRepresentation": signed})
    assert stored_limit(ds) == limit
