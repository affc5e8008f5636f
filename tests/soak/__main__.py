"""``make soak``: an hour of ``ironnode serve`` under a steady trickle of work; is its use of the machine flat?"""

import argparse
import json
import sqlite3
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from tempfile import mkdtemp

from bench.machine import this_machine
from tests.crash.conduct import announce, begin
from tests.crash.testbed import Destination
from tests.soak.judgement import WARM_UP_SHARE, judge_use
from tests.soak.report import draw, tables
from tests.soak.sampling import Sampler, sample_node
from tests.soak.testbed import KEEP_S, SoakNode, end, stock_destinations
from tests.soak.traffic import Traffic, pace

_MOST_REST_S = KEEP_S + 180.0


def main() -> int:
    """0 when everything was flat and everything was delivered, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--every", type=float, default=20, help="seconds from one acquisition to the next")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where to work; it must not exist (default: a temporary folder)")
    options = parser.parse_args()
    folder = options.folder or Path(mkdtemp(prefix="ironnode-soak-")) / "soak"
    folder.mkdir(parents=True)
    begin(options.seed, folder)
    node = SoakNode(folder)
    destinations = stock_destinations(folder, node)
    try:
        for destination in destinations:
            destination.start()
        supervisor = node.start(destinations)
        (folder / "scanner").mkdir()
        traffic = Traffic(folder / "scanner", node.port, options.seed)
        traffic.prepare()
        sampler = Sampler(supervisor, node.root, node.web_port)
        sampler.start()
        try:
            pace(traffic, options.every, options.minutes, announce, sampler.wait)
        finally:
            sampler.stop()
        lasted_s = sampler.processes[-1].at_s
        _rest(node)
        status = node.stop()
    finally:
        node.kill()
        end(destinations)
    sampler.write(folder)
    counts, broken = _reckon(node, traffic, destinations)
    broken += [f"the orderly end gave {status}"] if status else []
    uses = judge_use(sampler.processes, lasted_s)
    broken += [f"{use.role}: {text}" for use in uses for text in use.broken]
    broken += [*traffic.troubles, *sampler.failures]
    text = tables(
        command=f"make soak MINUTES={options.minutes:g}", machine=this_machine(), lasted_s=lasted_s,
        uses=uses, counts=counts, node=sampler.node, broken=broken,
    )  # fmt: skip
    (folder / "table.md").write_text(text)
    draw(sampler.processes, sampler.node, WARM_UP_SHARE * lasted_s, folder / "soak.svg")
    announce("\n" + text)
    return 1 if broken else 0


def _rest(node: SoakNode) -> None:
    """Wait until everything is delivered and the last files have gone, as long as that may take."""
    deadline = time.monotonic() + _MOST_REST_S
    while time.monotonic() < deadline:
        now = sample_node(node.root, 0.0)
        if not now.queue["queued"] + now.queue["pending"] and now.files["spool"] == 0:
            return
        time.sleep(2)  # other processes' work


def _reckon(node: SoakNode, traffic: Traffic, destinations: list[Destination]) -> tuple[dict[str, object], list[str]]:
    """What is counted at the end, and which promises were not kept."""
    judged = {one.study_instance_uid: {1, 2} if one.repeated else {1} for one in traffic.sent if one.judged}
    with closing(sqlite3.connect(node.root / "ledger.sqlite")) as ledger:
        jobs = ledger.execute("select study_instance_uid, state, outcome, self_test from job").fetchall()
        sent = Counter(name for (name,) in ledger.execute("select destination from delivery where state = 'sent'"))
        other = ledger.execute("select count(*) from delivery where state != 'sent'").fetchone()[0]
        committed = ledger.execute("select count(*) from commitment where state = 'committed'").fetchone()[0]
        removals = ledger.execute("select state, detail, freed_bytes from removal").fetchall()
    mine = [job for job in jobs if not job[3]]
    now = sample_node(node.root, 0.0)
    removed = [row for row in removals if row[0] == "removed"]
    held = {d.name: len(d.held()) for d in destinations}
    per_study = Counter(study for study, *_ in mine)
    counts: dict[str, object] = {f"sent: {kind}": number for kind, number in sorted(traffic.counts.items())}
    counts["jobs"] = len(mine)
    counts.update({f"outcome {name}": n for name, n in sorted(Counter(str(job[2]) for job in mine).items())})
    counts["self-tests"] = len(jobs) - len(mine)
    counts.update({f"objects delivered to {name}, and held by it": f"{sent[name]}, {held[name]}" for name in held})
    counts["objects committed to by pacs"] = committed
    counts["jobs whose images and objects retention removed"] = len(removed)
    counts["MiB that it freed"] = round(sum(row[2] for row in removed) / (1 << 20))
    counts["files left in the spool"] = now.files["spool"]
    broken = [f"study {study}: {per_study[study]} jobs" for study in judged if per_study[study] not in judged[study]]
    broken += [f"a job is {job[1]}" for job in jobs if job[1] != "done"]
    broken += [f"{name} holds {held[name]} of {sent[name]} objects" for name in held if held[name] != sent[name]]
    broken += [f"{other} objects are not delivered"] if other else []
    broken += [f"files kept: {row[1]}" for row in removals if row[0] != "removed"]
    if "pacs" in held and committed != sent["pacs"]:
        broken.append(f"pacs committed to {committed} of {sent['pacs']} objects")
    if len(removed) < len(mine):
        broken.append(f"files of {len(removed)} of {len(mine)} jobs were removed")
    strange = [line for line in node.log.read_text(errors="replace").splitlines() if line and not _is_event(line)]
    return counts, broken + [f"a line of the log that is no event: {line}" for line in strange[:20]]


def _is_event(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


if __name__ == "__main__":
    sys.exit(main())
