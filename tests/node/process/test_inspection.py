"""The inspector: what was found, as a table and as a record."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from node.cli import cli
from node.errors import InputError
from node.process.found import read_headers
from tests.node.mr_images import Scan, classic, classics, enhanced, save, save_all


def inspected(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["inspect", *arguments])


def test_table_names_kinds_echoes_slices_and_the_missing_cell(tmp_path: Path) -> None:
    every = classics(Scan(kinds=("magnitude", "phase"), echo_times_ms=(1.2, 2.4, 3.6)))
    save_all([ds for ds in every if ds.SOPInstanceUID != "1.2.3.1.1.1.2400.0"], tmp_path)
    answer = inspected(str(tmp_path))
    assert answer.exit_code == 0, answer.output
    lines = [" ".join(line.split()) for line in answer.output.splitlines()]
    assert "TE ms magnitude phase" in lines
    assert "1.2 3/3 3/3" in lines
    assert "2.4 2/3 3/3" in lines
    assert "missing slice 2 at 38.0 mm, echo 2 (2.4 ms), magnitude" in lines
    assert "scanner Maker Model, 1.5 T" in lines
    assert "slices 3, 30.0 to 46.0 mm along axial" in lines


def test_duplicates_and_unreadable_files_are_listed(tmp_path: Path) -> None:
    every = classics(Scan())
    save_all(every, tmp_path)
    save(every[0], tmp_path / "again.dcm")
    (tmp_path / "broken.dcm").write_bytes(bytes(128) + b"DICM" + b"nonsense")
    answer = inspected(str(tmp_path))
    assert answer.exit_code == 0
    assert "again.dcm" in answer.output
    assert "unreadable   left out: " in answer.output
    assert "broken.dcm" in answer.output


def test_everything_declined_exits_3_and_says_why(tmp_path: Path) -> None:
    save_all(classics(Scan(echo_times_ms=(5.19, 7.65))), tmp_path)
    answer = inspected(str(tmp_path))
    assert answer.exit_code == 3
    assert "declined     too_few_echoes: Only 2 echo times (5.19, 7.65 ms)" in answer.output


def test_refusal_that_only_the_headers_together_tell(tmp_path: Path) -> None:
    every = classics(Scan(extra={"RescaleSlope": "2", "RescaleIntercept": "0"}))
    del every[3].RescaleSlope
    save_all(every, tmp_path)
    answer = inspected(str(tmp_path))
    assert "refused    scaling_incomplete: Rescale Slope (0028,1053) is missing" in answer.output


def test_planes_of_a_declined_object_are_shown_as_they_are(tmp_path: Path) -> None:
    ds = enhanced(Scan())
    for groups in ds.PerFrameFunctionalGroupsSequence:
        groups.MREchoSequence[0].EffectiveEchoTime = 0
    save_all([ds], tmp_path)
    answer = inspected(str(tmp_path))
    assert answer.exit_code == 3
    assert "18 x ORIGINAL\\PRIMARY\\T2_STAR\\M, magnitude, no echo time, unit 1" in answer.output


def test_record_holds_the_same(tmp_path: Path) -> None:
    save_all(classics(Scan()), tmp_path)
    record = json.loads(inspected(str(tmp_path), "--json").output)
    (group,) = record["groups"]
    assert group["echo_times_ms"] == [1.2, 2.4, 3.6, 4.8, 6.0, 7.2]
    assert group["slice_positions_mm"] == [30.0, 38.0, 46.0]
    assert group["declined"] is None
    assert group["complete"]


def test_two_contents_of_one_instance_are_refused(tmp_path: Path) -> None:
    scan = Scan()
    save(classic(scan, 0, 1.2), tmp_path / "a.dcm")
    other = classic(scan, 0, 1.2)
    other.PixelData = bytes(len(other.PixelData))
    save(other, tmp_path / "b.dcm")
    with pytest.raises(InputError, match=r"a\.dcm and .*b\.dcm are both the instance"):
        read_headers([tmp_path], lambda _: None)


def test_one_instance_in_two_encodings_is_a_duplicate(tmp_path: Path) -> None:
    scan = Scan()
    save(classic(scan, 0, 1.2), tmp_path / "a.dcm")
    save(classic(scan, 0, 1.2), tmp_path / "b.dcm", "1.2.840.10008.1.2")
    found = read_headers([tmp_path], lambda _: None)
    assert len(found.headers) == 1
    assert len(found.duplicates) == 1
