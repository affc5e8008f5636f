"""Fixtures of the whole-node tests: the node as its users start it, Orthanc as the PACS, DCMTK as the scanner."""

import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from node.cli import cli
from tests.whole_node.harness import Orthanc, RunningNode, answers, free_port, node_settings


@pytest.fixture
def make_node(tmp_path: Path) -> Iterator[Callable[..., RunningNode]]:
    """``make_node(destinations=[...], assemble={...})``: a started node that ends with the test."""
    nodes: list[RunningNode] = []

    def make(**sections: Any) -> RunningNode:
        root = tmp_path / f"node{len(nodes)}"
        root.mkdir()
        settings = node_settings(root / "data")
        for name, values in sections.items():
            settings[name] = {**settings.get(name, {}), **values} if isinstance(values, dict) else values
        node = RunningNode(root, settings).start()
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        with contextlib.suppress(ProcessLookupError):
            node.stop()


@pytest.fixture
def orthanc(request: pytest.FixtureRequest, tmp_path: Path, peer: Callable[[str], Path]) -> Iterator[Orthanc]:
    """Orthanc on free ports (it cannot report the port it took, so a lost race starts it again); the fixture's
    parameter, a function of Orthanc's folder, gives more settings."""
    program = peer("Orthanc")
    folder = tmp_path / "orthanc"
    folder.mkdir()
    for _ in range(3):
        pacs = Orthanc(free_port(), free_port())
        settings = {
            "Name": "test PACS", "StorageDirectory": str(folder), "IndexDirectory": str(folder), "Plugins": [],
            "DicomAet": "PACS", "DicomPort": pacs.dicom_port, "HttpPort": pacs.http_port,
            "DicomCheckCalledAet": True, "DicomAlwaysAllowStore": True, "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowGet": True, "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False, "HttpDescribeErrors": True, "OverwriteInstances": False,
            **getattr(request, "param", lambda folder: {})(folder),
        }  # fmt: skip
        (folder / "orthanc.json").write_text(json.dumps(settings))
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
        if answers(pacs, process):
            break
    else:
        pytest.fail(f"Orthanc did not start: {(folder / 'log').read_text()[-1500:]}")
    yield pacs
    process.terminate()
    process.wait(30)


@pytest.fixture
def storescu(peer: Callable[[str], Path]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """DCMTK's storescu as the scanner: ``storescu(node.port, files)``."""
    program = peer("storescu")

    def push(
        port: int, files: list[Path], *options: str, calling: str = "SCANNER", called: str = "IRONNODE"
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, "-aet", calling, "-aec", called, *options, "127.0.0.1", str(port), *map(str, files)],
            capture_output=True, text=True, timeout=300, check=False, env={**os.environ, "TCP_NODELAY": "1"},
        )  # fmt: skip

    return push


@pytest.fixture
def phantom_files(tmp_path: Path) -> Callable[..., list[Path]]:
    """``phantom_files(r2star_per_s=150, slices=4)``: a phantom written by `ironnode phantom`."""

    def make(**options: Any) -> list[Path]:
        options = {"slices": 3, "matrix": 128, **options}
        out = tmp_path / ("phantom-" + "-".join(f"{k}{v}" for k, v in sorted(options.items())))
        words = [word for k, v in options.items() for word in (f"--{k.replace('_', '-')}", str(v))]
        answer = CliRunner().invoke(cli, ["phantom", "--out", str(out), *words])
        assert answer.exit_code == 0, answer.output
        return sorted(out.rglob("*.dcm"))

    return make
