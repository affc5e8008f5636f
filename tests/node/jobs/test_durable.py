"""Files that are whole or absent: what is told when the disk refuses."""

import errno
import os
from pathlib import Path

import pytest

from node.errors import StorageError
from node.intake.durable_io import DurableIo
from node.jobs.durable import write_durably


def test_a_disk_that_became_read_only_is_told_as_such(tmp_path, monkeypatch) -> None:
    def read_only(*args: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(DurableIo, "rename", read_only)
    monkeypatch.setattr(Path, "unlink", read_only)
    with pytest.raises(StorageError, match="file cannot be written: Read-only file system"):
        write_durably(tmp_path / "file", b"content")
