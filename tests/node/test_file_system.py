"""The trial of the storage root's file system: a good one passes, and each broken promise is named."""

import fcntl
import os
import time
from pathlib import Path

from node.intake import durable_io
from node.intake.durable_io import DurableIo
from node.ops.file_system import broken_promises


def test_a_local_file_system_keeps_all_and_nothing_is_left(tmp_path) -> None:
    assert broken_promises(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_locks_that_hold_nobody_off_are_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)  # NFS mounted with local_lock or nolock, from two machines
    assert broken_promises(tmp_path) == ["locks (flock) do not hold others off"]


def test_locks_that_are_not_offered_are_named(tmp_path, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert broken_promises(tmp_path) == ["locks (flock) do not hold others off"]


def test_a_rename_in_two_steps_is_named(tmp_path, monkeypatch) -> None:
    def in_two_steps(_self: DurableIo, source: Path, target: Path) -> None:
        target.unlink(missing_ok=True)
        time.sleep(0.001)  # the gap of such a file system; the reader needs it to exist, not to be timed
        source.rename(target)

    monkeypatch.setattr(DurableIo, "rename", in_two_steps)
    assert broken_promises(tmp_path) == ["rename leaves a moment without the name, or with half a file"]


def test_a_file_that_is_made_twice_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(DurableIo, "create", lambda _self, path, _mode=0: os.open(path, os.O_CREAT | os.O_RDWR))
    assert broken_promises(tmp_path) == ["a new file can take the place of one that exists (O_EXCL)"]


def no_links(*_: object) -> None:
    raise OSError(95, "Operation not supported")


def test_a_file_system_that_has_only_links_will_do_and_one_without_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(durable_io, "_RENAMEAT2", None)  # as over NFS
    assert broken_promises(tmp_path) == []
    monkeypatch.setattr(os, "link", no_links)
    assert broken_promises(tmp_path) == ["a file cannot get a name, or takes one that is taken"]


def test_a_name_that_is_taken_away_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(DurableIo, "rename_new", lambda _self, source, target: source.rename(target))
    assert broken_promises(tmp_path) == ["a file cannot get a name, or takes one that is taken"]
