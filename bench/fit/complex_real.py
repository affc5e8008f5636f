"""Real complex acquisitions in the format of the ISMRM fat-water toolbox: maps and what the fit leaves.

    python -m bench.fit.complex_real FILE.mat... [--out PICTURES]

Prints how the phase was used and, over the fitted voxels, R2*, fat fraction and the root of chi squared per degree of
freedom: 1 where noise explains all of it. The pictures show magnitude, R2*, fat fraction, field and residual of the
middle slice.
"""

import argparse
import math
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from scipy.io import loadmat

from quant.fit import R2StarMap, fit_r2star


def read(path: Path) -> tuple[np.ndarray, np.ndarray, float]:
    """Signal (z, y, x, e) of the first coil, echo times in seconds, tesla."""
    held = loadmat(path, squeeze_me=False, struct_as_record=False)["imDataParams"][0, 0]
    signal = np.transpose(held.images[:, :, :, 0, :], (2, 0, 1, 3)).astype(np.complex64)
    return signal, np.ravel(held.TE).astype(float), float(np.ravel(held.FieldStrength)[0])


def draw(signal: np.ndarray, fit: R2StarMap, path: Path) -> None:
    """Maps of the middle slice."""
    z = signal.shape[0] // 2
    blank = np.full(signal.shape[:3], np.nan)
    maps = [
        ("first echo", np.abs(signal[..., 0]), (0, float(np.quantile(np.abs(signal[z, ..., 0]), 0.99))), "gray"),
        ("R2* (1/s)", fit.r2star_per_s, (0, 200), "viridis"),
        ("fat fraction", blank if fit.pdff is None else fit.pdff, (0, 1), "viridis"),
        ("field (Hz)", blank if fit.b0_hz is None else fit.b0_hz, (None, None), "twilight"),
        ("residual, 1 is noise", fit.residual, (0, 5), "magma"),
    ]
    mpl.use("Agg")
    figure, axes = plt.subplots(1, len(maps), figsize=(5 * len(maps), 4.6), layout="constrained")
    for axis, (title, values, (low, high), palette) in zip(axes, maps, strict=True):
        figure.colorbar(axis.imshow(values[z], vmin=low, vmax=high, cmap=palette), ax=axis)
        axis.set_title(title)
        axis.axis("off")
    figure.savefig(path, dpi=60)
    plt.close(figure)


def main() -> None:
    """Print one line per file."""
    parser = argparse.ArgumentParser(description="Complex fits of real data.")
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    for path in given.files:
        signal, times, field_t = read(path)
        fit = fit_r2star(signal, times, field_t=field_t)
        pdff = math.nan if fit.pdff is None else float(np.nanmedian(fit.pdff))
        print(f"{path.name} {signal.shape} {field_t:g} T, {fit.model}: {fit.phase_note}")
        print(
            f"    R2* {np.nanmedian(fit.r2star_per_s):.1f} /s, PDFF {100 * pdff:.1f} %,"
            f" residual median {np.nanmedian(fit.residual):.2f}, 90 % below {np.nanquantile(fit.residual, 0.9):.2f}"
        )
        if given.out:
            draw(signal, fit, given.out / f"{path.parent.name}-{path.stem}.png")


if __name__ == "__main__":
    main()
