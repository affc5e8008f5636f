"""Header edits of valid acquisitions: a result or a refusal, never a traceback, never a number that moved unsaid.

    python -m bench.fuzz_headers [--edits 4000] [--seed 1] [--case NAME]

Small digital abdomens are written in every dialect. One element that the reader looks at (found by watching it read),
or any other element that is there, is edited in one image, one echo, one slice or everywhere: deleted, emptied,
doubled, given another type, an extreme value, a scaled one, or that of another image. The edited set is planned and
read as the node does it, and the signal is compared with that of the unedited set.

A *finding* is an exception that is no refusal, or a moved number without a new quality line or a named missing image.
An edit that makes the same plausible statement in every image describes another scan; no reader can tell, and it is
counted apart.
"""

import argparse
import itertools
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.config import IGNORE, settings
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from bench.header_edits import ANOTHER_SCAN, OPERATIONS, PER_FRAME, SCOPES, Edit, Place, apply_edit, holder_of
from node.errors import InputError
from node.intake import tags
from node.intake.assembly import AcquisitionPlan, plan_study
from node.intake.headers import quiet_pydicom, read_header
from node.intake.vendors import Private
from node.process.pixels import LoadedAcquisition, read_acquisition
from node.simulate import DIALECTS, write_phantom
from quant.phantom import default_echo_times_s, make_abdomen

MOVED = 0.005  # of R2*; what the dialects may differ by
_MOVED_PHASE_RAD = 0.05
_BRIGHT = 0.3  # of the largest magnitude
_PIXELS = Tag(0x7FE00010)
_IDENTITY = frozenset(Tag(t) for t in (0x00080016, 0x00080018, 0x0020000D, 0x0020000E))


@dataclass(frozen=True, kw_only=True)
class Number:
    """What would be measured: R2* by slice from a log-linear fit, phase since the first echo, field and geometry."""

    r2star_per_s: npt.NDArray[np.float64]
    phase_rad: npt.NDArray[np.float64] | None
    field_t: float
    spacing_mm: tuple[float, ...]
    said: frozenset[str]


@dataclass(kw_only=True)
class Case:
    """A valid set: its objects, the image (file, frame) of each cell, and what an unedited reading gives."""

    name: str
    datasets: list[Dataset]
    images: list[tuple[int, int, int, int]]  # file, frame (0 for classic), slice, echo
    places: list[Place] = field(default_factory=list)
    truth: Number | None = None


def make_case(dialect: str, kind: Any, folder: Path, *, matrix: int = 24, echoes: int = 5) -> Case:
    """A small abdomen in one dialect, written to ``folder``."""
    times = default_echo_times_s(1.5, echoes=echoes, delta_te_ms=1.3)
    phantom = make_abdomen(n_slices=3, matrix=matrix, snr=200, kind=kind, echo_times_s=times)
    paths = write_phantom(phantom, folder, dialect=dialect, kind=kind)
    headers = [read_header(path) for path in paths]
    heights = sorted({round(p.position_mm[2], 3) for h in headers for p in h.planes})
    times = sorted({round(p.echo_time_s, 7) for h in headers for p in h.planes})
    images = [
        (f, p.frame_number or 0, heights.index(round(p.position_mm[2], 3)), times.index(round(p.echo_time_s, 7)))
        for f, h in enumerate(headers)
        for p in h.planes
    ]
    case = Case(name=f"{dialect} {kind}", datasets=[_loaded(path) for path in paths], images=images)
    with quiet_pydicom():
        case.places = sorted(set(_places(case, _touched(paths))), key=str)
        (case.truth,) = numbers_of(paths)
    return case


def _loaded(path: Path) -> Dataset:
    ds = dcmread(path)
    for element in ds.iterall():
        element.value  # noqa: B018 - decodes, so that copies are cheap
    return ds


def _touched(paths: Sequence[Path]) -> set[BaseTag]:
    """Every public tag that reading the files looks at, whether it is there or not."""
    seen: set[BaseTag] = set()
    original = tags.value

    def watching(ds: Dataset, tag: str | int) -> Any:
        number = tag_for_keyword(tag) if isinstance(tag, str) else tag
        seen.add(Tag(number or 0))
        return original(ds, tag)

    tags.value = watching
    try:
        numbers_of(paths)
    finally:
        tags.value = original
    return seen - _IDENTITY


def _places(case: Case, touched: set[BaseTag]) -> Iterator[Place]:
    """Touched tags at top level and in the frames' groups, private elements that are read, and whatever is there."""
    first = case.datasets[0]
    for tag in (*touched, *first.keys()):
        if tag not in (PER_FRAME, _PIXELS) and tag not in _IDENTITY:
            yield Place(per_frame=False, path=(), tag=tag)
    for which in Private:
        yield Place(per_frame=False, path=(), tag=Tag(which.value.group, 0x1000 + which.value.offset))
    for item in (first.get(PER_FRAME) and first[PER_FRAME].value) or ():
        yield from (Place(per_frame=True, path=path, tag=tag) for path, tag in _inside(item, ()))
        return


def _inside(item: Dataset, path: tuple[BaseTag, ...]) -> Iterator[tuple[tuple[BaseTag, ...], BaseTag]]:
    for element in item:
        yield path, element.tag
        if element.VR == "SQ" and element.value:
            yield from _inside(element.value[0], (*path, element.tag))


def numbers_of(paths: Sequence[Path]) -> list[Number]:
    """What the node would measure in the files; empty when everything is declined.

    Raises:
        InputError: a file, or its pixels, cannot be used.
    """
    headers = {}
    for path in paths:
        header = read_header(path)
        headers.setdefault(header.sop_instance_uid, (path, header))
    plans = plan_study(header for _, header in headers.values())
    found = []
    for plan in plans:
        if plan.declined is None:
            loaded = read_acquisition([headers[uid][0] for uid in plan.job_uids])
            if not loaded.refusals:
                found.append(_number(loaded, plan))
    return found


def _number(loaded: LoadedAcquisition, plan: AcquisitionPlan) -> Number:
    acquisition = loaded.acquisition
    magnitude = acquisition.magnitude.astype(np.float64)
    bright = magnitude[..., 0] > _BRIGHT * magnitude[..., 0].max()
    times = acquisition.echo_times_s - acquisition.echo_times_s.mean()
    slope = -(np.log(np.maximum(magnitude, 1e-6)) @ times) / (times @ times)
    each = [np.median(slope[z][bright[z]]) if bright[z].any() else np.nan for z in range(len(magnitude))]
    phase = None
    if acquisition.is_complex:
        turned = acquisition.signal * np.conj(acquisition.signal[..., :1])
        phase = np.array([np.angle(turned[z][bright[z]].mean(axis=0)) for z in range(len(magnitude))])
    said = {f"{line.code}:{line.severity}" for line in loaded.qc} | {f"missing: {words}" for words in plan.missing}
    return Number(
        r2star_per_s=np.array(each),
        phase_rad=phase,
        field_t=acquisition.field_t,
        spacing_mm=tuple(acquisition.geometry.spacing_mm),
        said=frozenset(said),
    )


def moved(before: Number, after: Number) -> str:
    """What of the number changed; empty when nothing did."""
    if before.r2star_per_s.shape != after.r2star_per_s.shape:
        return "slices"
    if not np.allclose(before.r2star_per_s, after.r2star_per_s, rtol=MOVED):
        return f"R2* {np.round(before.r2star_per_s, 2)} to {np.round(after.r2star_per_s, 2)}"
    if before.field_t != after.field_t:
        return f"field {before.field_t:g} to {after.field_t:g} T"
    if not np.allclose(before.spacing_mm, after.spacing_mm, rtol=1e-3):
        return f"spacing {before.spacing_mm} to {after.spacing_mm}"
    if before.phase_rad is None or after.phase_rad is None:
        return "" if before.phase_rad is after.phase_rad else "phase kept or dropped"
    if before.phase_rad.shape != after.phase_rad.shape:
        return "echoes"
    turned = [np.angle(np.exp(1j * (sign * after.phase_rad - before.phase_rad))) for sign in (1, -1)]
    return "" if min(float(np.abs(t).max()) for t in turned) < _MOVED_PHASE_RAD else "phase"


def random_edit(case: Case, chance: random.Random) -> Edit:
    """One edit of the case."""
    return Edit(
        operation=chance.choice(OPERATIONS),
        scope=chance.choice(SCOPES),
        place=chance.choice(case.places),
        pick=chance.randrange(len(case.images)),
    )


def edited(case: Case, edit: Edit) -> tuple[list[Dataset], int]:
    """The objects after the edit, and how many elements it changed; untouched objects are shared, not copied."""
    datasets, changed = list(case.datasets), 0
    for file, images in itertools.groupby(sorted(_reached(case, edit)), key=lambda image: image[0]):
        datasets[file] = deepcopy(case.datasets[file])
        frames = [frame for _, frame, _, _ in images]
        for frame in frames if edit.place.per_frame else [0]:
            other = case.images[(edit.pick + 7) % len(case.images)]
            changed += apply_edit(datasets[file], frame, edit, holder_of(case.datasets[other[0]], other[1], edit.place))
    return datasets, changed


def _reached(case: Case, edit: Edit) -> list[tuple[int, int, int, int]]:
    """The images that an edit is made in."""
    _, _, z, e = case.images[edit.pick]
    return {
        "image": [case.images[edit.pick]],
        "echo": [image for image in case.images if image[3] == e],
        "slice": [image for image in case.images if image[2] == z],
        "every": case.images,
    }[edit.scope]


def _reaches_all(case: Case, edit: Edit) -> bool:
    """Whether nothing is left that says otherwise: what is not told frame by frame holds for its whole object."""
    reached = _reached(case, edit)
    if edit.place.per_frame:
        return len(reached) == len(case.images)
    return {file for file, *_ in reached} == {file for file, *_ in case.images}


Change = tuple[str, frozenset[str]]
"""What moved, and the quality lines that came with it."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an edit led to; ``finding`` is empty when that is as it should be."""

    kind: str
    finding: str = ""


def try_edit(case: Case, edit: Edit, folder: Path, read: Callable[[list[Path]], list[Change] | None]) -> Outcome:
    """Write the edited set to ``folder``, and judge what ``read`` finds moved in it (``None``: it measures nothing)."""
    datasets, changed = edited(case, edit)
    if not changed:
        return Outcome(kind="nothing changed")
    try:
        paths = write(datasets, folder)
    except Exception as error:  # noqa: BLE001 - pydicom does not write every nonsense; that is no finding
        return Outcome(kind=f"cannot be written: {type(error).__name__}")
    try:
        with quiet_pydicom():
            changes = read(paths)
    except InputError:
        return Outcome(kind="refused")
    except Exception as error:  # noqa: BLE001 - this is what the run is looking for
        return Outcome(kind="traceback", finding=f"{type(error).__name__}: {error}")
    return Outcome(kind="not measured") if changes is None else judged(changes, case, edit)


def try_reading(case: Case, edit: Edit, folder: Path) -> Outcome:
    """``try_edit`` as far as the reader, which writes down the numbers that would be measured."""

    def read(paths: list[Path]) -> list[Change] | None:
        truth, found = case.truth, numbers_of(paths)
        assert truth is not None
        return [(what, n.said - truth.said) for n in found if (what := moved(truth, n))] if found else None

    return try_edit(case, edit, folder, read)


def judged(changes: Sequence[Change], case: Case, edit: Edit) -> Outcome:
    """The outcome of an edit from what moved, each with the quality lines that came with it."""
    if not changes:
        return Outcome(kind="same value")
    unsaid = [what for what, said in changes if not said]
    if not unsaid:
        return Outcome(kind="moved and said")
    if edit.operation in ANOTHER_SCAN and _reaches_all(case, edit):
        return Outcome(kind="another scan")
    return Outcome(kind="moved unsaid", finding="; ".join(unsaid))


def write(datasets: Sequence[Dataset], folder: Path) -> list[Path]:
    """Numbered files in ``folder``; every set of a case has as many."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, ds in enumerate(datasets):
        path = folder / f"{number:03d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def run(
    cases: Sequence[Case], edits: int, seed: int, attempt: Callable[[int, Case, Edit], Outcome]
) -> tuple[Counter[str], list[str]]:
    """Counts of outcomes, and every finding in words; ``attempt`` gets the number of the edit too."""
    settings.writing_validation_mode = settings.reading_validation_mode = IGNORE
    chance, counts, findings = random.Random(seed), Counter[str](), []
    for number in range(edits):
        case = cases[number % len(cases)]
        edit = random_edit(case, chance)
        outcome = attempt(number, case, edit)
        counts[outcome.kind] += 1
        if outcome.finding:
            where = f"{case.name}, {edit.operation} {edit.place} in {edit.scope} ({edit.pick})"
            findings.append(f"{outcome.kind}: {where}: {outcome.finding}")
            print(findings[-1], file=sys.stderr, flush=True)
        if number % 100 == 99:
            print(f"{number + 1} edits, {len(findings)} findings", file=sys.stderr, flush=True)
    return counts, findings


def parser_of(description: str | None, edits: int) -> argparse.ArgumentParser:
    """The options that both fuzzers have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edits", type=int, default=edits)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    return parser


def names_of(part: str) -> list[tuple[str, str]]:
    """Dialect and kind of the cases whose name contains ``part``."""
    return [(d, k) for d in DIALECTS for k in ("magnitude", "complex") if part in f"{d} {k}"]


def tell(counts: Counter[str], findings: list[str]) -> None:
    """Print the record of a run; exit 1 when there is a finding."""
    record = {"edits": counts.total(), "outcomes": dict(counts.most_common()), "findings": findings}
    print(json.dumps(record, indent=1))
    sys.exit(1 if findings else 0)


def main() -> None:
    """Print the record of a run; exit 1 when there is a finding."""
    options = parser_of(__doc__, 4000).parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        cases = [make_case(d, k, Path(scratch) / f"{d}-{k}") for d, k in names_of(options.case)]
        folder = Path(scratch) / "edited"
        counts, findings = run(
            cases, options.edits, options.seed, lambda _, case, edit: try_reading(case, edit, folder)
        )
    tell(counts, findings)


if __name__ == "__main__":
    main()
