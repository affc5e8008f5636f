"""How often water and fat are exchanged: the complex fit and mri-fatwater on the same phantoms.

    python -m bench.fit.complex_swaps [--quick] [--seeds 101 102] [--only NAME] [--without-peer | --more-candidates]

A voxel is *exchanged* when its true and its measured PDFF lie on different sides of 0.5 and differ by more than 0.3. A
voxel without a measured PDFF (the complex fit leaves voxels of high R2* to the magnitude, which may not tell it) is not
exchanged but *untold*; mri-fatwater answers everywhere. Shares are of all voxels of a tissue; the liver is split at
R2* 350 and 700 1/s. ``flagged`` is the share of our exchanged voxels that carry FAT_WATER_SWAP or PHASE_NOT_USED.

mri-fatwater runs with its own defaults, which look for the field at one R2* (40 1/s) and do poorly with iron;
``--more-candidates`` lets it look at seven, 20 to 700 1/s, which its users can set: slower and far better.

Columns per tissue: ours exchanged % (untold %) / mri-fatwater exchanged %.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.fit import fatwater
from bench.fit.complex_phantom import EVEN, LIVER, LONG, PROTOCOLS, SEVERITIES, TISSUES, UNEVEN, Phantom, make_volume
from bench.machine import this_machine
from quant.fit import fit_r2star
from quant.flags import FitFlag

LEAST_ERROR = 0.3
SEEDS = (101, 102)
GROUPS = ("fat", "muscle", "spleen", "liver<=350", "liver 350-700", "liver >700")


@dataclass(frozen=True)
class Case:
    """One phantom, by what ``make_volume`` is told."""

    name: str
    protocol: str
    told: dict[str, Any]

    def make(self, seed: int) -> Phantom:
        return make_volume(PROTOCOLS[self.protocol], seed=seed, **self.told)


def cases(*, quick: bool = False) -> Iterator[Case]:
    """Severities by protocol on tiles and on livers of one kind, then everything unusual."""
    shape = (4, 80, 80) if quick else (6, 96, 96)
    for protocol in EVEN:
        for severity in SEVERITIES:
            yield Case(f"tiles {100 * severity:.0f} %", protocol, {"shape": shape, "severity": severity})
    for r2star, pdff in ((50, 0.0), (50, 0.4), (200, 0.2), (350, 0.05), (700, 0.1), (1200, 0.05)):
        for severity in (0.03, 0.10):
            told = {"shape": shape, "severity": severity, "liver_r2star_per_s": r2star, "liver_pdff": pdff}
            yield Case(f"liver {r2star}/{100 * pdff:.0f} % {100 * severity:.0f} %", "3T/6", told)
    for snr in (20, 100):
        yield Case(f"tiles SNR {snr}", "3T/6", {"shape": shape, "severity": 0.05, "snr": snr})
    for name, told in {
        "arms": {"parts": "arms"},
        "split": {"parts": "split"},
        "single slice": {"shape": (1, *shape[1:])},
        "anisotropic": {"shape": (shape[0], shape[1] * 2 // 3, shape[2]), "aspect": 1.5, "slice_mm": 10.0},
        "bipolar": {"bipolar": True},
        "reversed": {"reversed_precession": True},
        "reversed bipolar": {"bipolar": True, "reversed_precession": True},
        "large": {"shape": (3, 192, 192)},
    }.items():
        for protocol in ("1.5T/6", "3T/6"):
            yield Case(name, protocol, {"shape": shape, "severity": 0.05, **told})
    for protocol in UNEVEN:
        for severity in (0.02, 0.05, 0.10):
            yield Case(f"uneven {100 * severity:.0f} %", protocol, {"shape": shape, "severity": severity})
    for protocol in ("3T/6", *LONG):
        for ppm in (-2.0, 1.0, 2.0):
            told = {"shape": shape, "liver_r2star_per_s": 40.0, "liver_pdff": 0.02, "jump_ppm": ppm}
            yield Case(f"liver {ppm:+.0f} ppm", protocol, told)


def groups(phantom: Phantom) -> dict[str, np.ndarray]:
    """Voxels of each of ``GROUPS`` that the phantom has."""
    r2star, liver = phantom.r2star_per_s, phantom.label == LIVER
    found = {name: phantom.label == TISSUES[name] for name in GROUPS[:3]}
    found["liver<=350"] = liver & (r2star <= 350)
    found["liver 350-700"] = liver & (r2star > 350) & (r2star <= 700)
    found["liver >700"] = liver & (r2star > 700)
    return {name: where for name, where in found.items() if where.any()}


def exchanged(phantom: Phantom, pdff: np.ndarray) -> np.ndarray:
    """Voxels (z, y, x) with water taken for fat or fat for water."""
    with np.errstate(invalid="ignore"):
        other_side = (phantom.pdff < 0.5) != (pdff < 0.5)
        return np.isfinite(pdff) & other_side & (np.abs(pdff - phantom.pdff) > LEAST_ERROR) & phantom.body


def compare(
    case: Case,
    seed: int,
    *,
    with_peer: bool = True,
    candidates: tuple[float, ...] = fatwater.CANDIDATES,
    threads: int = 2,
) -> dict[str, Any]:
    """Shares by tissue (percent) of one phantom."""
    phantom = case.make(seed)
    found = fit_r2star(
        phantom.signal,
        phantom.protocol.times,
        field_t=phantom.protocol.field_t,
        model="complex_fat",
        threads=threads,
    )
    pdff = np.full(phantom.label.shape, np.nan) if found.pdff is None else found.pdff
    ours = exchanged(phantom, pdff)
    known = (found.flags & (FitFlag.FAT_WATER_SWAP | FitFlag.PHASE_NOT_USED)) != 0
    peer = None
    if with_peer and not (case.told.get("bipolar") or case.told.get("reversed_precession")):
        peer = fatwater.separate(phantom, threads=threads, r2star_candidates=candidates)
    theirs = None if peer is None else exchanged(phantom, peer.pdff)
    record: dict[str, Any] = {"case": case.name, "protocol": case.protocol, "seed": seed, "note": found.phase_note}
    for name, where in groups(phantom).items():
        record[name] = {
            "voxels": int(where.sum()),
            "ours": _percent(ours[where]),
            "untold": _percent(np.isnan(pdff[where])),
            "by_magnitude": _percent((found.flags[where] & FitFlag.PHASE_NOT_USED) != 0),
            "theirs": None if theirs is None else _percent(theirs[where]),
        }
    record["flagged"] = _percent(known[ours]) if ours.any() else None
    return record


def _percent(where: np.ndarray) -> float:
    return round(100 * float(np.mean(where)), 3) if where.size else 0.0


def line(record: dict[str, Any]) -> str:
    """One row of the table."""
    cells = []
    for name in GROUPS:
        group = record.get(name)
        if group is None:
            cells.append(f"{'-':>22s}")
            continue
        theirs = "-" if group["theirs"] is None else f"{group['theirs']:.2f}"
        cells.append(f"{group['ours']:6.2f} ({group['untold']:5.1f}) /{theirs:>6s} ")
    flagged = "" if record["flagged"] is None else f" flagged {record['flagged']:.0f} %"
    return f"{record['protocol']:14s} {record['case']:18s} {record['seed']:4d} |" + "|".join(cells) + "|" + flagged


def main() -> None:
    """Print the table, who is worse where, then the records."""
    parser = argparse.ArgumentParser(description="Swaps of water and fat, ours and mri-fatwater's.")
    parser.add_argument("--quick", action="store_true", help="smaller volumes")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--only", default="", help="cases whose name or protocol contains this")
    parser.add_argument("--without-peer", action="store_true")
    parser.add_argument("--more-candidates", action="store_true", help="a better peer than its defaults")
    given = parser.parse_args()
    reason = "not asked for" if given.without_peer else fatwater.absent()
    if reason is not None:
        print(f"mri-fatwater is not run: {reason}")
    print(f"{'protocol':14s} {'case':18s} seed |" + "|".join(f"{name:^22s}" for name in GROUPS))
    candidates = fatwater.MORE_CANDIDATES if given.more_candidates else fatwater.CANDIDATES
    records = []
    for case in cases(quick=given.quick):
        if given.only not in f"{case.protocol} {case.name}":
            continue
        for seed in given.seeds:
            records.append(compare(case, seed, with_peer=reason is None, candidates=candidates))
            print(line(records[-1]), flush=True)
    print()
    for name in GROUPS:
        print(f"{name}: {_summary(name, records)}")
    print(json.dumps({"machine": this_machine().as_record(), "swaps": records}))


def _summary(name: str, records: list[dict[str, Any]]) -> str:
    met = [r[name] for r in records if name in r]
    both = [g for g in met if g["theirs"] is not None]
    total = sum(g["voxels"] for g in met)
    ours = sum(g["voxels"] * g["ours"] for g in met) / max(total, 1)
    text = f"ours {ours:.3f} % of {total} voxels, any in {sum(g['ours'] > 0 for g in met)} of {len(met)} volumes"
    if both:
        common = sum(g["voxels"] for g in both)
        pair = [sum(g["voxels"] * g[who] for g in both) / common for who in ("ours", "theirs")]
        worse = sum(g["ours"] > g["theirs"] for g in both)
        text += f"; with the peer: ours {pair[0]:.3f} %, theirs {pair[1]:.3f} %, ours more in {worse} of {len(both)}"
    return text


if __name__ == "__main__":
    main()
