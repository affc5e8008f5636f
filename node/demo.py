"""The demonstration: a node, a small PACS and a scanner on loopback, and the whole way between them."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from node.config import DestinationConfig
from node.deliver.outbox import plan_deliveries
from node.dimse.scu import Peer, send
from node.dimse.store_peer import StorePeer
from node.errors import InputError, IronnodeError, StorageError
from node.model import StoreOutcome
from node.runtime import RunFolder
from node.simulate.command import make_phantom_files

R2STAR_PER_S = 67.73  # T2* 14.76 ms: 2.1 mg/g at 1.5 T under Garbowski 2014, between the two limits that matter
_MARKER = ".ironnode-demo"
_START_S, _ARRIVE_S, _STOP_S = 90.0, 300.0, 40.0

Say = Callable[[str], None]


class DemoError(IronnodeError):
    """The demonstration did not go the whole way."""

    code = "demo"
    hint = "The node's log lies beside the results (node.log)."


def run_demo(out: Path, say: Say) -> None:
    """Send a phantom the whole way and print what came back.

    Raises:
        InputError: ``out`` holds something that is not an earlier demonstration.
        DemoError: a step did not happen; the text says which.
    """
    out = out.absolute()  # relative paths of a configuration are relative to its file
    _prepare(out)
    say(f"1. A digital abdomen with liver R2* {R2STAR_PER_S} /s at 1.5 T is simulated as DICOM ...")
    files = _phantom(out / "phantom")
    with StorePeer(out / "pacs", "DEMOPACS") as pacs:
        say(f"2. A PACS listens on port {pacs.port}, the node is started ...")
        node = _DemoNode.start(out, pacs.port)
        try:
            say(f"3. The scanner sends {len(files)} images to port {node.port} by C-STORE ...")
            _push(files, node.port)
            say("4. The node measures and sends its results back; waiting for them ...")
            record = node.results(pacs)
        finally:
            node.stop()
    _show(out, record, say)


@dataclass(frozen=True, kw_only=True)
class _DemoNode:
    """``ironnode serve`` as a process of its own."""

    root: Path
    process: subprocess.Popen[bytes]
    pacs: DestinationConfig

    @staticmethod
    def start(out: Path, pacs_port: int) -> "_DemoNode":
        pacs = DestinationConfig(name="pacs", ae_title="DEMOPACS", host="127.0.0.1", port=pacs_port)
        config = {
            "storage": {"root": str(out / "node"), "min_free_mib": 0},
            "receive": {"host": "127.0.0.1", "port": 0, "allow": [{"ae_title": "DEMOSCANNER", "host": "127.0.0.1"}]},
            "assemble": {"complete_quiet_s": 1},
            "destinations": [pacs.model_dump(mode="json", exclude_defaults=True)],
            "web": {"enabled": False},
        }
        (out / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        with (out / "node.log").open("wb") as log:
            command = [sys.executable, "-m", "node", "serve", "--config", str(out / "config.yaml")]
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        return _DemoNode(root=out / "node", process=process, pacs=pacs)

    @property
    def port(self) -> int:
        """Where the node listens, once it does."""
        listener = self._wait(lambda: self._announced("listener"), _START_S, "the node did not start")
        return int(listener["port"])

    def results(self, pacs: StorePeer) -> dict[str, Any]:
        """The record of the one job with the objects that are sent, when the PACS holds every one of them."""

        def whole() -> dict[str, Any] | None:
            for result in (self.root / "outbox").glob("*/result.json"):
                record: dict[str, Any] = json.loads(result.read_bytes())
                wanted = {planned.sop_instance_uid for planned in plan_deliveries(record, (self.pacs,))}
                if wanted and wanted <= {path.stem for path in pacs.files()}:
                    came = [item for item in record["objects"] if item["sop_instance_uid"] in wanted]
                    return {**record, "objects": came, "folder": str(result.parent)}
            return None

        return self._wait(whole, _ARRIVE_S, "the results did not come back")

    def stop(self) -> None:
        """End the node in order."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def _announced(self, role: str) -> dict[str, Any] | None:
        run = self.root / "run"
        return RunFolder(run).facts(role) if run.is_dir() else None

    def _wait(self, look: Callable[[], dict[str, Any] | None], timeout_s: float, complaint: str) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        while (found := look()) is None:
            if self.process.poll() is not None:
                raise DemoError(f"{complaint}: the node ended with status {self.process.returncode}")
            if time.monotonic() > deadline:
                raise DemoError(f"{complaint} within {timeout_s:.0f} s")
            time.sleep(0.2)
        return found


def _prepare(out: Path) -> None:
    try:
        if out.is_dir() and any(out.iterdir()):
            if not (out / _MARKER).is_file():
                raise InputError(f"{out}: not empty, and no earlier demo lies in it; choose another folder with --out")
            shutil.rmtree(out)
        out.mkdir(parents=True, exist_ok=True)
        (out / _MARKER).touch()
    except OSError as error:
        raise StorageError(f"{out}: cannot be written: {error.strerror}") from error


def _phantom(out: Path) -> list[Path]:
    return make_phantom_files(
        out=out,
        r2star_per_s=R2STAR_PER_S,
        pdff_percent=2.0,
        field_t="1.5",
        echoes=None,
        te1_ms=None,
        delta_te_ms=None,
        slices=8,
        matrix=192,
        snr=50.0,
        dialect="generic",
        kind="magnitude",
        seed=0,
    )


def _push(files: Sequence[Path], port: int) -> None:
    node = Peer(ae_title="IRONNODE", host="127.0.0.1", port=port)
    with tqdm(total=len(files), unit="image", disable=None, leave=False) as bar:

        def advance(_outcome: StoreOutcome) -> None:
            bar.update()

        outcomes = send(files, node, calling_ae_title="DEMOSCANNER", timeout_s=30, on_outcome=advance)
    refused = [outcome for outcome in outcomes if not outcome.stored]
    if refused:
        raise DemoError(f"the node refused {len(refused)} images, first: {refused[0].detail}")


def _show(out: Path, record: dict[str, Any], say: Say) -> None:
    folder = Path(record["folder"])
    say("5. Everything came back:")
    roles: dict[str, int] = {}
    for item in record["objects"]:
        role = item["role"].split(".")[0]
        roles[role] = roles.get(role, 0) + 1
    names = {"map": "MR map images", "page": "picture page", "sr": "Structured Report", "seg": "segmentation",
             "pm": "parametric maps"}  # fmt: skip
    say("   " + ", ".join(f"{count} {names.get(role, role)}" for role, count in roles.items()))
    say("")
    say((folder / "report.txt").read_text(encoding="utf-8"))
    say(f"Picture page    {folder / 'page.png'}")
    say(f"Report          {folder / 'report.html'} and report.pdf")
    say(f"In the PACS     {out / 'pacs'}")
    if record["status"] != "measured":
        raise DemoError("the phantom was not measured: " + "; ".join(r["text"] for r in record["reasons"]))
