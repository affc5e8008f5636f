"""Receiving, as a ratio to DCMTK's storescp: same sender, same series, visited alternately.

Ours flushes every instance to stable storage before it is acknowledged; storescp never does.
"""

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from node.dimse.scu import Peer, echo
from node.errors import PeerError

INSTANCES = 360  # 12 echoes of 30 slices
ROWS = 256
REPETITIONS = 3


def measure() -> dict[str, object]:
    """Rate ratios (ours / storescp) for 1, 4 and 10 associations, and with a sender that leaves Nagle on."""
    if shutil.which("storescp", path="/usr/bin") is None:
        return {"skipped": "DCMTK is not installed"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_series(folder / "series")
        report: dict[str, object] = {f"associations_{n}": _compare(folder, n, nodelay=True) for n in (1, 4, 10)}
        report["default_dcmsend"] = _compare(folder, 1, nodelay=False)
        return report


def _compare(folder: Path, associations: int, *, nodelay: bool) -> dict[str, float]:
    rates: dict[str, list[float]] = {"ironnode": [], "storescp": []}
    for repetition in range(REPETITIONS if nodelay else 1):
        for name, rate in rates.items():
            target = folder / f"{name}-{associations}-{nodelay}-{repetition}"
            target.mkdir()
            with _running(name, target) as port:
                rate.append(_push(folder / "series", port, associations, nodelay=nodelay))
            shutil.rmtree(target)
    ours, theirs = rates["ironnode"], rates["storescp"]
    return {
        "ratio": round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 2),
        "instances_per_s": round(statistics.median(ours)),
        "storescp_instances_per_s": round(statistics.median(theirs)),
    }


def _push(series: Path, port: int, associations: int, *, nodelay: bool) -> float:
    """Send the series once, spread over so many dcmsend processes; instances per second."""
    files = sorted(map(str, series.iterdir()))
    environment = os.environ | ({"TCP_NODELAY": "1"} if nodelay else {})
    command = ["/usr/bin/dcmsend", "-aec", "BENCH", "127.0.0.1", str(port)]

    def one(share: list[str]) -> None:
        subprocess.run([*command, *share], env=environment, check=True, capture_output=True)

    started = time.perf_counter()
    with ThreadPoolExecutor(associations) as senders:
        list(senders.map(one, (files[n::associations] for n in range(associations))))
    return len(files) / (time.perf_counter() - started)


@contextmanager
def _running(name: str, folder: Path) -> Iterator[int]:
    """The named receiver as a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    if name == "storescp":
        command = ["/usr/bin/storescp", "--fork", "-aet", "BENCH", "-od", str(folder), str(port)]
    else:
        command = [sys.executable, "-m", "bench.net", str(folder), str(port)]
    process = subprocess.Popen(command, env=os.environ | {"TCP_NODELAY": "1"})
    try:
        _await_echo(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def _await_echo(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            echo(Peer(ae_title="BENCH", host="127.0.0.1", port=port), calling_ae_title="BENCH")
        except PeerError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _write_series(folder: Path) -> None:
    folder.mkdir()
    noise = np.random.default_rng(0)
    for number in range(INSTANCES):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, f"1.2.3.{number}"
        image.StudyInstanceUID, image.SeriesInstanceUID = "1.2.3", "1.2.3.0"
        image.Modality, image.PatientID, image.InstanceNumber = "MR", "BENCH", number
        image.Rows = image.Columns = ROWS
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
        image.PixelRepresentation, image.SamplesPerPixel, image.PhotometricInterpretation = 0, 1, "MONOCHROME2"
        image.PixelData = noise.integers(0, 4096, ROWS * ROWS, dtype=np.uint16).tobytes()
        pydicom.dcmwrite(folder / f"{number:03}.dcm", image, enforce_file_format=True)


def _serve(folder: Path, port: int) -> None:
    """Our listener alone, until it is terminated."""
    from node.config import AllowedPeer, ReceiveConfig
    from node.dimse.scp import Listener
    from node.intake.spool import Spool

    everybody = (AllowedPeer(ae_title="*", host="127.0.0.1"),)
    listener = Listener(ReceiveConfig(ae_title="BENCH", host="127.0.0.1", port=port, allow=everybody), Spool(folder))
    listener.start()
    while True:
        time.sleep(60)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), int(sys.argv[2]))
