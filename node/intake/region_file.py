"""A drawn region that comes as a file instead of by C-STORE: checked alike, and kept in the same inbox."""

from typing import BinaryIO

from node.errors import InputError
from node.intake.dataset_walk import MalformedDataSetError
from node.intake.file_meta import FileMeta, decode_file_meta, head_bytes
from node.intake.headers import stored_header
from node.intake.incoming import IncomingInstance, Kept
from node.intake.spool import Spool

_BLOCK = 1 << 20
_NAME = "the file"  # never its own name, which may identify a patient


def keep_region(spool: Spool, file: BinaryIO, *, study_instance_uid: str, sender: str, max_bytes: int) -> str:
    """Keep a Segmentation or RT Structure Set of a study; its SOP Instance UID. ``sender`` stands for the AE title.

    Raises:
        InputError: too large, no DICOM file, cut off, no region, of another study, or its UID is known.
        StorageError: the disk refused.
    """
    head = file.read(head_bytes())
    meta, start = decode_file_meta(head, _NAME)
    file.seek(start)
    meta = FileMeta(
        sop_class_uid=meta.sop_class_uid,
        sop_instance_uid=meta.sop_instance_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        calling_ae_title=sender,
    )
    with spool.begin(meta) as incoming:
        while block := file.read(_BLOCK):
            if incoming.data_set_bytes + len(block) > max_bytes:
                raise InputError(f"the file is larger than {max_bytes >> 20} MiB")
            incoming.write(block)
        try:
            incoming.check()
        except MalformedDataSetError as error:
            raise InputError(f"the file is damaged or cut off ({error})") from error
        _check_region(incoming, study_instance_uid)
        kept = incoming.keep()
    if kept is Kept.KNOWN:
        raise InputError("this very region is here already; choose it from the list of regions")
    if kept is Kept.CONFLICT:
        raise InputError(
            "another object with the same SOP Instance UID is here already, so this one is not used: save the region "
            "under a new UID at the workstation, then upload that"
        )
    return meta.sop_instance_uid


def _check_region(incoming: IncomingInstance, study_instance_uid: str) -> None:
    incoming.arrived()
    try:
        header = stored_header(incoming.path)
    except InputError as error:
        raise InputError(str(error).replace(incoming.path.name, _NAME)) from error
    if header.region is None:
        raise InputError("the file holds no region: a DICOM Segmentation or an RT Structure Set is needed")
    if header.study_instance_uid != study_instance_uid:
        raise InputError("the region was drawn on another study than the one of this job")
