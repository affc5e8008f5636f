"""The images of a simulated acquisition, before a dialect gives them headers."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from quant.acquisition import MultiEcho


class Part(StrEnum):
    """What an image shows of the complex signal."""

    MAGNITUDE = "magnitude"
    PHASE = "phase"
    REAL = "real"
    IMAGINARY = "imaginary"


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One image: ``values`` (y, x) float64 in the unit of the signal, or radians from -pi to pi for phase."""

    part: Part
    echo: int
    slice: int
    echo_time_ms: float
    position_mm: tuple[float, float, float]
    values: npt.NDArray[np.float64]


def frames(
    acquisition: MultiEcho, parts: tuple[Part, ...], *, conjugate: bool = False, alternate_sign: bool = False
) -> Iterator[Frame]:
    """Every image, part by part, slice by slice, echo by echo.

    ``conjugate`` turns the sign of phase over (vendors differ), ``alternate_sign`` that of the signal in every other
    slice, as GE stores real and imaginary images.
    """
    for part in parts:
        for z, position in enumerate(acquisition.geometry.positions_mm):
            sign = -1.0 if alternate_sign and z % 2 else 1.0
            for e, echo_time_s in enumerate(acquisition.echo_times_s):
                signal = sign * acquisition.signal[z, :, :, e].astype(np.complex128)
                yield Frame(
                    part=part,
                    echo=e,
                    slice=z,
                    echo_time_ms=round(float(echo_time_s) * 1000, 6),
                    position_mm=(float(position[0]), float(position[1]), float(position[2])),
                    values=_values(np.conj(signal) if conjugate else signal, part),
                )


def _values(signal: npt.NDArray[np.complex128], part: Part) -> npt.NDArray[np.float64]:
    if part is Part.MAGNITUDE:
        return np.abs(signal)
    if part is Part.PHASE:
        return np.angle(signal)
    return signal.real if part is Part.REAL else signal.imag


def signal_peak(acquisition: MultiEcho) -> float:
    """The largest magnitude, real or imaginary value of the acquisition."""
    return float(np.abs(acquisition.signal).max())


def phase_steps(phase_rad: npt.NDArray[np.float64], steps: int = 4096) -> npt.NDArray[np.uint16]:
    """Phase as stored by Siemens and Philips: ``steps`` levels from -pi up to, not including, pi."""
    level = np.round((phase_rad + np.pi) / (2 * np.pi) * steps).astype(np.int64)
    return (level % steps).astype(np.uint16)
