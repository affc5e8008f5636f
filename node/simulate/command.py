"""What ``ironnode phantom`` does: simulate and write, from the options as the user gives them."""

import shutil
from pathlib import Path

from node.errors import InputError, StorageError
from node.simulate.dialects import Dialect
from node.simulate.writer import TRUTH_FILE, write_phantom
from quant.phantom import Kind, default_echo_times_s, make_abdomen


def make_phantom_files(
    *,
    out: Path,
    r2star_per_s: float,
    pdff_percent: float,
    field_t: str,
    echoes: int | None,
    te1_ms: float | None,
    delta_te_ms: float | None,
    slices: int,
    matrix: int,
    snr: float,
    dialect: Dialect,
    kind: Kind,
    seed: int,
) -> list[Path]:
    """Write the phantom into ``out`` and return its DICOM files.

    Raises:
        InputError: ``out`` holds something that is not an earlier phantom, or the options contradict each other.
        StorageError: ``out`` cannot be written.
    """
    field = float(field_t)
    try:
        _clear(out)
        phantom = make_abdomen(
            r2star_per_s=r2star_per_s,
            pdff_percent=pdff_percent,
            field_t=field,
            echo_times_s=default_echo_times_s(field, echoes=echoes or 12, te1_ms=te1_ms, delta_te_ms=delta_te_ms),
            n_slices=slices,
            matrix=matrix,
            snr=snr,
            kind=kind,
            seed=seed,
        )
        return write_phantom(phantom, out, dialect=dialect, kind=kind)
    except ValueError as error:
        raise InputError(f"phantom: {error}") from error
    except OSError as error:
        raise StorageError(f"{out}: cannot be written: {error.strerror}") from error


def _clear(out: Path) -> None:
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not (out / TRUTH_FILE).is_file():
        raise InputError(
            f"{out}: not empty, and no phantom lies in it ({TRUTH_FILE} is missing); choose another folder"
        )
    shutil.rmtree(out)
