"""The try page's measurement: the same command, the whole report, nothing left of the input."""

from pathlib import Path

import pytest

from node.config import Config
from node.errors import InputError
from node.web.trial import Trials
from tests.nodekit.small_study import write_study
from tests.whole_node.harness import wait_until


@pytest.fixture
def trials(tmp_path: Path) -> Trials:
    config = tmp_path / "config.json"
    config.write_text(Config().model_dump_json())
    return Trials(tmp_path / "try", config, max_bytes=1 << 20, timeout_s=60)


def test_a_series_is_measured_and_its_files_are_gone(trials, tmp_path) -> None:
    files = [path.open("rb") for path in write_study(tmp_path / "study", 2, echoes=2)]
    name = trials.start(files)
    with pytest.raises(InputError, match="another trial"):
        trials.start(files)
    said = wait_until(lambda: trials.said(name), "the trial ends")
    for file in files:
        file.close()
    assert "echo" in said
    assert str(tmp_path) not in said
    assert len(trials.results(name)) == 1
    wait_until(lambda: not (tmp_path / "try" / name / "in").exists(), "the files are deleted")


def test_an_upload_that_unpacks_too_large_is_refused_and_removed(trials, tmp_path) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes((1 << 20) + 1))
    with large.open("rb") as file, pytest.raises(InputError, match="too large"):
        trials.start([file])
    assert list((tmp_path / "try").iterdir()) == []
