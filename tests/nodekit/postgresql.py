"""A PostgreSQL server of the tests' own, on a unix socket; as root it runs as the user that Debian's package makes."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from tempfile import mkdtemp

_USER = "postgres"
AS_POSTGRES = ("setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups")
_START_TIMEOUT_S = 30.0


def programs() -> Path | None:
    """The folder of the newest PostgreSQL's programs, as Debian lays them; ``None`` where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parent.parent.name))
    return found[-1].parent if found else None


class Server:
    """One server with no password."""

    def __init__(self) -> None:
        self._bin = programs()
        self._folder = Path(mkdtemp(prefix="ironnode-pg-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self._as = AS_POSTGRES if os.geteuid() == 0 else ()
        if self._as:
            shutil.chown(self._folder, _USER)
        self._do("initdb", "-D", self._data, "-A", "trust", "-U", "ironnode", "-N", "--no-locale", "-E", "UTF8")

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def start(self) -> None:
        """Start it (again) and wait until it answers."""
        (self._folder / "data" / "postmaster.pid").unlink(missing_ok=True)
        command = [
            f"{self._bin}/postgres",
            "-D",
            self._data,
            "-k",
            str(self._folder),
            "-c",
            "listen_addresses=",
            "-c",
            "fsync=off",
        ]
        self._process = subprocess.Popen([*self._as, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + _START_TIMEOUT_S
        while subprocess.run([f"{self._bin}/pg_isready", "-q", "-h", str(self._folder)], check=False).returncode:
            assert time.monotonic() < deadline, "PostgreSQL does not start"
            time.sleep(0.05)  # another process's socket

    def kill(self) -> None:
        """End every session at once; what was committed stays."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait()

    def close(self) -> None:
        """It is gone, with its data."""
        self.kill()
        shutil.rmtree(self._folder)

    def new_database(self, template: str = "template0") -> str:
        """The URL of a new database."""
        self._databases += 1
        name = f"ledger{self._databases}"
        self._do("createdb", "-h", str(self._folder), "-U", "ironnode", "-T", template, name)
        return f"postgresql+psycopg://ironnode@/{name}?host={self._folder}"

    def copy_of(self, url: str) -> str:
        """The URL of a new database that a dump of another one was read into."""
        name = url.partition("@/")[2].partition("?")[0]
        copy = self.new_database()
        target = copy.partition("@/")[2].partition("?")[0]
        connect = ["-h", str(self._folder), "-U", "ironnode"]
        dump = subprocess.run([f"{self._bin}/pg_dump", *connect, name], check=True, capture_output=True).stdout
        subprocess.run([f"{self._bin}/psql", "-q", *connect, target], input=dump, check=True, capture_output=True)
        return copy

    def _do(self, program: str, *arguments: str) -> None:
        subprocess.run([*self._as, f"{self._bin}/{program}", *arguments], check=True, capture_output=True)
