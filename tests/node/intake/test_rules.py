"""The rules asked about values and images: truth of and, or, not; any value counts; what is absent passes nothing."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread

from node.cli import cli
from node.config import Config, Rule
from node.config.elements import Element, element_of
from node.intake.rules import judge, rule_on, values_in
from tests.nodekit.small_study import write_study

TAGS = ("Modality", "SeriesDescription", "StationName", "StudyID")


def rules_of(*rules: dict[str, Any]) -> tuple[Rule, ...]:
    pacs = {"name": "pacs", "ae_title": "PACS", "host": "h", "port": 104}
    named = [{"name": f"r{index}", **rule} for index, rule in enumerate(rules)]
    return Config.model_validate({"destinations": [pacs], "rules": named}).rules


def holds(condition: dict[str, Any], **values: tuple[str, ...]) -> bool:
    (answer,) = judge(rules_of({"when": condition, "decline": True}), values).answers
    return answer.matches


def elements(*keywords: str) -> list[Element]:
    return [element_of(keyword, None) for keyword in keywords]


def _trees() -> st.SearchStrategy[Any]:
    """A tree of Python's own: a tag, or ("not", x), ("all", [x, ...]), ("any", [x, ...])."""
    return st.recursive(
        st.sampled_from(TAGS),
        lambda inner: st.one_of(
            st.tuples(st.just("not"), inner),
            st.tuples(st.sampled_from(["all", "any"]), st.lists(inner, min_size=1, max_size=3)),
        ),
        max_leaves=8,
    )


def _written(tree: Any) -> dict[str, Any]:
    if isinstance(tree, str):
        return {"tag": tree, "equals": "yes"}
    name, inner = tree
    return {name: _written(inner) if name == "not" else [_written(part) for part in inner]}


def _truth(tree: Any, true: frozenset[str]) -> bool:
    if isinstance(tree, str):
        return tree in true
    name, inner = tree
    return not _truth(inner, true) if name == "not" else {"all": all, "any": any}[name](_truth(t, true) for t in inner)


@given(tree=_trees(), true=st.frozensets(st.sampled_from(TAGS)), present=st.frozensets(st.sampled_from(TAGS)))
def test_and_or_not_are_those_of_python(tree: Any, true: frozenset[str], present: frozenset[str]) -> None:
    values = {tag: ("yes",) if tag in true else ("no",) if tag in present else () for tag in TAGS}
    (answer,) = judge(rules_of({"when": _written(tree), "decline": True}), values).answers
    assert answer.matches == _truth(tree, true)
    # The tests that are named decide it: whatever the others were, it would be the same.
    told = {leaf.element: leaf.holds for leaf in answer.because}
    for others in (True, False):
        assert _truth(tree, frozenset(tag for tag in TAGS if told.get(tag, others))) == answer.matches


@pytest.mark.parametrize(
    ("condition", "found", "expected"),
    [
        ({"tag": "ImageType", "equals": "M"}, ("ORIGINAL", "PRIMARY", "M"), True),
        ({"tag": "ImageType", "equals": "m"}, ("ORIGINAL", "PRIMARY", "M"), False),
        ({"tag": "ImageType", "equals": "PRIM"}, ("ORIGINAL", "PRIMARY", "M"), False),
        ({"tag": "ImageType", "matches": "P.*|S"}, ("ORIGINAL", "PRIMARY", "M"), True),
        ({"tag": "ImageType", "matches": "RIM"}, ("ORIGINAL", "PRIMARY", "M"), False),
        ({"tag": "MagneticFieldStrength", "equals": 1.5}, ("1.50",), True),
        ({"tag": "MagneticFieldStrength", "equals": 3}, ("3.0",), True),
        ({"tag": "MagneticFieldStrength", "at_least": 1.5, "at_most": 3}, ("3",), True),
        ({"tag": "MagneticFieldStrength", "at_least": 1.5}, ("1.49",), False),
        ({"tag": "MagneticFieldStrength", "at_most": 3}, ("3.01", "2"), True),
        ({"tag": "MagneticFieldStrength", "at_most": 3}, ("nan", "-inf", "x"), False),
        ({"tag": "StudyID", "present": True}, ("1",), True),
        *(({"tag": "StudyID", **test}, (), False) for test in ({"present": True}, {"equals": ""}, {"matches": ".*"})),
        *(({"tag": "FlipAngle", **test}, (), False) for test in ({"equals": 0}, {"at_most": 9}, {"at_least": 0})),
        ({"not": {"tag": "StudyID", "present": True}}, (), True),
        ({"tag": "PatientAge", "at_least": 18}, ("018Y",), True),
        ({"tag": "PatientAge", "at_most": 18}, ("216M",), True),
        ({"tag": "PatientAge", "at_most": 1}, ("053W",), False),
        ({"tag": "PatientAge", "at_most": 1}, ("365D",), True),
        ({"tag": "PatientAge", "at_least": 0}, ("18", "18Y", "0018Y", "018X"), False),
        ({"tag": "PatientAge", "equals": "018Y"}, ("018Y",), True),
    ],
)
def test_any_value_counts_and_an_absent_element_passes_no_test(condition, found, expected) -> None:
    keyword = condition.get("tag", "StudyID")
    assert holds(condition, **{keyword: found}) == expected


def test_the_first_rule_that_matches_decides() -> None:
    modality = {"tag": "Modality", "equals": "MR"}
    to_pacs = {"when": modality, "destinations": ["pacs"]}
    decline = {"when": modality, "decline": True}
    never = {"when": {"not": modality}, "decline": True}
    values = {"Modality": ("MR",)}
    first = judge(rules_of(never, to_pacs, decline), values)
    assert (first.declined, first.destinations) == (None, ("pacs",))
    assert [answer.matches for answer in first.answers] == [False, True, True]
    second = judge(rules_of(never, decline, to_pacs), values)
    assert second.declined == ("declined_by_rule", 'The rule "r1" of this site\'s configuration declines it.')
    assert second.destinations is None
    none = judge(rules_of(never), values)
    assert (none.rule, none.declined, none.destinations) == (None, None, None)


def test_the_test_that_decided_is_told_with_the_value_that_did() -> None:
    when = {"all": [{"tag": "ImageType", "matches": "[MP]"}, {"not": {"tag": "EchoTime", "at_most": 2}}]}
    rules = rules_of({"when": when, "decline": True})
    (no,) = judge(rules, {"ImageType": ("ORIGINAL", "M"), "EchoTime": ("1.2", "2.4")}).answers
    assert [str(leaf) for leaf in no.because] == ['EchoTime "1.2" is at most 2: yes, under a not']
    (yes,) = judge(rules, {"ImageType": ("ORIGINAL", "M"), "EchoTime": ()}).answers
    assert [str(leaf) for leaf in yes.because] == [
        'ImageType "M" matches "[MP]": yes',
        "EchoTime (absent) is at most 2: no, under a not",
    ]
    (long,) = judge(rules, {"ImageType": ("M" * 1025,), "EchoTime": ()}).answers
    assert "a value longer than 1024 characters matches nothing" in str(long.because[0])


def test_values_are_those_of_every_image(tmp_path: Path) -> None:
    files = write_study(tmp_path)
    values = values_in(files, elements("EchoTime", "ImageType", "PatientName", "StudyID", "RequestAttributesSequence"))
    assert values == {
        "EchoTime": ("1.2", "2.4", "3.6", "4.8"),
        "ImageType": ("M", "ORIGINAL", "PRIMARY"),
        "PatientName": ("Doe^Jo",),
        "StudyID": (),
        "RequestAttributesSequence": (),
    }


def test_values_of_frames_are_looked_up_in_their_functional_groups(tmp_path: Path) -> None:
    words = ["--matrix", "32", "--slices", "1", "--echoes", "3", "--dialect", "enhanced"]
    assert CliRunner().invoke(cli, ["phantom", "--out", str(tmp_path), *words]).exit_code == 0
    (file, *_) = sorted(tmp_path.rglob("*.dcm"))
    frames = dcmread(file, stop_before_pixels=True).PerFrameFunctionalGroupsSequence
    echoes = {f"{float(frame.MREchoSequence[0].EffectiveEchoTime)}" for frame in frames}
    assert set(values_in([file], elements("EffectiveEchoTime"))["EffectiveEchoTime"]) == echoes
    present = {"when": {"tag": "SharedFunctionalGroupsSequence", "present": True}, "decline": True}
    assert rule_on(rules_of(present), [file]).declined is not None


def test_without_rules_no_image_is_read(tmp_path: Path) -> None:
    assert rule_on((), [tmp_path / "absent.dcm"]).rule is None


PRIVATE = {"tag": "0051,xx0f", "creator": "SIEMENS MR HEADER"}


@pytest.mark.parametrize("block", [0x10, 0x42])
@pytest.mark.parametrize("vr", ["LO", "UN"])
def test_a_private_element_is_found_by_its_creator_wherever_its_block_lies(tmp_path: Path, block: int, vr: str) -> None:
    (file, *_) = write_study(tmp_path, slices=1, echoes=1)
    image = dcmread(file)
    image.add_new(0x00510011, "LO", "SOMEBODY ELSE")
    image.add_new(0x0051110F, "LO", "other")
    image.add_new(0x00510000 | block, "LO", "SIEMENS MR HEADER ")
    image.add_new(0x0051000F | block << 8, vr, "BO1;SP2" if vr == "LO" else b"BO1;SP2 ")
    image.add_new(0x00510008 | block << 8, "DS", "2.5")
    image.save_as(file)
    holding = [{**PRIVATE, "equals": "BO1;SP2"}, {**PRIVATE, "matches": "BO.*"}, {**PRIVATE, "present": True}]
    holding += [{"tag": "0051,xx08", "creator": "SIEMENS MR HEADER", "at_least": 2, "at_most": 3}]
    for when, expected in [
        *((test, True) for test in holding),
        ({**PRIVATE, "equals": "other"}, False),
        ({**PRIVATE, "creator": "NOBODY", "present": True}, False),
        ({"tag": "0008,0060", "equals": "MR"}, True),
    ]:
        assert (rule_on(rules_of({"when": when, "decline": True}), [file]).declined is not None) == expected, when
    (answer,) = rule_on(rules_of({"when": holding[0], "decline": True}), [file]).answers
    assert str(answer.because[0]) == '(0051,xx0f) of SIEMENS MR HEADER "BO1;SP2" equals "BO1;SP2": yes'
