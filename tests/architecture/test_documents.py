"""Documents that the code can contradict."""

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from docs import conformance_tables
from node.cli import cli
from node.dimse.contexts import VERIFICATION_SOP_CLASS, supported_contexts
from node.ops.events import Event

REPOSITORY = Path(__file__).resolve().parents[2]


def _section(document: str, heading: str) -> str:
    return (REPOSITORY / document).read_text().split(heading, 1)[1].split("\n## ", 1)[0]


def test_every_log_event_is_explained() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \|", _section("docs/operations.md", "## Log events"), re.MULTILINE)
    assert sorted(rows) == sorted(event.value for event in Event)


def test_commands_named_in_the_readme_exist() -> None:
    named = set(re.findall(r"\bironnode ([a-z]+)\b", (REPOSITORY / "README.md").read_text()))
    assert named - {"is", "says", "supports"} <= set(cli.commands)


def test_locks_name_no_registry() -> None:
    for lock in REPOSITORY.glob("requirements*.lock"):
        text = lock.read_text()
        assert "://" not in text, lock.name
        assert "--hash=sha256:" in text


def test_the_conformance_statement_equals_the_code() -> None:
    text = conformance_tables.STATEMENT.read_text(encoding="utf-8")
    assert conformance_tables.with_tables(text) == text, "make conformance"
    assert set(re.findall(r"<!-- table: (\w+) -->", text)) == set(conformance_tables.TABLES)


def test_the_conformance_statement_names_all_that_the_listener_takes() -> None:
    text = conformance_tables.STATEMENT.read_text(encoding="utf-8")
    offered = supported_contexts(commitment=True)
    uids = {str(c.abstract_syntax) for c in offered} | {str(s) for c in offered for s in c.transfer_syntax}
    assert {uid for uid in uids if uid not in text} == {VERIFICATION_SOP_CLASS}  # it has a section of its own


def _commands_of(document: Path) -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line.strip() for block in blocks for line in re.split(r"\n|\(|\)|&&|\||'|;", block)]
    return [line.split()[1:] for line in lines if line.startswith("ironnode ")]


@pytest.mark.parametrize("path", [*(REPOSITORY / "docs").glob("*.md"), *(REPOSITORY / "deploy").rglob("*.md")], ids=str)
def test_commands_in_guides_exist_with_their_options(path: Path) -> None:
    for words in _commands_of(path):
        command: click.Command = cli
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            command, words = command.commands[words[0]], words[1:]
        known = {name for parameter in command.get_params(click.Context(command)) for name in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, (path, words)


@pytest.mark.parametrize(
    "path",
    [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md"), *(REPOSITORY / "deploy").rglob("*.md")],
    ids=str,
)
def test_relative_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [target for target in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in target]
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_the_documents_build_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "-c", "docs", ".", tmp_path]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert answer.returncode == 0, answer.stderr
    assert {p.stem for p in (tmp_path / "docs").glob("*.html")} >= {p.stem for p in (REPOSITORY / "docs").glob("*.md")}


def test_relative_links_of_decisions_are_numbered_once() -> None:
    numbers = [p.name[:4] for p in (REPOSITORY / "docs/decisions").glob("*.md")]
    assert len(numbers) == len(set(numbers))
