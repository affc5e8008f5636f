"""Shared fixtures: programs from outside (peers), data made by others, free folders."""

import gc
import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parent.parent
# The gate judges the change, not its luck: the same examples each time. HYPOTHESIS_PROFILE=default searches anew.
settings.register_profile("gate", derandomize=True, print_blob=True, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))
_PEER_PATHS = ("/usr/bin", "/usr/local/bin", "/usr/sbin", "/opt/homebrew/bin")


def find_peer(program: str) -> Path | None:
    """The program outside our environment (pynetdicom installs scripts with DCMTK's names inside it)."""
    found = shutil.which(program, path=os.pathsep.join(_PEER_PATHS))
    return Path(found) if found else None


def lacking(program: str) -> NoReturn:
    """Skips the test by the program's name, or fails it where peers are required."""
    message = f"{program} is not installed (deploy/install-test-peers installs it)"
    if os.environ.get("IRONNODE_REQUIRE_PEERS"):
        pytest.fail(message)
    pytest.skip(message)


def packaged_program(package: str, program: str) -> Path:
    """The program itself that a Python package brings; its script in our environment starts an interpreter first, which
    takes seven times as long."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "bin" / program


@pytest.fixture(scope="session")
def peer() -> Callable[[str], Path]:
    """``peer("storescu")`` gives the program's path, or skips by name; a skip is a failure where peers are required."""

    def get(program: str) -> Path:
        found = find_peer(program)
        if found is None:
            lacking(program)
        return found

    return get


@pytest.fixture(scope="session")
def dciodvfy() -> Path:
    """The IOD validator of the locked development dependencies."""
    return packaged_program("dicom3tools", "dciodvfy")


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """``shared_data("ge-mfgre-abdomen")``: a folder of real scanner data, or skips: they are not ours to ship."""
    root = Path(os.environ.get("IRONNODE_TEST_DATA", REPOSITORY.parent / "shared" / "data"))

    def get(name: str) -> Path:
        if not (root / name).is_dir():
            pytest.skip(f"real data {name} are not on this machine (IRONNODE_TEST_DATA)")
        return root / name

    return get


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of whole nodes first: they wait more than they compute, so one process of pytest goes through them beside
    the others, and none of them is left to run alone at the end."""
    items.sort(key=lambda item: item.get_closest_marker("whole_node") is None)


def pytest_collection_finish() -> None:
    """Modules and tests stay until the end: the collector need not look through them again and again."""
    gc.freeze()
