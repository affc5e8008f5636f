"""Documents that the code can contradict."""

import re
from pathlib import Path

from node.cli import cli
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


def test_pictures_of_the_readme_exist() -> None:
    for target in re.findall(r"\]\((docs/[^)#]+)", (REPOSITORY / "README.md").read_text()):
        assert (REPOSITORY / target).exists(), target


def test_relative_links_of_decisions_are_numbered_once() -> None:
    numbers = [p.name[:4] for p in (REPOSITORY / "docs/decisions").glob("*.md")]
    assert len(numbers) == len(set(numbers))
