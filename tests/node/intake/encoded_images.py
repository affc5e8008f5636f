"""Data sets encoded by pydicom: the independent truth for what walks over and stores them."""

import io
import zlib
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from node.intake.file_meta import FileMeta
from node.intake.incoming import IncomingInstance
from node.intake.spool import Spool

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
UNCOMPRESSED = (EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG)


def image(sop_instance_uid: str = "1.2.3.4", *, rows: int = 8) -> Dataset:
    """A small MR image with nested sequences."""
    data_set = Dataset()
    data_set.SOPClassUID = MR_IMAGE
    data_set.SOPInstanceUID = sop_instance_uid
    data_set.StudyInstanceUID = "1.2.3"
    data_set.SeriesInstanceUID = "1.2.3.5"
    data_set.PatientName = "Test^Only"
    inner = Dataset()
    inner.CodeValue = "113076"
    outer = Dataset()
    outer.PurposeOfReferenceCodeSequence = Sequence([inner, Dataset()])
    data_set.ReferencedImageSequence = Sequence([outer, outer])
    data_set.Rows = data_set.Columns = rows
    data_set.BitsAllocated = data_set.BitsStored = 16
    data_set.HighBit, data_set.PixelRepresentation, data_set.SamplesPerPixel = 15, 0, 1
    data_set.add_new(0x7FE00010, "OW", bytes(2 * rows * rows))
    return data_set


def open_lengths(data_set: Dataset) -> Dataset:
    """Give every sequence and item an undefined length."""
    for element in data_set.iterall():
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
    return data_set


def encoded(data_set: Dataset, transfer_syntax_uid: str = EXPLICIT_LITTLE) -> bytes:
    """The data set alone, as it would be sent."""
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = transfer_syntax_uid == IMPLICIT_LITTLE
    buffer.is_little_endian = transfer_syntax_uid != EXPLICIT_BIG
    write_dataset(buffer, data_set)
    plain = buffer.getvalue()
    if transfer_syntax_uid != DEFLATED:
        return plain
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return squeeze.compress(plain) + squeeze.flush()


def written(data_set: Dataset, transfer_syntax_uid: str = EXPLICIT_LITTLE) -> bytes:
    """The data set as a DICOM file."""
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = pydicom.uid.UID(transfer_syntax_uid)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, data_set, enforce_file_format=True, overwrite=True)
    return buffer.getvalue()


def meta(sop_instance_uid: str = "1.2.3.4", transfer_syntax_uid: str = str(ExplicitVRLittleEndian)) -> FileMeta:
    """File meta information as the listener makes it."""
    return FileMeta(
        sop_class_uid=MR_IMAGE,
        sop_instance_uid=sop_instance_uid,
        transfer_syntax_uid=transfer_syntax_uid,
        calling_ae_title="MR1",
        called_ae_title="IRONNODE",
    )


def arrive(spool: Spool, data: bytes, sop_instance_uid: str = "1.2.3.4") -> IncomingInstance:
    """An instance whose data set is written but not kept yet."""
    incoming = spool.begin(meta(sop_instance_uid))
    incoming.write(data)
    return incoming


def everything_under(folder: Path) -> list[str]:
    """Relative names of all files."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
