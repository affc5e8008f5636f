"""The page in the site's language.

The record is English; so are the report objects, messages and logs, which machines and colleagues elsewhere read. For
the page its finished sentences are recognised and said in another language: a catalogue holds English sentences, each
with its translation. ``{#name}`` in the English stands for a number, ``{=name}`` for words that stand as they are
(names of people, files, codes), ``{name}`` for words that are translated in turn; all stand in the translation as
``{name}``.

What no entry knows stays English and whole, and an entry whose translation has other numbers or gaps is refused when
the catalogue is read: no text is ever lost, none is said half in one language, and no number ever changes.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from node.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

LANGUAGES = ("en", "de", "fr")
_FOLDER = Path(__file__).parent / "languages"
_SLOT = re.compile(r"\{([#=]?)(\w+)\}")
_NUMBER = r"((?:[<>] )?[-+]?\d+(?:\.\d+)?)"
_WORDS = r"((?:(?!\. [A-Z\d(]).)+?)"  # never beyond a sentence
_SENTENCE_END = re.compile(r"(?<=[.!?)]) (?=[A-Z\d(])")
_DIGITS = re.compile(r"\d+(?:\.\d+)?")
_LIST = re.compile(r"(; |, | and | · |: )")
_LETTERS = re.compile(r"[A-Za-z]{2}")
_MOST_SENTENCES = 4  # of one entry
_LONGEST = 1000  # characters that an entry is tried on, so that no text of a header or a policy halts the page

Content = TypeVar("Content", bound="DataclassInstance")


@dataclass(frozen=True)
class _Said:
    """A text in the language, and the parts of it that stay English for want of an entry."""

    said: str
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Entry:
    """An English sentence with gaps, as a pattern, and what to say for it."""

    pattern: re.Pattern[str]
    gaps: tuple[tuple[str, str], ...]  # kind and name, in the order of the English
    translation: str

    def filled(self, values: Sequence[str]) -> str:
        """The translation with the values of the gaps, in the order of the English."""
        named = {name: value for (_, name), value in zip(self.gaps, values, strict=True)}
        return _SLOT.sub(lambda slot: named[slot[2]], self.translation)


class Catalogue:
    """Translates finished English texts; without entries it gives every text back."""

    def __init__(self, language: str, texts: Mapping[str, str]) -> None:
        """``texts``: English sentence -> translation.

        Raises:
            ValueError: a translation does not have the gaps and the numbers of its sentence; the text names both.
        """
        self.language = language
        self.texts = dict(texts)
        self._plain = {english: said for english, said in texts.items() if not _SLOT.search(english)}
        gapped = [(english, said) for english, said in texts.items() if english not in self._plain]
        by_length = sorted(gapped, key=lambda pair: -len(_SLOT.sub("", pair[0])))
        self._entries = tuple(_entry(english, said) for english, said in by_length)
        for english, said in self._plain.items():
            _check_pair(english, said)

    def __call__(self, text: str) -> str:
        """``text``, which may be several sentences, in the catalogue's language."""
        return "".join(part.said for part in self._parts(text))

    def unknown(self, text: str) -> list[str]:
        """The parts of ``text`` that stay English for want of an entry, those in the gaps of an entry among them."""
        return [missing for part in self._parts(text) for missing in part.missing]

    def _parts(self, text: str) -> list[_Said]:
        """``text`` in pieces, each said in the language or, without an entry, as it is."""
        if not (self._plain or self._entries):
            return [_Said(text)]
        sentences = _SENTENCE_END.split(text)
        parts: list[_Said] = []
        start = 0
        while start < len(sentences):
            parts += [_Said(" ")] if start else []
            found, taken = self._longest(sentences[start:])
            parts.append(found)
            start += taken
        return parts

    def _longest(self, sentences: Sequence[str]) -> tuple[_Said, int]:
        """The longest run of sentences from the first that has an entry, and how many these are."""
        for count in range(min(len(sentences), _MOST_SENTENCES), 0, -1):
            found = self._whole(" ".join(sentences[:count]))
            if found is not None:
                return found, count
        return self._listed(sentences[0]), 1

    def _whole(self, text: str) -> _Said | None:
        """By one entry, whose full stop may be missing or too many in ``text``; ``None`` without one."""
        found = self._by_entry(text)
        if found is not None or " " not in text:  # a label has none: "Dr. Born." ends in a name
            return found
        if text.endswith("."):
            found = self._by_entry(text[:-1])
            return None if found is None else replace(found, said=f"{found.said}.")
        found = self._by_entry(f"{text}.")
        return None if found is None else replace(found, said=found.said.removesuffix("."))

    def _by_entry(self, text: str) -> _Said | None:
        if text in self._plain:
            return _Said(self._plain[text])
        if len(text) > _LONGEST:
            return None
        for entry in self._entries:
            match = entry.pattern.fullmatch(text)
            if match is not None:
                gaps = zip(entry.gaps, match.groups(), strict=True)
                values = [_Said(value) if kind else self._value(value) for (kind, _), value in gaps]
                missing = tuple(text for value in values for text in value.missing)
                return _Said(entry.filled([value.said for value in values]), missing)
        return None

    def _value(self, text: str) -> _Said:
        """What stands in a gap: by an entry, as a list, or as it is.

        A list whose pieces each have an entry is said piece by piece, where one entry for all of it would take English
        into its gap: "a then, b now; c then, d now".
        """
        pieces = text.split("; ")
        listed = self._in_pieces(pieces) if len(pieces) > 1 else None
        if listed is not None and not listed.missing:
            return listed
        whole = self._whole(text)
        if whole is not None and not whole.missing:
            return whole
        return listed or whole or self._listed(text)

    def _in_pieces(self, pieces: Sequence[str]) -> _Said | None:
        """A list of several pieces, of which some may have an entry only together: with as little English and in as
        small pieces as can be; ``None`` where a piece has no entry."""
        best: list[_Said | None] = [_Said(""), *(None for _ in pieces)]
        for end in range(1, len(pieces) + 1):
            for start in reversed(range(max(0, end - _MOST_SENTENCES), end)):
                before, found = best[start], self._piece(pieces[start:end], of=len(pieces))
                if before is None or found is None:
                    continue
                missing, known = (*before.missing, *found.missing), best[end]
                if known is None or len(missing) < len(known.missing):
                    best[end] = _Said(f"{before.said}; {found.said}" if start else found.said, missing)
        return best[-1]

    def _piece(self, run: Sequence[str], *, of: int) -> _Said | None:
        """A run of a list's pieces by one entry, but not the whole list; one piece alone may be a list itself."""
        found = self._whole("; ".join(run)) if len(run) < of else None
        if found is None and len(run) == 1 < of:
            listed = self._listed(run[0])
            return None if listed.missing else listed
        return found

    def _listed(self, text: str) -> _Said:
        """A list whose every piece is known, piece by piece; else ``text`` as it is."""
        said = [(self._whole(piece), piece) for piece in _LIST.split(text)]
        if any(found is None and _LETTERS.search(piece) for found, piece in said):
            return _Said(text, (text,))
        missing = tuple(text for found, _ in said if found for text in found.missing)
        return _Said("".join(found.said if found else piece for found, piece in said), missing)


ENGLISH = Catalogue("en", {})


def _entry(english: str, translation: str) -> _Entry:
    _check_pair(english, translation)
    pieces, gaps, end = [], [], 0
    for slot in _SLOT.finditer(english):
        pieces += [re.escape(english[end : slot.start()]), _NUMBER if slot[1] == "#" else _WORDS]
        gaps.append((slot[1], slot[2]))
        end = slot.end()
    pieces.append(re.escape(english[end:]))
    return _Entry(pattern=re.compile("".join(pieces)), gaps=tuple(gaps), translation=translation)


def _check_pair(english: str, translation: str) -> None:
    wanted, found = (Counter(slot[2] for slot in _SLOT.finditer(text)) for text in (english, translation))
    if wanted != found or any(count > 1 for count in wanted.values()):
        raise ValueError(f'"{english}" and its translation "{translation}" must have the same gaps, each once')
    if _numbers(english) != _numbers(translation):
        raise ValueError(f'"{english}" and its translation "{translation}" must have the same numbers')


def _numbers(text: str) -> list[str]:
    return sorted(_DIGITS.findall(text))


def translated(content: Content, words: Catalogue) -> Content:
    """A dataclass of texts with every text in the catalogue's language, at any depth; ``kind`` is for machines."""
    changes = {f.name: _translated(getattr(content, f.name), words) for f in fields(content) if f.name != "kind"}
    return replace(content, **changes)


def _translated(value: Any, words: Catalogue) -> Any:
    if isinstance(value, str):
        return words(value)
    if isinstance(value, tuple):
        return tuple(_translated(item, words) for item in value)
    return translated(value, words) if hasattr(value, "__dataclass_fields__") else value


def catalogue(language: str, texts_file: Path | None = None) -> Catalogue:
    """The catalogue of ``language``, with the site's own entries of ``texts_file`` before it.

    Raises:
        ConfigError: the file cannot be read or is no catalogue; the text names it, and the entry.
    """
    if texts_file is None:
        return _shipped(language)
    try:
        return _with_own(language, texts_file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        raise ConfigError(f"report.texts_file: {texts_file} cannot be read: {why}") from error
    except ValueError as error:
        raise ConfigError(f"report.texts_file: {texts_file}: {error}") from error


@cache
def _shipped(language: str) -> Catalogue:
    """Read once in a process: it takes as long as drawing a picture of the page."""
    return ENGLISH if language == "en" else _with_own("en", (_FOLDER / f"{language}.yaml").read_text(encoding="utf-8"))


@lru_cache(maxsize=2)
def _with_own(language: str, content: str) -> Catalogue:
    """The catalogue of a file's ``content`` over that of ``language``; ``ValueError`` when it is none."""
    found = yaml.safe_load(content)
    texts = found.get("texts") if isinstance(found, dict) else None
    if not isinstance(texts, dict) or not all(isinstance(t, str) for pair in texts.items() for t in pair):
        raise ValueError("must hold `texts:`, English sentence: translation")
    return Catalogue(str(found.get("language", language)), {**_shipped(language).texts, **texts})
