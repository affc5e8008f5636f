"""Grade schemes: the published names for ranges of LIC, and the grade of a measured value with its uncertainty.

The thresholds 1.8, 3.2, 7 and 15 mg/g stand together in the R2 MRI validation (St Pierre 2005, Blood 105:855).
Publications agree on the numbers and differ in the words, so a grade is only meaningful with its scheme's name.
"""

from dataclasses import dataclass

from quant.calibration import UMOL_PER_MG
from quant.result import Grade, GradeCandidate
from quant.uncertainty import Normal

ST_PIERRE_EDGES_MG_PER_G = (1.8, 3.2, 7.0, 15.0)


@dataclass(frozen=True, kw_only=True)
class GradeScheme:
    """Named bands of LIC. Band ``i`` runs from ``edges_mg_per_g[i - 1]`` (inclusive) to ``edges_mg_per_g[i]``
    (exclusive), on the unrounded value. ``codes`` are stable, ``labels`` are what is printed."""

    id: str
    edges_mg_per_g: tuple[float, ...]
    codes: tuple[str, ...]
    labels: tuple[str, ...]
    source: str

    def __post_init__(self) -> None:
        if len(self.codes) != len(self.edges_mg_per_g) + 1 or len(self.labels) != len(self.codes):
            raise ValueError(
                f"{self.id}: {len(self.edges_mg_per_g)} edges need one band more, each with code and label"
            )
        if list(self.edges_mg_per_g) != sorted(set(self.edges_mg_per_g)):
            raise ValueError(f"{self.id}: edges must ascend")

    def band(self, lic_mg_per_g: float) -> int:
        """Index of the band that holds ``lic_mg_per_g``."""
        return sum(lic_mg_per_g >= edge for edge in self.edges_mg_per_g)

    def band_text(self, code: str) -> str:
        """The band's range in words: ``1.8 to < 3.2 mg/g``."""
        index = self.codes.index(code)
        if index == 0:
            return f"< {self.edges_mg_per_g[0]:.4g} mg/g"
        low = f"{self.edges_mg_per_g[index - 1]:.4g}"
        return f"{low} to < {self.edges_mg_per_g[index]:.4g} mg/g" if index < len(self.codes) - 1 else f"≥ {low} mg/g"


def _words(*labels: str) -> dict[str, tuple[str, ...]]:
    return {"codes": tuple(label.replace(" ", "_").replace(",", "") for label in labels), "labels": labels}


_SCHEMES = (
    GradeScheme(
        id="guglielmo-2023",
        edges_mg_per_g=ST_PIERRE_EDGES_MG_PER_G,
        **_words("normal", "mild", "moderate", "severe", "extreme"),
        source="terms attributed to the RadioGraphics practical guide (Guglielmo 2023, doi:10.1148/rg.220181)",
    ),
    GradeScheme(
        id="esgar-sar-2023",
        edges_mg_per_g=ST_PIERRE_EDGES_MG_PER_G,
        **_words("normal", "borderline", "mild", "moderate", "severe"),
        source="terms attributed to the ESGAR/SAR consensus (Reeder 2023, doi:10.1148/radiol.221856) by a third party",
    ),
    GradeScheme(
        id="reference-terms",
        edges_mg_per_g=ST_PIERRE_EDGES_MG_PER_G,
        codes=("L0", "L1", "L2", "L3", "L4"),
        labels=(
            "within reference range",
            "above reference, borderline",
            "mild overload",
            "moderate overload",
            "severe overload",
        ),
        source="thresholds of St Pierre 2005 (Blood 105:855); terms of this software",
    ),
    GradeScheme(
        id="brazilian-cardiology",
        edges_mg_per_g=(2.0, 7.0, 15.0),
        **_words("normal", "mild", "moderate", "severe"),
        source="Brazilian cardiology document, Table 7 (PMC8528353), which counts exactly 2.0 as normal",
    ),
    GradeScheme(
        id="clinically-significant-7",
        edges_mg_per_g=(1.8, 7.0, 15.0),
        **_words("normal", "not significant", "significant overload", "severe overload"),
        source="thresholds of St Pierre 2005 (Blood 105:855); overload counted from 7 mg/g, as in haematology teaching",
    ),
    GradeScheme(
        id="paisant-2017",
        edges_mg_per_g=(36 / UMOL_PER_MG,),
        **_words("normal", "overload"),
        source="upper normal limit 36 umol/g (Paisant 2017, doi:10.1007/s00261-017-1077-8)",
    ),
)

SCHEMES: dict[str, GradeScheme] = {scheme.id: scheme for scheme in _SCHEMES}


def scheme_by_id(scheme_id: str) -> GradeScheme:
    """The scheme.

    Raises:
        ValueError: there is none with this id; the text lists those that exist.
    """
    try:
        return SCHEMES[scheme_id]
    except KeyError:
        raise ValueError(f"grading.scheme: {scheme_id} is not known (possible: {', '.join(SCHEMES)})") from None


def grade(scheme: GradeScheme, lic: Normal, *, at_least: bool = False) -> Grade:
    """Grade of the LIC ``lic`` (its mean is the measured value) under ``scheme``.

    Candidates are the bands that the 95 % interval touches, each with its probability; more than one makes the
    grade borderline. With ``at_least`` the value is a lower bound: the label says so, every band above is included
    in the highest candidate's probability, and only the edge below can make it borderline.
    """
    band = scheme.band(lic.mean)
    low, high = lic.interval95
    first, last = scheme.band(low), band if at_least else scheme.band(high)
    candidates = tuple(
        GradeCandidate(
            code=scheme.codes[index],
            label=_label(scheme, index, at_least=at_least and index == band),
            probability=_probability(scheme, lic, index, open_above=at_least and index == band),
        )
        for index in range(first, last + 1)
    )
    return Grade(
        scheme=scheme.id,
        code=scheme.codes[band],
        label=_label(scheme, band, at_least=at_least),
        candidates=candidates,
        borderline=len(candidates) > 1,
    )


def _label(scheme: GradeScheme, band: int, *, at_least: bool) -> str:
    highest = band == len(scheme.codes) - 1
    return scheme.labels[band] if highest or not at_least else f"at least {scheme.labels[band]}"


def _probability(scheme: GradeScheme, lic: Normal, band: int, *, open_above: bool) -> float:
    edges = scheme.edges_mg_per_g
    below_top = 1.0 if open_above or band == len(edges) else lic.probability_below(edges[band])
    below_bottom = 0.0 if band == 0 else lic.probability_below(edges[band - 1])
    return below_top - below_bottom
