"""The rows of the table in bench/README.md."""

import itertools
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from bench.net.disk import flush_wait_s
from bench.net.receivers import missing, running
from bench.net.senders import (
    associations_per_s,
    dcmsend_rate,
    idle,
    our_rate,
    prepared_rate,
    pynetdicom_rate,
)
from bench.net.series import INSTANCES, write_series

ROUNDS = 5
_RECEIVERS = ("ironnode", "storescp", "orthanc", "pynetdicom")
_SLOW_RECEIVERS = frozenset({"orthanc", "pynetdicom"})
_SLOW_ROUNDS = 2
_SENT_TO_OTHERS = 60  # plain pynetdicom needs 50 ms for each
_IDLE_ASSOCIATIONS, _IDLE_S = 8, 10.0
_SHORT_ASSOCIATIONS = 200

_numbers = itertools.count()


def measure() -> dict[str, object]:
    """Every row, by name; a peer that is not installed is named in ``skipped``."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_series(folder / "series")
        rows: dict[str, Callable[[Path], object]] = {
            **{f"receiving_{n}": lambda folder, n=n: _receiving(folder, n) for n in (1, 4, 10)},
            "default_dcmsend": _default_dcmsend,
            "sending": _sending,
            "short_associations_per_s": _short_associations,
            "idle": _idle,
            "slow_disk": _slow_disk,
        }
        report: dict[str, object] = {"skipped": [peer for peer in _RECEIVERS if missing(peer)]}
        return report | {row: take(folder) for row, take in rows.items()}


def _present(*names: str) -> list[str]:
    return [name for name in names if not missing(name)]


def _new(folder: Path, name: str) -> Path:
    """A folder for what one receiver stores."""
    return folder / f"{next(_numbers)}-{name}"


def _receiving(folder: Path, associations: int) -> dict[str, dict[str, float]]:
    """Prepared messages: instances per second, processor time per instance, memory, and ours over theirs.

    ``storescp_durable`` is no program: storescp as it would be if each instance of its one association also waited
    for the disk; processor time and memory are those of storescp as it is.
    """
    seen: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    one_instance = next((folder / "series").iterdir()).read_bytes()
    for turn in range(ROUNDS):
        for name in _present(*_RECEIVERS):
            if turn >= _SLOW_ROUNDS and name in _SLOW_RECEIVERS:
                continue
            with running(name, _new(folder, name)) as receiver:
                before_s = receiver.cpu_s
                rate = prepared_rate(receiver.port, folder / "series", associations)
                cpu_ms = (receiver.cpu_s - before_s) / INSTANCES * 1e3
                peak_mib = receiver.peak_mib
            seen[name].append((rate, cpu_ms, peak_mib))
            if name == "storescp" and associations == 1:
                wait_s = flush_wait_s(_new(folder, "flushed"), one_instance)
                seen["storescp_durable"].append((1 / (1 / rate + wait_s), cpu_ms, peak_mib))
    ours = [rate for rate, _, _ in seen["ironnode"]]
    report = {}
    for name, rounds in seen.items():
        rates, cpu_ms_each, peaks_mib = zip(*rounds, strict=True)
        ratios = [mine / theirs for mine, theirs in zip(ours, rates, strict=False)]
        report[name] = {
            "instances_per_s": round(statistics.median(rates)),
            "cpu_ms_per_instance": round(statistics.median(cpu_ms_each), 2),
            "peak_mib": round(max(peaks_mib)),
            "ours_over_theirs": round(statistics.median(ratios), 2),
            "least": round(min(ratios), 2),
            "most": round(max(ratios), 2),
        }
    return report


def _default_dcmsend(folder: Path) -> dict[str, int]:
    """dcmsend as it is, to receivers as they are; instances per second."""
    report = {}
    for name in _present("ironnode", "storescp") if not missing("storescp") else []:
        with running(name, _new(folder, name), nodelay=False) as receiver:
            report[name] = round(dcmsend_rate(receiver.port, folder / "series"))
    return report


def _sending(folder: Path) -> dict[str, dict[str, float]]:
    """To receivers as they are: our sender beside pynetdicom's, instances per second."""
    files = sorted((folder / "series").iterdir())[:_SENT_TO_OTHERS]
    report = {}
    for name in _present("storescp", "orthanc"):
        with running(name, _new(folder, name), nodelay=False) as receiver:
            plain = pynetdicom_rate(receiver.port, files)
        with running(name, _new(folder, name), nodelay=False) as receiver:
            ours = our_rate(receiver.port, files)
        report[name] = {"ironnode": round(ours), "pynetdicom": round(plain), "ratio": round(ours / plain, 1)}
    return report


def _short_associations(folder: Path) -> dict[str, int]:
    report = {}
    for name in _present(*_RECEIVERS):
        with running(name, _new(folder, name)) as receiver:
            report[name] = round(associations_per_s(receiver.port, _SHORT_ASSOCIATIONS))
    return report


def _idle(folder: Path) -> dict[str, float]:
    """Percent of a core that open associations cost which say nothing."""
    report = {}
    for name in _present(*_RECEIVERS):
        with running(name, _new(folder, name)) as receiver:
            held = idle(receiver.port, _IDLE_ASSOCIATIONS)
            before_s = receiver.cpu_s
            time.sleep(_IDLE_S)
            report[name] = round((receiver.cpu_s - before_s) / _IDLE_S * 100, 1)
            for association in held:
                association.release()
    return report


def _slow_disk(folder: Path) -> dict[str, int]:
    """Ours on a disk of 5 ms per flush, one at a time; instances per second by associations."""
    report = {}
    for associations in (1, 4, 10):
        with running("ironnode_slow_disk", _new(folder, "slow")) as receiver:
            report[str(associations)] = round(prepared_rate(receiver.port, folder / "series", associations))
    return report
