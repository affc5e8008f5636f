"""Companions of a liver series in the same study that are not ours: a scout in three planes, and diffusion images."""

from pathlib import Path

import numpy as np
from pydicom.uid import ExplicitVRLittleEndian

from node.simulate.classic import Scanner, Study, mr_image, save, set_pixels
from node.simulate.facts import StudyFacts, study_identity
from node.simulate.frames import Part, frames, signal_peak
from quant.phantom import AbdomenAnatomy, Orientation, Phantom, make_abdomen

_SCANNER = Scanner(manufacturer="Ironnode", model="Digital abdomen", software="1")
_PLANES: tuple[Orientation, ...] = ("axial", "coronal", "sagittal")


def write_localiser(
    phantom: Phantom, out: Path, *, dialect: str = "generic", facts: StudyFacts | None = None
) -> list[Path]:
    """A one-echo scout of the same body in three planes, as a series of the study that ``write_phantom`` writes."""
    facts = facts or StudyFacts()
    identity = study_identity(phantom, dialect=dialect, facts=facts)
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, orientation in enumerate(_PLANES, start=1):
        scout = _scout(phantom, orientation)
        study = Study(phantom=scout, facts=facts, identity=identity)
        for frame in frames(scout.acquisition, (Part.MAGNITUDE,)):
            ds = mr_image(study, _SCANNER, frame, series="series/scout", series_number=1)
            ds.SOPInstanceUID = identity.uid(f"series/scout/{orientation}/{frame.slice}")
            ds.ImageType, ds.SeriesDescription = ["ORIGINAL", "PRIMARY", "M", "ND"], "Localizer"
            ds.InstanceNumber = 3 * (number - 1) + frame.slice + 1
            stored = np.round(frame.values * 4000 / signal_peak(scout.acquisition)).astype(np.uint16)
            set_pixels(ds, stored, bits_stored=12)
            name = out / f"SCOUT{ds.InstanceNumber:03d}.dcm"
            paths.append(save(ds, name, ExplicitVRLittleEndian))
    return paths


def _scout(phantom: Phantom, orientation: Orientation) -> Phantom:
    truth = phantom.truth
    return make_abdomen(
        r2star_per_s=truth.requested_r2star_per_s,
        pdff_percent=truth.requested_pdff_percent,
        field_t=phantom.acquisition.field_t,
        echo_times_s=np.array([4.6e-3]),
        n_slices=3,
        matrix=128,
        slice_thickness_mm=8.0,
        gap_mm=30.0,
        orientation=orientation,
        seed=truth.seed,
        anatomy=truth.anatomy or AbdomenAnatomy(),
    )


def write_diffusion(
    phantom: Phantom, out: Path, *, dialect: str = "generic", facts: StudyFacts | None = None
) -> list[Path]:
    """An echo-planar diffusion series (b 0 and 800 s/mm2) at the positions of the liver series: one echo time."""
    facts = facts or StudyFacts()
    identity = study_identity(phantom, dialect=dialect, facts=facts)
    out.mkdir(parents=True, exist_ok=True)
    study = Study(phantom=phantom, facts=facts, identity=identity)
    scale = 4000 / signal_peak(phantom.acquisition)
    paths = []
    for frame in frames(phantom.acquisition, (Part.MAGNITUDE,)):
        if frame.echo not in (0, 1):
            continue
        b_value = 800.0 * frame.echo
        ds = mr_image(study, _SCANNER, frame, series="series/diffusion", series_number=9)
        ds.ScanningSequence, ds.SequenceVariant, ds.SequenceName = "EP", "SK", f"ep_b{b_value:.0f}"
        ds.SeriesDescription, ds.EchoTime, ds.EchoNumbers = "DWI b0 b800", "62", 1
        ds.ImageType = ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"]
        ds.DiffusionBValue = b_value
        ds.InstanceNumber = 2 * frame.slice + frame.echo + 1
        stored = np.round(frame.values * scale * np.exp(-b_value * 1.1e-3)).astype(np.uint16)
        set_pixels(ds, stored, bits_stored=12)
        paths.append(save(ds, out / f"DWI{ds.InstanceNumber:03d}.dcm", ExplicitVRLittleEndian))
    return paths
