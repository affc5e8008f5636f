"""Who made a result set, and the identifiers that follow from it.

All UIDs derive from the job (its inputs, settings and method version), so that building the same job twice gives the
same objects, and any other job gives other UIDs: an archive keeps the old content when a UID comes back with a new one.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset

MANUFACTURER = "ironnode"
MODEL_NAME = "ironnode liver iron"
CONTENT_CREATOR = "ironnode^automatic"  # a person name needs two parts
IMPLEMENTATION_VERSION_NAME = "IRONNODE"  # at most 16 characters, PS3.7 D.3.3.2.3

_NAMESPACE = uuid.UUID("e66ff3d2-b748-4d11-941f-9d6de68eb4cb")
_SEPARATOR = "\x1f"


def _uid(*parts: str) -> str:
    """UUID-derived UID, PS3.5 B.2: root 2.25 and the UUID as one decimal number."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, _SEPARATOR.join(parts)).int}"


def derive_uid(job_id: str, role: str, index: int = 0) -> str:
    """The UID of object ``index`` of ``role`` in the result set of ``job_id``."""
    return _uid("job", job_id, role, str(index))


def implementation_class_uid() -> str:
    """Identifies this implementation in the file meta information, PS3.7 D.3.3.2."""
    return _uid("implementation")


def device_uid(software_version: str, method_version: str, algorithm: str = "") -> str:
    """Device UID (0018,1002): another one whenever software or method change (IHE AI Results)."""
    return _uid("device", software_version, method_version, algorithm)


def frame_of_reference_uid(series_instance_uid: str) -> str:
    """Frame of reference for a source series that declares none: its planes share one, and only they."""
    return _uid("frame of reference", series_instance_uid)


def tracking_uid(patient: Dataset, subject: str) -> str:
    """Identity of the thing measured (for example this patient's liver): the same in every study of the patient.

    Without a Patient ID only the study can be followed.
    """
    patient_id, issuer = str(patient.get("PatientID") or ""), str(patient.get("IssuerOfPatientID") or "")
    if patient_id:
        return _uid("tracking", issuer, patient_id, subject)
    return _uid("tracking study", str(patient.StudyInstanceUID), subject)


@dataclass(frozen=True, kw_only=True)
class ResultIdentity:
    """What decides identifiers, dates and origin of a result set.

    ``accepted_at`` was frozen when the job was accepted; every date and time of the objects comes from it.
    ``revision`` counts the result sets of one acquisition, from 1.
    """

    job_id: str
    accepted_at: datetime
    revision: int = 1
    institution: str | None = None

    def __post_init__(self) -> None:
        if not self.job_id:
            raise ValueError("job_id is empty")
        if self.accepted_at.tzinfo is None:
            raise ValueError("accepted_at needs a time zone")
        if self.revision < 1:
            raise ValueError(f"revision counts from 1, not {self.revision}")

    @property
    def revision_suffix(self) -> str:
        """What descriptions say about the revision; nothing for the first."""
        return "" if self.revision == 1 else f" (revision {self.revision})"
