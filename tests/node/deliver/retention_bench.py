"""A node with one delivered job, for tests of what retention removes."""

from collections.abc import Callable, Sequence
from pathlib import Path

from node.config import Config, DestinationConfig, RetentionConfig, StorageConfig
from node.deliver.outbox import DIGESTS_FILE
from node.deliver.retention import Retention
from node.jobs.removals import Removal
from tests.node.deliver.test_dispatch import finish_job
from tests.nodekit.quiet_node import Archive, Clock, QuietNode

PACS = DestinationConfig(name="pacs", ae_title="PACS", host="127.0.0.1", port=104)
DAY_S = 86400


class Bench:
    """A node with one job, delivered; the archive lists what it has, or what ``listed`` says."""

    def __init__(self, root: Path, **retention: object) -> None:
        settings = RetentionConfig.model_validate({"keep_days": 7, **retention})
        config = Config(storage=StorageConfig(root=root), destinations=(PACS,), retention=settings)
        self.node = QuietNode(root, Archive(), Clock(), config)
        self.asked: list[list[str]] = []
        self.listed: Callable[[], frozenset[str]] = lambda: frozenset(self.node.archive.received)
        self.study = root.parent / "study"
        self.job_id = finish_job(self.node, self.study)

    def find(self, destination: DestinationConfig, study: str, series: Sequence[str]) -> frozenset[str]:
        self.asked.append(list(series))
        return self.listed()

    @property
    def retention(self) -> Retention:
        return self.node.retention(self.find)

    def removal(self) -> Removal | None:
        return self.node.ledger.removals.of_job(self.job_id)

    def spooled(self) -> int:
        return len(list(self.node.spool.instances()))

    def left(self) -> set[str]:
        folder = self.node.outbox.path(self.job_id)
        return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}

    def is_whole(self) -> bool:
        return self.spooled() == 8 and self.left() == {
            "result.json",
            DIGESTS_FILE,
            "dicom",
            *(f"dicom/{n}.dcm" for n in range(3)),
        }
