"""Every set of real data that others made: what it is, what the node decides, the numbers, and why that is right.

    python -m bench.data_sets [FOLDER]

Prints the two tables of docs/dialects.md. FOLDER (default ``$IRONNODE_TEST_DATA`` or ../shared/data) is no part of the
repository; a set that is not there is left out and named.
"""

import argparse
import csv
import gzip
import json
import os
import re
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import dcmread

from node.errors import InputError
from node.intake.headers import quiet_pydicom
from node.process.found import read_headers
from node.process.pixels import read_acquisition
from quant.fit import fit_r2star
from quant.noise import NoiseModel

Array = npt.NDArray[Any]

_SETS = {
    "ge-mfgre-abdomen": ("GE, 12 echoes x 5 coronal slices: magnitude, real, imaginary", "one acquisition"),
    "siemens-gre-2echo": ("Siemens field map: two magnitudes and a phase difference", "two echoes are no decay"),
    "philips-enhanced-2echo": ("Philips enhanced, two echoes, magnitude and phase; raw data", "two echoes, no decay"),
    "philips-enhanced-b0map": ("Philips enhanced, one echo and the scanner's field map", "a map at TE 0 is no echo"),
    "nist-t2-siemens": ("Siemens spin echo, 32 echoes, phantom", "spin echoes measure R2"),
    "nist-t2-ge": ("GE spin echo, 8 echoes, phantom", "spin echoes measure R2"),
    "transfer-syntaxes": ("Siemens EPI mosaic in nine encodings", "a mosaic of one echo is no decay"),
    "compressed-and-odd": ("small files in odd encodings", "none is a multi-echo gradient echo"),
    "sr-seg-pm": ("reports, segmentations and a map of other software", "no measured echoes"),
    "siemens-r2star-abdomen-nifti": ("Siemens, 12 echoes and the scanner's map as NIfTI", "no DICOM; numbers below"),
    "fatwater-ismrm2012": ("complex echoes as MATLAB arrays", "no DICOM; fitted in tests/quant"),
    "fatwater-b0nice": ("complex echoes as a MATLAB array", "no DICOM; fitted in tests/quant"),
    "abdomen-labels": ("label maps for simulation", "no DICOM"),
    "hostile-part1": ("malformed CT files", "refused or declined, file by file"),
}  # fmt: skip


def decided(folder: Path) -> str:
    """The node's decision on a folder, as the codes of its plans."""
    left_out: list[str] = []
    try:
        found = read_headers([folder], left_out.append)
    except InputError:
        return "no DICOM file"
    plans = found.plans()
    declined = Counter(plan.declined[0] for plan in plans if plan.declined is not None)
    parts = [
        f"measurable: {len(plan.headers)} images, {'complete' if plan.complete else 'incomplete'}"
        for plan in plans
        if plan.declined is None
    ]
    parts += [
        f"{code} ({sum(len(p.headers) for p in plans if p.declined and p.declined[0] == code)})" for code in declined
    ]
    if left_out:
        parts.append(f"unreadable ({len(left_out)})")
    return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One number beside an independent one."""

    what: str
    ours: str
    theirs: str


def ge_liver(folder: Path) -> Iterator[Measured]:
    """A liver patch placed by hand (25 x 30 pixels, each slice), away from vessels and edges."""
    acquisition = read_acquisition(sorted(p for p in folder.rglob("*.dcm"))).acquisition
    magnitude, times = acquisition.magnitude, acquisition.echo_times_s
    for echoes, theirs in ((4, "39 (rough look, set's description)"), (12, "39 to 48 by choice of echoes (same)")):
        fit = fit_r2star(magnitude[..., :echoes], times[:echoes], field_t=acquisition.field_t, threads=1)
        medians = np.median(fit.r2star_per_s[:, 80:105, 55:85], axis=(1, 2))
        ours = f"{medians.min():.1f} to {medians.max():.1f} /s"
        yield Measured(what=f"GE abdomen, liver patch, first {echoes} echoes", ours=ours, theirs=theirs)


def siemens_liver(folder: Path) -> Iterator[Measured]:
    """The same volunteer on Siemens (NIfTI), and the scanner's own map in the same patch."""
    files = sorted(folder.glob("00024*.nii.gz"), key=lambda p: int(re.findall(r"_e(\d+)\.", p.name)[0]))
    times = np.array([json.loads(p.with_name(p.name[:-7] + ".json").read_text())["EchoTime"] for p in files])
    signal = np.stack([read_nifti(p) for p in files], axis=-1).astype(np.float32)
    scanner = np.median(read_nifti(next(folder.glob("00027*.nii.gz")))[:, 78:95, 24:44])
    for echoes, theirs in ((6, "about 50 (set's description)"), (12, f"{scanner:.0f} (scanner's own map, not truth)")):
        fit = fit_r2star(signal[..., :echoes], times[:echoes], field_t=3.0, threads=1)
        ours = f"{np.median(fit.r2star_per_s[:, 78:95, 24:44]):.1f} /s"
        yield Measured(what=f"Siemens abdomen, liver patch, first {echoes} echoes", ours=ours, theirs=theirs)


def read_nifti(path: Path) -> Array:
    """Values (z, y, x) of a small NIfTI-1 file of signed 16-bit integers."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    (_, x, y, z), (slope, offset) = struct.unpack_from("<4h", raw, 40), struct.unpack_from("<2f", raw, 112)
    stored = np.frombuffer(raw, "<i2", count=x * y * z, offset=352).reshape(z, y, x)
    return stored * (slope or 1.0) + offset


def nist_siemens(folder: Path) -> Iterator[Measured]:
    """Vials at the places that the third party gives, by falling T2. Echo 1 is low in a train of imperfect refocusing
    and left out, as the third party does; saturated echoes too."""
    signal, times, field_t = spin_echoes(folder / "dicom")
    rows = csv.DictReader((folder / "third-party" / "t2-mse_voxel_data.csv").open())
    vials = {(int(r["VoxelX"]), int(r["VoxelY"])): float(r["T2_reference"]) for r in rows}
    theirs = sorted(_third_party(folder), reverse=True)
    ours = sorted((vial_t2_ms(signal, times, field_t, x, y) for x, y in vials), reverse=True)
    certified = sorted(vials.values(), reverse=True)
    for rank in range(4, 10):
        yield Measured(
            what=f"NIST Siemens 3 T, vial {rank + 1} by T2",
            ours=f"{ours[rank]:.1f} ms",
            theirs=f"{certified[rank]:.1f} ms certified; {theirs[rank - 1]:.1f} ms third-party fit",
        )


def _third_party(folder: Path) -> list[float]:
    rows = csv.DictReader((folder / "third-party" / "t2-mse_model_fit_summary.csv").open())
    return [float(row["T2 (mean)"]) for row in rows if row["T2 (mean)"]]


_GE_VIALS = (
    (159, 169),
    (130, 178),
    (99, 169),
    (80, 143),
    (79, 112),
    (99, 86),
    (148, 148),
    (109, 148),
    (148, 107),
    (109, 107),
)


def nist_ge(folder: Path) -> Iterator[Measured]:
    """The ten vials below 200 ms, by falling T2, places by hand."""
    signal, times, field_t = spin_echoes(folder / "dicom")
    rows = [r for r in csv.DictReader((folder / "plate4_T2_values.csv").open()) if r["sphere"] != "water"]
    published = sorted((float(r["published_T2_ms_1.5T"]) for r in rows), reverse=True)[4:]
    regression = sorted((float(r["third_party_regression_fit_T2_ms"]) for r in rows), reverse=True)[4:]
    ours = sorted((vial_t2_ms(signal, times, field_t, x, y) for x, y in _GE_VIALS), reverse=True)
    for rank, (value, certified, other) in enumerate(zip(ours, published, regression, strict=True), 5):
        yield Measured(
            what=f"NIST GE 1.5 T, vial {rank} by T2",
            ours=f"{value:.1f} ms",
            theirs=f"{certified:.1f} ms published (another phantom); {other:.1f} ms third-party fit",
        )


def spin_echoes(folder: Path) -> tuple[Array, Array, float]:
    """Magnitude (y, x, e), echo times in seconds, field: read plainly, for the node declines spin echoes."""
    with quiet_pydicom():
        every = sorted((dcmread(p) for p in folder.iterdir()), key=lambda ds: float(ds.EchoTime))
        signal = np.stack([ds.pixel_array for ds in every], axis=-1).astype(np.float32)
    times = np.array([float(ds.EchoTime) / 1000 for ds in every])
    return signal, times, float(every[0].MagneticFieldStrength)


def vial_t2_ms(signal: Array, times: Array, field_t: float, x: int, y: int) -> float:
    """Median T2 of 5 x 5 pixels by the node's own fit, called directly; sigma from the corners of late echoes."""
    corner = np.concatenate([signal[:24, :24, -4:].ravel(), signal[-24:, -24:, -4:].ravel()])
    noise = NoiseModel(sigma=float(np.sqrt((corner**2).mean() / 2)), coils=1.0, source="corners")
    patch = signal[y - 2 : y + 3, x - 2 : x + 3]
    kept = np.flatnonzero((patch < 4095).all(axis=(0, 1)) & (np.arange(len(times)) > 0))
    if len(kept) < 3:
        return float("inf")  # saturated throughout: a long T2
    fit = fit_r2star(patch[None][..., kept], times[kept], field_t=field_t, threads=1, noise=noise)
    return float(1000 / np.median(fit.r2star_per_s))


_NUMBERS = {
    "ge-mfgre-abdomen": ge_liver,
    "siemens-r2star-abdomen-nifti": siemens_liver,
    "nist-t2-siemens": nist_siemens,
    "nist-t2-ge": nist_ge,
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("IRONNODE_TEST_DATA", str(Path(__file__).resolve().parents[2] / "shared" / "data"))
    parser.add_argument("folder", nargs="?", type=Path, default=Path(default))
    root = parser.parse_args().folder
    print("| set | what it is | the node's decision (images) | why |\n|---|---|---|---|")
    for name, (what, why) in _SETS.items():
        decision = decided(root / name) if (root / name).is_dir() else "not on this machine"
        print(f"| {name} | {what} | {decision} | {why} |")
    print("\n| number | ours | beside |\n|---|---|---|")
    for name, numbers in _NUMBERS.items():
        for line in numbers(root / name) if (root / name).is_dir() else ():
            print(f"| {line.what} | {line.ours} | {line.theirs} |")


if __name__ == "__main__":
    main()
