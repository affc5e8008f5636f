"""Measures, colours and type of the picture page."""

from node.report.flow import Sheet, Style

PAGE_WIDTH_PX, PAGE_HEIGHT_PX, PAGE_DPI = 1240, 1754, 150
MARGIN = 56
WIDTH = PAGE_WIDTH_PX - 2 * MARGIN
GUTTER = 36
COLUMN = (WIDTH - GUTTER) / 2
RIGHT = MARGIN + COLUMN + GUTTER
INSET = 22  # from the edge of a panel to its text
FOOT = PAGE_HEIGHT_PX - 48

BODY = Style(size_pt=9.5)
LABEL = Style(size_pt=9, colour="#5a6570")
STRONG = Style(size_pt=9.5, weight="bold")
HEADING = Style(size_pt=11.5, weight="bold", colour="#12365a")
WARNING = Style(size_pt=9.5, weight="bold", colour="#9c3d00")
CAPTION = Style(size_pt=11, weight="bold", colour="#3c4a57")
INK, PANEL, REFUSED_PANEL, RULE = "#12365a", "#eef3f8", "#fbeee2", "#b8c4d0"
AMBER, ON_AMBER = "#ffc94d", "#4a2500"
REFUSED_INK = "#7a2f00"
SMALLEST_PT = 8.0


def rectangle(sheet: Sheet, box: tuple[float, float, float, float], colour: str, name: str = "") -> None:
    """A filled rectangle (left, top, width, height) behind everything that is put on it later."""
    left, bottom, width, height = sheet.box(*box)
    ax = sheet.figure.add_axes((left, bottom, width, height), zorder=-1, facecolor=colour, label=name)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
