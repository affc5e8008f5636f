"""The source images as the result objects refer to them."""

from dataclasses import dataclass

from pydicom.dataset import Dataset

from quant.acquisition import Geometry
from quant.result import ResultObject


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


@dataclass(frozen=True, kw_only=True)
class EarlierResult:
    """The result set of an earlier revision, as far as a later one refers to it."""

    job_id: str
    revision: int
    objects: tuple[ResultObject, ...]
