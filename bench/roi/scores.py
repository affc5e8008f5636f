"""Scores of one case and of a set, and the targets they are held against.

precision: share of the region's voxels that are mostly liver (parenchyma or a vessel or duct within it); purity: share
that is nothing but parenchyma; bias: the true median R2* in the region against that of all pure parenchyma imaged;
yield: share of cases reported. A wrong organ is a region of which less than half lies in the liver.

Some cases cannot be measured wherever the region lies: ghosts hide the decay of a dark liver and its R2* reads low.
Refusing those is right. They are told by the error of the fit in the true parenchyma, and the yield without them is
shown beside the yield that is held against the target.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quant.fit import R2StarMap, fit_r2star
from quant.flags import FitFlag
from quant.liver import LiverRegion, find_liver
from quant.phantom import Phantom

BANDS_PER_S = ((25, 60), (60, 200), (200, 600), (600, 1200), (1200, 2001))
_WRONG_ORGAN = 0.5
_NAME_LENGTH = 88  # of a self-check's code and text in the table
_GOOD = 0.98  # precision of a region that deserved to be reported
_MOST_ATTAINABLE_ERROR = 0.20  # of R2* read too low in the true parenchyma
_LEAST_PURE_LIVER_ML = 8.0  # a case with less of it imaged has no region to find


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One case; scores are NaN where nothing was reported.

    ``failed`` names each self-check that hit, by its code and its text, where ``reasons`` has the codes alone.
    ``error`` is that of the fit's median R2* in the region, ``attainable_error`` in the true parenchyma.
    """

    seed: int
    set_name: str
    case: str
    r2star_per_s: float
    field_t: float
    n_slices: int
    liver_ml: float
    reported: bool
    reasons: tuple[str, ...]
    failed: tuple[str, ...]
    seconds: float
    n_voxels: int
    precision: float
    purity: float
    bias: float
    error: float
    attainable_error: float
    candidate_precision: float
    checks: dict[str, float]

    @property
    def wrong_organ(self) -> bool:
        """Whether a reported region lies mostly outside the liver."""
        return self.reported and self.precision < _WRONG_ORGAN

    @property
    def could_report(self) -> bool:
        """Whether enough liver was imaged."""
        return self.liver_ml >= _LEAST_PURE_LIVER_ML

    @property
    def measurable(self) -> bool:
        """Whether a perfect region would give the true R2*, or more than the echoes can show."""
        return self.could_report and not self.attainable_error < -_MOST_ATTAINABLE_ERROR


def score(phantom: Phantom, *, seed: int, set_name: str, case: str) -> tuple[Outcome, LiverRegion]:
    """Fits, finds and scores one case."""
    acquisition, truth = phantom.acquisition, phantom.truth
    fit = fit_r2star(acquisition.signal, acquisition.echo_times_s, field_t=acquisition.field_t, threads=1)
    start = time.perf_counter()
    region = find_liver(acquisition, fit)
    seconds = time.perf_counter() - start
    voxel_ml = float(np.prod(acquisition.geometry.spacing_mm)) / 1000
    outcome = Outcome(
        seed=seed,
        set_name=set_name,
        case=case,
        r2star_per_s=truth.requested_r2star_per_s,
        field_t=acquisition.field_t,
        n_slices=len(acquisition.signal),
        liver_ml=float(truth.liver.sum() * voxel_ml),
        reported=region.mask is not None,
        reasons=tuple(sorted({reason.code for reason in region.refusals})),
        failed=tuple(sorted({f"{reason.code}: {reason.text}" for reason in region.refusals})),
        seconds=seconds,
        n_voxels=0 if region.mask is None else int(region.mask.sum()),
        precision=_share(truth.whole_liver, region.mask),
        purity=_share(truth.liver, region.mask),
        bias=_bias(phantom, region.mask),
        error=_error(phantom, fit, region.mask),
        attainable_error=_error(phantom, fit, truth.liver),
        candidate_precision=_share(truth.whole_liver, region.candidate),
        checks=region.checks,
    )
    return outcome, region


def _share(truth: npt.NDArray[np.bool_], mask: npt.NDArray[np.bool_] | None) -> float:
    return float(truth[mask].mean()) if mask is not None and mask.any() else float("nan")


def _bias(phantom: Phantom, mask: npt.NDArray[np.bool_] | None) -> float:
    truth = phantom.truth
    if mask is None or not truth.liver.any():
        return float("nan")
    rates = truth.r2star_per_s
    inside = rates[mask & np.isfinite(rates)]
    return float(np.median(inside) / np.median(rates[truth.liver]) - 1) if inside.size else float("inf")


def _error(phantom: Phantom, fit: R2StarMap, mask: npt.NDArray[np.bool_] | None) -> float:
    """Of the median R2* (infinite beyond the limit) in ``mask`` against that of the pure parenchyma."""
    truth = phantom.truth
    if mask is None or not truth.liver.any():
        return float("nan")
    at_limit = fit.flags & FitFlag.AT_LIMIT != 0
    rates = np.where(at_limit & ~np.isfinite(fit.r2star_per_s), np.inf, fit.r2star_per_s)[mask]
    rates = rates[~np.isnan(rates)]
    middle = float(np.quantile(rates, 0.5, method="lower")) if rates.size else float("nan")
    return middle / float(np.median(truth.r2star_per_s[truth.liver])) - 1


class Target(NamedTuple):
    """``value`` must not be below (``at_least``) or above the limit; NaN misses it."""

    name: str
    value: float
    limit: float
    at_least: bool

    @property
    def met(self) -> bool:
        """Whether the target holds."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def _yield(outcomes: Sequence[Outcome]) -> float:
    return float(np.mean([o.reported for o in outcomes])) if outcomes else float("nan")


def quality_targets(outcomes: Sequence[Outcome], *, least_yield: float, bias_p95: float) -> list[Target]:
    """Targets of a set in which a liver lies at the right; cases without enough liver do not count for the yield."""
    reported = [o for o in outcomes if o.reported]
    possible = [o for o in outcomes if o.could_report]
    dark = [o for o in possible if 1200 <= o.r2star_per_s <= 2000]
    precision, purity = ([getattr(o, name) for o in reported] or [np.nan] for name in ("precision", "purity"))
    bias = np.abs([o.bias for o in reported] or [np.nan])
    return [
        Target("wrong organs", sum(o.wrong_organ for o in outcomes), 0, at_least=False),
        Target("yield", _yield(possible), least_yield, at_least=True),
        Target("yield 1200 to 2000 /s", _yield(dark), 0.75, at_least=True),
        Target("precision, median", float(np.median(precision)), 0.999, at_least=True),
        Target("precision, worst", float(np.min(precision)), 0.98, at_least=True),
        Target("purity, median", float(np.median(purity)), 0.99, at_least=True),
        Target("bias, median", float(np.median(bias)), 0.01, at_least=False),
        Target("bias, 95th percentile", float(np.percentile(bias, 95)), bias_p95, at_least=False),
        Target("bias, worst", float(np.max(bias)), 0.12, at_least=False),
    ]


def refusal_targets(outcomes: Sequence[Outcome], never: Sequence[str]) -> list[Target]:
    """Targets of a set in which nothing may be reported."""
    return [
        Target("wrong organs", sum(o.wrong_organ for o in outcomes), 0, at_least=False),
        Target("false reports, share", _yield(outcomes), 0.01, at_least=False),
        Target(
            f"false reports, {', '.join(never)}",
            sum(o.reported for o in outcomes if o.case in never),
            0,
            at_least=False,
        ),
    ]


def speed_targets(outcomes: Sequence[Outcome]) -> list[Target]:
    """Seconds of the search alone."""
    seconds = [o.seconds for o in outcomes]
    return [
        Target("seconds, median", float(np.median(seconds)), 2, at_least=False),
        Target("seconds, worst", float(np.max(seconds)), 8, at_least=False),
    ]


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """Yield by R2* and by coverage, refusals by reason, the worst cases."""
    possible = [o for o in outcomes if o.could_report]
    lines = [
        "  yield by R2*: " + "; ".join(_part(possible, f"{a}-{b}", _between(a, b)) for a, b in BANDS_PER_S),
        "  yield by slices: "
        + "; ".join(
            _part(possible, name, test)
            for name, test in (("1", lambda o: o.n_slices == 1), ("2-7", _slices(2, 7)), ("8+", _slices(8, 999)))
        ),
        "  yield by case: "
        + "; ".join(_part(possible, case, _of_case(case)) for case in sorted({o.case for o in possible})),
        "  refusals: "
        + ", ".join(f"{code} {n}" for code, n in Counter(r for o in outcomes for r in o.reasons).most_common()),
    ]
    measurable = [o for o in possible if o.measurable]
    lines.append(
        "  yield where it can be measured: "
        + "; ".join(
            _part(measurable, name, test) for name, test in (("all", _any), ("1200-2000", _between(1200, 2001)))
        )
    )
    errors = np.abs([o.error for o in outcomes if np.isfinite(o.error)] or [np.nan])
    lines.append(
        f"  error of R2* as reported: median {np.median(errors):.1%}, 95th percentile {np.percentile(errors, 95):.1%}, "
        f"worst {np.max(errors):.1%}"
    )
    worst = sorted((o for o in outcomes if o.reported), key=lambda o: (o.precision, -abs(o.bias)))[:5]
    lines += [
        f"  worst: seed {o.seed} ({o.case}) R2* {o.r2star_per_s:.0f}, {o.n_slices} slices: precision "
        f"{o.precision:.4f}, bias {o.bias:+.1%}"
        for o in worst
    ]
    return lines


def _part(outcomes: Sequence[Outcome], name: str, test: Callable[[Outcome], bool]) -> str:
    chosen = [o for o in outcomes if test(o)]
    return f"{name}: {sum(o.reported for o in chosen)}/{len(chosen)}"


def _any(_: Outcome) -> bool:
    return True


def _between(low: float, high: float) -> Callable[[Outcome], bool]:
    return lambda o: low <= o.r2star_per_s < high


def _slices(low: int, high: int) -> Callable[[Outcome], bool]:
    return lambda o: low <= o.n_slices <= high


def _of_case(case: str) -> Callable[[Outcome], bool]:
    return lambda o: o.case == case


def check_table(outcomes: Sequence[Outcome]) -> list[str]:
    """How often each self-check fired rightly and wrongly, and how often it was the only one.

    Rightly: nothing may be reported there, or what was found is less than 98 % liver. Wrongly: it was a good region.
    """
    lines = ["rightly (alone)   wrongly (alone)   self-check"]
    for name in sorted({name for o in outcomes for name in o.failed}):
        fired = [o for o in outcomes if name in o.failed]
        right, wrong = ([o for o in fired if _spoiled(o) == spoiled] for spoiled in (True, False))
        counts = [f"{len(part):7d} ({sum(len(o.failed) == 1 for o in part):5d})" for part in (right, wrong)]
        lines.append(f"{'   '.join(counts)}   {name[:_NAME_LENGTH]}")
    return lines


def _spoiled(o: Outcome) -> bool:
    return o.set_name.endswith("impossible") or not o.candidate_precision >= _GOOD
