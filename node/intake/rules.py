"""The site's rules asked about one acquisition: what decides, and by which values of its images.

A test holds when any value of its element, in any of the images (any frame of a multi-frame one), passes; an element
that is absent or empty passes none.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from node.config import Condition, Rule
from node.config.elements import Element
from node.config.patterns import LONGEST_VALUE, compile_pattern
from node.intake.headers import quiet_pydicom, read_dataset
from node.intake.planes import Layers, layers_of
from node.intake.tags import text as text_of
from node.intake.tags import value, words

DECLINED_BY_RULE = "declined_by_rule"
"""Code of acquisitions that a rule of the site declines."""

Values = Mapping[str, tuple[str, ...]]
"""The different values of an element in all images, by the element's name."""

_SHOWN = 3
_AGE = re.compile(r"([0-9]{3})([DWMY])")
_UNITS_IN_A_YEAR = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0}


@dataclass(frozen=True, kw_only=True)
class LeafAnswer:
    """One test and what it met: ``found`` are the values that passed, or all of them when none did; ``negated``: a
    ``not`` above it turns its answer round."""

    element: str
    test: str
    holds: bool
    found: tuple[str, ...]
    negated: bool = False

    def __str__(self) -> str:
        """As a person reads it; it quotes what the images say, and that may be a patient's."""
        shown = ", ".join(f'"{text}"' for text in self.found[:_SHOWN]) or "(absent)"
        more = f" and {len(self.found) - _SHOWN} more" if len(self.found) > _SHOWN else ""
        answer = ("yes" if self.holds else "no") + (", under a not" if self.negated else "")
        return f"{self.element} {shown}{more} {self.test}: {answer}"


@dataclass(frozen=True, kw_only=True)
class RuleAnswer:
    """Whether a rule matches, and the tests that decided that."""

    rule: Rule
    matches: bool
    because: tuple[LeafAnswer, ...]


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """What the rules say of an acquisition; ``rule`` is the first that matches, ``None`` when none does.

    ``destinations`` is ``None`` when its results go to all of them.
    """

    answers: tuple[RuleAnswer, ...]

    @property
    def rule(self) -> Rule | None:
        """The rule that decides."""
        return next((answer.rule for answer in self.answers if answer.matches), None)

    @property
    def declined(self) -> tuple[str, str] | None:
        """Coded reason when the acquisition is not to be measured."""
        if self.rule is None or not self.rule.decline:
            return None
        return DECLINED_BY_RULE, f'The rule "{self.rule.name}" of this site\'s configuration declines it.'

    @property
    def destinations(self) -> tuple[str, ...] | None:
        """Where its results go."""
        return None if self.rule is None else self.rule.destinations or None


def judge(rules: Iterable[Rule], values: Values) -> Ruling:
    """Every rule asked; the first that matches decides."""
    found = ((rule, _ask(rule.when, values)) for rule in rules)
    return Ruling(answers=tuple(RuleAnswer(rule=r, matches=holds, because=because) for r, (holds, because) in found))


def rule_on(rules: Sequence[Rule], files: Iterable[Path]) -> Ruling:
    """The rules asked about the acquisition that ``files`` are the images of; none is read when there are no rules.

    Raises:
        InputError: a file holds no readable data set.
        StorageError: the system does not give a file.
    """
    return judge(rules, values_in(files, _elements(rule.when for rule in rules)) if rules else {})


def values_in(files: Iterable[Path], elements: Iterable[Element]) -> Values:
    """The values of elements in the images of an acquisition, by name. Raises as ``rule_on``."""
    found: dict[Element, set[str]] = {element: set() for element in elements}
    for file in files:
        ds = read_dataset(file)
        with quiet_pydicom():
            for layers in layers_of(ds) or ((ds,),):
                for element, texts in found.items():
                    texts.update(_nearest(layers, element))
    return {element.name: tuple(sorted(texts)) for element, texts in found.items()}


def _elements(conditions: Iterable[Condition]) -> frozenset[Element]:
    found: frozenset[Element] = frozenset()
    for condition in conditions:
        inner = (*(condition.all or ()), *(condition.any or ()), *((condition.not_,) if condition.not_ else ()))
        found |= _elements(inner) | (frozenset() if condition.tag is None else frozenset({condition.element}))
    return found


def _nearest(layers: Layers, element: Element) -> tuple[str, ...]:
    return next((found for layer in layers if (found := _texts(layer, element))), ())


def _texts(layer: Dataset, element: Element) -> tuple[str, ...]:
    tag = element.tag if element.creator is None else _private_tag(layer, element)
    found = None if tag is None else value(layer, tag)
    if tag is None or found is None:
        return ()
    if isinstance(found, Items):
        return (f"{len(found)} items",) if found else ()
    if isinstance(found, (bytes, bytearray)) and not (element.creator and _is_text(bytes(found))):
        return (f"{len(found)} bytes",)
    return tuple(word for word in words(layer, tag) if word)


def _private_tag(layer: Dataset, element: Element) -> int | None:
    """Where a private element lies in this data set: in the block that its creator has reserved (PS3.5 7.8.1)."""
    group = element.tag >> 16
    reserved = (int(tag) for tag in layer.keys() if tag >> 16 == group and 0x10 <= tag & 0xFFFF <= 0xFF)  # noqa: SIM118 - a data set iterates over its elements
    block = next((tag & 0xFF for tag in reserved if text_of(layer, tag) == element.creator), None)
    return None if block is None else element.tag | block << 8


def _is_text(raw: bytes) -> bool:
    """Whether the bytes of an element that lost its VR are a text."""
    return raw.isascii() and raw.strip(b"\x00 ").decode("ascii").isprintable()


def _ask(condition: Condition, values: Values) -> tuple[bool, tuple[LeafAnswer, ...]]:
    """Whether a condition holds, and the tests that decided that."""
    if condition.tag is not None:
        leaf = _test(condition, values.get(condition.element.name, ()))
        return leaf.holds, (leaf,)
    if condition.not_ is not None:
        holds, because = _ask(condition.not_, values)
        return not holds, tuple(replace(leaf, negated=not leaf.negated) for leaf in because)
    decisive = condition.any is not None  # one that holds decides "any", one that does not decides "all"
    asked = [_ask(inner, values) for inner in condition.any or condition.all or ()]
    found = next((because for holds, because in asked if holds is decisive), None)
    if found is not None:
        return decisive, found
    return not decisive, tuple(leaf for _, because in asked for leaf in because)


def _test(condition: Condition, found: tuple[str, ...]) -> LeafAnswer:
    passed = tuple(text for text in found if _passes(condition, text))
    return LeafAnswer(
        element=condition.element.name, test=_words(condition, found), holds=bool(passed), found=passed or found
    )


def _passes(condition: Condition, text: str) -> bool:
    if condition.present:
        return True
    if condition.matches is not None:
        return compile_pattern(condition.matches)(text)
    if isinstance(condition.equals, str):
        return text == condition.equals
    number = _number(text, in_years=condition.element.vr == "AS")
    if condition.equals is not None:
        return number == condition.equals
    low = -math.inf if condition.at_least is None else condition.at_least
    high = math.inf if condition.at_most is None else condition.at_most
    return math.isfinite(number) and low <= number <= high


def _number(text: str, *, in_years: bool) -> float:
    """The value as a number; an age (PS3.5, VR AS: 018M) in years. Not a number where it is none."""
    if in_years:
        age = _AGE.fullmatch(text)
        return math.nan if age is None else int(age[1]) / _UNITS_IN_A_YEAR[age[2]]
    try:
        return float(text)
    except ValueError:
        return math.nan


def _words(condition: Condition, found: tuple[str, ...]) -> str:
    unit = " years" if condition.element.vr == "AS" else ""
    if condition.present:
        return "is present"
    if condition.matches is not None:
        long = any(len(text) > LONGEST_VALUE for text in found)
        note = f" (a value longer than {LONGEST_VALUE} characters matches nothing)" if long else ""
        return f'matches "{condition.matches}"{note}'
    if condition.equals is not None:
        if isinstance(condition.equals, str):
            return f'equals "{condition.equals}"'
        return f"equals {condition.equals:g}{unit}"
    limits = (("at least", condition.at_least), ("at most", condition.at_most))
    return "is " + " and ".join(f"{name} {limit:g}" for name, limit in limits if limit is not None) + unit
