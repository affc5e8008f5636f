"""The cases on digital abdomens: plain and hard ones with a liver on the right, and inputs that must be refused."""

from dataclasses import replace

import numpy as np

from bench.roi.draws import acquire, draw_protocol, draw_tissues
from quant.phantom import AbdomenAnatomy, Phantom

IMPOSSIBLE = (
    "situs inversus",
    "situs inversus",
    "mirrored",
    "mirrored",
    "pelvis",
    "thighs",
    "head",
    "bottle",
    "no liver",
    "below",
    "chest",
)
NEVER_REPORTED = ("mirrored", "head", "thighs", "bottle")  # not even once
_REGIONS = ("pelvis", "thighs", "head", "bottle")


def plain(seed: int) -> tuple[Phantom, str]:
    """Ordinary bodies at any iron level, protocol and coverage."""
    rng = np.random.default_rng([seed, 1])
    protocol = draw_protocol(rng)
    anatomy = AbdomenAnatomy(
        body_scale=rng.uniform(0.75, 1.15),
        subcutaneous_fat_mm=rng.uniform(4, 32),
        spleen=rng.choice(["normal", "normal", "large", "absent"]),
        gas=rng.uniform(0, 0.7),
        lesions=int(rng.choice([0, 0, 0, 2])),
        roll_deg=rng.normal(0, 3),
        arms=bool(rng.random() < 0.2),
        **draw_tissues(rng, protocol.r2star_per_s),
    )
    level = rng.uniform(-40, 45) * anatomy.body_scale
    return acquire(protocol, seed=seed, level_mm=level, anatomy=anatomy), "plain"


def hard(seed: int) -> tuple[Phantom, str]:
    """Unusual bodies and poor images."""
    rng = np.random.default_rng([seed, 2])
    protocol = draw_protocol(
        rng,
        pdff_percent=rng.uniform(0, 40),
        snr=rng.uniform(25, 60),
        tilt_deg=float(rng.choice([0.0, rng.uniform(-28, 28)])),
        swivel_deg=float(rng.choice([0.0, 0.0, rng.uniform(-10, 10)])),
    )
    anatomy = AbdomenAnatomy(
        body_scale=rng.uniform(0.6, 1.25),
        subcutaneous_fat_mm=rng.uniform(4, 45),
        spleen=rng.choice(["normal", "large", "absent"]),
        liver=rng.choice(["normal", "normal", "small", "large", "cirrhotic", "cirrhotic", "left_only"]),
        ascites_mm=float(rng.choice([0, 0, 12])),
        lesions=int(rng.integers(0, 8)),
        gas=rng.uniform(0, 1),
        arms=bool(rng.random() < 0.4),
        roll_deg=float(np.clip(rng.normal(0, 8), -30, 30)),
        heterogeneity=rng.uniform(0.03, 0.12),
        texture=rng.uniform(0.02, 0.06),
        coil_shading=rng.uniform(0.2, 0.7),
        ghosts=rng.uniform(0, 0.08),
        susceptibility=rng.uniform(0.3, 1.0),
        **draw_tissues(rng, protocol.r2star_per_s),
    )
    level = rng.uniform(-45, 50) * anatomy.body_scale
    return acquire(protocol, seed=seed, level_mm=level, anatomy=anatomy), f"liver {anatomy.liver}"


def impossible(seed: int) -> tuple[Phantom, str]:
    """No liver at the right of the images, or no abdomen."""
    rng = np.random.default_rng([seed, 3])
    kind = IMPOSSIBLE[seed % len(IMPOSSIBLE)]
    region = kind if kind in _REGIONS else "abdomen"
    edge = kind in ("below", "chest")
    protocol = draw_protocol(rng, **({"n_slices": int(rng.choice([1, 3]))} if edge else {}))
    anatomy = AbdomenAnatomy(
        region=region,
        body_scale=rng.uniform(0.75, 1.15) if region == "abdomen" else 1.0,
        subcutaneous_fat_mm=rng.uniform(4, 32),
        situs_inversus=kind == "situs inversus",
        liver="absent" if kind == "no liver" else rng.choice(["normal", "large", "cirrhotic"]),
        spleen=rng.choice(["normal", "large", "absent"]),
        gas=rng.uniform(0, 0.7),
        roll_deg=rng.normal(0, 4),
        **draw_tissues(rng, protocol.r2star_per_s),
    )
    level = {"below": -150.0, "chest": 165.0}.get(kind, rng.uniform(-40, 45)) * anatomy.body_scale
    phantom = acquire(protocol, seed=seed, level_mm=level, anatomy=anatomy)
    return (mirrored(phantom) if kind == "mirrored" else phantom), kind


def mirrored_hard(seed: int) -> tuple[Phantom, str]:
    """The hard case of the same seed in mirrored images, where small livers and left lobes alone are hard to tell."""
    return mirrored(hard(seed)[0]), "mirrored"


def mirrored(phantom: Phantom) -> Phantom:
    """Left and right exchanged in the pixels but not in the geometry, as wrong software would."""
    row = phantom.acquisition.geometry.row_direction
    axis = 2 if abs(row[0]) > 0.5 else 1
    truth = phantom.truth
    masks = {name: np.flip(getattr(truth, name), axis) for name in ("liver", "whole_liver", "vessels")}
    return replace(
        phantom,
        acquisition=replace(
            phantom.acquisition, signal=np.ascontiguousarray(np.flip(phantom.acquisition.signal, axis))
        ),
        truth=replace(truth, r2star_per_s=np.flip(truth.r2star_per_s, axis), **masks),
    )
