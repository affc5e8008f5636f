"""Evaluates the automatic liver region on digital abdomens: yield, precision, bias, false reports.

    python bench/liver_evaluation.py --set plain --count 100 --first-seed 0

Sets: ``plain`` and ``hard`` hold a right-sided liver, ``impossible`` none that may be measured. Seeds below
10000 are for testing, those above for development: never tune to the former.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from quant.fit import fit_r2star
from quant.liver import LiverRegion, find_liver
from quant.phantom import AbdomenAnatomy, Label, Phantom, default_echo_times_s, make_abdomen


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One case: ``precision`` is the share of the region's voxels that are mostly liver parenchyma or its vessels,
    ``purity`` that of pure parenchyma, ``bias`` of the true median R2* in the region against all pure parenchyma."""

    seed: int
    r2star_per_s: float
    n_slices: int
    field_t: float
    reported: bool
    reasons: tuple[str, ...]
    seconds: float
    n_voxels: int
    precision: float
    purity: float
    bias: float
    candidate_precision: float
    checks: dict[str, float]
    case: str


def plain(rng: np.random.Generator, seed: int) -> tuple[Phantom, str]:
    """Ordinary bodies at any iron level, protocol and coverage."""
    anatomy = AbdomenAnatomy(
        body_scale=rng.uniform(0.75, 1.15),
        subcutaneous_fat_mm=rng.uniform(5, 32),
        spleen=rng.choice(["normal", "normal", "large"]),
        gas=rng.uniform(0, 0.7),
        lesions=int(rng.choice([0, 0, 0, 2])),
        roll_deg=rng.normal(0, 3),
        r2star_overrides=_overrides(rng),
    )
    return _acquire(rng, seed, anatomy, pdff=rng.uniform(0, 25), snr=rng.uniform(40, 120)), "plain"


def hard(rng: np.random.Generator, seed: int) -> tuple[Phantom, str]:
    """Unusual bodies and poor images."""
    anatomy = AbdomenAnatomy(
        body_scale=rng.uniform(0.6, 1.25),
        subcutaneous_fat_mm=rng.uniform(4, 45),
        spleen=rng.choice(["normal", "large", "absent"]),
        liver=rng.choice(["normal", "small", "large", "cirrhotic", "left_only"]),
        ascites_mm=float(rng.choice([0, 0, 12])),
        lesions=int(rng.integers(0, 8)),
        gas=rng.uniform(0, 1),
        arms=bool(rng.random() < 0.4),
        roll_deg=rng.normal(0, 8),
        heterogeneity=rng.uniform(0.03, 0.12),
        texture=rng.uniform(0.02, 0.06),
        coil_shading=rng.uniform(0.2, 0.7),
        ghosts=rng.uniform(0, 0.08),
        r2star_overrides=_overrides(rng),
    )
    return _acquire(rng, seed, anatomy, pdff=rng.uniform(0, 40), snr=rng.uniform(25, 60)), f"liver {anatomy.liver}"


def impossible(rng: np.random.Generator, seed: int) -> tuple[Phantom, str]:
    """No right-sided liver in the images."""
    kind = str(
        rng.choice(["situs", "situs", "mirrored", "pelvis", "thighs", "head", "bottle", "absent", "below", "chest"])
    )
    region = kind if kind in ("pelvis", "thighs", "head", "bottle") else "abdomen"
    anatomy = AbdomenAnatomy(
        region=region,
        body_scale=rng.uniform(0.75, 1.15) if region == "abdomen" else 1.0,
        subcutaneous_fat_mm=rng.uniform(5, 32),
        situs_inversus=kind == "situs",
        liver="absent" if kind == "absent" else "normal",
        gas=rng.uniform(0, 0.7),
        r2star_overrides=_overrides(rng),
    )
    level = {"below": -150.0 * anatomy.body_scale, "chest": 165.0 * anatomy.body_scale}.get(kind)
    slices = int(rng.choice([1, 4])) if level is not None else None
    phantom = _acquire(
        rng, seed, anatomy, pdff=rng.uniform(0, 25), snr=rng.uniform(40, 120), level=level, slices=slices
    )
    return (_mirror(phantom) if kind == "mirrored" else phantom), kind


def _overrides(rng: np.random.Generator) -> dict[Label, float]:
    spleen = float(np.exp(rng.uniform(np.log(15), np.log(800))))
    return {Label.SPLEEN: spleen, Label.PANCREAS: float(np.exp(rng.uniform(np.log(20), np.log(200))))}


def _acquire(
    rng: np.random.Generator,
    seed: int,
    anatomy: AbdomenAnatomy,
    *,
    pdff: float,
    snr: float,
    level: float | None = None,
    slices: int | None = None,
) -> Phantom:
    field = float(rng.choice([1.5, 3.0]))
    slices = int(rng.choice([1, 1, 4, 8, 16])) if slices is None else slices
    te1, step = rng.uniform(0.9, 1.3), rng.uniform(0.8, 1.6) if field < 2 else rng.uniform(0.7, 1.1)
    return make_abdomen(
        r2star_per_s=float(np.exp(rng.uniform(np.log(25), np.log(2000)))),
        pdff_percent=pdff,
        field_t=field,
        echo_times_s=default_echo_times_s(field, echoes=int(rng.choice([6, 8, 12])), te1_ms=te1, delta_te_ms=step),
        n_slices=slices,
        matrix=int(rng.choice([128, 160, 192])),
        level_mm=(rng.uniform(-35, 35) if level is None else level) * (1 if level else anatomy.body_scale),
        snr=snr,
        seed=seed,
        anatomy=anatomy,
    )


def _mirror(phantom: Phantom) -> Phantom:
    """Left and right swapped in the pixels only, as wrong software would."""
    from dataclasses import replace

    signal = np.ascontiguousarray(phantom.acquisition.signal[:, :, ::-1])
    return replace(phantom, acquisition=replace(phantom.acquisition, signal=signal))


SETS: dict[str, Callable[[np.random.Generator, int], tuple[Phantom, str]]] = {
    "plain": plain,
    "hard": hard,
    "impossible": impossible,
}


def evaluate(name: str, seed: int) -> Outcome:
    """Simulates, finds, scores."""
    rng = np.random.default_rng(seed)
    phantom, case = SETS[name](rng, seed)
    acquisition, truth = phantom.acquisition, phantom.truth
    fit = fit_r2star(acquisition.signal, acquisition.echo_times_s, field_t=acquisition.field_t, threads=1)
    start = time.process_time()
    region = find_liver(acquisition, fit)
    seconds = time.process_time() - start
    mask = region.mask if region.mask is not None else np.zeros(truth.liver.shape, bool)
    whole = truth.whole_liver if name != "impossible" else np.zeros_like(truth.liver)
    return Outcome(
        seed=seed,
        r2star_per_s=truth.requested_r2star_per_s,
        n_slices=len(acquisition.signal),
        field_t=acquisition.field_t,
        reported=region.mask is not None,
        reasons=tuple(sorted({reason.code for reason in region.refusals})),
        seconds=seconds,
        n_voxels=int(mask.sum()),
        precision=_share(whole, region.mask),
        purity=_share(truth.liver, region.mask),
        bias=_bias(phantom, region),
        candidate_precision=_share(whole, region.candidate),
        checks=region.checks,
        case=case,
    )


def _share(truth: np.ndarray, mask: np.ndarray | None) -> float:
    return float(truth[mask].mean()) if mask is not None and mask.any() else float("nan")


def _bias(phantom: Phantom, region: LiverRegion) -> float:
    truth = phantom.truth
    if region.mask is None or not truth.liver.any():
        return float("nan")
    inside = truth.r2star_per_s[region.mask & truth.whole_liver]
    return float(np.median(inside) / np.median(truth.r2star_per_s[truth.liver]) - 1) if len(inside) else float("nan")


def summarise(outcomes: list[Outcome]) -> str:
    """The table's row, the reasons for refusals and the worst cases."""
    reported = [o for o in outcomes if o.reported]
    lines = [
        f"reported {len(reported)} of {len(outcomes)}; median {np.median([o.seconds for o in outcomes]):.1f} s, "
        f"worst {max(o.seconds for o in outcomes):.1f} s"
    ]
    if reported:
        precision = np.array([o.precision for o in reported])
        bias = np.abs([o.bias for o in reported])
        lines.append(
            f"precision median {np.median(precision):.4f} worst {precision.min():.4f}; purity median "
            f"{np.median([o.purity for o in reported]):.4f}; |bias| median {np.nanmedian(bias):.2%} "
            f"p95 {np.nanpercentile(bias, 95):.2%} worst {np.nanmax(bias, initial=0):.2%}"
        )
        lines += [
            f"  worst: seed {o.seed} {o.case} R2* {o.r2star_per_s:.0f} slices {o.n_slices} precision "
            f"{o.precision:.4f} bias {o.bias:+.2%}"
            for o in sorted(reported, key=lambda o: o.precision)[:5]
        ]
    reasons = Counter(reason for o in outcomes for reason in o.reasons)
    lines.append("refusals: " + ", ".join(f"{code} {n}" for code, n in reasons.most_common()))
    for low, high in ((25, 60), (60, 200), (200, 600), (600, 1200), (1200, 2000)):
        band = [o for o in outcomes if low <= o.r2star_per_s < high]
        lines.append(f"  R2* {low}..{high}: {sum(o.reported for o in band)} of {len(band)}")
    return "\n".join(lines)


def main() -> None:
    """Runs one set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", choices=SETS, default="plain")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="one JSON line per case")
    options = parser.parse_args()
    outcomes = []
    for seed in range(options.first_seed, options.first_seed + options.count):
        outcomes.append(evaluate(options.set, seed))
        last = outcomes[-1]
        print(
            f"{seed} {last.case:16s} R2* {last.r2star_per_s:6.0f} z {last.n_slices:2d} {last.field_t:g} T "
            f"{last.seconds:4.1f} s n {last.n_voxels:6d} precision {last.precision:.4f} purity {last.purity:.4f} "
            f"bias {last.bias:+.3f} {','.join(last.reasons)} ({last.candidate_precision:.3f})",
            flush=True,
        )
        if options.out:
            with options.out.open("a") as file:
                file.write(json.dumps(asdict(last)) + "\n")
    print(summarise(outcomes))


if __name__ == "__main__":
    main()
