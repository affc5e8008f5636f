"""The source images as the result objects refer to them."""

from dataclasses import dataclass

from pydicom.dataset import Dataset

from quant.acquisition import Geometry


@dataclass(frozen=True, kw_only=True)
class FrameRef:
    """One image plane of the source: the data set's index in ``SourceSeries.datasets`` and, for a multi-frame
    object, its 1-based frame number (``None`` for a classic single-frame object)."""

    dataset_index: int
    frame_number: int | None = None


@dataclass(frozen=True, kw_only=True)
class SourceSeries:
    """Every instance that the measurement used.

    ``datasets`` are headers without pixel data, untouched as received, one per SOP instance;
    ``frames[z][e]`` is the magnitude (or only) plane of slice z and echo e, slices ascending along the normal;
    ``further`` are the planes of other kinds (phase, real, imaginary) that were used as well.
    """

    datasets: tuple[Dataset, ...]
    frames: tuple[tuple[FrameRef, ...], ...]
    geometry: Geometry
    further: tuple[FrameRef, ...] = ()
