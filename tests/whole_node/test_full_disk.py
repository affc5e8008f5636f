"""A small real file system that fills up: warned of, then nothing received, then received again without a restart."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node.app import free_mib
from node.config import AllowedPeer, ReceiveConfig, StorageConfig
from node.dimse.scp import Listener
from node.intake.spool import Spool
from node.ops.disk_watch import DiskLevel, DiskWatch
from tests.nodekit.small_study import write_study


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 16 MiB; skipped where mounting is not permitted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def listener(small_disk: Path) -> Iterator[Listener]:
    receive = ReceiveConfig(host="127.0.0.1", port=0, allow=(AllowedPeer(ae_title="SCANNER", host="127.0.0.1"),))
    listener = Listener(receive, Spool(small_disk, 4 << 20))
    listener.start()
    yield listener
    listener.stop()


@pytest.mark.peer
def test_two_watermarks_on_a_real_disk(
    small_disk: Path, listener: Listener, storescu: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = StorageConfig(root=small_disk, min_free_mib=4, warn_free_mib=8)
    watch = DiskWatch(storage, lambda: free_mib(small_disk))
    images = write_study(tmp_path / "study")
    filling = small_disk / "filling"

    def fill(left_mib: int) -> None:
        filling.unlink(missing_ok=True)
        filling.write_bytes(os.urandom((free_mib(small_disk) - left_mib) << 20))

    with caplog.at_level("INFO", logger="ironnode"):
        assert watch.look() == DiskLevel.OK
        fill(6)
        assert [watch.look(), watch.look()] == [DiskLevel.LOW] * 2
        assert storescu(listener.port, images[:1]).returncode == 0  # warned of, and received
        fill(3)
        assert watch.look() == DiskLevel.FULL
        refused = storescu(listener.port, images[1:2])
        assert refused.returncode != 0
        assert "Rejected Transient" in refused.stderr
        assert "Local Limit Exceeded" in refused.stderr
        filling.unlink()
        assert watch.look() == DiskLevel.OK
        assert storescu(listener.port, images[1:]).returncode == 0
    assert len(list((small_disk / "spool" / "inbox").iterdir())) == len(images)
    said = [(r.event, r.fields["level_of_space"]) for r in caplog.records if r.event.startswith("disk_")]
    assert said == [("disk_low", "low"), ("disk_low", "full"), ("disk_recovered", "ok")]
