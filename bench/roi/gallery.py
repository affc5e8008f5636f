"""Pictures of regions: outlines on the first echo and on the R2* map, for the eye.

    python -m bench.roi.gallery --out DIR --cases plain:20001,hard:20004,labels.ct:20007 --labels LABELDIR

Yellow is the liver's true outline, green the region, red what was found and refused, blue the organ taken for the
liver.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from bench.roi.bodies import hard, impossible, mirrored_hard, plain
from bench.roi.label_maps import LabelMap, mapped, mapped_impossible
from bench.roi.scores import Outcome, score
from quant.acquisition import MultiEcho
from quant.liver import LiverRegion
from quant.liver.dictionary import match
from quant.phantom import Phantom

_SLICES = 4  # shown at most


def simulate(case: str, labels: Path | None) -> tuple[Phantom, str]:
    """``set:seed``, or ``labels.map:seed`` with the folder of label maps."""
    name, seed = case.split(":")
    if "." in name:
        set_name, stem = name.split(".")
        source = LabelMap.load((labels or Path()) / f"{stem}.npz")
        return (mapped if set_name == "labels" else mapped_impossible)(int(seed), source)
    bodies = {"plain": plain, "hard": hard, "impossible": impossible, "mirrored": mirrored_hard}
    return bodies[name](int(seed))


def draw(acquisition: MultiEcho, region: LiverRegion, truth: Any, title: str, path: Path) -> None:
    """One picture of up to four slices; ``truth`` (z, y, x) or ``None``."""
    shown = _slices(region, truth, len(acquisition.signal))
    figure = Figure(figsize=(3.4 * len(shown), 7.2))
    axes = figure.subplots(2, len(shown), squeeze=False)
    for column, z in enumerate(shown):
        first = np.abs(acquisition.signal[z, ..., 0])
        rates = match(np.abs(acquisition.signal[z]).reshape(first.size, -1), acquisition.echo_times_s, 1.5)
        axes[0, column].imshow(first, cmap="gray", vmax=np.percentile(first, 99.5))
        axes[1, column].imshow(rates.r2star_per_s.reshape(first.shape), cmap="viridis", norm=LogNorm(15, 2500))
        axes[0, column].set_title(f"slice {z}", fontsize=8)
        for ax in axes[:, column]:
            _outlines(ax, region, truth, z)
            ax.set_axis_off()
    figure.suptitle(title, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=80)


def _slices(region: LiverRegion, truth: Any, count: int) -> list[int]:
    mask = region.candidate if region.candidate is not None else region.organ
    weight = np.zeros(count) if mask is None else mask.sum((1, 2)).astype(float)
    if not weight.any() and truth is not None:
        weight = truth.sum((1, 2)).astype(float)
    chosen = np.flatnonzero(weight) if weight.any() else np.arange(count)
    return sorted({int(chosen[i]) for i in np.linspace(0, len(chosen) - 1, _SLICES).round().astype(int)})


def _outlines(ax: Any, region: LiverRegion, truth: Any, z: int) -> None:
    found = region.candidate if region.mask is None else region.mask
    for mask, colour in ((truth, "yellow"), (region.organ, "cyan"), (found, "red" if region.mask is None else "lime")):
        if mask is not None and mask[z].any():
            ax.contour(mask[z], levels=[0.5], colors=colour, linewidths=0.8)


def caption(o: Outcome) -> str:
    """Two lines over the picture."""
    return (
        f"{o.set_name} {o.seed} {o.case}, R2* {o.r2star_per_s:.0f}, {o.field_t:g} T, {o.n_slices} slices: "
        f"{'reported' if o.reported else ', '.join(o.reasons)}\nprecision {o.precision:.4f}, purity {o.purity:.4f}, "
        f"bias {o.bias:+.1%}, candidate {o.candidate_precision:.3f}"
    )


def main() -> None:
    """Draws the cases named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cases", required=True, help="set:seed, with commas")
    parser.add_argument("--labels", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for case in options.cases.split(","):
        phantom, kind = simulate(case, options.labels)
        outcome, region = score(phantom, seed=int(case.split(":")[1]), set_name=case.split(":")[0], case=kind)
        path = options.out / f"{case.replace(':', '-')}.png"
        draw(phantom.acquisition, region, phantom.truth.whole_liver, caption(outcome), path)
        print(path, caption(outcome).replace("\n", "; "))


if __name__ == "__main__":
    main()
