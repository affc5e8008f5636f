"""A ledger on a fresh disk, and a node whose steps and time the test decides."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node.config import AssembleConfig, Config, DestinationConfig
from node.jobs.ledger import Ledger
from node.jobs.manifest import JobManifest, derive_job_id
from tests.nodekit.quiet_node import Archive, Clock, QuietNode
from tests.nodekit.small_study import write_study


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path)
    yield ledger
    ledger.close()


@pytest.fixture
def make_manifest(clock: Clock) -> Callable[..., JobManifest]:
    def make(uids=("1.2.1", "1.2.2"), *, revision=1, predecessor=None, study="1.2") -> JobManifest:
        return JobManifest(
            job_id=derive_job_id(uids, "settings", "1"),
            acquisition_key="a",
            study_instance_uid=study,
            sop_instance_uids=tuple(sorted(uids)),
            accepted_at=clock(),
            revision=revision,
            predecessor_job_id=predecessor,
            missing=(),
            method_version="1",
            settings_digest="settings",
        )

    return make


@pytest.fixture
def study(tmp_path: Path) -> list[Path]:
    return write_study(tmp_path / "study")


@pytest.fixture
def config() -> Config:
    return Config(
        assemble=AssembleConfig(settle_s=20, complete_quiet_s=2),
        destinations=(DestinationConfig(name="pacs", ae_title="PACS", host="127.0.0.1", port=104),),
    )


@pytest.fixture
def quiet_node(tmp_path: Path, clock: Clock, config: Config) -> Iterator[QuietNode]:
    node = QuietNode(tmp_path / "root", Archive(), clock, config)
    yield node
    node.close()
