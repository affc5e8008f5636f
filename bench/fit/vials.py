"""The NIST/ISMRM system phantom: T2 of its manganese vials by our magnitude fit beside the published values.

    python -m bench.fit.vials DATA [--out PICTURES]

``DATA`` is a folder with ``nist-t2-siemens`` (32 spin echoes, 3 T, early ones saturated) and ``nist-t2-ge`` (8, 1.5 T).
The physics is that of R2* (one exponential, noise floor); truth is certified at another temperature and, for GE, for
another version of the phantom, so 5 to 25 % apart is expected and the group that published a fit of the same images is
the nearer comparison. Vials are found by the layout of the plate; the first echo is left out (stimulated echoes make it
low), and so are echoes with saturated samples.
"""

import argparse
import csv
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from pydicom import dcmread

from quant.fit import R2StarMap, fit_r2star
from quant.noise import NoiseModel

RING_MM, INNER_MM, DISC_MM = (
    50.0,
    20.4,
    4.0,
)  # of the plate: ten vials on a ring, four within, radius of what is measured
_SATURATED = 4095
_AIR_PIXELS = 24  # square in the corner
_SHIFTS_MM, _TURNS_DEGREES = np.arange(-8, 8.1, 1.0), np.arange(-8, 8.1, 2.0)


@dataclass(frozen=True, kw_only=True)
class Series:
    """One slice (y, x, e), echo times in seconds, mm per pixel."""

    name: str
    signal: np.ndarray
    echo_times_s: np.ndarray
    field_t: float
    spacing_mm: float

    @property
    def noise(self) -> NoiseModel:
        """Rayleigh noise of the corners."""
        n = _AIR_PIXELS
        corners = [self.signal[y, x] for y, x in product((slice(n), slice(-n, None)), repeat=2)]
        power = np.mean(np.square(np.concatenate([corner.reshape(-1) for corner in corners]), dtype=float))
        return NoiseModel(sigma=float(np.sqrt(power / 2)), coils=1.0, source="corners")


@dataclass(frozen=True, kw_only=True)
class Vial:
    """What was measured in one disc; ``t2_ms`` with the standard error of its median."""

    centre: tuple[float, float]
    t2_ms: float
    error_ms: float
    residual: float
    echoes: int
    published_ms: float
    other_fit_ms: float


def read(folder: Path, name: str) -> Series:
    """The series of that folder, echoes in order."""
    echoes = sorted((dcmread(path) for path in (folder / "dicom").iterdir()), key=lambda d: float(d.EchoTime))
    return Series(
        name=name,
        signal=np.stack([d.pixel_array.astype(np.float32) for d in echoes], axis=-1),
        echo_times_s=np.array([float(d.EchoTime) for d in echoes]) / 1000,
        field_t=float(echoes[0].MagneticFieldStrength),
        spacing_mm=float(echoes[0].PixelSpacing[0]),
    )


def find_vials(series: Series) -> list[tuple[float, float]]:
    """Centres (y, x) in pixels: the plate shifted and turned so that its discs are as even as possible."""
    angles = np.radians(36.0 * np.arange(10))
    ring = RING_MM * np.stack([-np.cos(angles), np.sin(angles)], axis=1)
    inner = INNER_MM * np.array(list(product((-1, 1), repeat=2)))
    plate = np.concatenate([ring, inner])
    bright = series.signal[..., 0] > np.quantile(series.signal[..., 0], 0.6)
    middle = np.array([i.mean() for i in np.nonzero(bright)])
    last = np.log(np.maximum(series.signal, 1.0))[..., 1::3]

    def unevenness(place: tuple[float, float, float]) -> float:
        centres = _placed(plate, middle, place, series.spacing_mm)
        return float(np.mean([last[disc(series, tuple(centre))].std(axis=0).mean() for centre in centres]))

    best = min(product(_SHIFTS_MM, _SHIFTS_MM, _TURNS_DEGREES), key=unevenness)
    return [(float(y), float(x)) for y, x in _placed(plate, middle, best, series.spacing_mm)]


def _placed(plate: np.ndarray, middle: np.ndarray, place: tuple[float, float, float], spacing_mm: float) -> np.ndarray:
    turn = np.radians(place[2])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.asarray(middle + (plate @ rotation + place[:2]) / spacing_mm)


def disc(series: Series, centre: tuple[float, ...]) -> np.ndarray:
    """Mask (y, x) of what is measured around a centre."""
    y, x = np.ogrid[: series.signal.shape[0], : series.signal.shape[1]]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= (DISC_MM / series.spacing_mm) ** 2


def measure(series: Series, centre: tuple[float, float]) -> tuple[float, float, float, int]:
    """T2 (ms), its error, residual and echoes used of one vial."""
    mask = disc(series, centre)
    saturated = (series.signal[mask] >= _SATURATED).any(axis=0)
    first = max(1, int(np.flatnonzero(saturated)[-1]) + 1 if saturated.any() else 1)
    if series.echo_times_s.size - first < 3:
        return np.nan, np.nan, np.nan, 0
    fit = fit_r2star(
        series.signal[None, ..., first:],
        series.echo_times_s[first:],
        field_t=series.field_t,
        model="magnitude_first_moment",
        noise=series.noise,
        mask=mask[None],
    )
    t2 = 1000 / fit.r2star_per_s[0][mask]
    error = 1.2533 * np.nanstd(t2) / np.sqrt(np.count_nonzero(mask))
    return float(np.nanmedian(t2)), float(error), float(np.nanmedian(fit.residual[0][mask])), fit.echoes_used


def references(folder: Path, name: str) -> tuple[list[float], list[float]]:
    """Published T2 and that of another group's fit (ms), falling."""
    if name == "nist-t2-ge":
        rows = list(csv.DictReader((folder / "plate4_T2_values.csv").open()))[:14]
        return [float(r["published_T2_ms_1.5T"]) for r in rows], [
            float(r["third_party_regression_fit_T2_ms"]) for r in rows
        ]
    rows = list(csv.DictReader((folder / "third-party" / "t2-mse_model_fit_summary.csv").open()))
    fits = [float(r["T2 (mean)"] or "nan") for r in rows]
    return sorted((float(r["T2_reference"]) for r in rows), reverse=True), sorted(
        fits, key=lambda t: -np.nan_to_num(t, nan=1e9)
    )


def vials_of(folder: Path, name: str) -> tuple[Series, list[Vial]]:
    """All vials by falling T2, those without a value (saturated at all echoes) first."""
    series = read(folder, name)
    found = [(centre, measure(series, centre)) for centre in find_vials(series)]
    found.sort(key=lambda pair: -np.nan_to_num(pair[1][0], nan=1e9))
    published, others = references(folder, name)
    return series, [
        Vial(
            centre=centre,
            t2_ms=values[0],
            error_ms=values[1],
            residual=values[2],
            echoes=values[3],
            published_ms=reference,
            other_fit_ms=other,
        )
        for (centre, values), reference, other in zip(found, published, others, strict=True)
    ]


def draw(series: Series, vials: list[Vial], path: Path) -> None:
    """The R2 map with the discs, what the fit leaves, and measured over published T2."""
    whole: R2StarMap = fit_r2star(
        series.signal[None, ..., 1:],
        series.echo_times_s[1:],
        field_t=series.field_t,
        model="magnitude_first_moment",
        noise=series.noise,
    )
    mpl.use("Agg")
    figure, axes = plt.subplots(1, 3, figsize=(17, 5.5), layout="constrained")
    shown = axes[0].imshow(np.log10(whole.r2star_per_s[0]), vmin=0, vmax=2.3)
    figure.colorbar(shown, label="log10 R2 (1/s)")
    for number, vial in enumerate(vials, start=1):
        radius = DISC_MM / series.spacing_mm
        axes[0].add_patch(plt.Circle(vial.centre[::-1], radius, fill=False, color="white"))
        axes[0].annotate(str(number), vial.centre[::-1], color="white", ha="center", va="center")
    figure.colorbar(axes[1].imshow(whole.residual[0], vmin=0, vmax=5), label="residual, 1 is noise")
    axes[2].loglog([v.published_ms for v in vials], [v.t2_ms for v in vials], "o", label="measured")
    axes[2].loglog([v.published_ms for v in vials], [v.other_fit_ms for v in vials], "x", label="another group")
    axes[2].loglog([4, 2000], [4, 2000], "k-", linewidth=0.5)
    axes[2].set(xlabel="published T2 (ms)", ylabel="T2 (ms)", title=series.name)
    axes[2].legend()
    figure.savefig(path, dpi=70)
    plt.close(figure)


def main() -> None:
    """Print one table per scanner."""
    parser = argparse.ArgumentParser(description="T2 of the NIST/ISMRM system phantom.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    for name in ("nist-t2-siemens", "nist-t2-ge"):
        series, vials = vials_of(given.data / name, name)
        print(
            f"{name}: sigma {series.noise.sigma:.1f}\n"
            " vial  published  other fit  measured  error  over published  residual  echoes"
        )
        for number, v in enumerate(vials, start=1):
            print(
                f"{number:5d} {v.published_ms:10.1f} {v.other_fit_ms:10.1f} {v.t2_ms:9.1f} {v.error_ms:6.1f}"
                f" {v.t2_ms / v.published_ms:15.2f} {v.residual:9.2f} {v.echoes:7d}"
            )
        if given.out:
            draw(series, vials, given.out / f"{name}.png")


if __name__ == "__main__":
    main()
