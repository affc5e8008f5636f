"""The soak as a page: the criterion, the table of figures, a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from matplotlib.figure import Figure

from bench.machine import Machine
from tests.soak.judgement import WARM_UP_SHARE, Use
from tests.soak.sampling import NodeSample, ProcessSample

_MOST_POINTS = 180
_T = TypeVar("_T")


def draw(processes: Sequence[ProcessSample], node: Sequence[NodeSample], warm_s: float, path: Path) -> None:
    """Memory and descriptors of each process, disk and queue, against time."""
    figure = Figure(figsize=(9, 9.5), layout="constrained")
    memory, descriptors, disk, queue = figure.subplots(4, 1, sharex=True)
    for role, pid in sorted({(sample.role, sample.pid) for sample in processes}):
        mine = _thin([sample for sample in processes if (sample.role, sample.pid) == (role, pid)])
        minutes = [sample.at_s / 60 for sample in mine]
        memory.plot(minutes, [sample.pss_kib / 1024 for sample in mine], label=role, linewidth=1)
        descriptors.plot(minutes, [sample.descriptors for sample in mine], label=role, linewidth=1)
    kept = _thin(node)
    minutes = [sample.at_s / 60 for sample in kept]
    for name in kept[0].disk_mib:
        disk.plot(minutes, [sample.disk_mib[name] for sample in kept], label=name, linewidth=1)
    for name in ("done", "removed", "queued", "pending", "uncommitted"):
        queue.plot(minutes, [sample.queue[name] for sample in kept], label=name, linewidth=1)
    for axes, label in (
        (memory, "PSS, MiB"), (descriptors, "open descriptors"), (disk, "disk, MiB"), (queue, "jobs, objects"),
    ):  # fmt: skip
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
        axes.axvline(warm_s / 60, color="0.6", linestyle=":", linewidth=1)
        axes.grid(color="0.92")
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    memory.set_yscale("symlog", linthresh=100)
    queue.set_xlabel("minutes; the dotted line ends the warm-up")
    figure.savefig(path, metadata={"Date": None, "Creator": None})


def _thin(samples: Sequence[_T]) -> list[_T]:
    indices = np.unique(np.linspace(0, len(samples) - 1, min(len(samples), _MOST_POINTS)).astype(int))
    return [samples[index] for index in indices]


def tables(
    *, command: str, machine: Machine, lasted_s: float, uses: Sequence[Use], counts: Mapping[str, object],
    node: Sequence[NodeSample], broken: Sequence[str],
) -> str:  # fmt: skip
    """The figures as Markdown."""
    rows = [
        f"`{command}`, commit {machine.commit}, {machine.processor}, {machine.cores} cores, load "
        f"{machine.load_1min:.1f} at the end, Python {machine.python}; {lasted_s / 60:.0f} min, judged from minute "
        f"{WARM_UP_SHARE * lasted_s / 60:.0f} on. {'Flat, and ' if not broken else ''}{len(broken)} criteria broken.",
        "",
        "| process | PSS, MiB, median (highest) | growth, MiB/h (95 % interval) | of its own alone | "
        "threads, first and last third | descriptors, first and last third | processor, % of a core |",
        "|---|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {use.role} | {use.median_mib:.1f} ({use.highest_mib:.1f}) | {use.growth_mib_per_h:+.2f} "
        f"({use.growth_from:+.2f} to {use.growth_to:+.2f}) | {use.own_growth_mib_per_h:+.2f} | "
        f"{use.threads[0]:g}, {use.threads[1]:g} | "
        f"{use.descriptors[0]:g}, {use.descriptors[1]:g} | {use.cpu_percent:.1f} |"
        for use in uses
    ]
    first, last = _at(node, WARM_UP_SHARE * lasted_s), node[-1]
    rows += [
        "",
        "| disk | MiB after the warm-up | MiB at the end | highest | files at the end |",
        "|---|---|---|---|---|",
    ]
    rows += [
        f"| {name} | {first.disk_mib[name]:.2f} | {last.disk_mib[name]:.2f} | "
        f"{max(sample.disk_mib[name] for sample in node):.2f} | {last.files[name]} |"
        for name in first.disk_mib
    ]
    rows += ["", "| counted | number |", "|---|---|", *(f"| {name} | {number} |" for name, number in counts.items())]
    rows += [f"\nBROKEN: {text}" for text in broken]
    return "\n".join(rows) + "\n"


def _at(node: Sequence[NodeSample], at_s: float) -> NodeSample:
    return min(node, key=lambda sample: abs(sample.at_s - at_s))
