"""Data of real scanners, pushed through the running node into a real PACS."""

import io
import subprocess
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from tests.whole_node.harness import Orthanc
from tests.whole_node.test_the_whole_way import MakeNode, Push, delivered, pacs_destination

pytestmark = [pytest.mark.whole_node, pytest.mark.peer]


def test_coronal_abdomen_ends_in_a_refusal_that_says_why(
    make_node: MakeNode, orthanc: Orthanc, storescu: Push, shared_data: Callable[[str], Path],
    peer: Callable[[str], Path], tmp_path: Path,
) -> None:  # fmt: skip
    """The volunteer was scanned coronally; the automatic region takes axial slices only and says so."""
    files = sorted((shared_data("ge-mfgre-abdomen") / "dicom").glob("*.dcm"))
    node = make_node(destinations=[pacs_destination(orthanc)])
    answer = storescu(node.port, files)
    assert answer.returncode == 0, answer.stderr
    record = delivered(node, orthanc)

    assert record["status"] == "not_measurable"
    assert [reason["code"] for reason in record["reasons"]] == ["roi_not_axial"]
    assert record["lic_mg_per_g"] is None
    stored = [pydicom.dcmread(io.BytesIO(orthanc.file(i["ID"]))) for i in orthanc.instances()]
    assert not [d for d in stored if "LIC" in d.get("SeriesDescription", "") and d.Modality == "MR"]
    (report,) = [d for d in stored if d.Modality == "SR"]
    report.save_as(tmp_path / "report.dcm")
    text = subprocess.run(
        [peer("dsrdump"), "+Pl", tmp_path / "report.dcm"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert "The slices are coronal" in text
    assert "Liver iron concentration (dry weight)" not in text
