"""Stored pixel values of single planes, decoded from whatever transfer syntax they came in."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import (
    JPEG2000,
    UID,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    JPEGLSTransferSyntaxes,
)

from node.errors import InputError, UnreadableError
from node.intake.headers import quiet_pydicom, read_dataset
from node.intake.tags import ODD_DATA, text, whole
from node.process.pixel_size import SIZE_TAGS, OtherSizeError, check_size

StoredPlane = npt.NDArray[np.integer[Any]]

_ALWAYS_LOSSY = frozenset(str(syntax) for syntax in (JPEGBaseline8Bit, JPEGExtended12Bit))
_PERHAPS_LOSSY = frozenset(str(syntax) for syntax in (JPEGLSNearLossless, JPEG2000))

_BROKEN_PIXELS = (*ODD_DATA, OSError, RuntimeError, MemoryError, AssertionError)
"""What pydicom's decoders and their plug-ins raise on pixel data that are short or corrupt."""

_TWELVE_BIT_LIMIT = 4095
_MOST_BITS = 64


def read_planes(path: Path, ds: Dataset, frame_numbers: Sequence[int]) -> Iterator[StoredPlane]:
    """Stored values (y, x) of the wanted frames, in the order asked for; 0 is the plane of a classic image.

    Raises:
        UnreadableError: there are no pixel data, they are not as large as the header says, or cannot be decoded.
        StorageError: the system does not give the file.
    """
    shape = (whole(ds, "Rows"), whole(ds, "Columns"))
    wanted = [max(frame_number - 1, 0) for frame_number in frame_numbers]
    planes = _decoded(path, ds, wanted)
    for frame_number in frame_numbers:
        plane = next(planes, None)
        if plane is None or plane.shape != shape:
            found = "nothing" if plane is None else f"an array {plane.shape}"
            detail = f"Frame {frame_number or 1} decodes to {found}, not {shape} pixels."
            raise _undecodable(path, ds, detail)
        _check_range(path, ds, plane)
        yield plane


def _check_range(path: Path, ds: Dataset, plane: StoredPlane) -> None:
    """Bits above Bits Stored (overlays once lay there), or a header that is wrong: either way no signal."""
    limit, highest = stored_limit(ds), int(plane.max())
    if highest > limit:
        words = f"Pixels of image {text(ds, 'SOPInstanceUID')} reach {highest}, Bits Stored (0028,0101) allow {limit}."
        raise UnreadableError("pixels_beyond_bits", words, file_name=path.name)


def _decoded(path: Path, ds: Dataset, wanted: list[int]) -> Iterator[StoredPlane]:
    with quiet_pydicom():
        source = _with_pixels(path, ds)
        try:
            check_size(source, wanted)
            yield from iter_pixels(
                source, indices=wanted, raw=True, correct_unused_bits=False, decoding_plugin=decoder_for(_syntax(ds))
            )
        except OtherSizeError as error:
            uid = text(ds, "SOPInstanceUID")
            words = f"The Pixel Data (7FE0,0010) of image {uid} are not of the size that {SIZE_TAGS} say."
            raise UnreadableError("pixels_unreadable", words, file_name=path.name, detail=str(error)) from error
        except _BROKEN_PIXELS as error:
            raise _undecodable(path, ds, _first_line(error)) from error


def _with_pixels(path: Path, ds: Dataset) -> Dataset:
    """The file read whole, once for all its frames."""
    try:
        source = read_dataset(path, with_pixels=True)
    except InputError as error:
        raise _undecodable(path, ds, str(error)) from error
    element = source.get_item("PixelData", keep_deferred=True)  # not decoded: its VR may not exist
    if element is None or not element.value:
        words = f"Image {text(ds, 'SOPInstanceUID')} has no Pixel Data (7FE0,0010)."
        raise UnreadableError("no_pixel_data", words, file_name=path.name)
    return source


def _undecodable(path: Path, ds: Dataset, detail: str) -> UnreadableError:
    words = f"The pixel data of image {text(ds, 'SOPInstanceUID')} cannot be decoded ({_syntax(ds).name})."
    return UnreadableError("pixels_unreadable", words, file_name=path.name, detail=detail)


def _syntax(ds: Dataset) -> UID:
    return UID(text(ds.file_meta, "TransferSyntaxUID"))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def decoder_for(syntax: UID) -> str:
    """The plug-in of pydicom that decodes a transfer syntax; empty: whichever there is.

    GDCM takes the size of a JPEG-LS image from the header: where its codestream states another, it wraps the rows
    wrongly without a word, or ends the process.
    """
    return "pyjpegls" if syntax in JPEGLSTransferSyntaxes else ""


def is_lossy(ds: Dataset) -> bool:
    """Whether the pixels ever went through lossy compression (PS3.3 C.7.6.1.1.5)."""
    syntax = text(ds.file_meta, "TransferSyntaxUID")
    told = text(ds, "LossyImageCompression")
    return told == "01" or syntax in _ALWAYS_LOSSY or (syntax in _PERHAPS_LOSSY and told != "00")


def stored_limit(ds: Dataset) -> int:
    """The largest value that the stored bits can hold."""
    told = (whole(ds, keyword) for keyword in ("BitsStored", "BitsAllocated"))
    bits = next((bits for bits in told if bits is not None and 0 < bits <= _MOST_BITS), 16)
    return int(2 ** (bits - 1) - 1) if whole(ds, "PixelRepresentation") == 1 else int(2**bits - 1)


def at_limit(plane: StoredPlane, limit: int) -> npt.NDArray[np.bool_]:
    """Voxels (y, x) at the stored maximum. Twelve-bit images are often declared with sixteen bits: a plane whose
    largest value is exactly 4095 is taken as one of them."""
    effective = _TWELVE_BIT_LIMIT if int(plane.max()) == _TWELVE_BIT_LIMIT < limit else limit
    return np.asarray(plane >= effective)
