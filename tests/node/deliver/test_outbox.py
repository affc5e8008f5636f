"""Result folders: whole or absent, and never changed once they stand."""

import json
import subprocess

import pytest

from node.config import DestinationConfig
from node.deliver.outbox import DIGESTS_FILE, Outbox, plan_deliveries
from node.errors import StorageError
from node.intake.durable_io import DurableIo
from node.model import PipelineOutput

OBJECTS = [
    {"role": role, "sop_class_uid": "1.2", "sop_instance_uid": f"1.{n}", "file": f"dicom/{n}.dcm"}
    for n, role in enumerate(("map.r2star", "map.lic", "page", "sr", "seg", "pm.r2star"))
]


def output(text: str = "one") -> PipelineOutput:
    record = {"status": "measured", "objects": OBJECTS, "text": text}
    return PipelineOutput(record=record, files={"result.json": json.dumps(record).encode(), "dicom/0.dcm": b"0"})


@pytest.fixture
def outbox(tmp_path) -> Outbox:
    return Outbox(tmp_path / "outbox")


def test_a_result_set_is_read_back_as_written(outbox) -> None:
    assert outbox.record("job") is None
    assert outbox.job_ids() == []
    assert outbox.put("job", output())
    assert outbox.record("job") == output().record
    assert (outbox.path("job") / "dicom" / "0.dcm").read_bytes() == b"0"
    assert outbox.job_ids() == ["job"]


def test_digests_are_those_that_sha256sum_checks(outbox) -> None:
    outbox.put("job", output())
    check = ["sha256sum", "--check", "--strict", DIGESTS_FILE]
    good = subprocess.run(check, cwd=outbox.path("job"), capture_output=True, text=True, check=True)
    assert good.stdout.splitlines() == ["dicom/0.dcm: OK", "result.json: OK"]
    assert outbox.damage("job", "dicom/0.dcm") is None


def test_a_file_that_changed_is_gone_or_was_never_put_here_is_damage(outbox) -> None:
    outbox.put("job", output())
    file = outbox.path("job") / "dicom" / "0.dcm"
    file.write_bytes(b"1")
    assert outbox.damage("job", "dicom/0.dcm") == "its file in the outbox is damaged (SHA-256)"
    file.with_name("1.dcm").write_bytes(b"0")
    assert outbox.damage("job", "dicom/1.dcm") == "its file in the outbox is damaged (SHA-256)"
    file.unlink()
    assert outbox.damage("job", "dicom/0.dcm") == "its file is gone from the outbox"
    file.mkdir()
    assert outbox.damage("job", "dicom/0.dcm") == "its file in the outbox cannot be read: IsADirectoryError"


def test_the_first_result_set_stands(outbox) -> None:
    outbox.put("job", output())
    assert outbox.put("job", output())
    assert not outbox.put("job", output("two"))
    assert outbox.record("job") == output().record


def test_a_disk_that_refuses_leaves_nothing(outbox, tmp_path, monkeypatch) -> None:
    def full(self, descriptor, data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(DurableIo, "write", full)
        with pytest.raises(StorageError, match="No space left"):
            outbox.put("job", output())
    assert list((tmp_path / "outbox").iterdir()) == []
    assert outbox.put("job", output())


def test_every_file_and_folder_is_flushed_before_the_folder_gets_its_name(outbox, tmp_path, monkeypatch) -> None:
    done = []
    flush_file, flush_folder = DurableIo.flush_file, DurableIo.flush_folder

    def file(self, descriptor):
        done.append("file")
        flush_file(self, descriptor)

    def folder(self, path):
        done.append("named" if (tmp_path / "outbox" / "job").exists() else "folder")
        flush_folder(self, path)

    monkeypatch.setattr(DurableIo, "flush_file", file)
    monkeypatch.setattr(DurableIo, "flush_folder", folder)
    outbox.put("job", output())
    assert done == ["file", "file", "file", "folder", "folder", "named"]


def test_a_result_that_is_finished_during_the_sweep_does_not_disturb_it(outbox, tmp_path, monkeypatch) -> None:
    """A worker gives it its name between our list and our look at it."""
    outbox.put("job", output())
    leftover = tmp_path / "outbox" / ".new-job2-abc"
    leftover.mkdir()
    listed = [leftover.with_name(".new-job3-def"), leftover]
    monkeypatch.setattr(type(leftover), "glob", lambda _folder, _pattern: iter(listed))
    outbox.sweep(3600, leftover.stat().st_mtime + 3601)
    assert not leftover.exists()


def test_leftovers_of_a_killed_worker_are_swept_when_old(outbox, tmp_path) -> None:
    outbox.put("job", output())
    leftover = tmp_path / "outbox" / ".new-job2-abc"
    leftover.mkdir()
    age = leftover.stat().st_mtime
    outbox.sweep(3600, age + 10)
    assert leftover.exists()
    assert outbox.job_ids() == ["job"]
    outbox.sweep(3600, age + 3601)
    assert not leftover.exists()
    assert outbox.job_ids() == ["job"]


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil"])
def test_a_file_outside_the_folder_is_refused(outbox, name) -> None:
    with pytest.raises(ValueError, match="outside its folder"):
        outbox.put("job", PipelineOutput(record={}, files={name: b""}))


def test_a_damaged_record_is_named(outbox) -> None:
    outbox.put("job", output())
    (outbox.path("job") / "result.json").write_text("{")
    with pytest.raises(StorageError, match=r"result\.json: cannot be read"):
        outbox.record("job")


def test_each_destination_gets_what_it_wants_in_order() -> None:
    def destination(name, objects):
        return DestinationConfig(name=name, ae_title="A", host="h", port=104, objects=objects)

    planned = plan_deliveries(
        output().record, [destination("all", "all"), destination("maps", ("map", "sr")), destination("pm", ("pm",))]
    )
    assert [(p.destination, p.role) for p in planned if p.destination != "all"] == [
        ("maps", "map.r2star"), ("maps", "map.lic"), ("maps", "sr"), ("pm", "pm.r2star"),
    ]  # fmt: skip
    assert [p.file for p in planned if p.destination == "all"] == [o["file"] for o in OBJECTS]
