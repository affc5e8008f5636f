"""What installs the node on a host: the unit's sandbox, the scripts, and the guides' commands."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.checks.guide import commands_of

REPOSITORY = Path(__file__).resolve().parents[2]
UNIT = REPOSITORY / "deploy/systemd/ironnode@.service"
PORT_104 = "AmbientCapabilities=CAP_NET_BIND_SERVICE\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\nPrivateUsers=false\n"
TOOLS = Path(sys.executable).parent


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=120)


def instance(folder: Path, *, more: str = "", program: str | None = None) -> Path:
    """The unit as ``ironnode@serve`` has it, in a folder of its own."""
    text = UNIT.read_text().replace("\n[Install]", f"\n{more}\n[Install]")
    path = folder / "ironnode@serve.service"
    path.write_text(text.replace("/opt/ironnode/current/bin/ironnode", program) if program else text)
    return path


@pytest.mark.parametrize("more", ["", PORT_104], ids=["as shipped", "port 104"])
def test_the_service_is_sandboxed(peer: Callable[[str], Path], tmp_path: Path, more: str) -> None:
    unit = instance(tmp_path, more=more)
    found = run(
        peer("systemd-analyze"), "security", "--no-pager", "--offline=true", "--threshold=25", unit
    )  # 2.5, in tenths
    assert found.returncode == 0, found.stdout[-500:] + found.stderr


def test_the_privilege_for_port_104_is_the_one_of_the_units_head() -> None:
    head = UNIT.read_text().split("[Unit]")[0]
    assert [line for line in PORT_104.splitlines() if f"#   {line}\n" not in head] == []


def test_systemd_understands_the_unit(peer: Callable[[str], Path], tmp_path: Path) -> None:
    found = run(peer("systemd-analyze"), "verify", instance(tmp_path, program=sys.executable))
    assert (found.returncode, found.stderr) == (0, "")


def test_shell_scripts_are_clean() -> None:
    tracked = run("git", "-C", REPOSITORY, "ls-files", "--cached", "--others", "--exclude-standard").stdout.splitlines()
    scripts = [p for name in tracked if (p := REPOSITORY / name).is_file() and p.read_bytes()[:40].find(b"sh\n") > 0]
    shell = [p for p in scripts if p.read_bytes().startswith((b"#!/bin/sh", b"#!/usr/bin/env bash"))]
    assert {"deploy/install", "deploy/image/healthy"} <= {p.relative_to(REPOSITORY).as_posix() for p in shell}
    found = run(TOOLS / "shellcheck", *shell)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("guide", ["installation", "upgrade"])
def test_the_guides_commands_are_shell(guide: str, tmp_path: Path) -> None:
    script = tmp_path / "guide.sh"
    blocks = commands_of(REPOSITORY / "docs" / f"{guide}.md")
    script.write_text("#!/bin/bash\n" + "".join(blocks))
    assert blocks
    assert (checked := run(TOOLS / "shellcheck", "--severity=warning", script)).returncode == 0, checked.stdout


def test_a_skipped_block_is_not_run(tmp_path: Path) -> None:
    guide = tmp_path / "guide.md"
    guide.write_text(
        "```sh\na\n```\n<!-- install-check: not run, reason -->\n```sh\nb\n```\n```yaml\nc\n```\n```sh\nd\n```\n"
    )
    assert commands_of(guide) == ["a\n", "d\n"]


@pytest.mark.skipif(os.geteuid() != 0, reason="the installer asks for root before anything else")
@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), (["--rolle", "x"], 2), (["--role", "x"], 1)])
def test_the_installer_refuses_before_it_touches_anything(tmp_path: Path, arguments: list[str], code: int) -> None:
    copy = tmp_path / "deploy" / "install"
    copy.parent.mkdir()
    shutil.copy(REPOSITORY / "deploy" / "install", copy)
    there = Path("/opt/ironnode").exists()
    found = run(copy, *arguments)
    assert found.returncode == code, found.stderr
    assert Path("/opt/ironnode").exists() == there
