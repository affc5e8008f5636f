"""A node's worker with a measurement that takes no time: ``python fast_node.py worker ...`` in place of node.roles.

While ``<storage.root>/hold`` exists a run does not end; every run leaves a file ``runs/<job id>.<process id>``. The
file ``poison`` beside it says which studies end their process, and how: ``{"<Study Instance UID>": "SIGSEGV"}``,
``long`` (until the time limit) or ``endless`` (beyond it).
"""

import functools
import io
import json
import os
import signal
import sys
import time
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from node.config import Config
from node.jobs.work import Pipeline
from node.model import JobInput, PipelineOutput
from node.roles import worker
from node.roles.stage import run_role

ROLES = ("map.r2star", "map.lic", "sr")


def make_result(job: JobInput, settings_digest: str | None = None) -> PipelineOutput:
    """Three small objects that depend on nothing but the job; the record names the settings, where they are given."""
    files, objects = {}, []
    for index, role in enumerate(ROLES):
        uid = f"2.25.{int(job.job_id, 16) % 10**30}.{index}"
        name = f"dicom/{index}.dcm"
        files[name] = _object(uid, role, job)
        objects.append({"role": role, "sop_class_uid": MRImageStorage, "sop_instance_uid": uid, "file": name})
    replaced = [item.sop_instance_uid for earlier in job.replaces for item in earlier.objects if item.role == "sr"]
    record = {
        "status": "measured",
        "instances": len(job.files),
        "revision": {"number": job.revision, "cause": job.cause, "replaces": replaced},
        "objects": objects,
        **({} if settings_digest is None else {"settings_digest": settings_digest}),
    }
    return PipelineOutput(record=record, files={**files, "result.json": json.dumps(record).encode()})


def _object(uid: str, role: str, job: JobInput) -> bytes:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, uid
    ds.StudyInstanceUID = dcmread(job.files[0]).StudyInstanceUID
    ds.SeriesInstanceUID = f"{uid}.1"
    ds.SeriesDescription = role
    ds.ContentDate, ds.ContentTime = f"{job.accepted_at:%Y%m%d}", f"{job.accepted_at:%H%M%S.%f}"
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def load_fast() -> Pipeline:
    """The measurement of this module, held back while the file ``hold`` exists."""

    def run(job: JobInput, config: Config) -> PipelineOutput:
        root = config.storage.root
        (root / "runs").mkdir(exist_ok=True)
        (root / "runs" / f"{job.job_id}.{os.getpid()}").touch()
        if (root / "poison").exists():
            _take_poison(json.loads((root / "poison").read_text()).get(str(dcmread(job.files[0]).StudyInstanceUID)))
        while Path(root / "hold").exists():
            time.sleep(0.02)  # a computation that takes long
        return make_result(job, config.method_digest())

    return run


def _take_poison(kind: str | None) -> None:
    if kind == "endless":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})  # as compiled code that never looks up
    while kind in ("endless", "long"):
        time.sleep(1)  # a computation that does not end
    if kind is not None:
        os.kill(os.getpid(), signal.Signals[kind])


if __name__ == "__main__":
    run_role(sys.argv[1:], play=functools.partial(worker.play, load_pipeline=load_fast))
