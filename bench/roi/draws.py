"""What a simulated case is made of: tissues and protocols drawn from a seed, the same for every kind of body."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from quant.phantom import AbdomenAnatomy, Label, LabelledBody, Phantom, default_echo_times_s, make_abdomen

LIVER_R2STAR_PER_S = (25.0, 2000.0)
_IN_PHASE_MAX_PER_S = 700.0  # with in-phase first echoes (2.3 ms at 1.5 T) darker livers are gone before the first one
_SPREAD = 0.18  # SD of ln R2* of tissues that iron spares
_KIDNEY_IRON, _SPLEEN_LIKE_LIVER = 0.15, 0.25  # how often (intravascular haemolysis; transfusion)
_SPARED = (
    Label.KIDNEY_CORTEX,
    Label.KIDNEY_MEDULLA,
    Label.MUSCLE,
    Label.SUBCUTANEOUS_FAT,
    Label.VISCERAL_FAT,
    Label.HEART,
    Label.STOMACH_WALL,
    Label.BOWEL_WALL,
    Label.LUNG,
    Label.GALL_BLADDER,
    Label.ASCITES,
)
_TYPICAL_R2STAR = {
    Label.KIDNEY_CORTEX: 17.0,
    Label.KIDNEY_MEDULLA: 22.0,
    Label.MUSCLE: 33.0,
    Label.SUBCUTANEOUS_FAT: 35.0,
    Label.VISCERAL_FAT: 38.0,
    Label.HEART: 31.0,
    Label.STOMACH_WALL: 33.0,
    Label.BOWEL_WALL: 31.0,
    Label.LUNG: 600.0,
    Label.GALL_BLADDER: 3.5,
    Label.ASCITES: 3.5,
}
_TYPICAL_S0 = {
    Label.SPLEEN: 1.05,
    Label.KIDNEY_CORTEX: 1.05,
    Label.MUSCLE: 0.85,
    Label.STOMACH_CONTENT: 0.8,
    Label.BOWEL_CONTENT: 0.8,
    Label.HEPATIC_VEIN: 1.12,
    Label.PORTAL_VEIN: 1.15,
    Label.SUBCUTANEOUS_FAT: 1.25,
    Label.VISCERAL_FAT: 1.2,
}


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Where and how a case is imaged; the arguments of ``make_abdomen`` of the same names."""

    r2star_per_s: float
    pdff_percent: float
    field_t: float
    echoes: int
    te1_ms: float
    delta_te_ms: float
    n_slices: int
    matrix: int
    slice_thickness_mm: float
    gap_mm: float
    snr: float
    orientation: Any = "axial"
    tilt_deg: float = 0.0
    swivel_deg: float = 0.0


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number between ``low`` and ``high``, uniform in its logarithm."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def draw_tissues(rng: np.random.Generator, liver_r2star_per_s: float) -> dict[str, dict[Label, float]]:
    """``r2star_overrides`` and ``s0_overrides`` of an anatomy: organs loaded or spared independently of the liver."""
    rates = {label: _TYPICAL_R2STAR[label] * float(np.exp(_SPREAD * rng.standard_normal())) for label in _SPARED}
    if rng.random() < _KIDNEY_IRON:
        rates |= dict.fromkeys((Label.KIDNEY_CORTEX, Label.KIDNEY_MEDULLA), log_uniform(rng, 40, 400))
    spleen = log_uniform(rng, 15, 800)
    rates[Label.SPLEEN] = liver_r2star_per_s if rng.random() < _SPLEEN_LIKE_LIVER else spleen
    rates[Label.PANCREAS] = log_uniform(rng, 20, 200)
    rates[Label.STOMACH_CONTENT] = log_uniform(rng, 4, 120)
    rates[Label.BOWEL_CONTENT] = log_uniform(rng, 10, 150)
    rates[Label.MARROW] = log_uniform(rng, 60, 400)
    s0 = {label: mean * float(np.exp(0.1 * rng.standard_normal())) for label, mean in _TYPICAL_S0.items()}
    return {"r2star_overrides": rates, "s0_overrides": s0}


def draw_protocol(rng: np.random.Generator, **fixed: Any) -> Protocol:
    """A multi-echo protocol of 2010 to today at 1.5 or 3 T; ``fixed`` replaces what is drawn."""
    field_t = float(rng.choice([1.5, 3.0]))
    te1 = float(rng.choice([rng.uniform(0.85, 1.4), rng.uniform(0.85, 1.4), 2.3 if field_t < 2 else 1.15]))
    low, high = LIVER_R2STAR_PER_S
    drawn = {
        "r2star_per_s": log_uniform(rng, low, _IN_PHASE_MAX_PER_S if te1 > 2 else high),
        "pdff_percent": float(rng.choice([rng.uniform(0, 8), rng.uniform(0, 25)])),
        "field_t": field_t,
        "echoes": int(rng.choice([6, 8, 12])),
        "te1_ms": te1,
        "delta_te_ms": te1 if te1 in (2.3, 1.15) else rng.uniform(0.8, 1.6) if field_t < 2 else rng.uniform(0.7, 1.1),
        "n_slices": int(rng.choice([1, 1, 3, 8, 16])),
        "matrix": int(rng.choice([128, 160, 192, 224])),
        "slice_thickness_mm": rng.uniform(4, 10),
        "gap_mm": float(rng.choice([0.0, 2.0])),
        "snr": log_uniform(rng, 40, 120),
        "orientation": str(rng.choice(["axial", "axial", "axial", "feet_first", "prone"])),
    }
    return Protocol(**(drawn | fixed))


def acquire(
    protocol: Protocol,
    *,
    seed: int,
    level_mm: float,
    anatomy: AbdomenAnatomy | None = None,
    body: LabelledBody | None = None,
    fov_mm: float = 400.0,
) -> Phantom:
    """The simulated acquisition with its truth."""
    return make_abdomen(
        r2star_per_s=protocol.r2star_per_s,
        pdff_percent=protocol.pdff_percent,
        field_t=protocol.field_t,
        echo_times_s=default_echo_times_s(
            protocol.field_t, echoes=protocol.echoes, te1_ms=protocol.te1_ms, delta_te_ms=protocol.delta_te_ms
        ),
        n_slices=protocol.n_slices,
        matrix=protocol.matrix,
        fov_mm=fov_mm,
        slice_thickness_mm=protocol.slice_thickness_mm,
        gap_mm=protocol.gap_mm,
        level_mm=level_mm,
        orientation=protocol.orientation,
        tilt_deg=protocol.tilt_deg,
        swivel_deg=protocol.swivel_deg,
        snr=protocol.snr,
        seed=seed,
        anatomy=anatomy,
        body=body,
    )
