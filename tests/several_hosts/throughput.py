"""How many acquisitions an hour some workers get through, and what a study takes on disk."""

import os
import subprocess
import sys
from pathlib import Path

from pydicom import dcmread

from node.dimse.scu import Peer, send
from tests.crash.role import EVERY_QUICK_RUN_S, QUICK_ROOT
from tests.nodekit.small_study import write_study
from tests.several_hosts.network import wait_until
from tests.several_hosts.site import GATEWAYS, Site

RUN_S = 3.0
_ROOT = "1.2.826.0.1.3680043.10.997"
_TIMES = f"""
    select extract(epoch from max(ended) - min(began)), avg(extract(epoch from ended - began)) from (
        select finished_at::timestamptz as ended,
            (select max(at)::timestamptz from event e where e.job_id = j.job_id and e.name = 'job_started') as began
        from job j where study_instance_uid like '{_ROOT}.1___'
    ) as times
"""
_IMAGE = ["--slices", "1", "--matrix", "192", "--echoes", "12", "--seed", "3"]


def measure(folder: Path, workers: int, acquisitions: int) -> str:
    """One line: the workers are started, warm, and then given all acquisitions at once."""
    phantom = folder / "phantom"
    command = [sys.executable, "-m", "node", "phantom", "--out", str(phantom), *_IMAGE]
    subprocess.run(command, check=True, capture_output=True)
    images = sorted(phantom.rglob("*.dcm"))
    site = Site(folder / "site", workers, quick=False, settings={"queue": {"lease_s": 30}})
    try:
        site.start()
        peer = Peer(ae_title="IRONNODE", host=site.gateways[0][0], port=site.gateways[0][1])
        _push(peer, images, folder / "warm", range(workers * 2))
        wait_until("the workers are warm", lambda: _done(site) == workers * 2, 600)
        used_s = {name: -site.network.cpu_s(name) for name in site.hosts}
        load = os.getloadavg()[0]
        _push(peer, images, folder / "sent", range(1000, 1000 + acquisitions))
        wait_until("all delivered", lambda: _done(site) == workers * 2 + acquisitions, 1800)
        load = max(load, os.getloadavg()[0])
        for name in used_s:
            used_s[name] += site.network.cpu_s(name)
        ((seconds, mean),) = site.ask(_TIMES)
        disk = {name: _kib(site.root / name) / _done(site) for name in ("spool", "outbox", "jobs")}
        ((ledger,),) = site.ask("select pg_database_size('ironnode')")
    finally:
        site.close()
    hour = 3600 * acquisitions / float(seconds)
    measuring_s = sum(used_s[name] for name in site.workers) / acquisitions
    gateways_s = sum(used_s[name] for name in GATEWAYS) / acquisitions
    parts = ", ".join(f"{name} {kib:.0f} KiB" for name, kib in disk.items())
    return (
        f"{workers} workers: {acquisitions} acquisitions of {len(images)} images in {float(seconds):.0f} s, "
        f"{hour:.0f} an hour, a run takes {float(mean):.1f} s (load {load:.1f} on {os.cpu_count()} cores); CPU each: "
        f"workers {measuring_s:.2f} s, gateways {gateways_s:.2f} s, "
        f"database and broker {used_s['db'] / acquisitions:.2f} s; "
        f"on disk each: {parts}; ledger {int(ledger) >> 10} KiB"
    )


def measure_waiting(folder: Path, workers: int, acquisitions: int) -> str:
    """One line: the same with runs that wait ``RUN_S`` and compute nothing, so that cores do not bound the workers."""
    site = Site(folder / "site", workers, environment={EVERY_QUICK_RUN_S: str(RUN_S)})
    try:
        site.start()
        for number in range(acquisitions):
            files = write_study(folder / str(number), number + 1)
            peer = Peer(ae_title="IRONNODE", host=site.gateways[number % 2][0], port=site.gateways[number % 2][1])
            assert all(outcome.stored for outcome in send(files, peer, calling_ae_title="SCANNER", timeout_s=30))
        wait_until("all delivered", lambda: _done(site) == acquisitions, 600)
        ((seconds, mean),) = site.ask(_TIMES.replace(_ROOT, QUICK_ROOT).replace(".1___", ".%"))
    finally:
        site.close()
    hour = 3600 * acquisitions / float(seconds)
    return (
        f"{workers} workers that wait {RUN_S:g} s: {acquisitions} acquisitions in {float(seconds):.0f} s, {hour:.0f} "
        f"an hour, a run takes {float(mean):.2f} s (load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)"
    )


def _push(peer: Peer, images: list[Path], folder: Path, numbers: range) -> None:
    for number in numbers:
        study, files = f"{_ROOT}.{number}", []
        (folder / str(number)).mkdir(parents=True)
        for index, source in enumerate(images, 1):
            ds = dcmread(source)
            ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, f"{study}.1", f"{study}.2"
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{study}.1.{index}"
            files.append(folder / str(number) / f"{index:03d}.dcm")
            ds.save_as(files[-1], enforce_file_format=True)
        outcomes = send(files, peer, calling_ae_title="SCANNER", timeout_s=30)
        assert all(outcome.stored for outcome in outcomes), outcomes


def _done(site: Site) -> int:
    rows = site.ask(
        "select count(*) from job j where state = 'done' and not exists"
        " (select 1 from delivery d where d.job_id = j.job_id and d.state = 'pending')"
    )
    return int(rows[0][0]) if rows else 0


def _kib(folder: Path) -> float:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file()) / 1024
