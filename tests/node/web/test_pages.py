"""What the pages show, and what the buttons do."""

import contextlib
import csv
import io
import re
import zipfile
from datetime import UTC, datetime, timedelta

import numpy as np
from pydicom import dcmread
from starlette.testclient import TestClient

from node.app import open_node, wall_clock
from node.intake.headers import SELF_TEST_PATIENT_ID
from node.jobs import schema
from node.jobs.commitments import MOST_REFUSALS
from node.jobs.removals import ClockNote
from node.model import Cause, CommitmentReport, JobState, SopReference
from node.runtime import gateway_run
from node.web.application import make_application
from tests.node.drawn_regions import write_seg
from tests.node.intake.encoded_images import MR_IMAGE
from tests.nodekit.fast_node import make_result
from tests.nodekit.small_study import write_study
from tests.whole_node.harness import wait_until


def token(text: str) -> str:
    return re.findall(r'name="csrf" value="([^"]+)"', text)[0]


PAGES = (
    "/", "/?state=parked", "/?part=list", "/dead-letters", "/destinations", "/receivers", "/statistics", "/system",
    "/configuration", "/try", "/?state=declined",
)  # fmt: skip


def test_every_page_answers_with_a_strict_policy(client) -> None:
    for path in PAGES:
        answer = client.get(path)
        assert answer.status_code == 200, path
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert not re.search(r"<script(?! src=)|\son\w+=|\sstyle=", answer.text), path


def test_the_system_page_says_what_waits_for_a_person(client, worked) -> None:
    """A configuration that was not taken up, and until when retention waits after a jump of the clock."""
    text = client.get("/system").text
    assert "not taken up" not in text
    assert "Nothing is removed before" not in text
    now = wall_clock()
    worked.ledger.removals.note_clock(ClockNote(seen_at=now, held_until=now + timedelta(hours=1)))
    gateway_run(worked.config).refuse_config("receive: <changed>; that needs a restart")
    text = client.get("/system").text
    assert "not taken up" in text
    assert "receive: &lt;changed&gt;; that needs a restart" in text
    assert "Nothing is removed before" in text


def test_the_list_shows_the_job_and_its_deliveries(client, worked) -> None:
    (job,) = worked.jobs()
    text = client.get("/").text
    assert f"/jobs/{job.job_id}" in text
    assert "2 of 3" in text
    assert job.job_id not in client.get("/?state=parked").text


def test_a_jobs_page_tells_its_history_and_where_it_went(client, worked) -> None:
    (job,) = worked.jobs()
    text = client.get(f"/jobs/{job.job_id}").text
    for expected in ("result ready", "last object sent", "2 of 3", "answered failed", "job accepted", "delivery sent"):
        assert expected in text
    assert client.get("/jobs/ffff").status_code == 404


def test_only_known_files_of_a_result_can_be_read(client, worked) -> None:
    (job,) = worked.jobs()
    folder = worked.outbox.path(job.job_id)
    (folder / "map.png").write_bytes(b"\x89PNG")
    (folder / "report.html").write_text("<p>Doe</p>")
    assert client.get(f"/jobs/{job.job_id}/files/map.png").content == b"\x89PNG"
    assert "sandbox" in client.get(f"/jobs/{job.job_id}/files/report.html").headers["content-security-policy"]
    for name in ("result.json", "..%2f..%2fledger.sqlite", "dicom%2f0.dcm"):
        assert client.get(f"/jobs/{job.job_id}/files/{name}").status_code == 404


def test_send_again_sends_everything_once_more(client, worked) -> None:
    (job,) = worked.jobs()
    page = client.get(f"/jobs/{job.job_id}").text
    worked.archive.refuse = lambda path: None
    done = client.post(f"/jobs/{job.job_id}/resend", data={"csrf": token(page)})
    assert "3 objects are sent again" in done.text
    worked.settle()
    assert sorted(len(copies) for copies in worked.archive.received.values()) == [1, 2, 2]
    assert all(len(set(copies)) == 1 for copies in worked.archive.received.values())


def test_measuring_again_makes_a_revision_once(client, worked) -> None:
    (job,) = worked.jobs()  # of another method version than today's
    page = client.get(f"/jobs/{job.job_id}").text
    done = client.post(f"/jobs/{job.job_id}/remeasure", data={"csrf": token(page)})
    assert "is queued: revision 2" in done.text
    assert [line.revision for line in worked.jobs()] == [1, 2]
    assert client.post(f"/jobs/{job.job_id}/remeasure", data={"csrf": token(page)}).status_code == 409
    assert len(worked.jobs()) == 2


def test_measuring_with_another_indication_replaces_the_result_and_back_again(client, worked) -> None:
    """The choice reaches the pipeline, and one that is not the policy's is refused."""
    seen = []
    worked.run = lambda job: (seen.append((job.cause, job.indication, job.region)), make_result(job))[1]
    chosen = ("scd-chronic-transfusion", "", "scd-chronic-transfusion")
    for revision, indication in enumerate(chosen, 2):
        latest = worked.jobs()[-1].job_id
        page = client.get(f"/jobs/{latest}").text
        form = {"csrf": token(page), "region": "", "indication": indication}
        assert f"is queued: revision {revision}" in client.post(f"/jobs/{latest}/choose", data=form).text
        worked.settle()
    assert seen == [(Cause.OPERATOR, indication or None, None) for indication in chosen]
    assert '<option value="scd-chronic-transfusion" selected>' in client.get(f"/jobs/{worked.jobs()[-1].job_id}").text
    form = {"csrf": token(page), "region": "", "indication": "headache"}
    refused = client.post(f"/jobs/{worked.jobs()[-1].job_id}/choose", data=form)
    assert (refused.status_code, "no such indication" in refused.text) == (409, True)


def test_an_operator_can_go_back_to_the_automatic_region_and_to_the_drawn_one(client, worked, tmp_path) -> None:
    study = sorted((tmp_path / "study").glob("*.dcm"))
    images = [dcmread(path) for path in study[::4]]
    worked.receive([write_seg(tmp_path / "seg.dcm", images, np.ones((2, 8, 8), bool), uid="1.2.50")])
    worked.settle()
    seen = []
    worked.run = lambda job: (seen.append((job.cause, job.region and job.region.stem)), make_result(job))[1]
    for region in ("", "1.2.50", "1.2.51"):
        latest = worked.jobs()[-1].job_id
        form = {"csrf": token(client.get(f"/jobs/{latest}").text), "region": region, "indication": ""}
        answer = client.post(f"/jobs/{latest}/choose", data=form)
        worked.settle()
    assert seen == [(Cause.OPERATOR, None), (Cause.OPERATOR, "1.2.50")]
    assert "no usable drawn region" in answer.text


def upload(client, worked, path) -> str:
    job = worked.jobs()[-1].job_id
    form = {"csrf": token(client.get(f"/jobs/{job}").text)}
    with path.open("rb") as file:
        return client.post(f"/jobs/{job}/region", data=form, files={"file": ("Doe^Jo.dcm", file)}).text


def test_an_uploaded_region_is_measured_and_replaces_the_result_as_one_sent_by_c_store(
    client, worked, tmp_path
) -> None:
    study = sorted((tmp_path / "study").glob("*.dcm"))
    images = [dcmread(path) for path in study[::4]]
    region = write_seg(tmp_path / "seg.dcm", images, np.ones((2, 8, 8), bool), uid="1.2.50")
    seen = []
    worked.run = lambda job: (seen.append((job.cause, job.region.stem, len(job.replaces))), make_result(job))[1]
    first = worked.jobs()[0].job_id
    assert "The region is kept" in upload(client, worked, region)
    worked.settle()
    assert seen == [(Cause.READER_REGION, "1.2.50", 1)]
    latest = worked.jobs()[-1].job_id
    assert f"/jobs/{latest}" in client.get(f"/jobs/{first}").text  # the page of the replaced one says so
    assert 'data-label="Used">Yes<' in client.get(f"/jobs/{latest}").text
    assert "here already" in upload(client, worked, region)
    lines = csv.DictReader(io.StringIO(client.get("/statistics.csv").text))
    counted = {line["scanner"]: (line["instances"], line["complete"]) for line in lines}
    assert counted == {"?": ("12", "2"), "WEB-PAGE": ("1", "0")}  # the result is the scanner's


def test_what_is_no_region_of_the_study_is_not_kept_and_the_answer_says_why(client, worked, tmp_path) -> None:
    study = sorted((tmp_path / "study").glob("*.dcm"))
    images = [dcmread(path) for path in study[::4]]
    for image in images:
        image.StudyInstanceUID = "1.2.99"
    other = write_seg(tmp_path / "other.dcm", images, np.ones((2, 8, 8), bool), uid="1.2.51")
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(other.read_bytes()[:-50])
    text = tmp_path / "text"
    text.write_text("no DICOM")
    fresh = write_study(tmp_path / "fresh", 5)[0]
    for path, why in (
        (other, "another study"),
        (cut, "damaged or cut off"),
        (text, "not a DICOM file"),
        (fresh, "holds no region"),
    ):
        answer = upload(client, worked, path)
        assert why in answer, path.name
        assert "Doe" not in answer
    assert list(worked.spool.inbox_folder.iterdir()) == list(worked.spool.temporary_folder.iterdir()) == []
    job = worked.jobs()[-1].job_id
    with other.open("rb") as file:
        assert client.post(f"/jobs/{job}/region", files={"file": file}).status_code == 403  # no token


def test_a_parked_job_says_what_happened_what_stays_and_what_to_press(client, worked, tmp_path) -> None:
    def fails(_job):
        raise RuntimeError("index 4 is out of bounds for Doe^Jo")

    worked.run = fails
    worked.receive(write_study(tmp_path / "third", 3))
    worked.steps(12, each_s=2000)
    (parked,) = [job for job in worked.jobs() if job.state == JobState.PARKED]
    for path in (f"/jobs/{parked.job_id}", "/dead-letters"):
        text = client.get(path).text
        for expected in ("by an error inside the program", "its 8 images stay on this node", "Measure now"):
            assert expected in text, path
        assert "Doe" not in text  # the words of a fault may quote a header
    text = client.get(f"/jobs/{parked.job_id}").text
    assert "Nothing yet: there is something to send" in text
    assert "RuntimeError at test_pages.py:" in text


def test_done_is_what_was_delivered(client, worked) -> None:
    """While an object waits the state says so, in the list, its filter and on the job's page."""
    (job,) = worked.jobs()
    waits, done = '<span class="badge sending">waits to be sent</span>', '<span class="badge done">done</span>'
    for path in ("/", "/?state=sending", f"/jobs/{job.job_id}"):
        assert (waits in client.get(path).text, done in client.get(path).text) == (True, False), path
    assert job.job_id not in client.get("/?state=done").text
    worked.archive.refuse = lambda path: None
    worked.steps(40, each_s=300)
    for path in ("/", "/?state=done", f"/jobs/{job.job_id}"):
        assert (waits in client.get(path).text, done in client.get(path).text) == (False, True), path
    assert job.job_id not in client.get("/?state=sending").text


def test_images_that_nobody_has_looked_at_yet_are_listed(client, worked, tmp_path) -> None:
    worked.receive(write_study(tmp_path / "new", 9))
    for path in ("/", "/?state=arrived"):
        text = client.get(path).text
        assert "received, not indexed yet" in text
        assert '<td data-label="Images">8</td>' in text


def test_times_are_in_the_zone_of_the_site_and_name_it(config, worked, tmp_path) -> None:
    report = config.report.model_copy(update={"time_zone": "Asia/Kolkata"})
    (job,) = worked.jobs()
    with open_node(config.model_copy(update={"report": report})) as node:
        client = TestClient(make_application(node, tmp_path / "config.json"), "http://localhost")
        text = client.get(f"/jobs/{job.job_id}", headers={"accept": "text/html"}).text
    local = job.accepted_at + timedelta(hours=5, minutes=30)  # India has one zone and no summer time
    assert f"{local:%Y-%m-%d %H:%M:%S} IST" in text


def test_what_was_declined_is_listed_with_its_reason(client) -> None:
    for path in ("/", "/?state=declined"):
        assert ">too_few_echoes<" in client.get(path).text
    assert ">too_few_echoes<" not in client.get("/?state=done").text


def test_a_self_tests_job_has_a_page_and_no_line_in_the_statistics(client, worked, tmp_path) -> None:
    study = write_study(tmp_path / "test", 7)
    for path in study:
        image = dcmread(path)
        image.PatientID = SELF_TEST_PATIENT_ID
        image.save_as(path)
    worked.receive(study)
    worked.settle()
    (job,) = (line for line in worked.jobs() if line.self_test)
    assert "self-test" in client.get(f"/jobs/{job.job_id}").text
    assert "self-test" in client.get("/").text
    (line,) = csv.DictReader(io.StringIO(client.get("/statistics.csv").text))
    assert line["complete"] == "1"


def test_like_steps_of_a_delivery_are_one_line_of_the_history(client, worked) -> None:
    (job,) = worked.jobs()
    text = client.get(f"/jobs/{job.job_id}").text
    assert text.count('<td data-label="Event">delivery sent</td>') == 1
    assert "objects: 2" in text


def test_a_waiting_job_can_be_parked_and_retried(client, worked, tmp_path) -> None:
    worked.receive(write_study(tmp_path / "third", 3))
    worked.clock.pass_s(100)
    worked.assembler.step()
    (queued,) = [job for job in worked.jobs() if job.state == JobState.QUEUED]
    page = client.get(f"/jobs/{queued.job_id}").text
    assert "is parked" in client.post(f"/jobs/{queued.job_id}/park", data={"csrf": token(page)}).text
    assert queued.job_id in client.get("/dead-letters").text
    worked.settle()
    assert {job.state for job in worked.jobs()} == {JobState.DONE, JobState.PARKED}
    client.post(f"/jobs/{queued.job_id}/retry", data={"csrf": token(page)})
    worked.settle()
    assert {job.state for job in worked.jobs()} == {JobState.DONE}
    refused = client.post(f"/jobs/{queued.job_id}/park", data={"csrf": token(page)})
    assert (refused.status_code, "does not wait" in refused.text) == (409, True)


def test_a_link_from_elsewhere_puts_no_words_into_the_pages_mouth(client) -> None:
    said = {"done": "Call 555 for your result"}
    for path in ("/", "/login"):
        assert said["done"] in client.get(path, params=said, headers={"sec-fetch-site": "same-origin"}).text
        for site in ("cross-site", "same-site", "none"):
            assert said["done"] not in client.get(path, params=said, headers={"sec-fetch-site": site}).text


def test_nothing_changes_without_the_pages_token(client, worked) -> None:
    (job,) = worked.jobs()
    for data, headers in (
        ({}, {}),
        ({"csrf": "guess"}, {}),
        ({"csrf": token(client.get("/destinations").text)}, {"origin": "https://evil.example"}),
    ):
        assert client.post(f"/jobs/{job.job_id}/resend", data=data, headers=headers).status_code == 403
    assert "2 of 3" in client.get("/").text


def test_a_destination_that_is_away_is_told_as_such(client) -> None:
    page = client.get("/destinations").text
    assert "no answer to C-ECHO" in client.post("/destinations/pacs/echo", data={"csrf": token(page)}).text


def test_the_statistics_count_what_came_and_what_became_of_it(client, worked) -> None:
    (line,) = csv.DictReader(io.StringIO(client.get("/statistics.csv").text))
    assert {k: line[k] for k in ("instances", "complete", "measured", "refused", "declined", "delivered")} == {
        "instances": "12", "complete": "1", "measured": "1", "refused": "0", "declined": "1", "delivered": "0",
    }  # fmt: skip
    assert line["declined_by_reason"].endswith(":1")
    worked.archive.refuse = lambda path: None
    worked.steps(40, each_s=300)
    (line,) = csv.DictReader(io.StringIO(client.get("/statistics.csv").text))
    assert line["delivered"] == "1"


def test_the_statistics_page_goes_back_ninety_days_and_the_file_to_the_beginning(client, worked) -> None:
    scanner = ">Images received<"
    for days, shown in ((89, True), (91, False)):
        then = datetime.now(UTC) - timedelta(days=days)
        with worked.ledger.database.writing() as connection:
            connection.execute(schema.instance.update().values(received_at=then))
            connection.execute(schema.job.update().values(accepted_at=then))
            connection.execute(schema.acquisition.update().values(changed_at=then))
        page = client.get("/statistics").text
        assert (f"{then:%Y-%m-%d}" in page) is (scanner in page) is shown
        (line,) = csv.DictReader(io.StringIO(client.get("/statistics.csv").text))
        assert (line["day_utc"], line["instances"], line["complete"], line["declined"]) == (
            f"{then:%Y-%m-%d}", "12", "1", "1",
        )  # fmt: skip


def test_no_patient_on_lists_and_metrics(client) -> None:
    for path in ("/", "/statistics", "/receivers", "/dead-letters", "/metrics", "/status", "/ready"):
        assert "Doe" not in client.get(path).text, path


def test_a_broken_archive_and_an_empty_upload_are_refused(client) -> None:
    page = client.get("/try").text
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("../../evil.dcm", b"x" * 1000)
    damaged = whole.getvalue().replace(b"x" * 1000, b"y" * 1000)
    for files in ([("files", ("a.zip", damaged))], [("files", ("", b""))]):
        refused = client.post("/try", data={"csrf": token(page)}, files=files)
        assert refused.status_code == 400
    assert client.get("/try/0123").status_code == 404


def test_a_trial_shows_its_pictures_quality_and_report(client, tmp_path) -> None:
    csrf = token(client.get("/try").text)
    with contextlib.ExitStack() as opened:
        files = [("files", opened.enter_context(path.open("rb"))) for path in write_study(tmp_path / "tried", 3)]
        at = client.post("/try", data={"csrf": csrf}, files=files, follow_redirects=False).headers["location"]
    page = wait_until(lambda: _when_measured(client.get(at).text), "the trial ends")
    assert "nothing of it is sent anywhere" in page
    assert re.findall(r'<span class="badge \w+">\w+</span> ([^<]+)</li>', page), "its quality lines"
    pictures = re.findall(rf'<img src="{at}/0/(\w+\.png)" alt="([^"]+)">', page)
    assert pictures
    for name, title in pictures:
        assert client.get(f"{at}/0/{name}").headers["content-type"] == "image/png"
        assert f"<figcaption>{title}</figcaption>" in page
    assert "Report with the patient" in page


def _when_measured(page: str) -> str:
    return "" if "Being measured" in page else page


def test_what_a_destination_does_not_commit_to_is_shown_everywhere(client, worked) -> None:
    book, now = worked.ledger.commitments, worked.clock()
    for _ in range(MOST_REFUSALS):
        worked.dispatcher.deliver_due(worked.config.destinations[0])
        book.mark_asked("pacs", book.due("pacs", now, 9), "1.2.3", now, now)
        lost = book.of_job(worked.jobs()[0].job_id)[0]
        reference = SopReference(sop_class_uid=MR_IMAGE, sop_instance_uid=lost.sop_instance_uid)
        others = [SopReference(sop_class_uid=MR_IMAGE, sop_instance_uid=uid) for uid in worked.archive.received]
        report = CommitmentReport(
            transaction_uid="1.2.3", ae_title="PACS", committed=frozenset(others), failed={reference: 0x0110}
        )
        book.enter(report, now)
    (job,) = worked.jobs()
    for path in (f"/jobs/{job.job_id}", "/destinations", "/dead-letters"):
        assert "0110 (processing failure)" in client.get(path).text, path
    assert "1 of 3, 1 refused" in client.get(f"/jobs/{job.job_id}").text
    metrics = client.get("/metrics").text
    assert 'ironnode_destination_objects{destination="pacs",state="committed"} 1.0' in metrics
    assert 'ironnode_destination_objects{destination="pacs",state="commitment_refused"} 1.0' in metrics
    done = client.post(f"/jobs/{job.job_id}/retry", data={"csrf": token(client.get(f"/jobs/{job.job_id}").text)})
    assert "2 objects are sent now" in done.text
