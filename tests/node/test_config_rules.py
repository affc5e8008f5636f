"""Rules in the configuration: what is wrong is named with its line, and no pattern can run away."""

import re
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import node as node_package
from node.config import Config, load_config
from node.config.patterns import LONGEST_VALUE, PatternError, compile_pattern
from node.errors import ConfigError
from node.jobs.settings import SettingsStore
from node.process.settings import settings_of
from node.reload import reread

POLICY = Path(node_package.__file__).parent / "policies" / "default.yaml"

EXAMPLE = Path(__file__).resolve().parents[2] / "config.example.yaml"
PACS = "destinations:\n  - {name: pacs, ae_title: PACS, host: h, port: 104}\n"
LEAF = "{tag: Modality, present: true}"


def _patterns() -> st.SearchStrategy[str]:
    atoms = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", r"\.", "1"])
    return st.recursive(
        atoms,
        lambda inner: st.one_of(
            st.tuples(inner, inner).map("".join),
            st.tuples(inner, inner).map(lambda two: f"({two[0]}|{two[1]})"),
            st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{2,}"])).map(lambda p: f"({p[0]}){p[1]}"),
        ),
        max_leaves=5,
    )


@given(pattern=_patterns(), text=st.text(alphabet="ab1.\n", max_size=7))
def test_a_pattern_means_what_python_means_by_it(pattern: str, text: str) -> None:
    assert compile_pattern(pattern)(text) == bool(re.fullmatch(pattern, text, re.DOTALL))


@pytest.mark.parametrize("pattern", ["(a|a)*b", "(a*)*b", "(a+)+", "(a|aa)+b", ".*a.*a.*a.*a.*b", "((a|a){30}){30}b"])
def test_no_pattern_runs_away(pattern: str) -> None:
    started = time.process_time()
    compile_pattern(pattern)("a" * LONGEST_VALUE + "c")
    assert time.process_time() - started < 10  # backtracking would outlast the sun for the first four


def test_a_value_that_is_too_long_matches_nothing() -> None:
    assert compile_pattern("a*")("a" * LONGEST_VALUE)
    assert not compile_pattern("a*")("a" * (LONGEST_VALUE + 1))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("(?=t)t", "invalid perl operator: (?="),
        (r"(a)\1", "invalid escape sequence"),
        ("a**", "bad repetition operator"),
        ("*a", "no argument for repetition operator"),
        ("(a", "missing )"),
        ("a)", "unexpected )"),
        ("[b-a]", "invalid character class range"),
        ("[a", "missing ]"),
        ("a{3,2}", "invalid repetition size"),
        ("((a{50}){50}){50}", "invalid repetition size"),
        ("a" * 257, "at most 256 characters"),
    ],
)
def test_what_is_no_pattern_or_would_need_backtracking_is_refused(pattern: str, expected: str) -> None:
    with pytest.raises(PatternError, match=re.escape(expected)):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("- name: a\n    when: {}\n    decline: true", "line 5: rules.0.when: a condition is one of all, any, not"),
        ("- name: a\n    when:\n      all: []\n    decline: true", "line 6: rules.0.when.all: Tuple should have at"),
        ("- name: a\n    decline: true", "line 4: rules.0.when: Field required"),
        (f"- name: a\n    when: {LEAF}", "line 4: rules.0: a rule has decline: true, or destinations"),
        (f"- name: a\n    when: {LEAF}\n    destinations: []", "line 4: rules.0: a rule has decline: true, or"),
        (
            f"- name: a\n    when: {LEAF}\n    decline: true\n    destinations: [pacs]",
            "line 6: rules.0.decline: a rule has decline: true, or destinations",
        ),
        (
            f"- name: a\n    when: {LEAF}\n    destinations:\n      - pacs\n      - pcas",
            "line 8: rules.0.destinations.1: pcas: neither destinations nor messages has this name",
        ),
        (
            f"- {{name: a, when: {LEAF}, decline: true}}\n  - {{name: a, when: {LEAF}, decline: true}}",
            "line 5: rules.1.name: a: every name may stand once",
        ),
        (f"- {{name: a b, when: {LEAF}, decline: true}}", "line 4: rules.0.name: String should match pattern"),
        (f"- {{name: a, when: {LEAF}, decline: true, to: x}}", "line 4: rules.0.to: unknown key"),
    ],
)
def test_mistakes_in_a_rule_are_named(tmp_path: Path, rules: str, expected: str) -> None:
    assert expected in _refusal(tmp_path, f"{PACS}rules:\n  {rules}\n")


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (
            "{tag: SeriesDescripton, equals: x}",
            ".tag: SeriesDescripton is not the keyword or number of a DICOM element",
        ),
        ("{tag: '0009,0001', present: true}", ".tag: 0009,0001 is private: its creator must stand beside it"),
        ("{tag: '0051,100F', creator: S, present: true}", ".tag: 0051,100F: the block of a private element differs"),
        ("{tag: '0008,0001,', present: true}", ".tag: 0008,0001, is not the keyword or number"),
        ("{tag: '0018,xx81', present: true}", ".tag: 0018,xx81 is not the keyword or number"),
        ("{tag: Modality, creator: S, present: true}", ".creator: Modality is not private"),
        (f"{{not: {LEAF}, creator: S}}", ".creator: creator needs a private tag"),
        ("{tag: PatientName, at_least: 3}", ".at_least: PatientName holds text"),
        ("{tag: PixelData, present: true}", ".tag: PixelData: elements of pixel data are not looked at"),
        ("{tag: TransferSyntaxUID, equals: x}", ".tag: TransferSyntaxUID: elements of the file head are not"),
        ("{tag: Modality}", ".tag: a test of a tag is one of equals"),
        ("{tag: Modality, equals: MR, present: true}", ".present: a test of a tag is one of equals"),
        ("{equals: MR}", ": a condition is one of all, any, not"),
        (f"{{not: {LEAF}, equals: MR}}", ".equals: equals needs a tag beside it, and not not"),
        (f"{{any: [{LEAF}], tag: Modality, equals: MR}}", ".tag: a condition is one of all"),
        (f"{{all: [{LEAF}, {{tag: Modality}}]}}", ".all.1.tag: a test of a tag is one of"),
        ("{not: {tag: Modality, equal: MR}}", ".not.equal: unknown key"),
        ("{tag: Modality, present: false}", ".present: Input should be True"),
        ("{tag: PatientID, equals: 12345}", ".equals: PatientID holds text (write it in quotes): equals with a number"),
        ("{tag: EchoTime, equals: '1.0'}", ".equals: EchoTime holds numbers: equals with a text never holds"),
        ("{tag: EchoTime, matches: '1.*'}", ".matches: EchoTime holds numbers: matches with a text never holds"),
        ("{tag: Modality, at_least: 1}", ".at_least: Modality holds text"),
        ("{tag: RequestAttributesSequence, equals: x}", ".equals: RequestAttributesSequence holds neither"),
        ("{tag: EchoTime, at_least: 2, at_most: 1}", ".at_least: at_least is above at_most"),
        ("{tag: EchoTime, at_least: '2'}", ".at_least: Input should be a valid number"),
        ("{tag: EchoTime, at_least: .inf}", ".at_least: Input should be a finite number"),
        ("{tag: EchoTime, equals: .nan}", ".equals: not a finite number"),
        ("{tag: StudyDate, equals: 2026-01-31}", ".equals: a text or a number; write a text in quotes"),
        ("{tag: PatientSex, equals: yes}", ".equals: a text or a number; write a text in quotes"),
        ("{tag: Modality, matches: '(a'}", ".matches: missing )"),
    ],
)
def test_mistakes_in_a_condition_are_named(tmp_path: Path, condition: str, expected: str) -> None:
    told = _refusal(tmp_path, f"rules:\n  - name: a\n    decline: true\n    when:\n      {condition}\n")
    assert "line 4: " in told or "line 5: " in told
    assert f"rules.0.when{expected}" in told


def test_a_condition_that_contains_itself_is_refused(tmp_path: Path) -> None:
    told = _refusal(tmp_path, "rules:\n  - name: a\n    decline: true\n    when: &this {not: *this}\n")
    assert "a part contains itself" in told


def _refusal(folder: Path, text: str) -> str:
    file = folder / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    return str(caught.value)


def test_the_rules_of_the_example_are_valid_and_pass_on_to_the_processes_of_a_node(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8").split("# rules:\n", 1)[1].split("\n\n", 1)[0]
    block = "rules:\n" + "\n".join(line.removeprefix("# ") for line in text.splitlines())
    names = [{"name": n, "ae_title": "A", "host": "h", "port": 104} for n in ("pacs", "ris")]
    config = Config.model_validate({**yaml.safe_load(block), "destinations": names})
    assert [(rule.name, rule.decline, rule.destinations) for rule in config.rules] == [
        ("no-research", True, ()),
        ("children", False, ("pacs", "ris")),
    ]
    (tmp_path / "handed-on.yaml").write_text(config.model_dump_json())  # as node.supervisor does
    assert load_config(tmp_path / "handed-on.yaml").rules == config.rules


def test_other_rules_are_taken_up_by_a_reload_and_wrong_ones_are_not(tmp_path: Path) -> None:
    file, kept = tmp_path / "config.yaml", SettingsStore(tmp_path / "kept")
    file.write_text(PACS)
    now = load_config(file)
    rule = f"rules:\n  - {{name: a, when: {LEAF}, destinations: [pacs]}}\n"
    file.write_text(PACS + rule)
    found = reread(now, file, kept)
    assert found.sections == ("rules",)
    assert [r.name for r in found.config.rules] == ["a"]
    file.write_text(rule)  # the destination is gone and the rule still names it
    with pytest.raises(ConfigError, match="rules"):
        reread(found.config, file, kept)


FILES = [  # key, section, content, content that is none
    ("policy_file", "follow_up", POLICY.read_text(), "indications: 7\n"),
    ("texts_file", "report", "texts: {Iron: Eisen}\n", "texts: 7\n"),
]


@pytest.mark.parametrize(("key", "section", "content", "wrong"), FILES, ids=[key for key, *_ in FILES])
def test_an_edited_file_counts_from_the_next_reload_on(tmp_path: Path, key, section, content, wrong) -> None:
    site, file, kept = tmp_path / "site.yaml", tmp_path / "config.yaml", SettingsStore(tmp_path / "kept")
    site.write_text(content)
    file.write_text(f"{section}: {{{key}: site.yaml}}\n")
    now = kept.keep(load_config(file))
    before = now.method_digest()
    assert load_config(file).method_digest() == before
    site.write_text(content + "# a remark\n")
    assert now.method_digest() == before
    found = reread(now, file, kept)
    assert found.sections == (section,)
    assert found.config.method_digest() == load_config(file).method_digest() != before
    assert reread(found.config, file, kept).sections == ()
    site.write_text(wrong)
    with pytest.raises(ConfigError, match=str(site)):
        reread(found.config, file, kept)
    site.unlink()
    with pytest.raises(ConfigError, match=key):
        reread(found.config, file, kept)
    assert settings_of(found.config).policy
