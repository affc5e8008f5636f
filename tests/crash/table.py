"""The table of faults and outcomes, as Markdown."""

from collections import Counter

from bench.machine import this_machine
from tests.crash.campaign import Campaign
from tests.crash.faults import FAULTS
from tests.crash.verdict import Verdict

_MOST_PLACES = 4


def write_table(campaign: Campaign, verdict: Verdict, command: str) -> str:
    """How often each fault struck and where, what was on its way then, and what became of that."""
    plan, machine = campaign.plan, this_machine()
    measured = len(campaign.acquisitions) // plan.measured_every if plan.measured_every else 0
    rows = [
        f"`{command}` (seed {plan.seed}), commit {machine.commit}, {machine.processor}, {machine.cores} cores, "
        f"load {machine.load_1min:.1f}, Python {machine.python}, {campaign.seconds / 60:.0f} min.",
        "",
        f"{len(campaign.acquisitions)} acquisitions ({measured} of them measured, the others with a measurement that "
        f"takes a fraction of a second), {campaign.kills} kills, {len(campaign.struck)} faults: "
        f"{len(verdict.lost)} lost, {len(verdict.twice)} duplicated, {len(verdict.stuck)} stuck, "
        f"{len(verdict.broken)} promises broken.",
        "",
        "| fault | struck | on their way (sum) | delivered once | lost | duplicated | stuck | where it hit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    bad = verdict.lost | verdict.twice | verdict.stuck
    for fault in FAULTS:
        struck = [one for one in campaign.struck if one.fault == fault.name]
        flights = [number for one in struck for number in one.in_flight]
        numbers = [sum(n in group for n in flights) for group in (verdict.lost, verdict.twice, verdict.stuck)]
        good = sum(n not in bad for n in flights)
        places = Counter(one.hit for one in struck).most_common(_MOST_PLACES)
        where = "not possible here" if fault.name in campaign.left_out else ", ".join(f"{p} {n}" for p, n in places)
        rows.append(
            f"| {fault.name} | {len(struck)} | {len(flights)} | {good} | {' | '.join(map(str, numbers))} | {where} |"
        )
    rows += ["", "| counted at the end | number |", "|---|---|"]
    counts = dict(verdict.counts)
    counts["images refused and sent again"] = sum(a.refused for a in campaign.acquisitions)
    counts["associations cut off or not had"] = sum(a.cut_off for a in campaign.acquisitions)
    counts["acknowledged images that the scanner repeated"] = sum(a.repeated for a in campaign.acquisitions)
    rows += [f"| {name} | {number} |" for name, number in counts.items()]
    return "\n".join(rows) + "\n"
