"""Which of several processes plays a role, and that the others cannot write."""

from datetime import UTC, datetime, timedelta

import pytest

from node.errors import DutyLostError
from node.jobs import schema
from node.jobs.database import Database
from node.jobs.duties import Duty

START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def go(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(tmp_path):
    opened = Database(tmp_path, None)
    yield opened
    opened.close()


def test_one_holds_a_duty_until_its_lease_runs_out(database, clock) -> None:
    first, second = (Duty(database, "assembler", name, 15, clock) for name in ("gw1:1", "gw2:1"))
    assert (first.take(), second.take()) == (True, False)
    clock.go(10)
    assert first.renew()
    clock.go(10)
    assert not second.take()
    clock.go(6)
    assert second.take()
    assert not first.renew()
    assert not first.take()


def test_other_roles_are_other_duties(database, clock) -> None:
    assert Duty(database, "assembler", "gw1:1", 15, clock).take()
    assert Duty(database, "deliverer", "gw2:1", 15, clock).take()


def test_a_duty_that_is_given_up_is_free_at_once(database, clock) -> None:
    first, second = (Duty(database, "assembler", name, 15, clock) for name in ("gw1:1", "gw2:1"))
    assert first.take()
    second.give_up()  # not its own: nothing happens
    assert not second.take()
    first.give_up()
    clock.go(0.001)
    assert second.take()


def test_who_lost_the_duty_cannot_write_any_more(tmp_path, database, clock) -> None:
    first, second = (Duty(database, "assembler", name, 15, clock) for name in ("gw1:1", "gw2:1"))
    assert first.take()
    fenced = Database(tmp_path, None, first.fence)
    row = {"key": "written", "value": "once"}
    with fenced.writing() as connection:
        connection.execute(schema.meta.insert(), [row])
    clock.go(16)
    assert second.take()
    with pytest.raises(DutyLostError), fenced.writing() as connection:
        connection.execute(schema.meta.insert(), [{**row, "key": "twice"}])
    with fenced.reading() as connection:
        assert connection.execute(schema.meta.select().where(schema.meta.c.key == "twice")).first() is None
    fenced.close()
