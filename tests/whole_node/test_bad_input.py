"""What goes wrong at the door: each mistake gets its own clear answer, and nothing is lost."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests.whole_node.harness import RunningNode, node_settings, wait_until
from tests.whole_node.test_the_whole_way import Push

pytestmark = [pytest.mark.whole_node, pytest.mark.peer]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """One node: what goes wrong at its door leaves nothing behind that the next test would meet."""
    root = tmp_path_factory.mktemp("node")
    node = RunningNode(root, node_settings(root / "data")).start()
    yield node
    node.stop()


def test_wrong_called_ae_title(node: RunningNode, storescu: Push, phantom_files: Callable[..., list[Path]]) -> None:
    answer = storescu(node.port, phantom_files()[:1], called="SOMEONE")
    assert answer.returncode != 0
    assert "Called AE Title Not Recognized" in answer.stderr + answer.stdout


def test_caller_not_on_the_list(node: RunningNode, storescu: Push, phantom_files: Callable[..., list[Path]]) -> None:
    answer = storescu(node.port, phantom_files()[:1], calling="STRANGER")
    assert answer.returncode != 0
    assert "Calling AE Title Not Recognized" in answer.stderr + answer.stdout


def test_echo(node: RunningNode, peer: Callable[[str], Path]) -> None:
    echo = [peer("echoscu"), "-aet", "SCANNER", "-aec", "IRONNODE", "127.0.0.1", str(node.port)]
    assert subprocess.run(echo, capture_output=True, timeout=30, check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "reason"), [("siemens-gre-2echo", "too_few_echoes"), ("philips-enhanced-2echo", "too_few_echoes")]
)
def test_two_echo_sets_are_declined(
    node: RunningNode, storescu: Push, shared_data: Callable[[str], Path], name: str, reason: str
) -> None:
    files = [f for f in sorted(shared_data(name).rglob("*")) if f.is_file() and _is_mr(f)]
    answer = storescu(node.port, files, "-R")
    assert answer.returncode == 0, answer.stderr
    study = str(pydicom.dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)
    assert _declined(node, study)["code"] == reason
    assert node.jobs() == []


def _declined(node: RunningNode, study_instance_uid: str) -> dict[str, Any]:
    """What `ironnode status` says of the study, once it is declined."""

    def found() -> dict[str, Any] | None:
        of_study = (a for a in node.acquisitions() if a["study_instance_uid"] == study_instance_uid)
        return next((a for a in of_study if a["state"] == "declined"), None)

    return wait_until(found, f"{study_instance_uid} is declined")


def _is_mr(file: Path) -> bool:
    try:
        return str(pydicom.dcmread(file, stop_before_pixels=True).SOPClassUID).startswith("1.2.840.10008.5.1.4.1.1.4")
    except pydicom.errors.InvalidDicomError:
        return False


def test_missing_echo_time_is_named(
    node: RunningNode, storescu: Push, phantom_files: Callable[..., list[Path]], tmp_path: Path
) -> None:
    files = []
    for index, file in enumerate(phantom_files(slices=1)):
        dataset = pydicom.dcmread(file)
        dataset.EchoTime = None
        files.append(tmp_path / f"{index}.dcm")
        dataset.save_as(files[-1])
    assert storescu(node.port, files).returncode == 0
    declined = _declined(node, str(dataset.StudyInstanceUID))
    assert declined["code"] == "no_echo_time"
    assert "Echo" in declined["text"]
