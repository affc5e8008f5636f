"""A storage root in one file, taken while the node runs, and put back into an empty one.

The archive is a plain tar file. Its last member, ``manifest.json``, holds the SHA-256 digest of every other one, so an
archive that was cut off or altered is told from a whole one before anything is put in place. What is derived from
elsewhere is left out: the broker's data, ready files, files still arriving.

What makes the copy consistent is its order, each thing before what it rests on: the ledger, results, jobs, settings,
images. An image only ever moves out of ``inbox`` to another folder of the spool, so the inbox comes first, and the
others are listed when all of it is in the archive.
"""

import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from io import BytesIO
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, Any

from node.app import free_mib, wall_clock
from node.config import Config
from node.errors import DiskFullError, InputError, IronnodeError
from node.intake.durable_io import storage_error
from node.jobs.database import LEDGER_FILE, RESTORE_FOLDER, copy_sqlite, sqlite_version
from node.jobs.durable import flush_folder
from node.jobs.migrate import migrate_ledger
from node.jobs.rebuild import Rebuilt
from node.jobs.schema import LEDGER_VERSION, MIGRATIONS
from node.maintenance import fill_ledger
from node.runtime import exclusive

BACKUP_VERSION = 1
_MANIFEST = "manifest.json"
_LEFT_OUT = ("run", "broker", "try", RESTORE_FOLDER)
_RESTS_ON = ("jobs", "settings", "spool")  # in this order behind everything else
_OWNERS_ONLY = "settings"
_CHUNK_BYTES = 1 << 20
_MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class BackedUp:
    """What the archive holds; ``ledger`` is false where the ledger is not in the storage root (PostgreSQL)."""

    files: int
    size_bytes: int
    ledger: bool


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What was put back; without its ``ledger``, what the node's own does not know is delivered again."""

    files: int
    made_at: datetime
    made_by: str
    ledger: bool
    rebuilt: Rebuilt


class _Hashed:
    """The first ``size`` bytes of a file, with their digest."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left, self.digest = file, size, hashlib.sha256()

    def read(self, count: int = -1) -> bytes:
        data = self._file.read(self._left if count < 0 else min(count, self._left))
        self._left -= len(data)
        self.digest.update(data)
        return data


# ---------------------------------------------------------------- backup


def back_up(config: Config, archive: Path) -> BackedUp:
    """Write the storage root of ``config`` into ``archive``, a new file that only its owner may read.

    Raises:
        InputError: the file exists, lies in the storage root or in no folder.
        StorageError: the disk or the database refused; nothing is left behind.
    """
    root = config.storage.root
    if archive.exists():
        raise InputError(f"{archive} exists; a backup never writes over another")
    if archive.resolve().is_relative_to(root.resolve()):
        raise InputError(f"{archive} lies in the storage root {root}; a backup belongs on another disk")
    if not root.is_dir():
        raise InputError(f"{root} (storage.root) is no folder: there is nothing to back up")
    if not archive.parent.is_dir():
        raise InputError(f"{archive} cannot be written: {archive.parent} is no folder")
    part = archive.with_name(f".{archive.name}.part")
    try:
        done = _write(config, part)
        part.rename(archive)
        flush_folder(archive.parent)
    except OSError as error:
        raise storage_error(error, f"{archive} cannot be written") from error
    finally:
        part.unlink(missing_ok=True)
    return done


def _write(config: Config, part: Path) -> BackedUp:
    root, digests = config.storage.root, dict[str, str]()
    own_ledger = config.database.url is None and (root / LEDGER_FILE).exists()
    ledger_version = None
    _refuse_without_room(root, part)
    with _owners_only(part) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        with TemporaryDirectory(dir=part.parent, prefix=f".{part.name}") as folder:
            if own_ledger:
                snapshot = copy_sqlite(root, Path(folder) / LEDGER_FILE)
                ledger_version = sqlite_version(snapshot)  # its own: a new release may back up what an old one wrote
                digests[LEDGER_FILE] = _add(tar, snapshot, LEDGER_FILE)
        for path in _files(root):
            name = path.relative_to(root).as_posix()
            try:
                digests[name] = _add(tar, path, name)
            except FileNotFoundError:
                continue  # retention took it since, or it moved to a folder that is listed later
        manifest = {
            "backup_version": BACKUP_VERSION, "ironnode_version": version("ironnode"),
            "made_at": wall_clock().isoformat(), "ledger_version": ledger_version,
            "sha256": digests,
        }  # fmt: skip
        data = json.dumps(manifest, indent=1).encode()
        info = tarfile.TarInfo(_MANIFEST)
        info.size = len(data)
        tar.addfile(info, BytesIO(data))
    return BackedUp(files=len(digests), size_bytes=part.stat().st_size, ledger=own_ledger)


def _refuse_without_room(root: Path, part: Path) -> None:
    """The ledger counts twice: its copy lies beside the archive until it is in it."""
    needed, ledger = 0, root / LEDGER_FILE
    for path in [ledger, ledger, *_files(root)]:
        try:
            needed += path.stat().st_size
        except FileNotFoundError:
            continue
    free = free_mib(part.parent)
    if needed > free * _MIB:
        raise DiskFullError(f"{part.parent}: the backup needs {-(-needed // _MIB)} MiB, {free} MiB are free")


@contextmanager
def _owners_only(path: Path) -> Iterator[IO[bytes]]:
    """A new file that is on the disk at the end."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600), "w+b") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _files(root: Path) -> Iterator[Path]:
    """Every file to keep, in the order that makes the copy consistent; a folder of the spool is listed when whoever
    iterates is done with the one before."""

    def rank(path: Path) -> tuple[int, str]:
        return (_RESTS_ON.index(path.name) if path.name in _RESTS_ON else -1, path.name)

    for top in sorted(root.iterdir(), key=rank):
        if top.name in _LEFT_OUT or top.name.startswith("ledger"):
            continue
        for part in [top] if top.name != "spool" else sorted(top.iterdir(), key=lambda p: (p.name != "inbox", p.name)):
            for path in [part] if part.is_file() else sorted(part.rglob("*")):
                unfinished = path.name.startswith(".") or path.suffix in (".part", ".tmp")
                if not unfinished and not path.is_symlink() and path.is_file():
                    yield path


def _add(tar: tarfile.TarFile, path: Path, name: str) -> str:
    """Add a file as it is now; its digest. One that is only ever appended to may grow meanwhile."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        info = tarfile.TarInfo(name)
        info.size, info.mtime = status.st_size, int(status.st_mtime)
        hashed = _Hashed(file, status.st_size)
        tar.addfile(info, hashed)
    return hashed.digest.hexdigest()


# ---------------------------------------------------------------- restore


def restore(config: Config, archive: Path) -> Restored:
    """Put ``archive`` into the empty storage root of ``config`` and enter into the ledger what it does not know.

    Every digest is checked before anything is put in place. A ledger of an older version is migrated; one that is too
    old for that is left out, made anew from the files, and every result is delivered again.

    Raises:
        InputError: the storage root is not empty; the file is no whole backup, or a newer ironnode made it.
        ConfigError: a node runs on this storage root.
        StorageError: the disk refused.
    """
    root = config.storage.root
    if root.exists() and (there := {path.name for path in root.iterdir()} - {"run", RESTORE_FOLDER}):
        raise InputError(
            f"{root} (storage.root) holds {min(there)}; a backup is only put into an empty one. Stop the node and move "
            "the folder away, or name another storage.root"
        )
    with exclusive(root / "run"):
        unfinished = root / RESTORE_FOLDER
        try:
            shutil.rmtree(unfinished, ignore_errors=True)  # of an attempt that was cut off
            unfinished.mkdir()
            manifest = _unpack(archive, unfinished, free_mib(root))
            ledger = _has_usable_ledger(config, unfinished, manifest)
        except OSError as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise storage_error(error, f"{archive} cannot be restored to {root}") from error
        except IronnodeError:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        try:
            _put_in_place(unfinished)
            unfinished.rmdir()  # cut off before this, no node starts on the root
        except OSError as error:
            raise storage_error(error, f"{root} is filled in part: empty it and restore again") from error
        rebuilt = fill_ledger(config)
    return Restored(
        files=len(manifest["sha256"]),
        made_at=datetime.fromisoformat(manifest["made_at"]),
        made_by=manifest["ironnode_version"],
        ledger=ledger,
        rebuilt=rebuilt,
    )


def _unpack(archive: Path, folder: Path, free: int) -> dict[str, Any]:
    if not archive.is_file():
        raise InputError(f"{archive}: there is no such file")
    size = archive.stat().st_size
    if size > free * _MIB:
        raise DiskFullError(f"{archive} needs {size // _MIB} MiB, {free} MiB are free")
    digests: dict[str, str] = {}
    manifest: dict[str, Any] | None = None
    try:
        with tarfile.open(archive, mode="r:") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isfile() else None
                if content is None or manifest is not None or member.name in digests or not _is_inside(member.name):
                    raise InputError(f"{archive}: no backup of ironnode makes a member like {member.name!r}")
                if member.name == _MANIFEST:
                    manifest = _read_manifest(archive, content.read())
                else:
                    digests[member.name] = _extract(content, folder, member)
    except tarfile.TarError as error:
        raise InputError(f"{archive}: not a whole backup: {error}") from error
    if manifest is None:
        raise InputError(f"{archive}: not a whole backup: it ends before {_MANIFEST}")
    if wrong := sorted(name for name, digest in {**manifest["sha256"], **digests}.items() if not (
        digest == digests.get(name) == manifest["sha256"].get(name)
    )):  # fmt: skip
        raise InputError(f"{archive}: {wrong[0]} is not as it was backed up ({len(wrong)} such files)")
    return manifest


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name and "\0" not in name


def _read_manifest(archive: Path, data: bytes) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads(data)
        ledger = manifest["ledger_version"]
        newer = int(manifest["backup_version"]) > BACKUP_VERSION or (
            ledger is not None and int(ledger) > LEDGER_VERSION
        )
        datetime.fromisoformat(manifest["made_at"])
        dict(manifest["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{archive}: {_MANIFEST} is not that of a backup: {error}") from error
    if newer:
        raise InputError(
            f"{archive}: ironnode {manifest['ironnode_version']} made it; restore it with that or a newer one"
        )
    return manifest


def _extract(content: IO[bytes], folder: Path, member: tarfile.TarInfo) -> str:
    """Write a file with the age that it had, for arrival and retention go by it; ``settings`` for the node alone, the
    others for its group too."""
    digest, target = hashlib.sha256(), folder / member.name
    target.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "wb") as file:
        while data := content.read(_CHUNK_BYTES):
            digest.update(data)
            file.write(data)
        file.flush()
        os.utime(file.fileno(), (member.mtime, member.mtime))
        os.fsync(file.fileno())
    if PurePosixPath(member.name).parts[0] == _OWNERS_ONLY:
        target.parent.chmod(0o700)
    else:
        target.chmod(0o640)
    return digest.hexdigest()


def _has_usable_ledger(config: Config, unfinished: Path, manifest: dict[str, Any]) -> bool:
    """Whether there is a ledger that this node uses, after a migration where one leads here; any other is removed."""
    ledger = unfinished / LEDGER_FILE
    if not ledger.exists():
        return False
    found = manifest["ledger_version"] if config.database.url is None else None  # the node's own lies elsewhere
    if found in MIGRATIONS:
        done = migrate_ledger(unfinished, None, wall_clock())
        if done.copy is not None:
            done.copy.unlink()  # the backup itself is the copy
    elif found != LEDGER_VERSION:
        ledger.unlink()
        return False
    return True


def _put_in_place(unfinished: Path) -> None:
    """Move everything to its place, the ledger last, once it is on the disk."""
    ledger = unfinished / LEDGER_FILE
    for folder in [*(path for path in unfinished.rglob("*") if path.is_dir()), unfinished]:
        flush_folder(folder)
    for path in sorted(unfinished.iterdir(), key=lambda p: (p == ledger, p.name)):
        path.rename(unfinished.parent / path.name)
    flush_folder(unfinished.parent)
