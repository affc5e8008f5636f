"""Header edits, short form of ``make fuzz``: a result or a refusal, and no number moves unsaid."""

from pathlib import Path

import numpy as np
import pytest
from pydicom.tag import Tag

from bench.fuzz_headers import Case, edited, make_case, moved, numbers_of, run, try_reading
from bench.header_edits import Edit, Place

CASES = (("generic", "magnitude"), ("ge", "complex"), ("philips-enhanced", "complex"), ("siemens-xa", "complex"))


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    root = tmp_path_factory.mktemp("cases")
    return [make_case(dialect, kind, root / dialect) for dialect, kind in CASES]


def test_random_edits_leave_no_finding(cases: list[Case], tmp_path: Path) -> None:
    counts, findings = run(cases, 32, 20261125, lambda _, case, edit: try_reading(case, edit, tmp_path))
    assert findings == []
    assert counts["same value"] > 8
    assert counts["not measured"] + counts["refused"] + counts["moved and said"] > 2


def edit(tag: int, operation: str, scope: str, *, path: tuple[int, ...] = (), pick: int = 4) -> Edit:
    place = Place(per_frame=bool(path), path=tuple(Tag(t) for t in path), tag=Tag(tag))
    return Edit(operation=operation, scope=scope, place=place, pick=pick)


# Edits that once moved a number in silence, and how the answer must look since.
@pytest.mark.parametrize(
    ("case", "change", "kind"),
    [
        (0, edit(0x00180080, "zero", "echo"), "moved and said"),  # Repetition Time: an echo left the grid
        (0, edit(0x00280002, "tiny", "slice"), "moved and said"),  # Samples per Pixel: images "in colour"
        (0, edit(0x00080060, "text", "slice"), "moved and said"),  # Modality: images "not MR"
        (0, edit(0x00200032, "minus", "slice"), "moved and said"),  # Image Position: a slice without geometry
        (2, edit(0x00281053, "delete", "echo", path=(0x00289145,)), "refused"),  # slopes of one echo only
        (2, edit(0x00281053, "double", "echo", path=(0x00289145,)), "refused"),  # a real world value says otherwise
        (2, edit(0x00189082, "zero", "echo", path=(0x00189114,)), "moved and said"),  # frames without echo time
        (2, edit(0x00189082, "thousand", "every", path=(0x00189114,)), "not measured"),
        (2, edit(0x00180087, "percent", "echo"), "another scan"),  # the field strength, said once for the whole object
        (0, edit(0x00180087, "percent", "echo"), "refused"),  # one of five echoes says another
        (3, edit(0x00189082, "thousandth", "every", path=(0x00189114,)), "not measured"),  # seconds for milliseconds
    ],
)
def test_known_traps_stay_shut(cases: list[Case], tmp_path: Path, case: int, change: Edit, kind: str) -> None:
    outcome = try_reading(cases[case], change, tmp_path)
    assert (outcome.kind, outcome.finding) == (kind, "")


def test_the_fuzz_would_see_a_number_that_moves(cases: list[Case], tmp_path: Path) -> None:
    """The judge itself: twice the echo times in every image is half the R2*, and it notices."""
    datasets, changed = edited(cases[0], edit(0x00180081, "double", "every"))
    assert changed == len(cases[0].images)
    for number, ds in enumerate(datasets):
        ds.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
    (after,) = numbers_of(sorted(tmp_path.glob("*.dcm")))
    assert cases[0].truth is not None
    assert moved(cases[0].truth, after).startswith("R2*")
    assert np.allclose(after.r2star_per_s, cases[0].truth.r2star_per_s / 2, rtol=1e-6)
