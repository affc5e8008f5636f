"""Every row of the threat model names tests that exist."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ROWS = [
    line.strip("|").split("|")
    for line in (REPOSITORY / "docs/threat-model.md").read_text().splitlines()
    if re.match(r"\| [a-z].*\| [STRIDE]: ", line)
]


def test_every_kind_of_threat_is_looked_at() -> None:
    assert {threat.strip()[0] for _, threat, _, _ in ROWS} == set("STRIDE")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1].strip())
def test_the_tests_of_a_row_exist(row: list[str]) -> None:
    named = re.findall(r"`([^`]+)`", row[3])
    assert named
    for test in named:
        file, _, function = test.partition("::")
        text = (REPOSITORY / file).read_text()
        assert "def test_" in text, file
        assert not function or f"def {function}(" in text, test
