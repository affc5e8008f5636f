"""What the scanners send: many small acquisitions, each repeated until every image of it has been acknowledged."""

import itertools
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import dcmread

from node.dimse.scu import Peer, send
from node.errors import PeerError
from node.model import StoreOutcome
from tests.crash.role import QUICK_ROOT
from tests.nodekit.small_study import write_study

MEASURED_ROOT = "1.2.826.0.1.3680043.10.998"
_FIRST_STUDY = 10000  # as many digits as every later one: another number in its place makes another study
_SENT_AGAIN = 0.1  # share of acquisitions of which a scanner repeats what was acknowledged
_PAUSE_S = (0.1, 0.5)


@dataclass
class Acquisition:
    """One acquisition; times are ``time.monotonic`` seconds."""

    number: int
    study_instance_uid: str
    files: dict[str, Path]
    began: float = 0.0
    acknowledged: dict[str, float] = field(default_factory=dict)
    refused: int = 0
    cut_off: int = 0
    repeated: int = 0

    @property
    def whole(self) -> bool:
        return len(self.acknowledged) == len(self.files)

    @property
    def longest_gap_s(self) -> float:
        """The longest time between two acknowledgements that followed each other."""
        times = sorted(self.acknowledged.values())
        return max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0)


class Scanner:
    """Makes up to 89,999 acquisitions in ``folder``; one of ``measured_every`` is a phantom that is really measured."""

    def __init__(self, folder: Path, measured_every: int) -> None:
        self._folder = folder
        self._measured_every = measured_every
        self._quick: dict[str, tuple[str, bytes]] = {}
        for path in write_study(folder / "quick", _FIRST_STUDY):
            uid = str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)
            self._quick[uid] = path.name, path.read_bytes()
        self._phantom: list[Path] = []
        if measured_every:
            out = folder / "phantom"
            words = ["--slices", "2", "--matrix", "64", "--echoes", "6", "--seed", "3"]
            command = [sys.executable, "-m", "node", "phantom", "--out", str(out), *words]
            subprocess.run(command, check=True, capture_output=True, timeout=300)
            self._phantom = sorted(out.rglob("*.dcm"))

    def acquire(self, number: int) -> Acquisition:
        """Acquisition ``number``, on disk."""
        folder = self._folder / f"{number:05d}"
        if self._measured_every and number % self._measured_every == 0:
            return self._measured(number, folder)
        folder.mkdir(parents=True)
        study, files = _FIRST_STUDY + number, {}
        for uid, (name, content) in self._quick.items():
            path = folder / name
            path.write_bytes(content.replace(b"%d" % _FIRST_STUDY, b"%d" % study))
            files[uid.replace(str(_FIRST_STUDY), str(study))] = path
        return Acquisition(number, f"{QUICK_ROOT}.{study}", files)

    def _measured(self, number: int, folder: Path) -> Acquisition:
        folder.mkdir(parents=True)
        study, files = f"{MEASURED_ROOT}.{number}", {}
        for index, source in enumerate(self._phantom, 1):
            ds = dcmread(source)
            uid = f"{study}.1.{index}"
            ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, f"{study}.1", f"{study}.2"
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid
            files[uid] = folder / f"{index:03d}.dcm"
            ds.save_as(files[uid], enforce_file_format=True)
        return Acquisition(number, study, files)


def transmit(acquisition: Acquisition, peers: Sequence[Peer], rng: random.Random, stop: threading.Event) -> None:
    """Send until every image is acknowledged, as a scanner does: what was not is sent again, some of the rest too.

    One of several ``peers`` is drawn at the start, and the next one tried after each failure.
    """
    turns = itertools.cycle(rng.sample(peers, len(peers)))
    peer = next(turns)
    acquisition.began = time.monotonic()
    by_path = {path: uid for uid, path in acquisition.files.items()}

    def note(outcome: StoreOutcome) -> None:
        if outcome.stored:
            acquisition.acknowledged.setdefault(by_path[outcome.path], time.monotonic())
        elif outcome.detail.startswith("status "):
            acquisition.refused += 1

    again = rng.random() < _SENT_AGAIN
    while not acquisition.whole and not stop.is_set():
        files = [path for uid, path in acquisition.files.items() if again or uid not in acquisition.acknowledged]
        rng.shuffle(files)
        acquisition.repeated += sum(by_path[path] in acquisition.acknowledged for path in files)
        _send(files, peer, note, acquisition)
        if not acquisition.whole:
            peer = next(turns)
            stop.wait(rng.uniform(*_PAUSE_S))
    if again and not stop.is_set():
        acquisition.repeated += len(acquisition.files)
        _send(list(acquisition.files.values()), peer, note, acquisition)


def _send(files: list[Path], peer: Peer, note: Callable[[StoreOutcome], None], acquisition: Acquisition) -> None:
    try:
        outcomes = send(files, peer, calling_ae_title="SCANNER", timeout_s=10, on_outcome=note)
    except PeerError:
        acquisition.cut_off += 1
        return
    acquisition.cut_off += any(not outcome.stored for outcome in outcomes)
