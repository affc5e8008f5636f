"""Documents that the code can contradict."""

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from deploy.checks.guide import commands_of
from docs import conformance_tables
from node.cli import cli
from node.dimse.contexts import VERIFICATION_SOP_CLASS, supported_contexts
from node.ops.events import Event

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("bench/*.md"), *REPOSITORY.glob("deploy/*/*.md"),
     *REPOSITORY.glob("docs/**/*.md")]
)  # fmt: skip


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
    """The words of every ``ironnode`` command in blocks and between backticks."""
    text = document.read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    spans = re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    lines = [line.strip() for block in blocks for line in re.split(r"\n|\(|\)|&&|\||'|;", block)]
    lines += [" ".join(span.removeprefix(".venv/bin/").split()) for span in spans]
    return [line.split()[1:] for line in lines if line.startswith("ironnode ")]


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_commands_in_documents_exist_with_their_options(path: Path) -> None:
    for words in _commands_of(path):
        command: click.Command = cli
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            command, words = command.commands[words[0]], words[1:]
        known = {name for parameter in command.get_params(click.Context(command)) for name in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, (path, words)


def test_targets_of_make_named_in_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    for path in DOCUMENTS:
        named = re.findall(r"(?:`|^    )make ([a-z-]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(named) <= targets, path


def test_no_block_of_commands_is_run_by_nobody() -> None:
    """``make install-check`` runs two guides, ``make guide-commands`` those that it names; a block that neither can run
    says why."""
    runners = re.findall(r"[a-z/]+\.md|[a-z/]+/README\.md", (REPOSITORY / "Makefile").read_text())
    run = {"docs/installation.md", "docs/upgrade.md", *runners}
    left = {path.relative_to(REPOSITORY).as_posix() for path in DOCUMENTS if commands_of(path)}
    assert left <= run
    assert "docs/operations.md" in left


def test_every_alert_has_its_row_in_the_operators_table() -> None:
    alerts = re.findall(r"- alert: (\w+)", (REPOSITORY / "deploy/monitoring/alerts.yaml").read_text())
    table = _section("docs/operations.md", "## Symptom, cause, command")
    assert [alert for alert in alerts if f"`{alert}`" not in table] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_relative_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [target for target in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in target]
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_the_documents_build_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "-c", "docs", ".", tmp_path]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=600, check=False)
    assert answer.returncode == 0, answer.stderr
    assert {p.stem for p in (tmp_path / "docs").glob("*.html")} >= {p.stem for p in (REPOSITORY / "docs").glob("*.md")}


def test_relative_links_of_decisions_are_numbered_once() -> None:
    numbers = [p.name[:4] for p in (REPOSITORY / "docs/decisions").glob("*.md")]
    assert len(numbers) == len(set(numbers))
