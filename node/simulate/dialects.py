"""How the vendors write the same multi-echo images; here as classic MR objects, and which dialects there are.

Every builder yields (data set, transfer syntax) per image. The deviations are those seen in real files: kinds in one
series or in several, kind markers in Image Type or in private elements, scaling per image or not at all, sign flips.
"""

from collections.abc import Callable, Iterator
from typing import Literal, get_args

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from node.simulate.classic import Scanner, Study, decimal, mr_image, set_pixels
from node.simulate.enhanced import philips_enhanced
from node.simulate.frames import Frame, Part, frames, phase_steps, signal_peak
from node.simulate.siemens_xa import siemens_xa

Dialect = Literal["generic", "siemens", "siemens-xa", "ge", "philips", "philips-enhanced", "canon", "enhanced"]
DIALECTS: tuple[Dialect, ...] = get_args(Dialect)
Builder = Callable[[Study, bool], Iterator[tuple[Dataset, str]]]
_MAGNITUDE_AND_PHASE = (Part.MAGNITUDE, Part.PHASE)


def generic(study: Study, with_phase: bool) -> Iterator[tuple[Dataset, str]]:
    """Plain standard: 16-bit magnitude without rescale; phase in its own series, in milliradian after rescale."""
    scanner = Scanner(manufacturer="Ironnode", model="Digital abdomen", software="1")
    acquisition, scale = study.phantom.acquisition, 30000 / signal_peak(study.phantom.acquisition)
    for number, frame in enumerate(frames(acquisition, _MAGNITUDE_AND_PHASE if with_phase else (Part.MAGNITUDE,))):
        phase = frame.part is Part.PHASE
        series_number = study.facts.series_number + phase
        ds = mr_image(study, scanner, frame, series=f"series/{frame.part}", series_number=series_number)
        ds.ImageType = ["ORIGINAL", "PRIMARY", "P" if phase else "M"]
        ds.InstanceNumber = number % _images_per_part(study) + 1
        if phase:
            ds.RescaleIntercept, ds.RescaleSlope = decimal(-1000 * np.pi), decimal(2000 * np.pi / 4096)
            ds.RescaleType = "mrad"
            set_pixels(ds, phase_steps(frame.values), bits_stored=12)
        else:
            set_pixels(ds, np.round(frame.values * scale).astype(np.uint16), bits_stored=16)
        yield ds, ExplicitVRLittleEndian


def siemens(study: Study, with_phase: bool) -> Iterator[tuple[Dataset, str]]:
    """V-line: magnitude and phase in consecutive series, 12 bit; phase 0..4095 with slope 2 and intercept -4096."""
    echoes = len(study.phantom.acquisition.echo_times_s)
    scanner = Scanner(
        manufacturer="SIEMENS",
        model="Aera" if study.phantom.acquisition.field_t < 2 else "Skyra",
        software="syngo MR E11",
        sequence_name=f"*fl2d{echoes}",
    )
    acquisition, scale = study.phantom.acquisition, 4000 / signal_peak(study.phantom.acquisition)
    for frame in frames(acquisition, _MAGNITUDE_AND_PHASE if with_phase else (Part.MAGNITUDE,)):
        phase = frame.part is Part.PHASE
        series_number = study.facts.series_number + phase
        ds = mr_image(study, scanner, frame, series=f"series/{frame.part}", series_number=series_number)
        ds.ImageType = ["ORIGINAL", "PRIMARY", "P" if phase else "M", "ND"]
        ds.InstanceNumber = frame.echo * acquisition.signal.shape[0] + frame.slice + 1
        ds.private_block(0x0051, "SIEMENS MR HEADER", create=True).add_new(0x0F, "LO", "BO1-3;SP2-4")
        if phase:
            ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-4096", "2", "US"
            set_pixels(ds, phase_steps(frame.values), bits_stored=12)
        else:
            set_pixels(ds, np.round(frame.values * scale).astype(np.uint16), bits_stored=12)
        yield ds, ExplicitVRLittleEndian


_GE_KIND = {Part.MAGNITUDE: 0, Part.REAL: 2, Part.IMAGINARY: 3}


def ge(study: Study, with_phase: bool) -> Iterator[tuple[Dataset, str]]:
    """One series for all kinds, told apart only by (0043,102F); signed pixels, no rescale, implicit VR.

    Real and imaginary images change sign with every slice, and precession has the other sign than elsewhere.
    """
    scanner = Scanner(
        manufacturer="GE MEDICAL SYSTEMS",
        software="DV26.0_R03",
        scanning_sequence="RM",
        model="Optima MR450w" if study.phantom.acquisition.field_t < 2 else "DISCOVERY MR750",
    )
    acquisition, scale = study.phantom.acquisition, 12000 / signal_peak(study.phantom.acquisition)
    parts = tuple(_GE_KIND) if with_phase else (Part.MAGNITUDE,)
    n_slices, _, _, n_echoes = acquisition.signal.shape
    for frame in frames(acquisition, parts, conjugate=True, alternate_sign=True):
        ds = mr_image(study, scanner, frame, series="series/all", series_number=study.facts.series_number)
        ds.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
        ds.InstanceNumber = (frame.slice * n_echoes + frame.echo) * len(parts) + parts.index(frame.part) + 1
        ds.ImagesInAcquisition = n_slices * n_echoes * len(parts)
        ds.private_block(0x0019, "GEMS_ACQU_01", create=True).add_new(0x7E, "SS", n_echoes)
        parameters = ds.private_block(0x0043, "GEMS_PARM_01", create=True)
        parameters.add_new(0x2F, "SS", _GE_KIND[frame.part])
        parameters.add_new(0x30, "SS", 0)
        set_pixels(ds, np.round(frame.values * scale).astype(np.int16), bits_stored=16)
        yield ds, ImplicitVRLittleEndian


def philips(study: Study, with_phase: bool) -> Iterator[tuple[Dataset, str]]:
    """One series for all kinds; every image has its own rescale; phase in milliradian; kind also in (2005,1011)."""
    scanner = Scanner(
        manufacturer="Philips Medical Systems",
        software="5.3.1",
        model="Ingenia" if study.phantom.acquisition.field_t < 2 else "Achieva dStream",
    )
    acquisition = study.phantom.acquisition
    parts = _MAGNITUDE_AND_PHASE if with_phase else (Part.MAGNITUDE,)
    echo_times = "/".join(f"{1000 * t:.3g}" for t in acquisition.echo_times_s)
    for number, frame in enumerate(frames(acquisition, parts)):
        ds = mr_image(study, scanner, frame, series="series/all", series_number=study.facts.series_number)
        ds.InstanceNumber = number + 1
        imaging = ds.private_block(0x2001, "Philips Imaging DD 001", create=True)
        imaging.add_new(0x14, "SL", len(acquisition.echo_times_s))
        imaging.add_new(0x25, "SH", echo_times[:16])
        _philips_pixels(ds, frame)
        yield ds, ExplicitVRLittleEndian


def _philips_pixels(ds: Dataset, frame: Frame) -> None:
    private = ds.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    if frame.part is Part.PHASE:
        ds.ImageType = ["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"]
        ds.RescaleIntercept, ds.RescaleSlope = decimal(-1000 * np.pi), decimal(2000 * np.pi / 4096)
        ds.RescaleType = "mrad"
        stored = phase_steps(frame.values)
    else:
        ds.ImageType = ["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"]
        slope = decimal(float(frame.values.max()) / 4000)
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", slope, "normalized"
        stored = np.round(frame.values / float(slope)).astype(np.uint16)
    private.add_new(0x0D, "FL", 0.0)
    private.add_new(0x0E, "FL", 1.0 / float(ds.RescaleSlope))
    private.add_new(0x11, "CS", "P" if frame.part is Part.PHASE else "M")
    set_pixels(ds, stored, bits_stored=12)


def canon(study: Study, with_phase: bool) -> Iterator[tuple[Dataset, str]]:
    """Signed pixels, rescale 1 and 0, and an Image Type that names no kind (seen: dcm_qa_canon).

    No multi-echo file of Canon with phase is known; phase is written in milliradian and named, in its own series.
    """
    scanner = Scanner(manufacturer="CANON_MEC", model="Vantage Galan 3T", software="V6.0", sequence_name="FE3D")
    acquisition, scale = study.phantom.acquisition, 12000 / signal_peak(study.phantom.acquisition)
    for number, frame in enumerate(frames(acquisition, _MAGNITUDE_AND_PHASE if with_phase else (Part.MAGNITUDE,))):
        phase = frame.part is Part.PHASE
        series_number = study.facts.series_number + phase
        ds = mr_image(study, scanner, frame, series=f"series/{frame.part}", series_number=series_number)
        ds.ImageType = ["ORIGINAL", "PRIMARY", "P", "GDC"] if phase else ["ORIGINAL", "PRIMARY", "GDC"]
        ds.InstanceNumber = number % _images_per_part(study) + 1
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "US"
        if phase:
            ds.RescaleType = "mrad"
            set_pixels(ds, np.round(1000 * frame.values).astype(np.int16), bits_stored=16)
        else:
            set_pixels(ds, np.round(frame.values * scale).astype(np.int16), bits_stored=16)
        yield ds, ExplicitVRLittleEndian


def _images_per_part(study: Study) -> int:
    shape = study.phantom.acquisition.signal.shape
    return int(shape[0] * shape[3])


BUILDERS: dict[Dialect, Builder] = {
    "generic": generic,
    "siemens": siemens,
    "siemens-xa": siemens_xa,
    "ge": ge,
    "philips": philips,
    "philips-enhanced": philips_enhanced,
    "canon": canon,
    "enhanced": philips_enhanced,
}
"""``enhanced`` is the older name of ``philips-enhanced``."""
