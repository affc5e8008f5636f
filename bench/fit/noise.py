"""Sigma and coil number as estimated from the images themselves, on digital abdomens and real ones.

    python -m bench.fit.noise [--seeds 1] [--real FOLDER]

On abdomens both are known. "air": the image as it is; "zeroed": everything below a threshold set to 0, as scanners do
with a background filter; "cropped": the field of view reduced to the inside of the trunk. The estimate is what
``fit_r2star`` uses (``sigma`` and ``coils`` of its maps). Sigma is to be right within 5 % (median over the phantoms of
a row). On real images the residual of the fit in tissue speaks for itself: the root of chi squared per degree of
freedom is 1 where noise explains everything, and its median cannot be lowered by anatomy. ``--real`` names the folder
that holds ge-mfgre-abdomen and siemens-r2star-abdomen-nifti.
"""

import argparse
import gzip
import itertools
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydicom

from bench.machine import this_machine
from quant.fit import R2StarMap, fit_r2star
from quant.phantom import make_abdomen

Background = Literal["air", "zeroed", "cropped"]
BACKGROUNDS: tuple[Background, ...] = ("air", "zeroed", "cropped")
COILS = (1, 2, 4, 8)
SNRS = (20.0, 35.0, 50.0, 100.0)
TISSUES = ((1.5, 60.0, 5.0), (3.0, 350.0, 10.0), (1.5, 1000.0, 0.0))  # field (T), R2* (1/s), PDFF (%)
MATRIX, SLICES = 128, 4
ZEROED_BELOW = 4.0  # times the mean power of noise, of the mean power over the echoes
CROP = 0.34  # of rows and of columns, on every side


def estimate(
    field_t: float, r2star: float, pdff: float, *, coils: int, snr: float, background: Background, seed: int
) -> dict[str, Any]:
    """Estimated sigma over the true one and coils, of one digital abdomen."""
    phantom = make_abdomen(
        r2star_per_s=r2star, pdff_percent=pdff, field_t=field_t, snr=snr, coils=coils, seed=seed,
        n_slices=SLICES, matrix=MATRIX,
    )  # fmt: skip
    acquisition = phantom.acquisition
    signal = acquisition.magnitude
    if background == "zeroed":
        power = np.mean(np.square(signal, dtype=np.float64), axis=3)
        signal = np.where((power > ZEROED_BELOW * 2 * coils * phantom.truth.sigma**2)[..., None], signal, 0)
    elif background == "cropped":
        rows, columns = (int(CROP * n) for n in signal.shape[1:3])
        signal = np.ascontiguousarray(signal[:, rows:-rows, columns:-columns])
    try:
        found = fit_r2star(signal, acquisition.echo_times_s, field_t=field_t, threads=1)
    except ValueError as error:
        return {"sigma": np.nan, "coils": np.nan, "source": str(error)}
    return {"sigma": found.sigma / phantom.truth.sigma, "coils": found.coils, "source": found.noise_source}


def phantom_table(seeds: int) -> None:
    """Per background, coils and SNR: sigma over truth (median and range) and coils over the tissues."""
    print("\nSigma found / true: median (least..largest); coils found; sources, over", len(TISSUES) * seeds, "abdomens")
    print("| background | coils | " + " | ".join(f"SNR {snr:g}" for snr in SNRS) + " |")
    everything: dict[str, list[float]] = {}
    for background, coils in itertools.product(BACKGROUNDS, COILS):
        cells = []
        for snr in SNRS:
            found = [
                estimate(*tissue, coils=coils, snr=snr, background=background, seed=seed)
                for tissue in TISSUES
                for seed in range(seeds)
            ]
            sigmas = np.array([f["sigma"] for f in found])
            everything.setdefault(background, []).extend(abs(sigmas - 1))
            sources = "".join(sorted({f["source"][:2] for f in found}))
            counts = "/".join(f"{f['coils']:.3g}" for f in found)
            cells.append(
                f"{np.nanmedian(sigmas):.3f} ({np.nanmin(sigmas):.3f}..{np.nanmax(sigmas):.3f}) n {counts} {sources}"
            )
        print(f"| {background} | {coils} | " + " | ".join(cells) + " |", flush=True)
    for background, errors in everything.items():
        print(
            f"{background}: median error of sigma {100 * np.nanmedian(errors):.1f} %, largest {np.nanmax(errors):.2f}"
        )


def _ge(folder: Path) -> tuple[np.ndarray, np.ndarray, float]:
    """Magnitudes (z, y, x, e), echo times and field of the GE abdomen; private (0043,102F) is 0 for magnitude."""
    images = {}
    for path in sorted((folder / "dicom").rglob("*")):
        if path.is_file():
            image = pydicom.dcmread(path)
            if int(image[0x0043, 0x102F].value) == 0:
                images[float(image.SliceLocation), float(image.EchoTime)] = image.pixel_array.astype(np.float32)
    slices, times = (sorted({key[k] for key in images}) for k in (0, 1))
    signal = np.array([[images[z, t] for t in times] for z in slices]).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(signal), 1e-3 * np.array(times), 3.0


def _siemens(folder: Path) -> tuple[np.ndarray, np.ndarray, float]:
    """As ``_ge``, of the Siemens abdomen: one NIfTI file and one side-car per echo."""
    stem = "00024__bh3x_r2star_inphase_volume_e"
    cars = [json.loads(path.read_text()) for path in sorted(folder.glob(f"{stem}*.json"))]
    files = sorted(folder.glob(f"{stem}*.nii.gz"))
    order = np.argsort([car["EchoTime"] for car in cars])
    signal = np.stack([_nifti(files[k]) for k in order], axis=3)
    return np.ascontiguousarray(signal), np.array([cars[k]["EchoTime"] for k in order]), 3.0


def _nifti(path: Path) -> np.ndarray:
    """Voxels (z, y, x) of an uncomplicated NIfTI-1 file, float32."""
    content = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(content, "<i2", 8, 40)[1:4]
    kind = {4: "<i2", 16: "<f4", 512: "<u2"}[int(np.frombuffer(content, "<i2", 1, 70)[0])]
    offset = int(np.frombuffer(content, "<f4", 1, 108)[0])
    return np.frombuffer(content, kind, int(np.prod(shape)), offset).reshape(shape[::-1]).astype(np.float32)


def real_table(folder: Path) -> None:
    """Noise and residuals in tissue of both real abdomens, as they are and with what is dark set to 0."""
    print("\nReal abdomens: sigma, coils, source; residual in tissue (median, quartiles), poor fits")
    for name, read in (("ge-mfgre-abdomen", _ge), ("siemens-r2star-abdomen-nifti", _siemens)):
        if not (folder / name).is_dir():
            print(f"{name}: not on this machine")
            continue
        signal, times, field_t = read(folder / name)
        whole = fit_r2star(signal, times, field_t=field_t, threads=1)
        print(_line(f"{name}, {times.size} echoes", whole))
        bright = signal.mean(axis=3) > 12 * whole.sigma
        print(_line("  background zeroed", fit_r2star(np.where(bright[..., None], signal, 0), times, field_t=field_t)))
        print(_line("  first 6 echoes", fit_r2star(np.ascontiguousarray(signal[..., :6]), times[:6], field_t=field_t)))


def _line(name: str, found: R2StarMap) -> str:
    tissue = found.s0 > 20 * found.sigma  # NaN compares false
    low, middle, high = np.quantile(found.residual[tissue], (0.25, 0.5, 0.75))
    poor = 100 * float(np.mean((found.flags[tissue] & 4) != 0))
    return (
        f"{name}: {found.sigma:.2f}, {found.coils:.2f}, {found.noise_source}; "
        f"{middle:.2f} ({low:.2f}..{high:.2f}), {poor:.0f} %"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Noise estimated from the images.")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--real", type=Path, default=Path("../shared/data"))
    given = parser.parse_args()
    print(json.dumps(this_machine().as_record()))
    phantom_table(given.seeds)
    real_table(given.real)


if __name__ == "__main__":
    main()
