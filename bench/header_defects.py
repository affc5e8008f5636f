"""Header defects of real senders, each alone and in pairs, from files to checked objects.

    python -m bench.header_defects [--pairs 200] [--seed 1]

A small phantom (classic, then enhanced) gets one defect, then two at once, and is processed as `ironnode process` does
it. A *finding* is an exception that is no refusal, an acquisition without an object although it was planned, an object
with a dciodvfy error, or objects of one result set that name the patient or the study differently. An identifier that
is too long is kept as it was sent: cut, it would be another patient's.
"""

import argparse
import io
import itertools
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.config import IGNORE, settings
from pydicom.dataset import Dataset

from node.config import load_config
from node.errors import InputError
from node.intake.headers import quiet_pydicom
from node.process.batch import process_files
from node.simulate import write_phantom
from quant.phantom import make_abdomen
from tests.node.header_edits import raw

Defect = Callable[[Dataset], None]
FORMS = ("generic", "philips-enhanced")
_TYPE_2 = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
           "StudyTime", "ReferringPhysicianName", "Manufacturer", "PositionReferenceIndicator")  # fmt: skip
_GEOMETRY = ("FrameOfReferenceUID", "SliceThickness", "SpacingBetweenSlices", "PixelSpacing")
_KEPT_AS_SENT = "Error - </PatientID(0010,0020)[1]> - Value invalid for this VR [LO]"
_SAME_IN_ALL = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyID",
                "StudyDate", "AccessionNumber")  # fmt: skip


def absent(keyword: str) -> Defect:
    """Takes the element out, wherever it is."""

    def edit(ds: Dataset) -> None:
        for holder in _holders(ds):
            holder.pop(keyword, None)

    return edit


def empty(keyword: str) -> Defect:
    """Leaves the element without a value, wherever it is."""

    def edit(ds: Dataset) -> None:
        for holder in _holders(ds):
            if keyword in holder:
                holder[keyword].value = None

    return edit


def _holders(ds: Dataset) -> Iterator[Dataset]:
    """The data set, then the items of its functional groups."""
    yield ds
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in ds.get(keyword, ()):
            for element in group:
                if element.VR == "SQ":
                    yield from element.value


DEFECTS: Mapping[str, Defect] = {
    **{f"no {keyword}": absent(keyword) for keyword in (*_TYPE_2, *_GEOMETRY, "StudyInstanceUID", "SeriesInstanceUID")},
    **{f"empty {keyword}": empty(keyword) for keyword in ("PatientID", "PatientName", "SliceThickness", "StudyDate")},
    "sex U": raw(0x00100040, "CS", b"U"),
    "year of birth only": raw(0x00100030, "DA", b"1970"),
    "birth date with dashes": raw(0x00100030, "DA", b"1970-02-03"),
    "time with colons": raw(0x00080030, "TM", b"10:15:00"),
    "unknown character set": raw(0x00080005, "CS", b"ISO_IR 999"),
    "empty first character set": raw(0x00080005, "CS", b"\\ISO 2022 IR 87"),
    "Latin letters, no character set": raw(0x00100010, "PN", "Müller^Jörg".encode("latin-1")),
    "Japanese name": raw(0x00100010, "PN", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"),
    "long patient identifier": raw(0x00100020, "LO", b"X" * 70),
    "name without caret": raw(0x00100010, "PN", b"Anonymous"),
    "bad time zone": raw(0x00080201, "SH", b"CEST"),
    "bad acquisition date": raw(0x00080022, "DA", b"03.02.26"),
}


def outcome(sources: Sequence[Path], defects: Sequence[str], folder: Path) -> tuple[str, list[str]]:
    """What became of the images with ``defects``: its name, and what is wrong with it."""
    incoming, out = folder / "in", folder / "out"
    incoming.mkdir()
    for number, source in enumerate(sources):
        ds = dcmread(source)
        for name in defects:
            DEFECTS[name](ds)
        ds.save_as(incoming / f"{number}.dcm")
    try:
        results = process_files([incoming], out, load_config(None), indication=None, show=lambda _: None)
    except InputError as error:
        return f"refused: {str(error).replace(str(folder), '')[:60]}", []
    except Exception as error:  # noqa: BLE001 - what is looked for
        return "exception", [f"{type(error).__name__}: {error}"]
    found = [line for result in results for line in _faults(result.folder, result.record)]
    return ", ".join(sorted(_words(result.record) for result in results)), found


def _words(record: Mapping[str, Any]) -> str:
    return " ".join([record["status"], *(reason["code"] for reason in record["reasons"])])


def _faults(folder: Path, record: Mapping[str, Any]) -> Iterator[str]:
    paths = sorted((folder / "dicom").glob("*.dcm"))
    if not paths and record["status"] != "declined":
        yield "no object was made"
    told: dict[str, set[str]] = {}
    for path in paths:
        done = subprocess.run(
            [_validator(), "-new", path], check=False, capture_output=True, text=True, errors="replace"
        )
        lines = (done.stdout + done.stderr).splitlines()
        yield from (f"{path.name}: {line}" for line in lines if _is_fault(line))
        ds = dcmread(io.BytesIO(path.read_bytes()), stop_before_pixels=True)
        for keyword in _SAME_IN_ALL:
            told.setdefault(keyword, set()).add(str(ds.get(keyword, "")))
    yield from (f"{keyword} differs between the objects" for keyword, values in told.items() if len(values) > 1)


def _is_fault(line: str) -> bool:
    return line.startswith("Error") and not line.startswith(_KEPT_AS_SENT)


def _validator() -> Path:
    return Path(sys.executable).with_name("dciodvfy")


def cases(pairs: int | None, seed: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(form, defects): each defect alone in every form, then ``pairs`` pairs (all where ``None``), forms in turn."""
    yield from ((form, (name,)) for name in DEFECTS for form in FORMS)
    every = list(itertools.combinations(DEFECTS, 2))
    random.Random(seed).shuffle(every)
    yield from ((FORMS[number % len(FORMS)], pair) for number, pair in enumerate(every[:pairs]))


def _phantom(folder: Path, form: Any) -> list[Path]:
    phantom = make_abdomen(echo_times_s=[0.0012, 0.0026, 0.0045, 0.007], n_slices=3, matrix=64, seed=5)
    return write_phantom(phantom, folder, dialect=form)


def main() -> int:
    """Run the cases; the number of findings decides the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=None, help="how many pairs (default: all)")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    settings.reading_validation_mode = settings.writing_validation_mode = IGNORE
    outcomes: Counter[str] = Counter()
    findings = 0
    with tempfile.TemporaryDirectory() as work:
        sources = {form: _phantom(Path(work) / form, form) for form in FORMS}
        for form, defects in cases(given.pairs, given.seed):
            with tempfile.TemporaryDirectory(dir=work) as folder, quiet_pydicom():
                words, wrong = outcome(sources[form], defects, Path(folder))
            outcomes[words] += 1
            findings += bool(wrong)
            for line in wrong:
                print(f"{form}, {' + '.join(defects)}: {words}: {line}", flush=True)
    for words, count in outcomes.most_common():
        print(f"{count:5d}  {words}")
    print(f"{sum(outcomes.values())} cases, {findings} with findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
