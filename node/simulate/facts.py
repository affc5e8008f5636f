"""Who the fictitious patient is, and the identifiers of a simulated study."""

import hashlib
import json
import uuid
from dataclasses import asdict, dataclass

from quant.phantom import Phantom

_NAMESPACE = uuid.UUID("5d0f5c1e-9a47-5b0c-9c3e-2f6f1a7b8e10")
IMPLEMENTATION_CLASS_UID = f"2.25.{uuid.uuid5(_NAMESPACE, 'implementation').int}"


@dataclass(frozen=True, kw_only=True)
class StudyFacts:
    """Patient, study and sequence facts of a simulated study; every patient here is invented."""

    patient_name: str = "Phantom^Liver"
    patient_id: str = "IRONNODE-PHANTOM"
    birth_date: str = "19800101"
    sex: str = "O"
    study_date: str = "20260105"
    study_time: str = "101500"
    accession_number: str = "PHANTOM1"
    study_id: str = "1"
    study_description: str = "MRI liver iron (simulated)"
    referring_physician: str = "Nobody^Simulated"
    series_number: int = 5
    repetition_time_ms: float = 150.0
    flip_angle_deg: float = 20.0


@dataclass(frozen=True, kw_only=True)
class Identity:
    """UIDs of one simulated study, derived from what it contains: the same study twice has the same UIDs."""

    digest: str

    def uid(self, role: str) -> str:
        """A UID below 2.25 (PS3.5 B.2) for a role such as ``study`` or ``series/5``."""
        return f"2.25.{uuid.uuid5(_NAMESPACE, f'{self.digest}/{role}').int}"

    @property
    def study_uid(self) -> str:
        return self.uid("study")

    @property
    def frame_of_reference_uid(self) -> str:
        return self.uid("frame-of-reference")


def study_identity(phantom: Phantom, *, dialect: str, facts: StudyFacts) -> Identity:
    """The identity of a phantom written in a dialect with these facts."""
    acquisition = phantom.acquisition
    digest = hashlib.sha256(acquisition.signal.tobytes())
    digest.update(acquisition.echo_times_s.tobytes())
    digest.update(acquisition.geometry.positions_mm.tobytes())
    digest.update(json.dumps([dialect, phantom.truth.seed, asdict(facts)], sort_keys=True).encode())
    return Identity(digest=digest.hexdigest())
