"""Installs ironnode on an empty Debian root file system by the guides' own commands, up to a delivered report.

    deploy/checks/install_check.py --work FOLDER [--keep]

The root file system boots with systemd as its first process, so that the service runs in the sandbox of its unit. The
release is what git has at HEAD. Exit 0 only if every command of docs/installation.md and docs/upgrade.md succeeded and
the stand-in PACS got the report.
"""

import argparse
import shlex
import shutil
import socket
import sys
import time
from pathlib import Path

from guide import script_of
from roots import make_root, nspawn, package_environment, require, run

REPOSITORY = Path(__file__).resolve().parents[2]
INSTALLATION, UPGRADE = REPOSITORY / "docs/installation.md", REPOSITORY / "docs/upgrade.md"
PORTS = (8080, 11112, 11113)
TRIAL_ENDS = "kill $!"
_TIMEOUT_S = 4 * 3600  # a busy machine takes an hour
_BENCH = "srv/guide"  # folder of the root file system in which the guides' commands run
_KEEP = f"install -d /{_BENCH}/kept\ncp -r /tmp/trial-pacs /{_BENCH}/kept\ndu -sh /opt/ironnode /var/lib/ironnode\n"
_UNIT = f"""[Unit]
Description=the guides' commands
Wants=network-online.target
After=multi-user.target

[Service]
Type=oneshot
EnvironmentFile=-/{_BENCH}/environment
WorkingDirectory=/{_BENCH}
ExecStart=/bin/bash -c 'bash guide.sh >guide.log 2>&1; echo $? >guide.status'
ExecStopPost=/bin/bash -c 'journalctl --no-pager --output cat --unit "ironnode@*" >node.log'
ExecStopPost=/bin/systemctl --no-block poweroff
"""


def main() -> None:
    """Build, boot, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="an empty or new folder")
    parser.add_argument("--keep", action="store_true", help="leave the root file system there")
    options = parser.parse_args()
    require("debootstrap", "systemd-nspawn", "git")
    _require_free_ports()
    started = time.monotonic()
    root = options.work.resolve() / "root"
    make_root(root, "systemd,systemd-sysv,dbus,ca-certificates")
    _lay_out(root)
    built = time.monotonic()
    nspawn(root, ["--boot"], ["systemd.unit=multi-user.target"], timeout_s=_TIMEOUT_S)
    if not (root / _BENCH / "guide.status").is_file():
        sys.exit("install-check: the root file system did not boot to the guides' commands")
    status, reports = _judge(root)
    print(f"empty root {built - started:.0f} s, the guides' commands {time.monotonic() - built:.0f} s, status {status}")
    if not options.keep:
        shutil.rmtree(root)
    sys.exit(0 if status == 0 and reports else 1)


def _require_free_ports() -> None:
    for port in PORTS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                sys.exit(f"install-check: port {port}, which the guide uses, is taken on this machine")


def _lay_out(root: Path) -> None:
    """The release archive, the guides' commands, and the unit that runs them after boot."""
    home, system = root / _BENCH, root / "etc/systemd/system"
    home.mkdir(parents=True)
    home.joinpath("environment").write_text(
        "".join(f"{name}={shlex.quote(value)}\n" for name, value in package_environment().items())
    )
    archive = str(home / "ironnode.tar.gz")
    run("git", "-C", str(REPOSITORY), "archive", "--prefix=ironnode/", "--output", archive, "HEAD")
    before, ended, after = script_of(INSTALLATION).partition(TRIAL_ENDS)
    (home / "guide.sh").write_text(before + _KEEP + ended + after + script_of(UPGRADE))
    (system / "guide.service").write_text(_UNIT)
    wants = system / "multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    (wants / "guide.service").symlink_to("/etc/systemd/system/guide.service")


def _judge(root: Path) -> tuple[int, int]:
    """Print what happened; exit status of the commands and number of reports that arrived."""
    home = root / _BENCH
    print(home.joinpath("guide.log").read_text(errors="replace"))
    status = int(home.joinpath("guide.status").read_text())
    if status:
        print(home.joinpath("node.log").read_text(errors="replace"))
    received = [path.name for path in home.glob("kept/trial-pacs/*")]
    reports = [name for name in received if name.startswith("SR")]
    print(f"the stand-in PACS received {len(received)} objects, {len(reports)} of them reports")
    return status, len(reports)


if __name__ == "__main__":
    main()
