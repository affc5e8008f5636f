"""The command line as its users run it: a process, its exit status, its words, its files."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pydicom
import pytest
from click.testing import CliRunner

from node.cli import cli, main
from tests.further import further

REFUSAL_ROLES = ["ko", "page", "pdf", "sr", "sr.comprehensive", "sr.enhanced"]


@dataclass(frozen=True)
class Answer:
    """What a command said and how it ended."""

    returncode: int
    stdout: str
    stderr: str


def ironnode(*words: object) -> Answer:
    """The command in this process, where the libraries are loaded already."""
    out, err = io.StringIO(), io.StringIO()
    arguments = ["ironnode", *map(str, words)]
    ended = pytest.raises(SystemExit)
    with patch.object(sys, "argv", arguments), redirect_stdout(out), redirect_stderr(err), ended as end:
        main()
    assert "internal error" not in err.getvalue()
    return Answer(int(end.value.code or 0), out.getvalue(), err.getvalue())


def ironnode_process(*words: object) -> Answer:
    """The command as its users start it."""
    answer = subprocess.run(
        [sys.executable, "-m", "node", *map(str, words)], capture_output=True, text=True, timeout=240, check=False
    )
    assert "Traceback" not in answer.stderr + answer.stdout
    return Answer(answer.returncode, answer.stdout, answer.stderr)


def phantom(out: Path, **options: Any) -> Path:
    """A phantom's folder; made in this process, for what counts is what is done with it."""
    words = [w for k, v in {"matrix": 128, "slices": 3, **options}.items() for w in (f"--{k.replace('_', '-')}", v)]
    answer = CliRunner().invoke(cli, ["phantom", "--out", str(out), *map(str, words)])
    assert answer.exit_code == 0, answer.output
    return out


def processed(folder: Path, out: Path, *words: object, command: Callable[..., Answer] = ironnode) -> dict[str, Any]:
    """result.json of a measured folder."""
    answer = command("process", folder, "--out", out, *words)
    assert answer.returncode == 0, answer.stderr + answer.stdout
    return json.loads((out / "result.json").read_text())


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom of 67.73 /s at 1.5 T, to read only."""
    return phantom(tmp_path_factory.mktemp("source"), r2star_per_s=67.73, field_t="1.5", slices=4)


@pytest.fixture(scope="module")
def measured(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its results, to read only."""
    out = tmp_path_factory.mktemp("measured") / "out"
    processed(source, out)
    return out


def test_the_case_every_release_must_get_right(measured: Path) -> None:
    record = json.loads((measured / "result.json").read_text())
    assert 2.0 <= record["lic_mg_per_g"]["median"] <= 2.2
    assert record["calibration"]["id"] == "garbowski-2014"
    assert record["grade"]["label"] == "mild"
    assert (record["views"]["reference"]["limit_mg_per_g"], record["views"]["reference"]["above"]) == (1.8, True)
    assert (record["views"]["clinical"]["limit_mg_per_g"], record["views"]["clinical"]["above"]) == (7.0, False)
    follow_up = record["follow_up"]
    assert (follow_up["min_months"], follow_up["max_months"]) == (12, 24)
    assert follow_up["population_match"] is False
    others = [other["lic_mg_per_g"] for other in record["other_calibrations"]]
    assert min(others) == pytest.approx(1.4, abs=0.15)
    assert max(others) == pytest.approx(1.9, abs=0.15)


def test_three_tesla_uses_its_own_calibration_and_the_indication_is_taken(tmp_path: Path) -> None:
    folder = phantom(tmp_path / "in", r2star_per_s=67.73, field_t="3.0")
    record = processed(folder, tmp_path / "out", "--indication", "scd-chronic-transfusion")
    assert (record["calibration"]["id"], record["calibration"]["field_t"]) == ("hernando-2023", 3.0)
    assert record["calibration"]["doi"] == "10.1148/radiol.213256"
    assert record["lic_mg_per_g"]["median"] == pytest.approx(
        -0.03 + 0.01349 * record["r2star_per_s"]["median"], abs=0.01
    )
    assert record["grade"]["label"] == "normal"
    assert record["follow_up"]["population_match"] is True


def test_an_unknown_indication_is_named(source: Path, tmp_path: Path) -> None:
    answer = ironnode("process", source, "--out", tmp_path / "out", "--indication", "nonsense")
    assert answer.returncode == 2
    assert "nonsense" in answer.stderr


@pytest.mark.parametrize(
    ("r2star_per_s", "label"), [(400, "severe"), *further([(20, "normal"), (150, "moderate"), (800, "extreme")])]
)
def test_grades_over_the_range(tmp_path: Path, r2star_per_s: float, label: str) -> None:
    folder, out = phantom(tmp_path / "in", r2star_per_s=r2star_per_s, slices=1), tmp_path / "out"
    answer = CliRunner().invoke(cli, ["process", str(folder), "--out", str(out)])
    assert answer.exit_code == 0, answer.output
    record = json.loads((out / "result.json").read_text())
    assert record["grade"]["label"] == label
    assert record["r2star_per_s"]["median"] == pytest.approx(r2star_per_s, rel=0.04, abs=1.5)


def test_same_input_same_bytes(source: Path, measured: Path, tmp_path: Path) -> None:
    processed(source, tmp_path, command=ironnode_process)
    names = sorted(p.relative_to(measured) for p in measured.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    assert [n for n in names if (measured / n).read_bytes() != (tmp_path / n).read_bytes()] == []
    assert {n.suffix for n in names} >= {".json", ".html", ".pdf", ".png", ".dcm"}


def test_two_echoes_are_declined_in_words(tmp_path: Path) -> None:
    answer = ironnode("process", phantom(tmp_path / "in", echoes=2), "--out", tmp_path / "out")
    assert answer.returncode == 3
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert record["status"] == "declined"
    assert [r["code"] for r in record["reasons"]] == ["too_few_echoes"]
    assert record["lic_mg_per_g"] is None
    assert record["reasons"][0]["text"] in " ".join(answer.stdout.split())


def _broken(source: Path, break_it: Callable[[pydicom.Dataset], None]) -> None:
    for file in source.rglob("*.dcm"):
        dataset = pydicom.dcmread(file)
        break_it(dataset)
        dataset.save_as(file)


@pytest.mark.parametrize(
    ("break_it", "status", "code", "tag", "roles"),
    [
        (lambda d: delattr(d, "PixelData"), "not_measurable", "no_pixel_data", "(7FE0,0010)", REFUSAL_ROLES),
        (lambda d: setattr(d, "EchoTime", None), "declined", "no_echo_time", "(0018,0081)", []),
    ],
)
def test_bad_headers_are_named(
    tmp_path: Path, break_it: Callable[[pydicom.Dataset], None], status: str, code: str, tag: str, roles: list[str]
) -> None:
    source = phantom(tmp_path / "in", slices=1)
    _broken(source, break_it)
    answer = ironnode("process", source, "--out", tmp_path / "out")
    assert answer.returncode == 3, answer.stderr
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert record["status"] == status
    assert [reason["code"] for reason in record["reasons"]] == [code]
    assert tag in answer.stdout
    assert sorted(item["role"] for item in record["objects"]) == roles


def test_truncated_file_is_named(tmp_path: Path) -> None:
    source = phantom(tmp_path / "in", slices=1, echoes=3)
    victim = sorted(source.rglob("*.dcm"))[0]
    victim.write_bytes(victim.read_bytes()[:-3000])
    answer = ironnode("process", victim, "--out", tmp_path / "out")
    assert answer.returncode == 2
    assert victim.name in answer.stderr


def test_text_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not DICOM")
    answer = ironnode_process("process", tmp_path / "notes.txt", "--out", tmp_path / "out")
    assert answer.returncode == 2
    assert "notes.txt" in answer.stderr


def test_empty_folder_is_named(tmp_path: Path) -> None:
    answer = ironnode("process", tmp_path, "--out", tmp_path / "out")
    assert answer.returncode == 2
    assert str(tmp_path) in answer.stderr


@pytest.mark.parametrize("target", ["PACS", "PACS@host", "@host:104", "PACS@host:x", "ABCDEFGHIJKLMNOPQ@host:104"])
def test_send_target_must_be_whole(tmp_path: Path, target: str) -> None:
    answer = ironnode("send", tmp_path, "--to", target)
    assert answer.returncode == 2
    assert "AE@HOST:PORT" in answer.stderr


def test_every_command_explains_itself() -> None:
    words = ironnode_process("--help").stdout
    for command in ("serve", "gateway", "worker", "process", "phantom", "demo", "send", "check", "status", "jobs",
                    "show", "retry", "rebuild", "migrate", "backup", "restore", "config"):  # fmt: skip
        assert command in words
        assert len(CliRunner().invoke(cli, [command, "--help"]).output) > 100


def test_schema_is_json() -> None:
    assert json.loads(ironnode_process("config", "schema").stdout)["title"] == "ironnode configuration"


RULES = """
destinations:
  - {name: pacs, ae_title: PACS, host: h, port: 104}
  - {name: liver, ae_title: LIVER, host: h, port: 104}
rules:
  - name: no-spine
    when: {tag: BodyPartExamined, matches: ".*SPINE"}
    decline: true
  - name: liver-scan
    when:
      all:
        - {tag: SeriesDescription, matches: "Liver.*"}
        - {tag: MagneticFieldStrength, at_least: 1.4, at_most: STRONGEST}
    destinations: [liver]
  - {name: rest, when: {tag: Modality, equals: MR}, decline: true}
"""


def test_rules_are_tried_on_files_and_explained(source: Path, tmp_path: Path) -> None:
    sends, declines = tmp_path / "sends.yaml", tmp_path / "declines.yaml"
    sends.write_text(RULES.replace("STRONGEST", "1.6"))
    declines.write_text(RULES.replace("STRONGEST", "1.4"))
    answer = ironnode("rules", "test", source, "--config", sends)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.splitlines()[1:] == [
        "  rule no-spine: does not match",
        '    BodyPartExamined "ABDOMEN" matches ".*SPINE": no',
        "  rule liver-scan: matches",
        '    SeriesDescription "Liver multi-echo GRE" matches "Liver.*": yes',
        '    MagneticFieldStrength "1.5" is at least 1.4 and at most 1.6: yes',
        "  rule rest: matches, but an earlier rule decides",
        '    Modality "MR" equals "MR": yes',
        "  decision: measured; results go to liver (rule liver-scan)",
    ]
    told = CliRunner().invoke(cli, ["rules", "test", str(source), "--config", str(declines), "--json"])
    (found,) = json.loads(told.stdout)
    assert told.exit_code == 3
    assert (found["decided_by"], found["declined"]["code"], found["destinations"]) == ("rest", "declined_by_rule", [])
    (alone,) = sorted(source.rglob("*.dcm"))[:1]
    told = CliRunner().invoke(cli, ["rules", "test", str(alone), "--config", str(sends)])
    assert told.exit_code == 3
    assert "declined [too_few_echoes], whatever the rules say" in told.stdout


def test_what_a_rule_declines_is_not_processed(source: Path, tmp_path: Path) -> None:
    config = tmp_path / "declines.yaml"
    config.write_text(RULES.replace("STRONGEST", "1.4"))
    words = ["process", str(source), "--out", str(tmp_path / "out"), "--config", str(config)]
    answer = CliRunner().invoke(cli, words)
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (answer.exit_code, record["status"]) == (3, "declined")
    assert record["reasons"][0]["code"] == "declined_by_rule"
    assert 'The rule "rest"' in answer.output
