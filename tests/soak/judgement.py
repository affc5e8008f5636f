"""When use counts as flat. Stated before the run: the first quarter is warm-up, the rest is judged.

For each process, over the samples after the warm-up:

- memory (PSS): the Theil-Sen slope is at most 5 MiB in an hour, or at most 5 % of the median in an hour where that is
  more;
- threads and descriptors: the median of the last third is at most 1 above the median of the first third;
- it is the process that it was at the start: nothing ended.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import theilslopes

from tests.soak.sampling import ProcessSample

WARM_UP_SHARE = 0.25
MOST_GROWTH_MIB_PER_H = 5.0
MOST_GROWTH_SHARE_PER_H = 0.05
MOST_GROWTH_COUNT = 1.0


@dataclass(frozen=True, kw_only=True)
class Use:
    """One process after the warm-up; growth in an hour with its 95 % interval, MiB, and that of its own alone."""

    role: str
    pid: int
    median_mib: float
    highest_mib: float
    growth_mib_per_h: float
    growth_from: float
    growth_to: float
    own_growth_mib_per_h: float
    threads: tuple[float, float]
    descriptors: tuple[float, float]
    cpu_percent: float
    broken: tuple[str, ...]


def judge_use(samples: Sequence[ProcessSample], lasted_s: float) -> list[Use]:
    """Each process that was there at the end of the warm-up, and each that was not."""
    warm_s = WARM_UP_SHARE * lasted_s
    pids = sorted({(sample.role, sample.pid) for sample in samples})
    return [_judge([s for s in samples if (s.role, s.pid) == one], warm_s, lasted_s) for one in pids]


def _judge(samples: Sequence[ProcessSample], warm_s: float, lasted_s: float) -> Use:
    judged = [sample for sample in samples if sample.at_s >= warm_s] or list(samples)
    at_h = np.array([s.at_s for s in judged]) / 3600
    pss_mib = np.array([s.pss_kib for s in judged]) / 1024
    slope, _, low, high = theilslopes(pss_mib, at_h) if len(judged) > 2 else (0.0, 0.0, 0.0, 0.0)
    own_slope = theilslopes([s.own_kib / 1024 for s in judged], at_h)[0] if len(judged) > 2 else 0.0
    third = max(1, len(judged) // 3)
    threads = [float(np.median([s.threads for s in part])) for part in (judged[:third], judged[-third:])]
    descriptors = [float(np.median([s.descriptors for s in part])) for part in (judged[:third], judged[-third:])]
    broken = []
    median = float(np.median(pss_mib))
    if slope > max(MOST_GROWTH_MIB_PER_H, MOST_GROWTH_SHARE_PER_H * median):
        broken.append(f"memory grows by {slope:.1f} MiB in an hour")
    for what, (first, last) in (("threads", threads), ("descriptors", descriptors)):
        if last > first + MOST_GROWTH_COUNT:
            broken.append(f"{what} grow from {first:g} to {last:g}")
    if samples[0].at_s > 0.05 * lasted_s or samples[-1].at_s < 0.95 * lasted_s:
        broken.append(f"was there from {samples[0].at_s:.0f} s to {samples[-1].at_s:.0f} s only")
    passed_s = judged[-1].at_s - judged[0].at_s
    return Use(
        role=judged[0].role,
        pid=judged[0].pid,
        median_mib=median,
        highest_mib=float(pss_mib.max()),
        growth_mib_per_h=float(slope),
        growth_from=float(low),
        growth_to=float(high),
        own_growth_mib_per_h=float(own_slope),
        threads=(threads[0], threads[1]),
        descriptors=(descriptors[0], descriptors[1]),
        cpu_percent=100 * (judged[-1].cpu_s - judged[0].cpu_s) / passed_s if passed_s else 0.0,
        broken=tuple(broken),
    )
