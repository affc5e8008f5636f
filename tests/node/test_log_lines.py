"""Log lines of exceptions, as a process writes them: enough to find the place, no words that may quote a header."""

import json
import re
import subprocess
import sys

PROGRAM = """
import logging
import sys
from pathlib import Path

from pydicom.valuerep import DSfloat

from node.errors import InputError
from node.ops.events import Event, configure_logging, emit

def read():
    try:
        DSfloat(sys.argv[1])
    except ValueError as error:
        raise InputError("Echo Time (0018,0081) is no number") from error

configure_logging()
try:
    read()
except InputError:
    emit(Event.JOB_PARKED, exc_info=True, job_id="1")
try:
    Path("gone").read_bytes()
except OSError:
    logging.getLogger("uvicorn.error").exception("no file")
"""


def test_an_exception_is_told_by_kind_and_place_and_a_library_s_words_stay_out(tmp_path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    written = subprocess.run(
        [sys.executable, program, "MUSTERMANN^ERIKA"], stderr=subprocess.PIPE, text=True, check=True, cwd=tmp_path
    )
    parked, missing = map(json.loads, written.stderr.splitlines())
    assert "MUSTERMANN" not in written.stderr
    assert "InputError: Echo Time (0018,0081) is no number\n" in parked["error"]
    assert re.search(r'program\.py", line \d+, in read\n', parked["error"])
    assert parked["error"].endswith("ValueError\n")
    assert missing["text"] == "no file"
    assert "FileNotFoundError: [Errno 2] No such file or directory: 'gone'" in missing["error"]
