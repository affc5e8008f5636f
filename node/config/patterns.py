"""Regular expressions that cannot run away: a subset of Python's, matched without backtracking.

A value comes from whoever may send, and a backtracking matcher can be kept busy for hours by one. Here the places
where a part of the pattern may end are carried along as a set; the work grows with the pattern and a small power of the
value's length, whatever they are.

Taken: characters, ``.`` (any), classes ``[...]`` and ``[^...]``, ``\\d \\w \\s`` (and capitals), ``( )``, ``|``,
``*``, ``+``, ``?``, ``{m}``, ``{m,n}``, ``{m,}``; a backslash before a sign takes it as it is. The whole value is
compared, capitals count.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

LONGEST_VALUE = 1024
"""Characters; a longer value matches nothing."""
_LONGEST_PATTERN = 256
_MOST_REPEATS = 50
_DEEPEST_REPEATS = 2

_Places = frozenset[int]
_Match = Callable[[str, _Places], _Places]
"""Told where it may begin in a text, says where it may end."""

_ESCAPE = r"\\[dDwWsS]|\\[^A-Za-z0-9]"
_ATOM = re.compile(rf"{_ESCAPE}|\[\^?(?:{_ESCAPE}|[^\]\\\[])+\]|[^\\\[\](){{}}*+?|^$]", re.DOTALL)
_QUANTIFIER = re.compile(r"[*+?]|\{(\d{1,3})(?:(,)(\d{1,3})?)?\}")


class PatternError(ValueError):
    """A pattern outside the subset; the text says what and where."""


@dataclass(frozen=True)
class _Part:
    """A part of a pattern, and how many repetitions lie inside each other in it."""

    match: _Match
    depth: int = 0


@lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """The test whether a whole text matches.

    Raises:
        PatternError: the pattern is none, or outside the subset.
    """
    if len(pattern) > _LONGEST_PATTERN:
        raise PatternError(f"a pattern has at most {_LONGEST_PATTERN} characters")
    parser = _Parser(pattern)
    part = parser.alternatives()
    if parser.at < len(pattern):
        raise parser.refusal()
    return lambda text: len(text) <= LONGEST_VALUE and len(text) in part.match(text, frozenset({0}))


class _Parser:
    """Recursive descent; ``at`` is the next character."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self.at = 0

    def alternatives(self) -> _Part:
        """What ``|`` separates."""
        found = [self._sequence()]
        while self._next("|"):
            found.append(self._sequence())
        return found[0] if len(found) == 1 else _Part(_any_of([f.match for f in found]), max(f.depth for f in found))

    def refusal(self) -> PatternError:
        """Why the next character cannot stand where it does."""
        rest = self._pattern[self.at :]
        if rest[:1] in ("^", "$"):
            return PatternError("^ and $ are not needed: the whole value is compared")
        if rest[:2] == "(?":
            return PatternError(f"{rest[:4]} is not taken; a group is ( ) and nothing else")
        if rest[:1] in ("*", "+", "?", "{"):
            return PatternError(f"character {self.at + 1}: {rest[0]} repeats nothing, or what is repeated already")
        return PatternError(f"character {self.at + 1}: {rest[:2]!r} is not taken there")

    def _next(self, sign: str) -> bool:
        here = self._pattern.startswith(sign, self.at)
        self.at += here
        return here

    def _sequence(self) -> _Part:
        found = []
        while self.at < len(self._pattern) and self._pattern[self.at] not in "|)":
            found.append(self._repeated(self._single()))
        return _Part(_one_after_the_other([f.match for f in found]), max((f.depth for f in found), default=0))

    def _single(self) -> _Part:
        if self._pattern[self.at] == "(" and self._pattern[self.at : self.at + 2] != "(?":
            self.at += 1
            inner = self.alternatives()
            if not self._next(")"):
                raise PatternError("a ( has no )")
            return inner
        atom = _ATOM.match(self._pattern, self.at)
        if atom is None:
            raise self.refusal()
        self.at = atom.end()
        try:
            return _Part(_character(re.compile(atom.group(), re.DOTALL)))
        except re.error as error:
            raise PatternError(f"{atom.group()}: {error}") from error

    def _repeated(self, part: _Part) -> _Part:
        quantifier = _QUANTIFIER.match(self._pattern, self.at)
        if quantifier is None:
            return part
        self.at = quantifier.end()
        least, most = _counts(quantifier)
        if max(least, most or 0) > _MOST_REPEATS or (most is not None and most < least):
            raise PatternError(f"{quantifier.group()}: counts rise, and to {_MOST_REPEATS} at most")
        if part.depth >= _DEEPEST_REPEATS:
            raise PatternError(f"repetitions lie inside each other at most {_DEEPEST_REPEATS} deep")
        return _Part(_repeat(part.match, least, most), part.depth + 1)


def _counts(quantifier: re.Match[str]) -> tuple[int, int | None]:
    if quantifier.group() in ("*", "+", "?"):
        return {"*": (0, None), "+": (1, None), "?": (0, 1)}[quantifier.group()]
    least, comma, most = quantifier.groups()
    if comma is None:
        return int(least), int(least)
    return int(least), None if most is None else int(most)


def _character(accepted: re.Pattern[str]) -> _Match:
    return lambda text, places: frozenset(p + 1 for p in places if p < len(text) and accepted.match(text, p))


def _one_after_the_other(parts: list[_Match]) -> _Match:
    def match(text: str, places: _Places) -> _Places:
        for part in parts:
            places = part(text, places)
        return places

    return match


def _any_of(parts: list[_Match]) -> _Match:
    return lambda text, places: frozenset[int]().union(*(part(text, places) for part in parts))


def _repeat(part: _Match, least: int, most: int | None) -> _Match:
    def match(text: str, places: _Places) -> _Places:
        for _ in range(least):
            places = part(text, places)
        found = new = places
        times = least
        while new and (most is None or times < most):
            new = part(text, new) - found  # a place that fewer repetitions reach needs no second look
            found |= new
            times += 1
        return found

    return match
