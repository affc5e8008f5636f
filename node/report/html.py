"""The report as one self-contained HTML file: pictures inside, no script, prints on paper."""

import base64
from collections.abc import Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined

from node.report.content import report_content
from node.report.language import ENGLISH, Catalogue, translated
from node.report.pictures import NO_IMAGE, PagePictures
from node.report.plots import MAP_NAMES, MAP_UNITS, SCALE_TITLE, map_caption
from node.report.trend import TREND_TITLE
from quant.result import LiverIronResult

_ENVIRONMENT = Environment(
    loader=PackageLoader("node.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
    lstrip_blocks=True,
)  # fmt: skip


def render_html(
    result: LiverIronResult,
    pictures: PagePictures | None,
    drawn: Mapping[str, bytes],
    words: Catalogue = ENGLISH,
) -> str:
    """The report of ``result`` in the language of ``words``; without ``pictures`` (nothing could be read) it holds text
    only. ``drawn`` is what ``picture_files`` gives for them."""
    template = _ENVIRONMENT.get_template("report.html")
    return template.render(
        content=translated(report_content(result), words),
        words=words,
        patient=None if pictures is None else pictures.patient,
        figures=[] if pictures is None else _figures(pictures, words, drawn),
        no_image=words(NO_IMAGE) if pictures is not None and pictures.shown is None else "",
    )


def _figures(pictures: PagePictures, words: Catalogue, drawn: Mapping[str, bytes]) -> list[dict[str, str]]:
    shown = pictures.shown
    if shown is None:
        return []
    caption = map_caption(shown)
    cover = f" ({words(caption)})" if caption else ""
    title = words(MAP_NAMES[shown.map_quantity])
    outline = "rejected candidate region dashed" if shown.region_rejected else "measured region outlined"
    outline = words("no region" if shown.region is None else outline)
    where = words(f"Slice {shown.slice_number} of {shown.n_slices}")
    texts = {
        "scale.png": (
            words(SCALE_TITLE),
            words("The value with its interval on the grades' scale; the numbers state it"),
        ),
        "anatomy.png": (f"{words('First echo')}, {where}", f"{words('First echo image in grey')}; {outline}"),
        "map.png": (
            f"{title}, {MAP_UNITS[shown.map_quantity]}{cover}, {where}",
            f"{title}{words(': ')}{words('in colour, with its colour bar')}{cover}; {outline}",
        ),
        "decay.png": (
            words("Signal decay, % of TE = 0"),
            words("Measured mean signal at each echo time, fitted curve and noise floor"),
        ),
        "trend.png": (words(TREND_TITLE), words("Earlier measurements and this one by date; the text states them")),
    }
    return [
        {
            "kind": name.removesuffix(".png"),
            "caption": texts[name][0],
            "alt": texts[name][1],
            "source": f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}",
        }
        for name, png in drawn.items()
    ]
