"""Try a series: uploaded files go through ``ironnode process`` in a process of their own, and never to a PACS."""

import secrets
import shutil
import subprocess
import sys
import threading
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, BinaryIO

from node.errors import InputError, StorageError

MAX_FILES = 20000
_KEPT = 5  # trials whose results can still be looked at
_BLOCK = 1 << 20
_LONGEST_SAID = 200_000  # characters; a report has a few thousand
SHOWN = {
    "report.html": "text/html; charset=utf-8",
    "map.png": "image/png",
    "anatomy.png": "image/png",
    "decay.png": "image/png",
}


class Trials:
    """One measurement at a time, in a folder of its own; ``config_file`` is the configuration in force."""

    def __init__(self, folder: Path, config_file: Path, *, max_bytes: int, timeout_s: float) -> None:
        self._folder, self._config_file = folder, config_file
        self._max_bytes, self._timeout_s = max_bytes, timeout_s
        self._busy = threading.Lock()
        self._said: dict[str, str] = {}
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier run; nobody can ask for it any more

    def start(self, uploads: Iterable[BinaryIO]) -> str:
        """Keep the files and measure them in the background; the name under which the outcome can be asked for.

        Raises:
            InputError: too large, too many files, a broken archive, or another trial is under way.
            StorageError: the disk refused.
        """
        if not self._busy.acquire(blocking=False):
            raise InputError("another trial is being measured; wait for it")
        name = secrets.token_hex(16)
        try:
            self._forget_old()
            incoming = self._folder / name / "in"
            incoming.mkdir(parents=True)
            _Unpacker(incoming, self._max_bytes).take(uploads)
            self._said[name] = ""
            threading.Thread(target=self._measure, args=(name,), name="trial", daemon=True).start()
        except OSError as error:
            self._give_up(name)
            raise StorageError(f"{self._folder} cannot be written: {error.strerror}") from error
        except BaseException:
            self._give_up(name)
            raise
        return name

    def said(self, name: str) -> str | None:
        """What the measurement said at its end; empty while it runs; ``None`` when there is no such trial."""
        return self._said.get(name)

    def results(self, name: str) -> list[Path]:
        """The result folders of a trial."""
        out = self._folder / name / "out"
        return sorted(path.parent for path in out.rglob("result.json")) if name in self._said else []

    def file(self, name: str, number: int, file: str) -> Path | None:
        """One file of one result."""
        results = self.results(name)
        if file not in SHOWN or not 0 <= number < len(results):
            return None
        path = results[number] / file
        return path if path.is_file() else None

    def _measure(self, name: str) -> None:
        folder = self._folder / name
        command = [sys.executable, "-m", "node", "process", str(folder / "in"), "--out", str(folder / "out")]
        try:
            done = subprocess.run(
                [*command, "--config", str(self._config_file)],
                stdin=subprocess.DEVNULL, capture_output=True, timeout=self._timeout_s, check=False,
            )  # fmt: skip
            said = done.stdout if done.returncode in (0, 3) else done.stderr
            text = said.decode(errors="replace").replace(str(folder), "")[:_LONGEST_SAID].strip()
            self._said[name] = text or f"the measurement ended with status {done.returncode}"
        except subprocess.TimeoutExpired:
            self._said[name] = "The measurement took too long and was ended (web.upload_timeout_s)."
        finally:
            shutil.rmtree(folder / "in", ignore_errors=True)
            self._busy.release()

    def _give_up(self, name: str) -> None:
        self._said.pop(name, None)
        shutil.rmtree(self._folder / name, ignore_errors=True)
        self._busy.release()

    def _forget_old(self) -> None:
        for name in list(self._said)[: -_KEPT + 1 or None]:
            del self._said[name]
            shutil.rmtree(self._folder / name, ignore_errors=True)


class _Unpacker:
    """Writes uploads under names of our own, so that no name of theirs matters, up to a size in all."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._left = folder, max_bytes
        self._number = 0

    def take(self, uploads: Iterable[BinaryIO]) -> None:
        for upload in uploads:
            if zipfile.is_zipfile(upload):
                self._unzip(upload)
            else:
                upload.seek(0)
                self._copy(upload)
        if self._number == 0:
            raise InputError("nothing was uploaded")

    def _unzip(self, upload: BinaryIO) -> None:
        try:
            with zipfile.ZipFile(upload) as archive:
                for member in archive.infolist():
                    if not member.is_dir():
                        with archive.open(member) as source:
                            self._copy(source)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error) as error:
            raise InputError(f"the zip archive cannot be read: {error}") from error

    def _copy(self, source: IO[bytes]) -> None:
        self._number += 1
        if self._number > MAX_FILES:
            raise InputError(f"more than {MAX_FILES} files")
        with (self._folder / f"{self._number:05d}.dcm").open("xb") as target:
            while block := source.read(_BLOCK):
                self._left -= len(block)
                if self._left < 0:
                    raise InputError("too large (web.max_upload_mib)")
                target.write(block)
