"""Phantom acquisitions written as DICOM in the dialects of the vendors."""

from node.simulate.dialects import DIALECTS, Dialect
from node.simulate.facts import StudyFacts
from node.simulate.localiser import write_diffusion, write_localiser
from node.simulate.writer import LABELS_FILE, TRUTH_FILE, write_phantom

__all__ = [
    "DIALECTS",
    "LABELS_FILE",
    "TRUTH_FILE",
    "Dialect",
    "StudyFacts",
    "write_diffusion",
    "write_localiser",
    "write_phantom",
]
