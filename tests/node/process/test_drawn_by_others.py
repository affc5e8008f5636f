"""A region as 3D Slicer's converter (dcmqi) writes it, drawn on our own maps."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from node.intake.headers import patient_id_hash
from node.process.drawn_region import Place, read_region
from node.process.nifti import write_nifti
from quant.acquisition import Geometry
from tests.sr_templates.sr_sources import build_two_maps, make_classic, make_geometry

CONVERTER = Path(sys.executable).with_name("itkimage2segimage")
SEGMENT = {
    "labelID": 1, "SegmentDescription": "Liver", "SegmentAlgorithmType": "MANUAL",
    "SegmentedPropertyCategoryCodeSequence": {
        "CodeValue": "123037004", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Anatomical Structure"},
    "SegmentedPropertyTypeCodeSequence": {
        "CodeValue": "10200004", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Liver"},
}  # fmt: skip


@pytest.mark.peer
@pytest.mark.parametrize("plane", ["sagittal", "oblique"])
def test_a_region_of_dcmqi_on_our_map_lands_on_the_same_voxels(plane: str, tmp_path: Path) -> None:
    if not CONVERTER.exists():
        pytest.skip("dcmqi is not installed")
    geometry: Geometry = make_geometry(plane, 4)
    built = build_two_maps(make_classic(geometry))
    images = [item.dataset for item in built.objects if item.role == "map.r2star"]
    (tmp_path / "maps").mkdir()
    for image in images:
        image.save_as(tmp_path / "maps" / f"{image.InstanceNumber}.dcm", enforce_file_format=True)
    shape = (4, images[0].Rows, images[0].Columns)
    mask = np.random.default_rng(7).random(shape) < 0.3
    mask[1] = False
    write_nifti(tmp_path / "drawn.nii", mask.astype(np.float32), geometry)
    told = {"ContentCreatorName": "Reader", "SeriesNumber": "300", "InstanceNumber": "1", "SeriesDescription": "Drawn",
            "segmentAttributes": [[SEGMENT]]}  # fmt: skip
    (tmp_path / "told.json").write_text(json.dumps(told))
    subprocess.run(
        [CONVERTER, "--inputImageList", tmp_path / "drawn.nii", "--inputDICOMDirectory", tmp_path / "maps",
         "--outputDICOM", tmp_path / "drawn.dcm", "--inputMetadata", tmp_path / "told.json"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    found = read_region(
        tmp_path / "drawn.dcm",
        Place(
            geometry=geometry, shape=shape, sop_instance_uids=frozenset(),
            frame_of_reference_uids=frozenset({str(images[0].FrameOfReferenceUID)}),
            patient_id_hashes=(patient_id_hash(images[0]), patient_id_hash(images[0], with_issuer=False)),
        ),
    )  # fmt: skip
    assert dcmread(tmp_path / "drawn.dcm").Manufacturer == "QIICR"
    np.testing.assert_array_equal(found.mask, mask)
