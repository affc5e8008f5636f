"""Advice on the next scan asks for nothing that this one had already."""

import pytest

from quant.next_scan import more_signal
from tests.clinical_cases import ECHO_TIMES_S
from tests.quant.test_assess import assessed

LATE_S = tuple(0.0023 * n for n in range(1, 7))


@pytest.mark.parametrize(
    ("echo_times_s", "field_t", "changes"),
    [
        (ECHO_TIMES_S, 1.5, "larger voxels or thicker slices"),
        (ECHO_TIMES_S, 3.0, "1.5 T if there is a choice; larger voxels or thicker slices"),
        (
            LATE_S,
            1.5,
            "a first TE of about 1 ms (now 2.30 ms); an echo spacing below 1.5 ms (now 2.30 ms); "
            "larger voxels or thicker slices",
        ),
    ],
)
def test_only_what_was_not_there_is_asked_for(echo_times_s: tuple[float, ...], field_t: float, changes: str) -> None:
    assert more_signal(echo_times_s, field_t) == f"For more signal at the next scan: {changes}."


def test_a_lower_bound_asks_for_what_would_give_a_value() -> None:
    beyond_limit = assessed(900, measurable_limit_per_s=785.0, fraction_at_limit=0.6)
    wanted = "A technical repeat is advised to get a value. For more signal at the next scan: larger voxels"
    assert beyond_limit.follow_up is not None
    assert wanted in beyond_limit.follow_up.text
    (line,) = [line for line in beyond_limit.qc if line.code == "fraction_at_limit"]
    assert line.text.endswith("For more signal at the next scan: larger voxels or thicker slices.")
    assert all("Shorten" not in line.text for line in assessed(1200).qc)  # T2* 0.83 ms, first TE 0.99 ms
