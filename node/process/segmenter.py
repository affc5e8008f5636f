"""The site's own segmentation model, if it has one: an ONNX file with its card, or an external command.

Whatever it outlines is trimmed and judged by the same self-checks as the built-in region, which stays as the second
opinion (``quant.liver.judge_liver``).
"""

import hashlib
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from node.config import SegmenterConfig
from node.errors import ConfigError
from node.process.nifti import NiftiError, on_grid, read_nifti, write_nifti
from quant.acquisition import BoolArray, MultiEcho
from quant.fit import R2StarMap
from quant.liver import LiverRegion, find_liver, judge_liver
from quant.liver.learned import Channel, ModelSpec, SegmentationError, Volume, outline_by_model
from quant.liver.types import RegionNotFoundError
from quant.result import QcLine, Reason
from quant.threads import thread_limit

_TAIL = 300  # characters of a failed command's error output that are told
_CARD, _MODEL = "model.json", "model.onnx"


class _CardPart(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CardChannel(_CardPart):
    """One input channel (``quant.liver.learned.Channel``)."""

    source: str = Field(pattern=r"^(echo:[1-9][0-9]*|r2star|pdff)$")
    rule: Literal["window", "percentile"]
    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError("low must lie below high")
        return self


class ModelCard(_CardPart):
    """``model.json``: what the model is, and how it is fed and read."""

    schema_version: Literal[1]
    name: str
    version: str
    licence: str
    intended_use: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    channels: tuple[CardChannel, ...] = Field(min_length=1)
    orientation: str
    spacing_mm: tuple[float, float, float]
    patch: tuple[int, int, int]
    overlap: float = 0.5
    activation: Literal["softmax", "sigmoid", "none"]
    label_index: int = Field(ge=0)
    threshold: float = Field(0.5, gt=0, lt=1)

    def spec(self) -> ModelSpec:
        """For the numerics; raises ValueError."""
        parts = self.model_dump(include=set(ModelSpec.__dataclass_fields__) - {"channels"})
        return ModelSpec(channels=tuple(Channel(**channel.model_dump()) for channel in self.channels), **parts)


def region_finder(acquisition: MultiEcho, config: SegmenterConfig, threads: int) -> Callable[[R2StarMap], LiverRegion]:
    """What gives the liver's region for one fit of the acquisition after the other: by the configured model, which runs
    once, or by the built-in search alone.

    Calling it raises:
        ConfigError: the model's card or the runtime is missing or wrong.
    """
    outlines: list[BoolArray] = []

    def find(fit: R2StarMap) -> LiverRegion:
        with thread_limit(threads):
            return found_in(fit)

    def found_in(fit: R2StarMap) -> LiverRegion:
        if config.kind == "none":
            return find_liver(acquisition, fit)
        try:
            if not outlines:
                outlines.append(_outline(acquisition, fit, config, threads))
        except RegionNotFoundError as error:
            return LiverRegion(mask=None, organ=None, candidate=None, refusals=(error.reason,))
        except (SegmentationError, NiftiError) as error:
            return _without_model(acquisition, fit, config, str(error))
        return judge_liver(acquisition, fit, outlines[0])

    return find


def _without_model(acquisition: MultiEcho, fit: R2StarMap, config: SegmenterConfig, why: str) -> LiverRegion:
    if config.on_failure == "built_in":
        own = find_liver(acquisition, fit)
        text = f"The segmentation model failed and the built-in search stood in: {why.rstrip('.')}."
        return replace(own, qc=(*own.qc, QcLine(code="roi_segmenter_replaced", severity="warning", text=text)))
    text = f"The segmentation model failed: {why.rstrip('.')}."
    reason = Reason(code="roi_segmenter_failed", text=text)
    line = QcLine(code=reason.code, severity="failure", text=text)
    return LiverRegion(mask=None, organ=None, candidate=None, refusals=(reason,), qc=(line,))


def _outline(acquisition: MultiEcho, fit: R2StarMap, config: SegmenterConfig, threads: int) -> BoolArray:
    if config.kind == "onnx":
        assert config.model is not None  # the configuration has checked it
        card, predict = _onnx_model(config.model, _card_content(config.model), threads)
        return outline_by_model(acquisition, fit, card.spec(), predict)
    return _by_command(acquisition, fit, config)


@lru_cache(maxsize=2)
def _onnx_model(folder: Path, card_content: bytes, threads: int) -> tuple[ModelCard, Callable[[Volume], Volume]]:
    """Card and prediction of the model in ``folder``, checked against its hash."""
    card = _card(folder, card_content)
    try:
        content = (folder / _MODEL).read_bytes()
    except OSError as error:
        raise ConfigError(f"segmenter.model: {folder / _MODEL} cannot be read: {error}") from error
    if hashlib.sha256(content).hexdigest() != card.sha256:
        raise ConfigError(f"segmenter.model: {folder / _MODEL} is not the file that {_CARD} names (sha256 differs)")
    return card, _session(content, card, threads)


def read_card(folder: Path) -> ModelCard:
    """The card of the model in ``folder``; raises ConfigError."""
    return _card(folder, _card_content(folder))


def _card_content(folder: Path) -> bytes:
    try:
        return (folder / _CARD).read_bytes()
    except OSError as error:
        raise ConfigError(f"segmenter.model: {folder / _CARD} cannot be read: {error}") from error


def _card(folder: Path, content: bytes) -> ModelCard:
    try:
        card = ModelCard.model_validate_json(content)
        card.spec()
    except (ValidationError, ValueError) as error:
        raise ConfigError(f"segmenter.model: {folder / _CARD}: {error}") from error
    return card


def _session(content: bytes, card: ModelCard, threads: int) -> Callable[[Volume], Volume]:
    try:
        import onnxruntime as ort  # an optional dependency, and slow to load
    except ImportError as error:
        raise ConfigError('segmenter: kind "onnx" needs the extra "onnx" (pip install ironnode[onnx])') from error
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class of their own
        raise ConfigError(f"segmenter.model: {_MODEL} cannot be loaded: {error}") from error
    _require_input(session, card)
    name = session.get_inputs()[0].name

    def predict(patch: Volume) -> Volume:
        try:
            return np.asarray(session.run(None, {name: patch})[0], np.float32)
        except Exception as error:  # likewise
            raise SegmentationError(f"the model cannot be run: {error}") from error

    return predict


def _require_input(session: Any, card: ModelCard) -> None:
    """The graph takes one tensor (1, c, z, y, x) of the card's channels and patch; names stand for any size."""
    inputs = session.get_inputs()
    wanted = (1, len(card.channels), *card.patch)
    shape = tuple(inputs[0].shape)
    fits = len(shape) == len(wanted) and all(
        not isinstance(n, int) or n == w for n, w in zip(shape, wanted, strict=True)
    )
    if len(inputs) != 1 or not fits:
        raise ConfigError(f"segmenter.model: {_MODEL} takes {shape}, {_CARD} describes {wanted}")


def _by_command(acquisition: MultiEcho, fit: R2StarMap, config: SegmenterConfig) -> BoolArray:
    """Runs the site's program on NIfTI files of the echoes and of R2*; it writes a NIfTI label file."""
    with tempfile.TemporaryDirectory(prefix="ironnode-segmenter-") as folder:
        source, output = Path(folder) / "input", Path(folder) / "output.nii.gz"
        source.mkdir()
        for number in range(acquisition.signal.shape[3]):
            echo = np.abs(acquisition.signal[..., number])
            write_nifti(source / f"echo_{number + 1:02d}.nii", echo.astype(np.float32), acquisition.geometry)
        write_nifti(source / "r2star_per_s.nii", np.nan_to_num(fit.r2star_per_s), acquisition.geometry)
        _run(
            [part.replace("{input}", str(source)).replace("{output}", str(output)) for part in config.argv],
            config.timeout_s,
        )
        if not output.exists() and output.with_suffix("").exists():
            output = output.with_suffix("")
        if not output.exists():
            raise SegmentationError("the program ended without writing its answer")
        voxels, affine = read_nifti(output)
        labels = on_grid(voxels, affine, acquisition.geometry, acquisition.signal.shape[:3])
    return np.asarray(np.rint(labels) == config.label)


def _run(argv: list[str], timeout_s: float) -> None:
    """Without a shell; raises SegmentationError."""
    try:
        done = subprocess.run(argv, capture_output=True, timeout=timeout_s, check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise SegmentationError(f"the program did not end within {timeout_s:g} s") from error
    except OSError as error:
        raise SegmentationError(f"the program cannot be started: {error}") from error
    if done.returncode != 0:
        told = done.stderr.decode("utf-8", "replace").strip()[-_TAIL:]
        raise SegmentationError(f"the program ended with {done.returncode}: {told}")
