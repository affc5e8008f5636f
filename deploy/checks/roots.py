"""Empty Debian root file systems for the checks, and programs inside them by systemd-nspawn."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

SUITE = "bookworm"


def require(*programs: str) -> None:
    """Exit unless this is root and the programs are there."""
    missing = [name for name in programs if shutil.which(name) is None]
    if os.geteuid() or missing:
        sys.exit(f"this check needs root and {', '.join(programs)}; missing: {', '.join(missing) or 'root'}")


def run(*command: str) -> None:
    """Run a program that must succeed; what it prints is not wanted."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def make_root(root: Path, include: str = "ca-certificates") -> None:
    """An empty Debian in ``root`` that reaches the package sources in the way in which this machine does."""
    root.parent.mkdir(parents=True, exist_ok=True)
    run("debootstrap", "--variant=minbase", f"--include={include}", SUITE, str(root))
    acquire = subprocess.run(["apt-config", "dump", "Acquire"], check=True, capture_output=True, text=True).stdout
    (root / "etc/apt/apt.conf.d/90check").write_text(acquire)
    named = [Path(os.environ[name]) for name in ("SSL_CERT_FILE", "PIP_CERT") if name in os.environ]
    for file in (Path("/etc/pip.conf"), Path("/etc/resolv.conf"), *named):
        if file.is_file():
            target = root / file.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            target.write_bytes(file.read_bytes())


def package_environment() -> dict[str, str]:
    """This machine's variables that say how packages are reached."""
    return {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "SSL_")) and k != "PIP_FIND_LINKS"}


def nspawn(
    root: Path, options: Sequence[str], command: Sequence[str] = (), *, timeout_s: float, env: Mapping[str, str] = {}
) -> int:
    """Run ``command`` (or boot, as ``options`` say) in ``root``; its exit status. It shares this machine's network.

    nspawn keeps its mounts below a file system of their own, which ends with it.
    """
    arguments = [
        *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--console=pipe", "--machine=ironnode-check"),
        *(f"--setenv={name}={value}" for name, value in env.items()),
        *(f"--directory={root}", *options, *command),
    ]
    script = f"mkdir -p /run/systemd/nspawn && mount -t tmpfs tmpfs /run/systemd/nspawn && exec {shlex.join(arguments)}"
    environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], check=False, env=environment, timeout=timeout_s
    ).returncode
