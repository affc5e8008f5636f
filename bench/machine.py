"""What a timing was taken on."""

import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """Processor, cores, load, Python and commit of a run."""

    processor: str
    cores: int
    load_1min: float
    python: str
    commit: str

    def as_record(self) -> dict[str, object]:
        return asdict(self)


def this_machine() -> Machine:
    """The machine and checkout that run this."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 0,
        load_1min=os.getloadavg()[0],
        python=platform.python_version(),
        commit=commit.stdout.strip() or "unknown",
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
