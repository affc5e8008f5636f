"""Any one image taken away, in every dialect and kind: the plan names the missing cell, or refuses."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.intake.assembly import plan_study
from node.intake.headers import read_header
from node.model import InstanceHeader, PlaneHeader
from node.simulate import DIALECTS, write_phantom
from quant.phantom import default_echo_times_s, make_abdomen
from tests.further import further

ECHO_TIMES_S = default_echo_times_s(1.5, echoes=5, delta_te_ms=1.3)
HEIGHTS = 3


def without_each(headers: list[InstanceHeader]) -> Iterator[tuple[PlaneHeader, list[InstanceHeader]]]:
    """Every plane, and the headers without it (an object that held only this plane is gone)."""
    for header in headers:
        rest = [other for other in headers if other is not header]
        for plane in header.planes:
            kept = tuple(other for other in header.planes if other is not plane)
            yield plane, [*rest, dataclasses.replace(header, planes=kept)] if kept else rest


@pytest.mark.parametrize("kind", ["complex", *further(["magnitude"])])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_any_one_image_removed_is_named_or_refused(tmp_path: Path, dialect: Any, kind: Any) -> None:
    phantom = make_abdomen(n_slices=HEIGHTS, matrix=32, kind=kind, echo_times_s=ECHO_TIMES_S)
    headers = [read_header(path) for path in write_phantom(phantom, tmp_path, dialect=dialect, kind=kind)]
    (whole,) = plan_study(headers)
    assert whole.missing == ()
    heights = sorted({round(p.position_mm[2], 2) for header in headers for p in header.planes})
    removed = 0
    for plane, rest in without_each(headers):
        removed += 1
        cell = (
            f"slice {heights.index(round(plane.position_mm[2], 2)) + 1} at ",
            f"({1000 * plane.echo_time_s:.4g} ms), {plane.kind}",
        )
        (plan,) = plan_study(rest)
        assert not plan.complete
        assert any(all(part in line for part in cell) for line in plan.missing), (cell, plan.missing)
    assert removed == HEIGHTS * len(ECHO_TIMES_S) * len({p.kind for header in headers for p in header.planes})
