"""What the pages ask of a ledger with many jobs: the work must not grow with the jobs that are not shown."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from sqlalchemy import event, select

from node.jobs import schema
from node.jobs.figures import Figures
from node.jobs.ledger import Ledger
from node.jobs.overview import Overview
from node.model import AcquisitionState, DeliveryState, JobState
from node.web.totals import JobTotals, Totals

_OBJECTS = 8  # of each job


def _add_done(ledger: Ledger, make_manifest, clock, numbers: range) -> None:
    """Jobs that are done, with everything sent, and the files of every other one removed; in the study of each a
    declined group of images, and an image of no job."""
    for number in numbers:
        clock.now += timedelta(minutes=1)
        manifest = make_manifest((f"1.2.{number}",), study=f"1.5.{number}")
        ledger.add(manifest, clock())
        with ledger.database.writing() as connection:
            job = schema.job.update().where(schema.job.c.job_id == manifest.job_id)
            connection.execute(job.values(state=JobState.DONE.value, finished_at=clock(), outcome="measured"))
            sent = {"job_id": manifest.job_id, "destination": "pacs", "role": "sr", "file": "f", "attempts": 1}
            sent |= {"state": DeliveryState.SENT.value, "next_try_at": clock(), "sent_at": clock()}
            rows = [{**sent, "sop_instance_uid": f"1.3.{number}.{i}", "position": i} for i in range(_OBJECTS)]
            connection.execute(schema.delivery.insert(), rows)
            declined = {"study_instance_uid": manifest.study_instance_uid, "state": AcquisitionState.DECLINED.value}
            declined |= {"acquisition_key": f"key {number}", "missing": [], "n_instances": 1, "changed_at": clock()}
            study = {"study_instance_uid": manifest.study_instance_uid, "last_arrival_at": clock(), "open": False}
            connection.execute(ledger.database.insert_new(schema.study), [study])
            connection.execute(schema.acquisition.insert(), [declined])
            image = {"study_instance_uid": manifest.study_instance_uid, "received_at": clock(), "size_bytes": 1}
            image |= {"sop_instance_uid": f"1.4.{number}", "calling_ae_title": "SCANNER", "header": {}}
            connection.execute(schema.instance.insert(), [image])
        if number % 2:
            ledger.removals.restore(manifest.job_id, "removed", clock())


def _steps(ledger: Ledger, ask: Callable[[], object]) -> int:
    """How many hundreds of instructions SQLite runs for a question."""
    hundreds = 0

    def count() -> int:
        nonlocal hundreds
        hundreds += 1
        return 0

    def watch(connection, _record, _proxy) -> None:
        connection.set_progress_handler(count, 100)

    engine = ledger.database._engine
    event.listen(engine, "checkout", watch)
    try:
        ask()
    finally:
        event.remove(engine, "checkout", watch)
        with ledger.database.reading() as connection:
            connection.connection.set_progress_handler(None, 0)
    return hundreds


def test_what_is_shown_costs_the_same_with_twice_the_jobs(ledger, clock, make_manifest) -> None:
    overview, figures = Overview(ledger.database), Figures(ledger.database)

    def first_lines() -> None:
        lines = overview.jobs(limit=10)
        assert [line.n_sent for line in lines] == [_OBJECTS] * 10
        assert [job.n_sent for job in figures.jobs([line.job_id for line in lines])] == [_OBJECTS] * 10

    def waiting() -> None:
        assert overview.jobs(limit=10, undelivered=True) == []
        assert figures.jobs_to_watch(clock()) == []

    questions = (first_lines, waiting, lambda: overview.jobs(limit=10, undelivered=False))
    _add_done(ledger, make_manifest, clock, range(150))
    before = [_steps(ledger, ask) for ask in questions]
    _add_done(ledger, make_manifest, clock, range(150, 300))
    for ask, few in zip(questions, before, strict=True):
        # Choosing the first of twice as many costs twice at most; counting every object for each was four times.
        assert _steps(ledger, ask) < 2.5 * few


def test_status_retention_and_what_is_outdated_cost_twice_as_much_with_twice_the_jobs(
    ledger, clock, make_manifest
) -> None:
    overview, removals = Overview(ledger.database), ledger.removals

    def status() -> None:
        done = overview.job_counts()[JobState.DONE]
        assert overview.acquisition_counts() == {"declined": done}
        (pacs,) = ledger.deliveries.backlogs()
        assert (pacs.pending, pacs.sent) == (0, done * _OBJECTS)
        assert ledger.commitments.counts() == {}
        assert removals.counts().removed == done // 2
        assert removals.clock_note().held_until is None

    def due(before: datetime) -> int:
        return len(removals.due(clock(), measured_before=before, refused_before=before))

    def retention() -> None:
        assert removals.marked() == []
        assert due(started_at) == 0
        assert due(clock()) == len(removals.strays(clock())) > 0

    def outdated(method_version: str) -> int:
        return len(ledger.revisions.outdated(method_version, "settings"))

    started_at = clock()
    questions = (status, retention, lambda: outdated("1"), lambda: outdated("2"))
    _add_done(ledger, make_manifest, clock, range(60))
    assert [outdated(version) for version in ("1", "2")] == [0, 60]
    before = [_steps(ledger, ask) for ask in questions]
    assert min(before) > 0
    _add_done(ledger, make_manifest, clock, range(60, 120))
    for ask, few in zip(questions, before, strict=True):
        assert _steps(ledger, ask) < 2.5 * few


def test_groups_of_one_state_and_their_number(ledger, clock, make_manifest) -> None:
    _add_done(ledger, make_manifest, clock, range(5))
    overview = Overview(ledger.database)
    latest = overview.acquisitions(state=AcquisitionState.DECLINED, limit=2)
    assert [line.acquisition_key for line in latest] == ["key 4", "key 3"]
    assert overview.acquisitions(state=AcquisitionState.RECEIVING) == []
    assert overview.acquisition_counts()["declined"] == 5


def test_totals_read_what_is_settled_once(ledger, clock, make_manifest) -> None:
    figures, totals = Figures(ledger.database), Totals()

    def scrape() -> None:
        assert len(totals.jobs(figures)[1]) == 0
        assert totals.arrivals(figures, clock())[0] == {"SCANNER": 300}

    _add_done(ledger, make_manifest, clock, range(300))
    clock.now += timedelta(days=2)
    assert _steps(ledger, scrape) > 20 * _steps(ledger, scrape)


def _told(totals: Totals, figures: Figures, now: datetime) -> tuple[object, ...]:
    jobs: JobTotals = totals.jobs(figures)[0]
    histograms = {**jobs.latency_s, "lic": jobs.lic_mg_per_g}
    return jobs.outcomes, {k: (h.buckets, h.sum) for k, h in histograms.items()}, totals.arrivals(figures, now)


def test_totals_that_go_on_are_those_of_a_process_that_begins(ledger, clock, make_manifest) -> None:
    """Jobs that wait, are sent and come late; the node's own tests count nowhere."""
    figures, totals = Figures(ledger.database), Totals()
    job, delivery = schema.job, schema.delivery

    def same() -> tuple[object, ...]:
        told = _told(totals, figures, clock())
        assert told == _told(Totals(), figures, clock())
        return told

    empty = same()
    _add_done(ledger, make_manifest, clock, range(4))
    with ledger.database.writing() as connection:
        first, second, third, _ = connection.scalars(select(job.c.job_id).order_by(job.c.accepted_at))
        record = {"lic_mg_per_g": {"median": 2.1}, "reasons": []}
        connection.execute(job.update().where(job.c.job_id == first).values(record=record))
        connection.execute(delivery.update().where(delivery.c.job_id == first).values(state="pending", sent_at=None))
        connection.execute(job.update().where(job.c.job_id == second).values(state="running", outcome=None))
        connection.execute(job.update().where(job.c.job_id == third).values(self_test=True))
    assert [j.job_id for j in totals.jobs(figures)[1]] == [second, first]
    before = same()
    assert before != empty
    clock.now += timedelta(days=3)
    with ledger.database.writing() as connection:
        record = {"lic_mg_per_g": None, "reasons": [{"code": "roi_no_liver", "text": "None found."}]}
        values = {"state": "done", "outcome": "not_measurable", "finished_at": clock(), "record": record}
        connection.execute(job.update().where(job.c.job_id == second).values(values))
        connection.execute(delivery.update().where(delivery.c.job_id == first).values(state="sent", sent_at=clock()))
    assert same()[:2] != before[:2]
    assert totals.jobs(figures)[1] == []
    _add_done(ledger, make_manifest, clock, range(4, 7))
    outcomes, histograms, (instances, size_bytes) = same()
    assert outcomes == {("measured", ""): 5, ("not_measurable", "roi_no_liver"): 1}
    assert histograms["lic"][1] == 2.1
    assert histograms["deliver"][0][-1] == ("+Inf", 6)
    assert instances == size_bytes == {"SCANNER": 7}


def test_sums_never_fall_in_whatever_order_jobs_are_settled(ledger, clock, make_manifest) -> None:
    """Floats in another order differ in the last digit, and Prometheus takes any fall for a restart."""
    figures, totals = Figures(ledger.database), Totals()
    job, delivery = schema.job, schema.delivery
    _add_done(ledger, make_manifest, clock, range(60))
    with ledger.database.writing() as connection:
        ids = list(connection.scalars(select(job.c.job_id)))
        for number, job_id in enumerate(ids):
            record = {"lic_mg_per_g": {"median": 1.1 + 0.7 * number}, "reasons": []}
            connection.execute(job.update().where(job.c.job_id == job_id).values(record=record))
        connection.execute(delivery.update().values(state="pending"))
    sums = [totals.jobs(figures)[0].lic_mg_per_g.sum]
    for job_id in sorted(ids, key=lambda job_id: job_id[::-1]):
        with ledger.database.writing() as connection:
            connection.execute(delivery.update().where(delivery.c.job_id == job_id).values(state="sent"))
        sums.append(totals.jobs(figures)[0].lic_mg_per_g.sum)
    assert set(sums) == {sums[0]}
    assert sums[0] == pytest.approx(sum(1.1 + 0.7 * number for number in range(60)))
