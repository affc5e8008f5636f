"""Two scalings in the headers. The truth is the decay that the stored values were made from, 40 /s."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from node.errors import DeclinedError
from node.process.pixels import LoadedAcquisition, read_acquisition
from tests.node.mr_images import R2STAR_PER_S, Scan, classics, save_all, set_pixels

SCAN = Scan()
Scale = Callable[[int, int], float]


def philips(rescale: Scale, scale: Scale, *, signal_is: str) -> list[Dataset]:
    """Images with rescale slope and Philips' scale slope by slice and echo. ``signal_is`` says which of the two values
    the signal is: "display" (stored x rescale slope) or "floating point" (stored / scale slope)."""
    every = classics(SCAN)
    for number, ds in enumerate(every):
        z, e = divmod(number, len(SCAN.echo_times_ms))
        signal = np.abs(SCAN.signal(z, SCAN.echo_times_ms[e]))
        stored = 20 * signal / rescale(z, e) if signal_is == "display" else 20 * signal * scale(z, e)
        set_pixels(ds, np.round(stored).astype(np.uint16))
        ds.RescaleSlope, ds.RescaleIntercept = str(rescale(z, e)), "0"
        ds.private_block(0x2005, "Philips MR Imaging DD 001", create=True).add_new(0x0E, "FL", scale(z, e))
    return every


def r2star_per_s(loaded: LoadedAcquisition) -> float:
    logs = np.log(loaded.acquisition.magnitude.reshape(-1, len(loaded.acquisition.echo_times_s)))
    return float(-np.polyfit(loaded.acquisition.echo_times_s, logs.mean(axis=0), 1)[0])


def by_echo(_z: int, e: int) -> float:
    return 1.0 + 0.1 * e


def by_slice(z: int, _e: int) -> float:
    return 1.0 + 0.3 * z


def one(_z: int, _e: int) -> float:
    return 1.0


@pytest.mark.parametrize(
    ("rescale", "scale", "signal_is"),
    [
        (one, one, "display"),
        (by_echo, lambda z, e: 1 / by_echo(z, e), "display"),  # equal products: both say the same
        (by_echo, lambda z, e: 1 / by_echo(z, e), "floating point"),
        (by_slice, one, "display"),  # a factor of the slice changes no decay
        (by_slice, one, "floating point"),
    ],
)
def test_scalings_that_give_one_decay_give_the_true_one(
    tmp_path: Path, rescale: Scale, scale: Scale, signal_is: str
) -> None:
    loaded = read_acquisition(save_all(philips(rescale, scale, signal_is=signal_is), tmp_path))
    assert r2star_per_s(loaded) == pytest.approx(R2STAR_PER_S, rel=2e-3)
    assert "mixed_scaling" not in {line.code for line in loaded.qc}


@pytest.mark.parametrize("signal_is", ["display", "floating point"])
@pytest.mark.parametrize(("rescale", "scale"), [(by_echo, one), (one, by_echo)])
def test_scalings_that_give_two_decays_are_refused(
    tmp_path: Path, rescale: Scale, scale: Scale, signal_is: str
) -> None:
    """Whichever of the two is the signal, the other one would read up to 100 /s for 40, and no header tells."""
    with pytest.raises(DeclinedError, match=r"\(2005,100E\)") as caught:
        read_acquisition(save_all(philips(rescale, scale, signal_is=signal_is), tmp_path))
    assert caught.value.code == "mixed_scaling"


def test_slices_are_told_apart_by_place_and_not_by_the_last_digit(tmp_path: Path) -> None:
    every = philips(by_echo, one, signal_is="display")
    for number, ds in enumerate(every):
        ds.ImagePositionPatient[2] = float(ds.ImagePositionPatient[2]) + 1e-4 * (number % 6)
    with pytest.raises(DeclinedError, match="up to 33 %"):
        read_acquisition(save_all(every, tmp_path))
