"""A node that has done something, and its web application."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from node.app import open_node
from node.config import AllowedPeer, Config, DestinationConfig, ReceiveConfig, StorageConfig
from node.model import StoreStatus
from node.web.application import make_application
from tests.nodekit.quiet_node import Archive, Clock, QuietNode
from tests.nodekit.small_study import write_study

PACS = DestinationConfig(name="pacs", ae_title="PACS", host="127.0.0.1", port=104)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(
        storage=StorageConfig(root=tmp_path / "root"),
        destinations=(PACS,),
        receive=ReceiveConfig(allow=(AllowedPeer(ae_title="MRSCANNER", host="10.1.2.3"),)),
    )


@pytest.fixture
def worked(config: Config, tmp_path: Path) -> Iterator[QuietNode]:
    """One finished job with two of three objects sent, one declined group."""
    worked = QuietNode(config.storage.root, Archive(), Clock(), config)
    worked.receive(write_study(tmp_path / "study"))
    worked.receive(write_study(tmp_path / "two echoes", 2, echoes=2))
    worked.archive.refuse = lambda path: StoreStatus.FAILED if path.name == "2.dcm" else None
    worked.settle()
    yield worked
    worked.close()


@pytest.fixture
def client(config: Config, worked: QuietNode, tmp_path: Path) -> Iterator[TestClient]:
    """A browser on this machine, without log-in."""
    path = tmp_path / "config.json"
    path.write_text(config.model_dump_json())
    with open_node(config) as node, TestClient(make_application(node, path), "http://localhost") as client:
        client.headers["accept"] = "text/html"
        yield client
