"""What the fuzzer starts from: small files of our own phantoms and objects, and real hostile ones where there are."""

import struct
import tempfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from node.dimse.command import (
    command_pdu,
    data_pdu_head,
    encode_action_request,
    encode_echo_request,
    encode_event_report_request,
    encode_store_request,
)
from node.dimse.contexts import COMMITMENT_SOP_CLASS, COMMITMENT_SOP_INSTANCE
from node.dimse.data_sets import encode_for
from node.dimse.requestor import Context
from node.intake.dataset_walk import IMPLICIT_VR_LITTLE_ENDIAN
from node.simulate.command import make_phantom_files
from sr_templates.check import encode
from tests.fuzz.targets import ASSOCIATE, FRAME_OF_REFERENCE, PATIENT_ID, place
from tests.node.drawn_regions import plane_images, write_rtstruct, write_seg
from tests.node.mr_images import AXIAL
from tests.node.transcoding import transcode
from tests.nodekit.small_study import write_study
from tests.sr_templates.sr_sources import build, make_classic, make_geometry

_DIALECTS = ("generic", "siemens", "siemens-xa", "ge", "philips", "philips-enhanced", "canon")
_LARGEST_SEED_BYTES = 1 << 16
_MR = "1.2.840.10008.5.1.4.1.1.4"
_RELEASE = bytes.fromhex("05000000000400000000")
_ABORT = bytes.fromhex("07000000000400000000")


def seeds_of(target: str, data: Path | None) -> Iterator[bytes]:
    """The seeds of a target; ``data`` is the folder of real files, where there is one."""
    make: dict[str, Callable[[Path], Iterator[bytes]]] = {
        "association": lambda _: _associations(),
        "p-data": lambda _: _messages(),
        "header": _images,
        "pixels": _images,
        "structured-report": lambda _: _reports(),
        "region": _regions,
    }
    with tempfile.TemporaryDirectory() as folder:
        yield from make[target](Path(folder))
    if data is not None and target in ("header", "pixels", "region"):
        for path in sorted([*data.glob("hostile-part1/**/*.dcm"), *data.glob("compressed-and-odd/*.dcm")]):
            if path.stat().st_size <= _LARGEST_SEED_BYTES:
                yield path.read_bytes()


def _associations() -> Iterator[bytes]:
    yield ASSOCIATE
    yield ASSOCIATE + _RELEASE
    yield ASSOCIATE[:40]
    yield _RELEASE
    yield _ABORT


def _messages() -> Iterator[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        image = dcmread(write_study(Path(folder))[0])
    data = encode_for(Context(sop_class_uid=_MR, transfer_syntax_uid="1.2.840.10008.1.2.1"), _bare(image))
    store = command_pdu(3, encode_store_request(1, _MR, str(image.SOPInstanceUID)))
    yield store + data_pdu_head(3, len(data), command=False, last=True) + data + _RELEASE
    half = len(data) // 2
    yield (
        store + data_pdu_head(3, half, command=False, last=False) + data[:half]
        + data_pdu_head(3, len(data) - half, command=False, last=True) + data[half:]
    )  # fmt: skip
    yield command_pdu(1, encode_echo_request(1, "1.2.840.10008.1.1")) + _RELEASE
    implicit = Context(sop_class_uid=COMMITMENT_SOP_CLASS, transfer_syntax_uid=IMPLICIT_VR_LITTLE_ENDIAN)
    item, report = Dataset(), Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = _MR, "1.2.3"
    report.TransactionUID, report.ReferencedSOPSequence = "1.2.3.4", [item]
    told = encode_for(implicit, report)
    for command in (
        encode_action_request(1, COMMITMENT_SOP_CLASS, COMMITMENT_SOP_INSTANCE, 1),
        encode_event_report_request(1, COMMITMENT_SOP_CLASS, COMMITMENT_SOP_INSTANCE, 1),
    ):
        yield command_pdu(7, command) + data_pdu_head(7, len(told), command=False, last=True) + told
    yield _ABORT
    yield struct.pack(">BBL", 4, 0, 1 << 20)


def _bare(image: Dataset) -> Dataset:
    del image.file_meta
    return image


def _images(folder: Path) -> Iterator[bytes]:
    for dialect in _DIALECTS:
        files = make_phantom_files(
            out=folder / dialect, r2star_per_s=100, pdff_percent=2, field_t="1.5", echoes=3, te1_ms=None,
            delta_te_ms=None, slices=1, matrix=32, snr=50, dialect=dialect, kind="magnitude", seed=1,
        )  # fmt: skip
        yield files[0].read_bytes()
    first = sorted((folder / "generic").rglob("*.dcm"))[0]
    for syntax in ("JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless"):
        yield transcode(first, folder / f"{syntax}.dcm", syntax).read_bytes()
    image = dcmread(first)
    image.compress(RLELossless)
    image.save_as(folder / "rle.dcm", enforce_file_format=True)
    yield (folder / "rle.dcm").read_bytes()


def _reports() -> Iterator[bytes]:
    built = build(make_classic(make_geometry()))
    for item in built.objects:
        if item.role.startswith("sr"):
            dataset = _bare(dcmread_bytes(encode(item.dataset)))
            for number, syntax in enumerate(("1.2.840.10008.1.2.1", IMPLICIT_VR_LITTLE_ENDIAN)):
                context = Context(sop_class_uid=str(dataset.SOPClassUID), transfer_syntax_uid=syntax)
                yield bytes((number,)) + encode_for(context, dataset)


def dcmread_bytes(content: bytes) -> Dataset:
    """A file's data set."""
    return dcmread(BytesIO(content))


def _regions(folder: Path) -> Iterator[bytes]:
    where = place()
    spacing, start = where.geometry.spacing_mm, tuple(where.geometry.positions_mm[0])
    images = plane_images(
        AXIAL, start, spacing, where.shape, FrameOfReferenceUID=FRAME_OF_REFERENCE, PatientID=PATIENT_ID
    )
    mask = np.zeros(where.shape, bool)
    mask[1:3, 3:8, 4:9] = True
    for kind in ("BINARY", "FRACTIONAL"):
        drawn = mask if kind == "BINARY" else mask.astype(np.float32)
        yield write_seg(folder / f"{kind}.dcm", images, drawn, kind=kind).read_bytes()
    square = np.array([(4.0, 4.0), (16.0, 4.0), (16.0, 14.0), (4.0, 14.0)])
    contours = [np.column_stack([square, np.full(4, height)]) for height in (8.0, 16.0)]
    yield write_rtstruct(
        folder / "rt.dcm", {"Liver": contours}, frame=FRAME_OF_REFERENCE, patient_id=PATIENT_ID
    ).read_bytes()
