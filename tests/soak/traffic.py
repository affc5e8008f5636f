"""What the soak sends: a slot every few seconds, the same sequence of kinds over and over."""

import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pynetdicom import AE

from node.errors import PeerError
from node.simulate.command import make_phantom_files
from tests.conftest import find_peer
from tests.hostile.attacks import QUICK
from tests.hostile.target import Target
from tests.nodekit.small_study import write_study

CALLING = "SCANNER"
_ROOT = "1.2.826.0.1.3680043.10.997"
_REAL_SIZE = {"slices": 24, "matrix": 256, "echoes": 6}
_SMALL = {"slices": 3, "matrix": 96, "echoes": 6}
_SEQUENCE = (
    "real size", "small", "not measurable", "small", "again at once", "small complex",
    "small", "declined", "small", "again later", "small", "small complex",
)  # fmt: skip
_HOSTILE_EVERY = 3
_TOO_SMALL_ROOT = "1.2.826.0.1.3680043.10.999"  # of tests.nodekit.small_study


@dataclass(frozen=True)
class Sent:
    """One acquisition that was acknowledged whole; ``judged``: it becomes a job. ``repeated``: after a break, so that
    its first part may be a job that the whole one revises."""

    kind: str
    files: tuple[Path, ...]
    study_instance_uid: str
    judged: bool
    repeated: bool


class Traffic:
    """Makes acquisitions in ``folder`` and sends them to the node on ``port``."""

    def __init__(self, folder: Path, port: int, seed: int) -> None:
        self._folder = folder
        self._port = port
        self._rng = random.Random(seed)
        self._templates: dict[str, list[Path]] = {}
        self._numbers = Counter[str]()
        self.sent: list[Sent] = []
        self.counts = Counter[str]()
        self.troubles: list[str] = []

    def prepare(self) -> None:
        """The phantoms of which each acquisition is a copy under its own UIDs."""
        common = {"r2star_per_s": 180.0, "pdff_percent": 2.0, "te1_ms": None, "delta_te_ms": None, "snr": 50.0}
        for kind, size in (("real size", _REAL_SIZE), ("small", _SMALL), ("small complex", _SMALL)):
            self._templates[kind] = make_phantom_files(
                out=self._folder / f"template {kind}", field_t="1.5", dialect="generic",
                kind="complex" if kind == "small complex" else "magnitude", seed=1, **common, **size,
            )  # fmt: skip

    def slot(self, number: int) -> str:
        """Send what belongs into slot ``number``; in words what it was."""
        kind = _SEQUENCE[number % len(_SEQUENCE)]
        if kind.startswith("again"):
            earlier = self._again(kind)
            if earlier is None:
                return f"{kind}: nothing to send again yet"
            files = list(earlier.files)
        else:
            files = self._make(kind, number)
        with_dcmtk = number % 2 == 0
        whole = self._push(files, with_dcmtk=with_dcmtk)
        repeated = not whole and not with_dcmtk
        if repeated:  # pynetdicom loses an answer now and then (docs/soak.md)
            self.counts["sent again, pynetdicom saw no answer"] += 1
            whole = self._push(files, with_dcmtk=False)
        self.counts[kind] += 1
        self.counts["images"] += len(files)
        if not whole:
            self.troubles.append(f"slot {number}, {kind}: not every image was acknowledged")
        elif not kind.startswith("again"):
            study = str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)
            self.sent.append(Sent(kind, tuple(files), study, kind != "declined", repeated))
        self._forget()
        return f"{kind}{self._attack(number)}"

    def _forget(self) -> None:
        """Only the latest are sent again: the others' files need not stay."""
        for old in self.sent[:-40]:
            for path in old.files:
                path.unlink(missing_ok=True)

    def _again(self, kind: str) -> Sent | None:
        """The latest measured one, or one whose files are long gone from the node."""
        measured = [one for one in self.sent[-40:] if one.judged]
        if not measured:
            return None
        return measured[-1] if kind == "again at once" else measured[0]

    def _make(self, kind: str, number: int) -> list[Path]:
        folder = self._folder / f"{number:05d}"
        if kind == "declined":
            return write_study(folder, number + 1, echoes=1)
        if kind == "not measurable":
            return write_study(folder, number + 1)
        folder.mkdir()
        study, files = f"{_ROOT}.{number + 1}", []
        for index, source in enumerate(self._templates[kind], 1):
            ds = dcmread(source)
            series = f"{study}.{ds.SeriesNumber}"
            ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, f"{study}.0"
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{series}.{index}"
            ds.PatientID = f"SOAK{number}"
            files.append(folder / f"{index:03d}.dcm")
            ds.save_as(files[-1], enforce_file_format=True)
        return files

    def _push(self, files: list[Path], *, with_dcmtk: bool) -> bool:
        program = find_peer("dcmsend" if self._rng.random() < 0.5 else "storescu")
        if not with_dcmtk or program is None:
            return _push_with_pynetdicom(files, self._port)
        options = ["-aet", CALLING, "-aec", "IRONNODE", "127.0.0.1", str(self._port)]
        done = subprocess.run(
            [str(program), *options, *map(str, files)],
            capture_output=True, timeout=120, check=False, env={**os.environ, "TCP_NODELAY": "1"},
        )  # fmt: skip
        return done.returncode == 0

    def _attack(self, number: int) -> str:
        if number % _HOSTILE_EVERY:
            return ""
        row = QUICK[number // _HOSTILE_EVERY % len(QUICK)]
        target = Target(port=self._port, calling=CALLING)
        try:
            answer = row.attack(target)
        except (PeerError, OSError) as error:
            answer = str(error)
        self.counts["hostile peers"] += 1
        if not target.serves():
            self.troubles.append(f"slot {number}: nobody is served after {row.name}")
        return f"; hostile: {row.name} ({answer})"


def _push_with_pynetdicom(files: list[Path], port: int) -> bool:
    first = dcmread(files[0], stop_before_pixels=True)
    ae = AE(ae_title=CALLING)
    ae.add_requested_context(first.SOPClassUID, first.file_meta.TransferSyntaxUID)
    association = ae.associate("127.0.0.1", port, ae_title="IRONNODE")
    if not association.is_established:
        return False
    try:
        return all(_status(association.send_c_store(dcmread(path))) == 0 for path in files)
    finally:
        association.release()


def _status(answer: object) -> int | None:
    status: int | None = getattr(answer, "Status", None)
    return status


def pace(
    traffic: Traffic, every_s: float, minutes: float, tell: Callable[[str], None], sleep: Callable[[float], object]
) -> None:
    """A slot every ``every_s`` for ``minutes``."""
    began = time.monotonic()
    number = 0
    while time.monotonic() - began < 60 * minutes:
        due = began + number * every_s
        sleep(max(0.0, due - time.monotonic()))
        what = traffic.slot(number)
        tell(f"{time.monotonic() - began:7.0f} s  {what}")
        number += 1
