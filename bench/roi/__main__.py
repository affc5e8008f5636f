"""Evaluate the automatic region; exit 1 when a target is missed (a wrong organ anywhere is one).

    python -m bench.roi                                   # 100 plain, 60 hard, 77 impossible, 60 mirrored hard
    python -m bench.roi --labels DIR                      # and the label maps (*.npz) in DIR, 20 draws each
    python -m bench.roi --sets plain --count 30 --first-seed 5000 --out cases.jsonl

Seeds below 5000 and from 20000 on are for testing. Never look at their pictures or tune to them: when one fails, find
a seed in between that fails alike.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

from bench.roi.bodies import NEVER_REPORTED, hard, impossible, mirrored_hard, plain
from bench.roi.label_maps import LabelMap, mapped, mapped_impossible
from bench.roi.scores import Outcome, Target, check_table, quality_targets, refusal_targets, score, speed_targets, table
from quant.phantom import Phantom

Draw = Callable[[int], tuple[Phantom, str]]
COUNTS = {"plain": 100, "hard": 60, "impossible": 77, "mirrored-impossible": 60, "labels": 20, "labels-impossible": 12}


def draws(name: str, maps: list[LabelMap]) -> list[Draw]:
    """The simulators of one set: one, or one per label map."""
    if name in ("labels", "labels-impossible"):
        return [partial(mapped if name == "labels" else mapped_impossible, source=source) for source in maps]
    bodies = {"plain": plain, "hard": hard, "impossible": impossible, "mirrored-impossible": mirrored_hard}
    return [bodies[name]]


def targets(name: str, outcomes: list[Outcome]) -> list[Target]:
    """What a set must reach."""
    if name.endswith("impossible"):
        return refusal_targets(outcomes, NEVER_REPORTED) + speed_targets(outcomes)
    easy = name == "plain"
    quality = quality_targets(outcomes, least_yield=0.93 if easy else 0.88, bias_p95=0.035 if easy else 0.045)
    return quality + speed_targets(outcomes)


def evaluate(name: str, seeds: range, maps: list[LabelMap]) -> Iterator[Outcome]:
    """Every case of a set."""
    for draw in draws(name, maps):
        for seed in seeds:
            phantom, case = draw(seed)
            outcome, _ = score(phantom, seed=seed, set_name=name, case=case)
            yield outcome


def line(o: Outcome) -> str:
    """One case for the eye."""
    return (
        f"{o.seed} {o.case:16s} R2* {o.r2star_per_s:6.0f} z {o.n_slices:2d} {o.field_t:g} T {o.seconds:4.1f} s "
        f"liver {o.liver_ml:5.0f} ml n {o.n_voxels:6d} precision {o.precision:.4f} purity {o.purity:.4f} "
        f"bias {o.bias:+.3f} {','.join(o.reasons)} ({o.candidate_precision:.3f})"
    )


def main() -> int:
    """Runs the sets, prints cases, tables and targets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--sets", default="plain,hard,impossible,mirrored-impossible", help=f"of {', '.join(COUNTS)}, with commas"
    )
    parser.add_argument("--count", type=int, help="seeds per set (and label map)")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--labels", type=Path, help="folder of label maps: adds the sets labels, labels-impossible")
    parser.add_argument("--out", type=Path, help="one JSON line per case is added to this file")
    parser.add_argument("--quiet", action="store_true", help="no line per case")
    options = parser.parse_args()
    maps = [LabelMap.load(path) for path in sorted(options.labels.glob("*.npz"))] if options.labels else []
    names = options.sets.split(",") + (["labels", "labels-impossible"] if maps else [])
    missed, everything = [], []
    for name in dict.fromkeys(names):
        outcomes: list[Outcome] = []
        seeds = range(options.first_seed, options.first_seed + (options.count or COUNTS[name]))
        for outcome in evaluate(name, seeds, maps):
            outcomes.append(outcome)
            if not options.quiet:
                print(line(outcome), flush=True)
            if options.out:
                with options.out.open("a") as file:
                    file.write(json.dumps(asdict(outcome)) + "\n")
        print(f"{name}: {len(outcomes)} cases", *table(outcomes), sep="\n")
        for target in targets(name, outcomes):
            sign = ">=" if target.at_least else "<="
            print(
                f"  {'met   ' if target.met else 'MISSED'} {target.name}: {target.value:.4g} ({sign} {target.limit:g})"
            )
            missed += [] if target.met else [f"{name}: {target.name}"]
        everything += outcomes
    print(*check_table(everything), sep="\n")
    print("all targets met" if not missed else "missed: " + "; ".join(missed))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
