"""Events that anybody may cause: each is counted, few have a line."""

import logging
from pathlib import Path

import pytest

from node.dimse.repeats import Repeats
from node.ops.counters import EventCounter, read_counts
from node.ops.events import Event

REJECTED = Event.ASSOCIATION_REJECTED


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, int]]:
    """Address, reason and count of the lines since the last look."""
    found = [(r.fields["address"], r.fields["text"], r.fields["count"]) for r in caplog.records]
    caplog.clear()
    return found


def test_one_line_a_minute_of_each_address_and_reason(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    repeats = Repeats(clock)
    for address, text in (("a", "x"), ("a", "x"), ("b", "x"), ("a", "y"), ("a", "x")):
        repeats.tell(REJECTED, address=address, text=text)
    assert lines(caplog) == [("a", "x", 1), ("b", "x", 1), ("a", "y", 1)]
    clock.now_s = 59
    repeats.tell_due()
    assert lines(caplog) == []
    clock.now_s = 60
    repeats.tell_due()
    assert lines(caplog) == [("a", "x", 2)]
    repeats.tell(REJECTED, address="a", text="x")
    repeats.tell(REJECTED, address="b", text="x")  # it was quiet for a minute
    assert lines(caplog) == [("b", "x", 1)]
    repeats.tell_due(all_of_them=True)
    assert lines(caplog) == [("a", "x", 1)]


def test_many_addresses_share_a_line(caplog: pytest.LogCaptureFixture) -> None:
    repeats = Repeats(Clock())
    for number in range(1000):
        repeats.tell(REJECTED, address=f"2001:db8::{number:x}", text="x", calling_ae_title=f"T{number}")
    repeats.tell_due(all_of_them=True)
    found = lines(caplog)
    assert len(found) == 66
    assert found[-1][0] == "others"
    assert sum(count for *_, count in found) == 1000


def test_the_counters_count_what_a_line_stands_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    counter = EventCounter(tmp_path, ["MR1"])
    counter.start()
    repeats = Repeats(Clock())
    for _ in range(5):
        repeats.tell(REJECTED, address="a", text="x", calling_ae_title="MR1", told_apart="MR1")
    repeats.tell_due(all_of_them=True)
    counter.close()
    assert read_counts(tmp_path) == {("association_rejected", "MR1"): 5}
