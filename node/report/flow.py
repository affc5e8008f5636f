"""Text on a figure whose size is measured before it is placed, so that nothing overlaps or leaves the page.

Positions are pixels from the page's top left corner.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from node.report.language import ENGLISH, Catalogue

FAMILY = "DejaVu Sans"  # comes with matplotlib: the same glyphs, and so the same bytes, on every machine
LINE_HEIGHT = 1.34
RC: Any = {
    "font.family": FAMILY,
    "pdf.fonttype": 3,  # text stays text; 42 takes twice the time, reading the whole font for each page
    "pdf.compression": 6,
    "axes.unicode_minus": True,
    "axes.linewidth": 0.8,
    "path.simplify": True,
}
"""Everything about drawing that a site's matplotlib settings could change otherwise."""
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"
_UNIT = re.compile(r"(?<=\d) (?=(?:/s|mg/g|µmol/g|ms|mm|mL|T|%)(?:\W|$))")

Weight = Literal["normal", "bold"]


@dataclass(frozen=True, kw_only=True)
class Style:
    """How text looks; ``size_pt`` in points."""

    size_pt: float = 10
    weight: Weight = "normal"
    colour: str = "#1a1a1a"


@lru_cache(maxsize=4)
def _glyphs(weight: Weight) -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties(family=FAMILY, weight=weight))).get_charmap())


@lru_cache(maxsize=8192)
def drawable(text: str, weight: Weight = "normal") -> str:
    """``text`` with every character that the font lacks shown as a replacement sign (names in other scripts)."""
    glyphs = _glyphs(weight)
    return "".join(char if ord(char) in glyphs else REPLACEMENT for char in " ".join(text.split()))


@lru_cache(maxsize=2)
def _measure(dpi: int) -> Any:
    canvas = FigureCanvasAgg(Figure(figsize=(1, 1), dpi=dpi))
    return canvas.get_renderer()  # type: ignore[no-untyped-call]  # no types in matplotlib


@lru_cache(maxsize=8192)
def _advance(word: str, size_pt: float, weight: Weight, dpi: int) -> float:
    """How far ``word`` and a space after it move the pen, in pixels."""
    return _drawn_width(f"{word} .", size_pt, weight, dpi) - _stop_width(size_pt, weight, dpi)


@lru_cache(maxsize=64)
def _stop_width(size_pt: float, weight: Weight, dpi: int) -> float:
    return _drawn_width(".", size_pt, weight, dpi)


def _drawn_width(text: str, size_pt: float, weight: Weight, dpi: int) -> float:
    font = FontProperties(family=FAMILY, size=size_pt, weight=weight)
    return float(_measure(dpi).get_text_width_height_descent(text, font, ismath=False)[0])


class Sheet:
    """A figure of fixed pixel size with text placed in pixels; ``words`` says the layout's own texts."""

    def __init__(self, *, width_px: int, height_px: int, dpi: int, words: Catalogue = ENGLISH) -> None:
        self.words = words
        self.width_px, self.height_px, self.dpi = width_px, height_px, dpi
        self.figure = Figure(figsize=(width_px / dpi, height_px / dpi), dpi=dpi, facecolor="white")
        self.canvas = FigureCanvasAgg(self.figure)

    def box(self, left: float, top: float, width: float, height: float) -> tuple[float, float, float, float]:
        """A pixel box as figure fractions (left, bottom, width, height)."""
        return (
            left / self.width_px,
            1 - (top + height) / self.height_px,
            width / self.width_px,
            height / self.height_px,
        )

    def drawn(self) -> frozenset[Artist]:
        """What has been put on the sheet so far."""
        return frozenset(self.figure.get_children())

    def take_off_all_but(self, kept: frozenset[Artist]) -> None:
        """Take off what was put on the sheet since ``kept`` was all that was drawn."""
        for artist in self.drawn() - kept:
            artist.remove()

    def pixels(self) -> npt.NDArray[np.uint8]:
        """The drawn page, (rows, columns, 3)."""
        self.canvas.draw()  # type: ignore[no-untyped-call]  # no types in matplotlib
        rgba = np.asarray(self.canvas.buffer_rgba())  # type: ignore[no-untyped-call]  # no types in matplotlib
        return rgba[:, :, :3].copy()

    def line_px(self, style: Style) -> float:
        """Height of one line."""
        return style.size_pt * self.dpi / 72 * LINE_HEIGHT

    def width(self, text: str, style: Style) -> float:
        """Width of one line of text in pixels, side bearings included."""
        return self._pen(text, style) - self._pen("", style)

    def wrap(self, text: str, style: Style, width_px: float) -> list[str]:
        """``text`` in lines no wider than ``width_px``; a word that is wider is cut, a number keeps its unit."""
        lines, line, end = [], "", 0.0  # where the pen stands after the line and a space
        for word in filter(None, _UNIT.sub(NO_BREAK_SPACE, text).split(" ")):
            longer_end = self._pen(word, style, end)
            if longer_end - self._pen("", style) <= width_px:
                line, end = f"{line} {word}".strip(), longer_end
                continue
            if line:
                lines.append(line)
            *before, line = self._cut(word, style, width_px)
            lines += before
            end = self._pen(line, style)
        return [*lines, line] if line else lines

    def _pen(self, text: str, style: Style, start_px: float = 0.0) -> float:
        """Where the pen stands after ``text`` and a space, from ``start_px``."""
        for word in drawable(text, style.weight).split(" "):
            start_px += _advance(word, style.size_pt, style.weight, self.dpi)
        return start_px

    def _cut(self, word: str, style: Style, width_px: float) -> list[str]:
        pieces = []
        while self.width(word, style) > width_px:
            keep = next(n for n in range(len(word) - 1, 0, -1) if n == 1 or self.width(word[:n], style) <= width_px)
            pieces.append(word[:keep])
            word = word[keep:]
        return [*pieces, word]

    def shorten(self, text: str, style: Style, width_px: float) -> str:
        """``text`` on one line, cut with an ellipsis where it is too wide."""
        if self.width(text, style) <= width_px:
            return text
        while text and self.width(f"{text}…", style) > width_px:
            text = text[:-1]
        return f"{text.rstrip()}…"

    def put(
        self, text: str, left: float, top: float, style: Style, *, align: Literal["left", "right"] = "left"
    ) -> None:
        """One line of text whose line box starts at ``top``."""
        self.figure.text(
            left / self.width_px,
            1 - (top + self.line_px(style) * 0.78) / self.height_px,
            drawable(text, style.weight),
            family=FAMILY,
            fontsize=style.size_pt,
            fontweight=style.weight,
            color=style.colour,
            ha=align,
            va="baseline",
            parse_math=False,
        )

    def paragraph(self, text: str, left: float, top: float, width: float, style: Style) -> float:
        """Wrapped text; gives the pixel position below it."""
        for line in self.wrap(text, style, width):
            self.put(line, left, top, style)
            top += self.line_px(style)
        return top

    def largest(
        self, entries: Sequence[tuple[str, Style]], width: float, height: float, sizes: Sequence[float]
    ) -> float:
        """The largest of ``sizes`` (points, descending) at which all paragraphs fit; else the smallest."""
        for size in sizes:
            styled = [(text, replace(style, size_pt=size)) for text, style in entries]
            if sum(len(self.wrap(text, style, width)) * self.line_px(style) for text, style in styled) <= height:
                return size
        return sizes[-1]
