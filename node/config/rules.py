"""Which acquisitions are declined, and where the results of the others go: conditions on DICOM elements."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_serializer, model_validator

from node.config.elements import NUMBERS, TEXTS, Element, ElementError, element_of
from node.config.parts import PlacedError, Section
from node.config.patterns import compile_pattern

_Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class Condition(Section):
    """What must hold: ``all``, ``any`` or ``not`` of further conditions, or one test of the element ``tag``."""

    all: tuple["Condition", ...] | None = Field(None, min_length=1, description="every one of these holds")
    any: tuple["Condition", ...] | None = Field(None, min_length=1, description="at least one of these holds")
    not_: "Condition | None" = Field(None, alias="not", description="this does not hold")
    tag: str | None = Field(None, description="DICOM element: SeriesDescription, 0008,103E, or private 0051,xx0F")
    creator: str | None = Field(None, min_length=1, max_length=64, description="private creator of a private tag")
    equals: str | float | None = Field(None, description="a text (capitals count) or a number")
    matches: str | None = Field(None, description="regular expression for the whole text (docs/operations.md)")
    at_least: _Number | None = Field(None, description="smallest number")
    at_most: _Number | None = Field(None, description="largest number")
    present: Literal[True] | None = Field(None, description="true: it is there and not empty")

    @field_validator("equals", mode="before")
    @classmethod
    def _text_or_number(cls, value: Any) -> Any:
        if value is not None and (isinstance(value, bool) or not isinstance(value, (str, int, float))):
            raise ValueError("a text or a number; write a text in quotes")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError("not a finite number")
        return value

    @field_validator("matches")
    @classmethod
    def _safe(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            compile_pattern(pattern)
        return pattern

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        kinds = [name for name, key in _KINDS.items() if getattr(self, key) is not None]
        if len(kinds) != 1:
            raise PlacedError(tuple(kinds[1:2]), "a condition is one of all, any, not, or a test of one tag")
        tests = [name for name in _TESTS if getattr(self, name) is not None]
        if self.creator is not None and self.tag is None:
            raise PlacedError(("creator",), "creator needs a private tag beside it")
        if self.tag is None:
            if tests:
                raise PlacedError((tests[0],), f"{tests[0]} needs a tag beside it, and not {kinds[0]}")
        elif len({"range" if name in _RANGE else name for name in tests}) != 1:
            told = "a test of a tag is one of equals, matches, present, or at_least and at_most (one or both)"
            raise PlacedError((tests[1] if tests else "tag",), told)
        else:
            self._fits(tests[0])
        return self

    @property
    def element(self) -> Element:
        """The element that is tested; only of a condition with a ``tag``."""
        assert self.tag is not None
        return element_of(self.tag, self.creator)

    def _fits(self, test: str) -> None:
        """Refuse an element that does not exist or is never read, and a test that its values cannot pass."""
        try:
            element = self.element
        except ElementError as error:
            raise PlacedError((error.key,), str(error)) from error
        numeric = test in _RANGE or isinstance(self.equals, float)
        kinds = NUMBERS | {"AS"} if numeric else TEXTS  # an age is a text, and a number of years
        if test != "present" and element.vr is not None and element.vr not in kinds:
            text = "text (write it in quotes)"
            holds = "numbers" if element.vr in NUMBERS else text if element.vr in TEXTS else "neither"
            wanted = "a number" if numeric else "a text"
            raise PlacedError((test,), f"{element.name} holds {holds}: {test} with {wanted} never holds")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise PlacedError(("at_least",), "at_least is above at_most: that never holds")

    @model_serializer
    def _written(self) -> dict[str, Any]:
        """As the file has it: what is not given does not stand there."""
        keys = {**_KINDS, "creator": "creator", **{name: name for name in _TESTS}}
        return {name: getattr(self, key) for name, key in keys.items() if getattr(self, key) is not None}


_KINDS = {"all": "all", "any": "any", "not": "not_", "tag": "tag"}
_RANGE = ("at_least", "at_most")
_TESTS = ("equals", "matches", *_RANGE, "present")


class Rule(Section):
    """What happens to an acquisition for which ``when`` holds."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,32}$", description="short name, used in reasons and logs")
    when: Condition = Field(description="the condition; a test holds when any value in any image of it passes")
    decline: bool = Field(False, description="true: it is not measured")
    destinations: tuple[str, ...] = Field((), description="its results go to these destinations and messages only")

    @model_validator(mode="after")
    def _one_effect(self) -> Self:
        if self.decline == bool(self.destinations):
            raise PlacedError(("decline",) if self.decline else (), "a rule has decline: true, or destinations")
        return self


def check_names(rules: tuple[Rule, ...], receivers: set[str]) -> None:
    """Refuse a rule that sends to somebody whom the configuration does not know."""
    for index, rule in enumerate(rules):
        for place, name in enumerate(rule.destinations):
            if name not in receivers:
                text = f"{name}: neither destinations nor messages has this name"
                raise PlacedError(("rules", index, "destinations", place), text)
