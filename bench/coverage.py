"""How often the stated 95 % interval of R2* holds the truth, and whether grade probabilities are right, by simulation.

Every phantom has a true R2*. The scan-rescan error (the product's own repeatability setting) is drawn once per scan,
the tissue's spread once per voxel, the noise once per sample. Fit, noise estimate, region and assessment are the
product's. "Without scan-rescan" asks the same of fit and spread alone, against the scan's own R2*: the repeatability
part, usually the largest, would hide an error in them.
"""

import argparse
import itertools
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from node.policy import load_policy
from quant.acquisition import Geometry, MultiEcho
from quant.assess import Assessment, FitFacts, assess
from quant.calibration import CALIBRATIONS
from quant.fit import fit_r2star
from quant.grading import scheme_by_id
from quant.noise import NoiseModel
from quant.phantom.signal import noisy_magnitude
from quant.region import RegionMeasurement, measure_region
from quant.settings import AssessmentSettings
from quant.uncertainty import Normal, Repeatability, r2star_uncertainty

AIM = (0.93, 0.97)
LIVER_S0 = 1000.0
SETTINGS = AssessmentSettings(
    calibration_by_field={"1.5": "garbowski-2014", "2.89": "hernando-2023", "3.0": "hernando-2023"},
    grade_scheme="guglielmo-2023",
    policy=load_policy(None, None, None),
    repeatability=Repeatability(),
)


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One phantom and what the product states of it; ``grades`` are (stated probability, whether it is true)."""

    truth_per_s: float
    snr: float
    coils: int
    field_t: float
    bound: bool
    refused: bool
    covered: bool
    covered_by_fit: bool
    grades: tuple[tuple[float, bool], ...]


def draw(seed: int) -> Draw:
    """A random phantom: R2* log-uniform, SNR, echoes, field, coils, region size and tissue spread."""
    rng = np.random.default_rng(seed)
    truth = float(np.exp(rng.uniform(np.log(30), np.log(1000))))
    snr, coils, field_t = float(rng.uniform(15, 100)), int(rng.choice([1, 4, 8])), float(rng.choice([1.5, 2.89, 3.0]))
    echoes = int(rng.integers(6, 13))
    times = 1e-3 * (rng.uniform(0.9, 1.3) + rng.uniform(0.7, 1.6) * np.arange(echoes))
    scan = max(truth + SETTINGS.repeatability.sd_per_s(truth) * rng.standard_normal(), 5.0)
    spread = float(rng.uniform(0.02, 0.15))
    acquisition, mask = _acquisition(rng, scan, spread, snr, coils, field_t, times)
    fit = fit_r2star(acquisition.signal, times, field_t=field_t)
    region = measure_region(acquisition, fit, mask)
    facts = FitFacts(
        model=fit.model,
        echo_times_s=times,
        echoes_used=fit.echoes_used,
        noise=NoiseModel(sigma=fit.sigma, coils=fit.coils, source=fit.noise_source),
        measurable_limit_per_s=fit.measurable_limit_per_s,
    )
    stated = assess(region, field_t=field_t, fit=facts, settings=SETTINGS, study_date=None, indication=None)
    rate = stated.r2star_per_s
    low, high = (np.nan, np.nan) if rate is None else rate.interval95
    return Draw(
        truth_per_s=truth,
        snr=snr,
        coils=coils,
        field_t=field_t,
        refused=rate is None,
        bound=rate is not None and rate.bound is not None,
        covered=bool(low <= truth <= high),
        covered_by_fit=_covered_by_fit(region, scan),
        grades=_grades(stated, truth, field_t, rng),
    )


def _acquisition(
    rng: np.random.Generator,
    scan_per_s: float,
    spread: float,
    snr: float,
    coils: int,
    field_t: float,
    times: np.ndarray,
) -> tuple[MultiEcho, np.ndarray]:
    """A block of tissue in air, and a random part of it as the region."""
    shape = (3, 64, 64)
    tissue = np.zeros(shape, bool)
    tissue[:, 12:52, 12:52] = True
    rate = scan_per_s * np.maximum(1 + spread * rng.standard_normal(shape), 0.2)
    clean = np.where(tissue[..., None], LIVER_S0 * np.exp(-rate[..., None] * times), 0)
    signal = noisy_magnitude(clean.astype(np.float32), LIVER_S0 / snr, coils, rng)
    mask = np.zeros(shape, bool)
    side = int(rng.integers(8, 36))
    mask[: int(rng.integers(1, 4)), 14 : 14 + side, 14 : 14 + side] = True
    geometry = Geometry(
        positions_mm=np.array([[0.0, 0.0, 8.0 * z] for z in range(shape[0])]),
        row_direction=np.array([1.0, 0.0, 0.0]),
        column_direction=np.array([0.0, 1.0, 0.0]),
        spacing_mm=(8.0, 1.5, 1.5),
        slice_thickness_mm=8.0,
    )
    return MultiEcho(signal=signal, echo_times_s=times, field_t=field_t, geometry=geometry), mask


def _covered_by_fit(region: RegionMeasurement, scan_per_s: float) -> bool:
    parts = r2star_uncertainty(region, SETTINGS.repeatability, region.median)
    sd = float(np.hypot(parts.fit_per_s, parts.heterogeneity_per_s))
    if not np.isfinite(region.median):
        return False
    low, high = Normal(mean=region.median, sd=sd).interval95
    return low <= scan_per_s <= high


def _grades(
    stated: Assessment, truth_per_s: float, field_t: float, rng: np.random.Generator
) -> tuple[tuple[float, bool], ...]:
    """Stated probabilities; the true LIC holds the error that the calibration line is published with."""
    if stated.grade is None or stated.calibration is None or stated.lic_mg_per_g is None or stated.lic_mg_per_g.bound:
        return ()
    equation = CALIBRATIONS[stated.calibration.id, field_t].equation
    lic = equation.lic(truth_per_s) + (equation.line_sd(truth_per_s) or 0.0) * rng.standard_normal()
    scheme = scheme_by_id(stated.grade.scheme)
    true_code = scheme.codes[scheme.band(lic)]
    return tuple((candidate.probability, candidate.code == true_code) for candidate in stated.grade.candidates)


def _share(draws: Iterable[Draw], of: Callable[[Draw], bool]) -> dict[str, float]:
    values = [of(d) for d in draws]
    share = float(np.mean(values)) if values else float("nan")
    return {"n": len(values), "share": round(share, 4)}


def record(draws: list[Draw]) -> dict[str, object]:
    """Coverage in all, without scan-rescan, by R2* and SNR; grade probabilities against frequencies."""
    values = [d for d in draws if not d.bound and not d.refused]
    grades = [pair for d in values for pair in d.grades]
    bins = [(low, low + 0.2) for low in (0.0, 0.2, 0.4, 0.6, 0.8)]
    rates, snrs = (30, 100, 300, 1001), (15, 30, 60, 101)
    return {
        "phantoms": len(draws),
        "refused": sum(d.refused for d in draws),
        "at_least": sum(d.bound for d in draws),
        "coverage": _share(values, lambda d: d.covered),
        "without_scan_rescan": _share(values, lambda d: d.covered_by_fit),
        "by_r2star": {f"{a}-{b}": _both(d for d in values if a <= d.truth_per_s < b) for a, b in _pairs(rates)},
        "by_snr": {f"{a}-{b}": _both(d for d in values if a <= d.snr < b) for a, b in _pairs(snrs)},
        "by_coils": {str(c): _both(d for d in values if d.coils == c) for c in (1, 4, 8)},
        "grades": [_reliability([g for g in grades if low <= g[0] < high]) for low, high in bins],
    }


def _both(draws: Iterable[Draw]) -> dict[str, float]:
    chosen = list(draws)
    fit = _share(chosen, lambda d: d.covered_by_fit)
    return {**_share(chosen, lambda d: d.covered), "without_scan_rescan": fit["share"]}


def _pairs(edges: tuple[int, ...]) -> Iterable[tuple[int, int]]:
    return itertools.pairwise(edges)


def _reliability(pairs: list[tuple[float, bool]]) -> dict[str, float]:
    """Mean stated probability and frequency of truth, with its standard error."""
    if not pairs:
        return {"n": 0}
    stated, true = (np.array(column, float) for column in zip(*pairs, strict=True))
    error = float(np.sqrt(np.mean(stated * (1 - stated)) / len(pairs)))
    figures = {"stated": stated.mean(), "true": true.mean(), "standard_error": error}
    return {"n": len(pairs), **{name: round(float(value), 3) for name, value in figures.items()}}


def main() -> None:
    """Print the record; exit 1 where the coverage misses its aim."""
    parser = argparse.ArgumentParser(description="Coverage of the 95 % interval of R2*.")
    parser.add_argument("--phantoms", type=int, default=1000)
    found = record([draw(seed) for seed in range(parser.parse_args().phantoms)])
    print(json.dumps(found, indent=2))
    coverage = found["coverage"]
    assert isinstance(coverage, dict)
    raise SystemExit(0 if AIM[0] <= coverage["share"] <= AIM[1] else 1)


if __name__ == "__main__":
    main()
