"""R2* of regions of 400 voxels: bias of the reported value and of the pooled decay."""

import numpy as np

from bench.fit.magnitude_phantom import PROTOCOLS, Protocol, amplitudes, magnitudes
from quant.acquisition import Geometry, MultiEcho
from quant.fit import fit_r2star
from quant.noise import NoiseModel
from quant.region import RegionMeasurement, measure_region

SIDE = 20
REGIONS = 100
R2STAR_PER_S = (50.0, 200.0, 500.0, 700.0, 1000.0, 1400.0, 2000.0)
SNR = 50.0
_VARYING = ("1.5T/12", "3T/6")  # enough to see what variation inside the region does


def measure(protocol: Protocol, *, r2star: float, coils: int, seed: int, spread: float = 0.0) -> RegionMeasurement:
    """One region; ``spread`` is the relative SD of R2* between its voxels (S0 then varies by twice that)."""
    rng = np.random.default_rng(seed)
    truth = r2star * (1 + spread * rng.standard_normal((1, SIDE, SIDE)))
    s0 = 1 + 2 * spread * rng.standard_normal((1, SIDE, SIDE, 1))
    signal = magnitudes(s0 * amplitudes(protocol, snr=SNR, r2star_per_s=truth), coils=coils, seed=seed + 1)
    geometry = Geometry(
        positions_mm=np.zeros((1, 3)),
        row_direction=np.array([1.0, 0.0, 0.0]),
        column_direction=np.array([0.0, 1.0, 0.0]),
        spacing_mm=(8.0, 1.5, 1.5),
        slice_thickness_mm=8.0,
    )
    acquisition = MultiEcho(
        signal=signal, echo_times_s=protocol.echo_times_s, field_t=protocol.field_t, geometry=geometry
    )
    found = fit_r2star(
        signal,
        protocol.echo_times_s,
        field_t=protocol.field_t,
        model="magnitude_first_moment",
        noise=NoiseModel(sigma=1.0, coils=float(coils), source="given"),
        threads=1,
    )
    return measure_region(acquisition, found, np.ones((1, SIDE, SIDE), bool))


def region_tables() -> None:
    """Print mean bias % of the reported value and of the pooled decay, its SD over what it says of itself."""
    for spread in (0.0, 0.1):
        varies = "uniform" if not spread else "R2* varies by 10 %, S0 by 20 %"
        print(f"\nRegions of {SIDE * SIDE} voxels, SNR {SNR:g}, {varies}: reported % / pooled % (SD %, SD/told)")
        print("| " + " | ".join([f"{'R2* (1/s)':20s}", *(f"{r:g}" for r in R2STAR_PER_S)]) + " |")
        for name, protocol in PROTOCOLS.items():
            for coils in (1, 8) if not spread or name in _VARYING else ():
                cells = [_cell(protocol, r2star, coils, spread) for r2star in R2STAR_PER_S]
                print("| " + " | ".join([f"{name} {coils} coils".ljust(20), *cells]) + " |")


def _cell(protocol: Protocol, r2star: float, coils: int, spread: float) -> str:
    regions = []
    for k in range(REGIONS):
        try:
            regions.append(measure(protocol, r2star=r2star, coils=coils, seed=2 * k, spread=spread))
        except ValueError:
            return "-"  # fewer than half of the voxels have a value
    best = np.array([r.best_r2star_per_s for r in regions])
    pooled = np.array([r.pooled_r2star_per_s for r in regions])
    told = float(np.median([r.pooled_sd_per_s for r in regions]))
    return (
        f"{100 * (best.mean() / r2star - 1):+.2f} / {100 * (np.nanmean(pooled) / r2star - 1):+.2f} "
        f"({100 * np.nanstd(pooled) / r2star:.1f}, {np.nanstd(pooled) / told:.2f})"
    )
