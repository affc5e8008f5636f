"""The report as one self-contained HTML file: pictures inside, no script, prints on paper."""

import base64

from jinja2 import Environment, PackageLoader, StrictUndefined

from node.report.content import report_content
from node.report.picture_files import picture_files
from node.report.pictures import NO_IMAGE, PagePictures
from node.report.plots import MAP_NAMES, MAP_UNITS, map_caption
from node.report.trend import TREND_TITLE
from quant.result import LiverIronResult

_CAPTIONS = {
    "anatomy.png": ("First echo", "First echo image in grey; {outline}"),
    "map.png": ("{map}, {unit}{cover}", "{map} in colour with its colour bar{cover}; {outline}"),
    "decay.png": (
        "Signal decay in the region, % of TE = 0",
        "Measured mean signal at each echo time, fitted curve and noise floor",
    ),
    "trend.png": (TREND_TITLE, "Earlier measurements and this one by date; the text states them"),
}
_OF_THE_SLICE = ("anatomy.png", "map.png")
_ENVIRONMENT = Environment(
    loader=PackageLoader("node.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
    lstrip_blocks=True,
)  # fmt: skip


def render_html(result: LiverIronResult, pictures: PagePictures | None) -> str:
    """The report of ``result``; without ``pictures`` (nothing could be read) it holds text only."""
    template = _ENVIRONMENT.get_template("report.html")
    return template.render(
        content=report_content(result),
        patient=None if pictures is None else pictures.patient,
        figures=[] if pictures is None else _figures(result, pictures),
        no_image=NO_IMAGE if pictures is not None and pictures.shown is None else "",
    )


def _figures(result: LiverIronResult, pictures: PagePictures) -> list[dict[str, str]]:
    shown = pictures.shown
    if shown is None:
        return []
    words = {
        "map": MAP_NAMES[shown.map_quantity],
        "unit": MAP_UNITS[shown.map_quantity],
        "cover": f" ({map_caption(shown).lower()})" if map_caption(shown) else "",
        "outline": "rejected candidate region dashed" if shown.region_rejected else "measured region outlined",
    }
    if shown.region is None:
        words["outline"] = "no region"
    where = f"slice {shown.slice_number} of {shown.n_slices}"
    return [
        {
            "caption": _CAPTIONS[name][0].format(**words) + (f", {where}" if name in _OF_THE_SLICE else ""),
            "alt": _CAPTIONS[name][1].format(**words),
            "source": f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}",
        }
        for name, png in picture_files(result, pictures).items()
    ]
