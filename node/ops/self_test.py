"""The node tests itself: a phantom goes in by C-STORE as from a scanner, and its LIC is compared with the truth.

The images are the same in every test, so the number must be too: one that moves tells of a changed machine, library or
setting. The patient of the images marks the job, whose result is sent to nobody (``node.jobs.deliveries``).
"""

import json
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from node.app import Node, wall_clock
from node.config import Config
from node.dimse.scu import Peer, send
from node.errors import ConfigError, IronnodeError, PeerError
from node.intake.headers import SELF_TEST_PATIENT_ID
from node.jobs.self_tests import SelfTest, SelfTests, Verdict
from node.model import JobState
from node.ops.events import Event, emit
from node.runtime import gateway_run
from node.simulate.facts import StudyFacts
from node.simulate.writer import write_phantom
from quant import METHOD_VERSION
from quant.calibration import Calibration, calibration_for
from quant.phantom import default_echo_times_s, make_abdomen

R2STAR_PER_S = 150.0  # T2* 6.7 ms, moderate iron: what is seen of it depends on fit, noise and region alike
_ECHOES, _SLICES, _MATRIX = 8, 8, 128
_LOOK_EVERY_S = 0.5


def run_self_test(node: Node, stop: threading.Event) -> SelfTest:
    """Test the node that runs on this storage root; the result is kept and logged, unless ``stop`` cut it off.

    Raises:
        ConfigError: no calibration is configured, so there is nothing to compare with.
        StorageError: the result cannot be kept.
    """
    config = node.config
    calibration, field_t = _calibration(config)
    blank = SelfTest(
        at=wall_clock(),
        verdict=Verdict.FAILED,
        text="",
        expected_lic_mg_per_g=calibration.lic_mg_per_g(R2STAR_PER_S),
        settings_digest=config.method_digest(),
        method_version=METHOD_VERSION,
    )
    tests = SelfTests(config.storage.root)
    try:
        study_uid = _push(config, blank.at, field_t)
        test = judge(_result(node, study_uid, stop, blank), tests.all(), config)
    except IronnodeError as error:
        test = replace(blank, text=str(error))
    if stop.is_set():
        return test  # the node is being ended: this says nothing of it
    tests.add(test)
    emit(
        Event.SELF_TEST_PASSED if test.verdict == Verdict.PASSED else Event.SELF_TEST_FAILED,
        verdict=test.verdict.value,
        text=test.text,
        job_id=test.job_id,
        lic_mg_per_g=test.lic_mg_per_g,
        expected_lic_mg_per_g=test.expected_lic_mg_per_g,
    )
    return test


def due_in_s(config: Config, now: datetime) -> float:
    """Seconds until the next test of the schedule.

    Raises:
        ValueError: there is no schedule.
    """
    if config.selftest.every_h is None:
        raise ValueError("selftest.every_h is null")
    latest = SelfTests(config.storage.root).latest()
    if latest is None:
        return 0.0
    return max(0.0, (latest.at + timedelta(hours=config.selftest.every_h) - now).total_seconds())


def _calibration(config: Config) -> tuple[Calibration, float]:
    for field in config.calibration.by_field:
        found = calibration_for(float(field), config.calibration.by_field)
        if found is not None:
            return found, float(field)
    raise ConfigError("calibration.by_field: empty, so the self-test has no LIC to compare with")


def _push(config: Config, at: datetime, field_t: float) -> str:
    """Send the phantom to the listener of this storage root; its Study Instance UID."""
    listener = gateway_run(config).facts("listener")
    if listener is None:
        raise PeerError("the node does not run: there is no listener to send the phantom to")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.receive.host, config.receive.host)  # noqa: S104 - not bound to
    peer = Peer(
        ae_title=config.receive.ae_title,
        host=host,
        port=int(listener["port"]),
        tls=config.selftest.tls,
        tls_key="selftest.tls.",
    )
    phantom = make_abdomen(
        r2star_per_s=R2STAR_PER_S,
        field_t=field_t,
        echo_times_s=default_echo_times_s(field_t, echoes=_ECHOES, te1_ms=None, delta_te_ms=None),
        n_slices=_SLICES,
        matrix=_MATRIX,
    )
    facts = StudyFacts(
        patient_name="Selftest^Ironnode",
        patient_id=SELF_TEST_PATIENT_ID,
        study_date=f"{at:%Y%m%d}",
        study_time=f"{at:%H%M%S.%f}",
        accession_number="",
        study_description="ironnode self-test, no patient",
    )
    with tempfile.TemporaryDirectory(prefix="ironnode-selftest-") as folder:
        files = write_phantom(phantom, Path(folder), facts=facts)
        truth = json.loads((Path(folder) / "truth.json").read_bytes())
        outcomes = send(files, peer, calling_ae_title=config.selftest.ae_title, timeout_s=30.0)
    refused = [outcome for outcome in outcomes if not outcome.stored]
    if refused:
        raise PeerError(f"the listener refused {len(refused)} of {len(files)} images: {refused[0].detail}")
    return str(truth["study_uid"])


def _result(node: Node, study_uid: str, stop: threading.Event, blank: SelfTest) -> SelfTest:
    """The test with what the worker measured."""
    until = time.monotonic() + node.config.selftest.timeout_s
    while not stop.is_set() and time.monotonic() < until:
        job = next((line for line in node.jobs() if line.study_instance_uid == study_uid), None)
        if job is not None and job.state in (JobState.DONE, JobState.PARKED):
            record: Any = node.show(job.job_id).record or {}
            lic, r2star = (record.get(key) or {} for key in ("lic_mg_per_g", "r2star_per_s"))
            reasons = "; ".join(reason["text"] for reason in record.get("reasons", ()))
            text = reasons or job.error or ""
            return replace(
                blank,
                job_id=job.job_id,
                lic_mg_per_g=lic.get("median"),
                r2star_per_s=r2star.get("median"),
                text=text,
                settings_digest=record.get("settings_digest") or blank.settings_digest,
            )
        stop.wait(_LOOK_EVERY_S)
    return replace(blank, text=f"no result within {node.config.selftest.timeout_s:g} s")


def judge(test: SelfTest, earlier: Sequence[SelfTest], config: Config) -> SelfTest:
    """The test with its verdict, against the truth and against the first of the ``earlier`` ones that is alike."""
    if test.lic_mg_per_g is None:
        return replace(test, verdict=Verdict.FAILED, text=test.text or "the phantom was not measured")
    deviation = 100.0 * (test.lic_mg_per_g / test.expected_lic_mg_per_g - 1.0)
    alike = [
        t.lic_mg_per_g
        for t in earlier
        if t.lic_mg_per_g is not None
        and (t.method_version, t.settings_digest) == (test.method_version, test.settings_digest)
    ]
    change = 100.0 * (test.lic_mg_per_g / alike[0] - 1.0) if alike else None  # against the first: slow drift adds up
    text = f"LIC {test.lic_mg_per_g:.2f} mg/g, expected {test.expected_lic_mg_per_g:.2f} ({deviation:+.1f} %)"
    if change is not None:
        text += f", {change:+.2f} % since the first test of this method and these settings"
    settings = config.selftest
    drifted = abs(deviation) > settings.tolerance_percent or abs(change or 0.0) > settings.drift_percent
    return replace(
        test,
        verdict=Verdict.DRIFTED if drifted else Verdict.PASSED,
        text=text,
        deviation_percent=deviation,
        change_percent=change,
    )
