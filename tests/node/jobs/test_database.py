"""What is asked of the ledger's database."""

from sqlalchemy import event

from node.jobs.figures import Figures


def test_a_list_that_grows_is_asked_for_with_few_statements(ledger, clock, make_manifest) -> None:
    ids = []
    for number in range(9):
        manifest = make_manifest((f"1.2.{number}",))
        ledger.add(manifest, clock())
        ids.append(manifest.job_id)
    statements = set()
    engine = ledger.database._engine
    event.listen(engine, "before_cursor_execute", lambda _c, _cursor, statement, *_: statements.add(statement))
    figures = Figures(ledger.database)
    for number in range(10):
        assert {job.job_id for job in figures.jobs(ids[:number])} == set(ids[:number])
    for number in range(1, 101):
        figures.jobs([f"no such job {i}" for i in range(number)])
    of_jobs = {statement for statement in statements if statement.startswith("SELECT")}
    assert len(of_jobs) <= 9  # none, 1, 2, 4 ... 128 values
