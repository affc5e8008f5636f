"""A ledger made from the disk says the same as the one that grew."""

from collections.abc import Callable

import pytest
from sqlalchemy import select

from node.config import DestinationConfig
from node.jobs import schema
from node.jobs.database import set_sqlite_aside
from node.jobs.rebuild import Rebuilt, rebuild_ledger
from node.model import JobState
from tests.nodekit.quiet_node import QuietNode
from tests.nodekit.small_study import write_study


@pytest.fixture
def rebuild(quiet_node) -> Callable[[], Rebuilt]:
    def again() -> Rebuilt:
        quiet_node.ledger.close()
        set_sqlite_aside(quiet_node.root, quiet_node.clock())
        quiet_node._wire()
        return rebuild_ledger(
            spool=quiet_node.spool,
            ledger=quiet_node.ledger,
            manifests=quiet_node.manifests,
            outbox=quiet_node.outbox,
            receivers_of=quiet_node.config.receivers_of,
            now=quiet_node.clock(),
        )

    return again


def lasting(node: QuietNode) -> dict[str, list[tuple]]:
    """Everything that does not belong to one run of the node: no leases, attempts, tries."""
    job, delivery, instance = schema.job.c, schema.delivery.c, schema.instance.c
    acquisition = schema.acquisition.c
    queries = {
        "instance": select(schema.instance).order_by(instance.sop_instance_uid),
        "acquisition": select(
            acquisition.acquisition_key, acquisition.state, acquisition.code, acquisition.missing
        ).order_by(acquisition.acquisition_key),
        "job": select(
            job.job_id, job.acquisition_key, job.study_instance_uid, job.revision, job.predecessor_job_id,
            job.accepted_at, job.missing, job.state, job.outcome, job.record,
        ).order_by(job.revision, job.job_id),
        "job_instance": select(schema.job_instance).order_by(*schema.job_instance.c),
        "delivery": select(
            delivery.job_id, delivery.destination, delivery.sop_instance_uid, delivery.role, delivery.file,
            delivery.position,
        ).order_by(delivery.job_id, delivery.destination, delivery.position),
    }  # fmt: skip
    with node.ledger.database.reading() as connection:
        return {name: [tuple(row) for row in connection.execute(query)] for name, query in queries.items()}


def test_the_same_is_known_and_delivered_again_with_the_same_bytes(quiet_node, study, tmp_path, rebuild) -> None:
    quiet_node.receive(study[:-1])
    quiet_node.settle()
    quiet_node.receive(study[-1:])
    quiet_node.receive(write_study(tmp_path / "two echoes", 2, echoes=2))
    quiet_node.settle()
    before = lasting(quiet_node)
    assert rebuild() == Rebuilt(instances=12, jobs=2, results=2, unreadable=())
    quiet_node.settle()
    assert lasting(quiet_node) == before
    assert len(quiet_node.archive.received) == 6
    assert all(len(copies) == 2 and len(set(copies)) == 1 for copies in quiet_node.archive.received.values())


def test_a_job_without_a_result_is_done_after_the_rebuild(quiet_node, study, rebuild) -> None:
    quiet_node.receive(study)
    quiet_node.clock.pass_s(30)
    quiet_node.assembler.step()
    assert rebuild() == Rebuilt(instances=8, jobs=1, results=0, unreadable=())
    quiet_node.settle()
    assert [(j.state, j.n_sent) for j in quiet_node.jobs()] == [(JobState.DONE, 3)]


def test_a_study_without_a_job_gets_one_after_the_rebuild(quiet_node, study, rebuild) -> None:
    quiet_node.receive(study)
    quiet_node.assembler.step()
    assert quiet_node.jobs() == []
    rebuild()
    quiet_node.settle()
    assert [j.state for j in quiet_node.jobs()] == [JobState.DONE]


def test_a_damaged_file_is_named_and_the_rest_entered(quiet_node, study, rebuild) -> None:
    quiet_node.receive(study)
    quiet_node.assembler.step()
    damaged = sorted(quiet_node.spool.instances_folder.glob("??/*.dcm"))[0]
    damaged.write_bytes(b"damaged")
    rebuilt = rebuild()
    assert rebuilt.instances == 7
    assert damaged.name in rebuilt.unreadable[0]


def test_a_destination_added_since_gets_the_old_results_at_a_rebuild(quiet_node, study, rebuild) -> None:
    quiet_node.receive(study)
    quiet_node.settle()
    new = DestinationConfig(name="archive", ae_title="A", host="127.0.0.1", port=104, objects=("sr",))
    quiet_node.config = quiet_node.config.model_copy(update={"destinations": (*quiet_node.config.destinations, new)})
    rebuild()
    (job,) = quiet_node.jobs()
    assert [d.role for d in quiet_node.ledger.deliveries.of_job(job.job_id) if d.destination == "archive"] == ["sr"]
