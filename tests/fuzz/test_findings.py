"""What the fuzzer found and was mended stays mended."""

from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

_FINDINGS = sorted((Path(__file__).parent / "findings").glob("*/*"))


@pytest.mark.parametrize("path", _FINDINGS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_finding_that_was_mended(path: Path) -> None:
    TARGETS[path.parent.name].run(path.read_bytes())
