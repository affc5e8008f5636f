"""What operators ask of a node: status, list, show, retry, rebuild."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydicom import dcmread

from node.app import JobDetails, Node, open_node
from node.cli import cli
from node.config import Config, DestinationConfig, StorageConfig
from node.errors import ConfigError, InputError, StorageError
from node.jobs.remeasure import RunAgain
from node.maintenance import rebuild
from node.model import Cause, DeliveryState, JobInput, JobState, PipelineOutput, StoreStatus
from node.runtime import RunFolder, exclusive
from tests.nodekit.fast_node import make_result
from tests.nodekit.quiet_node import Archive, Clock, QuietNode
from tests.nodekit.small_study import write_study

PACS = DestinationConfig(name="pacs", ae_title="PACS", host="127.0.0.1", port=104)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(storage=StorageConfig(root=tmp_path / "root"), destinations=(PACS,))


@pytest.fixture
def worked(config: Config, tmp_path: Path) -> Iterator[QuietNode]:
    """A node that has one finished, half-delivered job and one declined group."""
    worked = QuietNode(config.storage.root, Archive(), Clock(), config)
    worked.receive(write_study(tmp_path / "study"))
    worked.receive(write_study(tmp_path / "two echoes", 2, echoes=2))
    worked.archive.refuse = lambda path: StoreStatus.FAILED if path.name == "2.dcm" else None
    worked.settle()
    yield worked
    worked.close()


@pytest.fixture
def node(config: Config, worked: QuietNode) -> Iterator[Node]:
    with open_node(config) as node:
        yield node


def broken(job: JobInput) -> PipelineOutput:
    raise InputError("unreadable")


def elsewhere(config: Config) -> Config:
    """The configuration with other settings."""
    return config.model_copy(update={"report": config.report.model_copy(update={"institution": "Elsewhere"})})


def written(config: Config, folder: Path) -> Path:
    """The configuration as a file."""
    file = folder / "config.json"
    file.write_text(config.model_dump_json())
    return file


def test_the_status_tells_what_is_there_and_what_waits(node, config) -> None:
    run = RunFolder(config.storage.root / "run")
    with exclusive(run.folder):
        run.announce("listener", port=1)
        status = node.status()
    assert status.roles == {"listener": True}
    assert status.jobs == {JobState.QUEUED: 0, JobState.RUNNING: 0, JobState.DONE: 1, JobState.PARKED: 0}
    assert (status.inbox, status.receiving, status.declined) == (0, 0, 1)
    (pacs,) = status.destinations
    assert (pacs.name, pacs.configured, pacs.pending, pacs.sent) == ("pacs", True, 1, 2)
    assert pacs.last_detail == "answered failed"
    assert status.free_mib > 0


def test_a_destination_that_is_no_longer_configured_is_shown_as_such(worked, config) -> None:
    with open_node(config.model_copy(update={"destinations": ()})) as node:
        (pacs,) = node.status().destinations
    assert (pacs.configured, pacs.pending) == (False, 1)


def test_jobs_are_listed_by_state_and_shown_by_the_start_of_their_id(node) -> None:
    (line,) = node.jobs(JobState.DONE)
    assert node.jobs(JobState.PARKED) == []
    assert (line.outcome, line.n_instances, line.n_deliveries, line.n_sent) == ("measured", 8, 3, 2)
    details = node.show(line.job_id[:6])
    assert details.job.job_id == line.job_id
    assert details.record["status"] == "measured"
    assert [d.state for d in details.deliveries].count(DeliveryState.SENT) == 2
    assert details.trail[0].name == "job_accepted"
    assert (details.result_folder / "result.json").is_file()


@pytest.mark.parametrize("start", ["zz", "%", "_"])
def test_an_unknown_job_is_named(node, start) -> None:
    with pytest.raises(InputError, match=f"no job begins with '{start}'"):
        node.show(start)


def test_the_declined_group_says_why(node) -> None:
    (declined,) = [a for a in node.acquisitions() if a.state == "declined"]
    assert declined.code == "too_few_echoes"
    assert "2 echo" in declined.text


def test_retry_sends_what_waits_now(node, worked) -> None:
    (line,) = node.jobs()
    assert node.retry(line.job_id) == f"job {line.job_id} is done; 1 objects are sent now"
    worked.archive.refuse = lambda path: None
    worked.clock.now = max(d.next_try_at for d in node.show(line.job_id).deliveries)
    worked.step()
    assert node.retry(line.job_id) == f"job {line.job_id} is done and delivered"


def test_retry_serves_a_destination_that_was_added_since(worked, config) -> None:
    archive = DestinationConfig(name="archive", ae_title="A", host="127.0.0.1", port=104)
    with open_node(config.model_copy(update={"destinations": (PACS, archive)})) as node:
        (line,) = node.jobs()
        assert node.retry(line.job_id).endswith("4 objects are sent now")


def test_retry_queues_a_parked_job_and_leaves_a_running_one_alone(node, worked, tmp_path) -> None:
    worked.run = broken
    worked.receive(write_study(tmp_path / "third", 3))
    worked.settle()
    (parked,) = node.jobs(JobState.PARKED)
    assert node.retry(parked.job_id) == f"job {parked.job_id} is queued again"
    worked.ledger.claim(parked.job_id, "worker", worked.clock(), 30)
    with pytest.raises(InputError, match="is running now"):
        node.retry(parked.job_id)


def test_retry_puts_the_settings_of_today_in_the_place_of_a_jobs_and_keeps_them(worked, config, tmp_path) -> None:
    worked.run = broken
    worked.receive(write_study(tmp_path / "third", 3))
    worked.settle()
    with open_node(elsewhere(config)) as today:
        (parked,) = today.jobs(JobState.PARKED)
        scheme = config.grading.model_copy(update={"scheme": "unknown"})
        with open_node(config.model_copy(update={"grading": scheme})) as wrong, pytest.raises(ConfigError):
            wrong.retry(parked.job_id)
        assert worked.ledger.find(parked.job_id).settings_digest == config.method_digest()
        today.retry(parked.job_id)
        digest = worked.ledger.find(parked.job_id).settings_digest
        assert digest == today.config.method_digest() != config.method_digest()
        assert today.settings.of(digest, config).report.institution == "Elsewhere"


def test_a_ledger_made_anew_names_the_settings_that_made_a_result(worked, config, tmp_path) -> None:
    worked.receive(write_study(tmp_path / "third", 3))
    worked.run = lambda job: make_result(job, "of its run")
    worked.settle()
    (job_id,) = [line.job_id for line in worked.jobs() if worked.outbox.record(line.job_id).get("settings_digest")]
    worked.ledger.close()
    rebuild(config)
    with open_node(config) as node:
        assert node.ledger.find(job_id).settings_digest == "of its run"


def test_rebuild_keeps_the_old_ledger_and_refuses_while_a_node_runs(worked, config) -> None:
    before = worked.jobs()
    worked.ledger.close()
    with exclusive(config.storage.root / "run"), pytest.raises(ConfigError, match="in use"):
        rebuild(config)
    rebuilt = rebuild(config)
    assert (rebuilt.instances, rebuilt.jobs, rebuilt.results) == (12, 1, 1)
    assert len(list(config.storage.root.glob("ledger-before-*.sqlite"))) == 1
    with open_node(config) as node:
        assert [j.job_id for j in node.jobs()] == [j.job_id for j in before]


def test_an_unusable_storage_root_is_one_clear_error(tmp_path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError, match=r"file.*cannot be made"):
        Node(Config(storage=StorageConfig(root=tmp_path / "file")))


def test_another_method_version_makes_a_new_revision(worked, node) -> None:
    """The worked node measured with method version 1."""
    (first,) = node.jobs()
    (line,) = node.measure_outdated().queued
    (second,) = (j for j in node.jobs() if j.revision == 2)
    assert second.job_id in line
    job = node.ledger.find(second.job_id)
    assert job is not None
    assert (job.revision, job.cause, job.predecessor_job_id) == (2, Cause.SETTINGS, first.job_id)
    assert [earlier.job_id for earlier in node.ledger.revisions.replaced_by(job)] == [first.job_id]
    with pytest.raises(InputError, match="is not the latest"):
        node.measure_again(first.job_id)
    with pytest.raises(InputError, match="is queued, not done"):
        node.measure_again(second.job_id)
    worked.settle()  # the assembler makes no third one of the same images
    assert [(j.revision, j.state) for j in worked.jobs()] == [(1, JobState.DONE), (2, JobState.DONE)]
    assert node.measure_outdated() == RunAgain(queued=())
    with pytest.raises(InputError, match="neither method, settings, region nor indication"):
        node.measure_again(second.job_id)


def test_a_map_of_the_scanner_that_came_later_is_compared_when_asked_for(worked, node, tmp_path) -> None:
    node.measure_outdated()
    worked.settle()
    (latest,) = (job for job in worked.jobs() if job.revision == 2)
    before = node.ledger.find(latest.job_id)
    assert before is not None
    ds = dcmread(node.spool.find(before.sop_instance_uids[0]))
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.9"
    ds.SeriesInstanceUID, ds.ImageType = "1.2.9.1", ["DERIVED", "PRIMARY", "R2", "STAR MAP"]
    ds.save_as(tmp_path / "map.dcm")
    worked.receive([tmp_path / "map.dcm"])
    worked.settle()
    assert len(worked.jobs()) == 2  # not by itself
    assert "revision 3" in node.measure_again(latest.job_id)
    job = node.ledger.find(next(j.job_id for j in worked.jobs() if j.revision == 3))
    assert job is not None
    assert (job.cause, job.predecessor_job_id) == (Cause.SCANNER_MAP, latest.job_id)
    assert set(job.sop_instance_uids) - set(before.sop_instance_uids) == {"1.2.9"}
    worked.settle()  # the assembler makes no fourth one of the same images
    assert len(worked.jobs()) == 3


def test_images_that_are_gone_are_not_measured_again(node) -> None:
    (first,) = node.jobs()
    for instance in node.spool.instances():
        instance.path.unlink()
    with pytest.raises(InputError, match="no longer in the spool"):
        node.measure_again(first.job_id)


def test_of_outdated_results_those_whose_images_are_there_are_measured_again(worked, node, config, tmp_path) -> None:
    worked.receive(write_study(tmp_path / "third", 3))
    worked.settle()
    first, second = node.jobs(JobState.DONE)
    node.spool.find(node.ledger.find(first.job_id).sop_instance_uids[0]).unlink()
    found = node.measure_outdated()
    assert [second.job_id in line for line in found.queued] == [True]
    assert [line.startswith(f"job {first.job_id}: 1 of its images are no longer") for line in found.refused] == [True]
    answer = CliRunner().invoke(cli, ["remeasure", "--outdated", "--config", str(written(config, tmp_path))])
    assert answer.exit_code == 1
    assert f"not run again: job {first.job_id}" in answer.stderr


def test_settings_that_come_back_measure_again(worked, node, config) -> None:
    with open_node(elsewhere(config)) as other:
        for number, (one, another) in enumerate([(node, other), (other, node), (node, other)], 2):
            (line,) = one.measure_outdated().queued
            assert f"revision {number}" in line
            worked.settle()
            latest = worked.jobs()[-1].job_id
            job = one.ledger.find(latest)
            assert (job.revision, job.cause) == (number, Cause.SETTINGS)
            assert job.settings_digest == one.config.method_digest() != another.config.method_digest()
            with pytest.raises(InputError, match="neither method, settings, region nor indication"):
                one.measure_again(latest)


def test_a_job_that_a_retry_measured_with_other_settings_can_be_measured_with_its_first(
    worked, node, config, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("node.app.METHOD_VERSION", "1")  # as the worked node's
    worked.receive(write_study(tmp_path / "third", 3))
    worked.run = broken
    worked.settle()
    (parked,) = node.jobs(JobState.PARKED)
    with open_node(elsewhere(config)) as other:
        other.retry(parked.job_id)
        worked.run = lambda job: make_result(job, other.config.method_digest())
        worked.settle()
        with pytest.raises(InputError, match="neither method, settings, region nor indication"):
            other.measure_again(parked.job_id)
    assert "revision 2" in node.measure_again(parked.job_id)


def test_parked_jobs_are_retried_together(worked, config, tmp_path) -> None:
    worked.run = broken
    for number in (3, 4):
        worked.receive(write_study(tmp_path / str(number), number))
    worked.settle()
    answer = CliRunner().invoke(cli, ["retry", "--parked", "--config", str(written(config, tmp_path))])
    assert (answer.exit_code, answer.stdout.count("is queued again")) == (0, 2)
    assert [line.state for line in worked.jobs()].count(JobState.QUEUED) == 2
    answer = CliRunner().invoke(cli, ["retry", "--parked", "--config", str(written(config, tmp_path))])
    assert (answer.exit_code, answer.stdout) == (0, "no job is parked\n")


def test_a_parked_job_that_cannot_be_retried_keeps_no_other_from_it(worked, node, tmp_path, monkeypatch) -> None:
    worked.run = broken
    for number in (3, 4):
        worked.receive(write_study(tmp_path / str(number), number))
    worked.settle()
    first, second = (line.job_id for line in node.jobs(JobState.PARKED))
    show = node.show

    def taken_meanwhile(job_id: str) -> JobDetails:
        details = show(job_id)
        if job_id == first:  # another operator is quicker, and a worker too
            worked.ledger.requeue(job_id, worked.clock(), details.job.settings_digest)
            worked.ledger.claim(job_id, "worker", worked.clock(), 30)
        return details

    monkeypatch.setattr(node, "show", taken_meanwhile)
    found = node.retry_parked()
    assert found.queued == (f"job {second} is queued again",)
    assert found.refused == (f"job {first} is no longer parked: look again",)


def test_a_retry_takes_no_settings_that_a_running_node_does_not_have(worked, node, config, tmp_path) -> None:
    worked.run = broken
    worked.receive(write_study(tmp_path / "third", 3))
    worked.settle()
    (parked,) = node.jobs(JobState.PARKED)
    run = RunFolder(config.storage.root / "run")
    with exclusive(run.folder), open_node(elsewhere(config)) as other:
        written(config, run.folder)
        run.announce("node")
        for ask in (other.measure_outdated, lambda: other.retry(parked.job_id)):
            with pytest.raises(ConfigError, match="the running node measures with other settings"):
                ask()
        assert node.retry(parked.job_id) == f"job {parked.job_id} is queued again"
        assert other.retry(parked.job_id) == f"job {parked.job_id} is queued again"  # it waits, and keeps its settings
    assert node.ledger.find(parked.job_id).settings_digest == config.method_digest()
