"""The cases on label maps of real abdomens: their anatomy is deformed, imaged anywhere and filled with drawn tissues.

A label map is ``labels`` (i, j, k) uint8 with ``affine_lps`` (index to LPS mm) in an ``.npz`` file; the numbers are
those of ``_MEANING``. Nothing of these anatomies was shaped by the digital abdomen.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.roi.bodies import mirrored
from bench.roi.draws import acquire, draw_protocol, draw_tissues
from quant.phantom import AbdomenAnatomy, Label, Phantom, Waves

_MEANING = {
    1: Label.SUBCUTANEOUS_FAT,
    2: Label.MUSCLE,
    3: Label.VISCERAL_FAT,
    4: Label.LUNG,
    5: Label.HEART,
    6: Label.LIVER,
    7: Label.HEPATIC_VEIN,
    8: Label.SPLANCHNIC_VEIN,
    9: Label.BILE_DUCT,
    10: Label.GALL_BLADDER,
    11: Label.VENA_CAVA,
    12: Label.AORTA,
    13: Label.SPLEEN,
    14: Label.KIDNEY_CORTEX,
    15: Label.VISCERAL_FAT,
    16: Label.STOMACH_CONTENT,
    17: Label.GAS,
    18: Label.BOWEL_CONTENT,
    19: Label.BOWEL_WALL,
    20: Label.PANCREAS,
    21: Label.MARROW,
    22: Label.CORTICAL_BONE,
    23: Label.CEREBROSPINAL_FLUID,
    24: Label.LIVER_LESION,
    25: Label.DISC,
    26: Label.ASCITES,
    27: Label.MUSCLE,
    28: Label.BLOOD_POOL,
}
_VESSEL_MM = 2.6  # radius of the veins drawn into the liver: the maps have hardly any
_STAND_INS = (Label.VISCERAL_FAT, Label.ASCITES, Label.LUNG)


@dataclass(frozen=True, kw_only=True)
class LabelMap:
    """Labels (i, j, k) as ``Label`` and the map from index to patient coordinates."""

    name: str
    labels: npt.NDArray[np.uint8]
    affine_lps: npt.NDArray[np.float64]

    @classmethod
    def load(cls, path: Path) -> "LabelMap":
        """From an ``.npz`` file."""
        stored = np.load(path)
        table = np.zeros(256, np.uint8)
        table[list(_MEANING)] = list(_MEANING.values())
        return cls(name=path.stem, labels=table[stored["labels"]], affine_lps=stored["affine_lps"])

    @property
    def height_mm(self) -> float:
        """Extent from the lowest to the highest slice."""
        return float(abs(self.affine_lps[2, 2]) * self.labels.shape[2])

    @property
    def middle_mm(self) -> float:
        """Height of the middle slice."""
        return float((self.affine_lps @ [0, 0, (self.labels.shape[2] - 1) / 2, 1])[2])


@dataclass(frozen=True, kw_only=True)
class MappedBody:
    """A label map as a body: scaled, rolled and deformed, with veins in its liver; ``instead`` replaces the liver.

    Above and below the map its outer slices go on, which matters to the field only.
    """

    source: LabelMap
    anatomy: AbdomenAnatomy
    warp: Waves
    veins: Waves
    instead: Label | None = None
    _to_index: npt.NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_to_index", np.linalg.inv(self.source.affine_lps))

    def body_coordinates(self, points: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Coordinates (3, n) in the undeformed body."""
        angle = np.deg2rad(self.anatomy.roll_deg)
        turn = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        moved = turn.astype(np.float32) @ points / np.float32(self.anatomy.body_scale)
        if self.anatomy.situs_inversus:
            moved[0] = -moved[0]
        return np.asarray(moved, np.float32)

    def labels_at(self, points: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
        """Labels (n,) at patient coordinates (3, n)."""
        body = self.body_coordinates(points)
        body += self.warp.at(body)
        index = np.rint(self._to_index[:3, :3] @ body + self._to_index[:3, 3:]).astype(np.intp)
        size = np.array(self.source.labels.shape)[:, None]
        index[2] = np.clip(index[2], 0, size[2] - 1)
        inside = ((index >= 0) & (index < size)).all(axis=0)
        labels = np.where(inside, self.source.labels[tuple(np.clip(index, 0, size - 1))], 0).astype(np.uint8)
        liver = np.flatnonzero(labels == Label.LIVER)
        first, second = self.veins.at(body[:, liver])
        labels[liver[np.hypot(first, second) < _VESSEL_MM]] = Label.HEPATIC_VEIN
        if self.instead is not None:
            labels[np.isin(labels, (Label.LIVER, Label.HEPATIC_VEIN))] = self.instead
        return labels


def _body(rng: np.random.Generator, source: LabelMap, rate: float, *, instead: Label | None = None) -> MappedBody:
    anatomy = AbdomenAnatomy(
        body_scale=rng.uniform(0.8, 1.15),
        roll_deg=rng.normal(0, 4),
        heterogeneity=rng.uniform(0.03, 0.08),
        texture=rng.uniform(0.02, 0.05),
        coil_shading=rng.uniform(0.2, 0.6),
        ghosts=float(rng.choice([0.0, rng.uniform(0, 0.05)])),
        susceptibility=rng.uniform(0.3, 0.8),
        **draw_tissues(rng, rate),
    )
    return MappedBody(
        source=source,
        anatomy=anatomy,
        warp=Waves.draw(rng, channels=3, lengths_mm=(90.0, 220.0), sd=4.0, count=8),
        # zeros of two fields that change by about 1 per mm meet in curves: their neighbourhood is a vessel
        veins=Waves.draw(rng, channels=2, lengths_mm=(80.0, 200.0), sd=18.0, count=10),
        instead=instead,
    )


def _levels(rng: np.random.Generator, body: MappedBody, thickness: float, gap: float) -> tuple[int, float]:
    """Number of slices that fit into the map, and the height of their middle."""
    room = body.source.height_mm * body.anatomy.body_scale - 6.0
    most = max(1, int((room + gap) // (thickness + gap)))
    n_slices = int(min(most, rng.choice([1, 3, 8, 16])))
    slack = (room - (n_slices * (thickness + gap) - gap)) / 2
    return n_slices, body.source.middle_mm * body.anatomy.body_scale + rng.uniform(-slack, slack)


def mapped(seed: int, source: LabelMap) -> tuple[Phantom, str]:
    """A real anatomy with any iron, protocol, size and coverage."""
    rng = np.random.default_rng([seed, 4])
    protocol = draw_protocol(rng, snr=rng.uniform(30, 100))
    body = _body(rng, source, protocol.r2star_per_s)
    n_slices, level = _levels(rng, body, protocol.slice_thickness_mm, protocol.gap_mm)
    protocol = draw_protocol(rng, **{**vars(protocol), "n_slices": n_slices})
    return acquire(protocol, seed=seed, level_mm=level, body=body, fov_mm=430.0), source.name


def mapped_impossible(seed: int, source: LabelMap) -> tuple[Phantom, str]:
    """A real anatomy mirrored, with situs inversus, or with something else in place of its liver."""
    rng = np.random.default_rng([seed, 5])
    protocol = draw_protocol(rng, snr=rng.uniform(30, 100))
    kind = ("mirrored", "situs inversus", "no liver")[seed % 3]
    stand_in = _STAND_INS[int(rng.integers(len(_STAND_INS)))] if kind == "no liver" else None
    body = _body(rng, source, protocol.r2star_per_s, instead=stand_in)
    if kind == "situs inversus":
        body = _inverted(body)
    n_slices, level = _levels(rng, body, protocol.slice_thickness_mm, protocol.gap_mm)
    protocol = draw_protocol(rng, **{**vars(protocol), "n_slices": n_slices})
    phantom = acquire(protocol, seed=seed, level_mm=level, body=body, fov_mm=430.0)
    return (mirrored(phantom) if kind == "mirrored" else phantom), kind


def _inverted(body: MappedBody) -> MappedBody:
    from dataclasses import replace

    return replace(body, anatomy=replace(body.anatomy, situs_inversus=True))
