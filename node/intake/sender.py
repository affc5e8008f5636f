"""Who sent a stored file, and about whom: for the audit messages, the only ones that name a patient."""

import warnings
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError


def sender_of(path: Path) -> tuple[str, str]:
    """AE title that sent a file of the spool, and its Patient ID (0010,0020); ``unknown`` where there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote header values: patient data
            found = dcmread(path, stop_before_pixels=True, specific_tags=["PatientID"])
            title, patient_id = found.file_meta.get("SourceApplicationEntityTitle"), found.get("PatientID")
    except (OSError, InvalidDicomError, ValueError, KeyError, AttributeError, TypeError):
        return "unknown", "unknown"
    return str(title or "unknown"), str(patient_id or "unknown")
