"""A phantom as the files that a scanner would have sent, with the truth beside them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from node.simulate.classic import Study, save
from node.simulate.dialects import BUILDERS, DIALECTS, Dialect
from node.simulate.facts import StudyFacts, study_identity
from quant.phantom import Kind, Label, Phantom

TRUTH_FILE = "truth.json"
LABELS_FILE = "truth_labels.npz"


def write_phantom(
    phantom: Phantom,
    out: Path,
    *,
    dialect: Dialect = "generic",
    kind: Kind | None = None,
    facts: StudyFacts | None = None,
) -> list[Path]:
    """Write the phantom into ``out`` and return the DICOM files.

    ``kind`` complex adds phase (for GE: real and imaginary) images and needs a complex phantom; None writes what the
    phantom has. ``truth.json`` and ``truth_labels.npz`` are written beside the images. Equal arguments give equal
    bytes.
    """
    if dialect not in DIALECTS:
        raise ValueError(f"dialect must be one of {', '.join(DIALECTS)}, not {dialect!r}")
    with_phase = phantom.acquisition.is_complex if kind is None else kind == "complex"
    if with_phase and not phantom.acquisition.is_complex:
        raise ValueError("a magnitude phantom has no phase to write; simulate it with kind='complex'")
    facts = facts or StudyFacts()
    study = Study(phantom=phantom, facts=facts, identity=study_identity(phantom, dialect=dialect, facts=facts))
    out.mkdir(parents=True, exist_ok=True)
    images = _write_images(study, out, dialect, with_phase)
    _write_truth(study, out, dialect, with_phase, images)
    return [out / name for name in images]


def _write_images(study: Study, out: Path, dialect: Dialect, with_phase: bool) -> dict[str, Dataset]:
    """File name and data set (without pixels, to spare memory) of every object written."""
    images = {}
    for number, (ds, syntax) in enumerate(BUILDERS[dialect](study, with_phase), start=1):
        name = f"IM{number:05d}.dcm"
        save(ds, out / name, syntax)
        del ds.PixelData
        images[name] = ds
    return images


def _write_truth(study: Study, out: Path, dialect: Dialect, with_phase: bool, images: dict[str, Dataset]) -> None:
    truth = study.phantom.truth
    np.savez_compressed(
        out / LABELS_FILE,
        labels=truth.labels,
        liver=truth.liver,
        whole_liver=truth.whole_liver,
        r2star_per_s=truth.r2star_per_s,
        pdff=truth.pdff,
        positions_mm=study.phantom.acquisition.geometry.positions_mm,
    )
    record = _record(study, dialect, with_phase)
    record["series_uids"] = sorted({str(ds.SeriesInstanceUID) for ds in images.values()})
    record["instances"] = [{"file": name, "sop_instance_uid": str(ds.SOPInstanceUID)} for name, ds in images.items()]
    (out / TRUTH_FILE).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _record(study: Study, dialect: Dialect, with_phase: bool) -> dict[str, Any]:
    """The requested parameters and the values per tissue."""
    phantom, truth = study.phantom, study.phantom.truth
    acquisition, geometry = phantom.acquisition, phantom.acquisition.geometry
    return {
        "schema_version": 1,
        "dialect": dialect,
        "kind": "complex" if with_phase else "magnitude",
        "seed": truth.seed,
        "r2star_per_s": truth.requested_r2star_per_s,
        "pdff_percent": truth.requested_pdff_percent,
        "field_t": acquisition.field_t,
        "echo_times_ms": [round(1000 * float(t), 6) for t in acquisition.echo_times_s],
        "snr": truth.snr,
        "coils": truth.coils,
        "matrix": list(acquisition.signal.shape[1:3]),
        "slices": acquisition.signal.shape[0],
        "spacing_mm": list(geometry.spacing_mm),
        "study_uid": study.identity.study_uid,
        "frame_of_reference_uid": study.identity.frame_of_reference_uid,
        "labels_file": LABELS_FILE,
        "liver_voxels": int(truth.liver.sum()),
        "tissues": _tissues(phantom),
    }


def _tissues(phantom: Phantom) -> dict[str, dict[str, float]]:
    """Label, R2*, fat fraction and extent of every tissue that the slices show."""
    truth = phantom.truth
    present = [Label(value) for value in np.unique(truth.labels)]
    return {
        label.name.lower(): {
            "label": int(label),
            "r2star_per_s": truth.tissues[label].r2star_per_s,
            "pdff": truth.tissues[label].pdff,
            "voxels": int((truth.labels == label).sum()),
        }
        for label in present
    }
