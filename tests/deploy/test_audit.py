"""What pip-audit says is read as it is meant: a package that nobody judged is not a sound one."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

_SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "checks" / "audit.py"


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", _SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["audit"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def answer(*entries: dict[str, Any]) -> str:
    return json.dumps({"dependencies": entries, "fixes": []})


def test_judged_unjudged_and_vulnerable_are_told_apart(audit: ModuleType) -> None:
    found = audit.read_answer(
        answer(
            {"name": "a", "version": "1", "vulns": []},
            {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]},
            {"name": "c", "skip_reason": "not found"},
        )
    )
    assert (found.judged, found.unjudged) == (("a", "b"), ("c",))
    assert found.vulnerable == ("b 2: PYSEC-1, mended in 3",)


@pytest.mark.parametrize("text", ["", "Traceback", "[]", "{}"])
def test_no_answer_is_none(audit: ModuleType, text: str) -> None:
    assert audit.read_answer(text) is None


@pytest.mark.parametrize(("required", "status"), [(False, 0), (True, 1)])
def test_that_nobody_was_asked_is_said(
    audit: ModuleType, capsys: pytest.CaptureFixture[str], required: bool, status: int
) -> None:
    assert audit._not_audited("no service", required=required) == status
    assert capsys.readouterr().out.startswith("NOT AUDITED: no service.")
