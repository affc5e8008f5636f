"""The site's own model: a real ONNX graph, and programs that answer, hang or err."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from node.config import SegmenterConfig
from node.errors import ConfigError
from node.process.nifti import NiftiError, affine_of, on_grid, read_nifti, write_nifti
from node.process.segmenter import region_finder
from quant.acquisition import MultiEcho
from quant.fit import R2StarMap, fit_r2star
from quant.liver import LiverRegion, find_liver
from quant.phantom import AbdomenAnatomy, Label, Phantom, make_abdomen
from tests.quant.liver.storage import stored_otherwise

helper = pytest.importorskip("onnx.helper", reason="the ONNX package builds the test's model")


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    """A liver of 300 /s beside organs below 100 /s: R2* alone tells it."""
    anatomy = AbdomenAnatomy(r2star_overrides={Label.SPLEEN: 40.0, Label.MARROW: 60.0})
    return make_abdomen(seed=962, n_slices=3, matrix=128, r2star_per_s=300.0, snr=80.0, anatomy=anatomy)


@pytest.fixture(scope="module")
def fit(phantom: Phantom) -> R2StarMap:
    acquisition = phantom.acquisition
    return fit_r2star(acquisition.signal, acquisition.echo_times_s, field_t=acquisition.field_t, threads=1)


def _model(folder: Path, *, channels: int = 2, scale: float = 1.0, size: tuple[Any, ...] = (None,) * 3) -> bytes:
    """One 1x3x3 convolution and a softmax: liver where the first echo is there and R2* high."""
    weight = np.zeros((2, channels, 1, 3, 3), np.float32)
    weight[1, 0], weight[1, -1] = 4 * scale / 9, 40 * scale / 9
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[0, 1, 1, 0, 1, 1]),
        helper.make_node("Identity", ["c"], ["y"]),
    ]
    from onnx import TensorProto, numpy_helper

    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, *size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, *size])],
        [
            numpy_helper.from_array(weight, "w"),
            numpy_helper.from_array(np.array([0, -22.0], np.float32), "b"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    content = bytes(model.SerializeToString())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(content)
    return content


def _card(folder: Path, content: bytes, **changes: Any) -> SegmenterConfig:
    card = {
        "schema_version": 1,
        "name": "tiny",
        "version": "1",
        "licence": "Apache-2.0",
        "intended_use": "tests",
        "sha256": hashlib.sha256(content).hexdigest(),
        "channels": [
            {"source": "echo:1", "rule": "window", "low": 0, "high": 1000},
            {"source": "r2star", "rule": "window", "low": 0, "high": 400},
        ],
        "orientation": "SPL",
        "spacing_mm": [10, 3.125, 3.125],
        "patch": [2, 64, 64],
        "activation": "softmax",
        "label_index": 1,
    }
    (folder / "model.json").write_text(json.dumps(card | changes))
    return SegmenterConfig(kind="onnx", model=folder)


def _find(acquisition: MultiEcho, fit: R2StarMap, config: SegmenterConfig) -> LiverRegion:
    return region_finder(acquisition, config, threads=1)(fit)


def test_a_real_model_outlines_what_is_then_trimmed_and_judged(
    phantom: Phantom, fit: R2StarMap, tmp_path: Path
) -> None:
    region = _find(phantom.acquisition, fit, _card(tmp_path, _model(tmp_path)))
    assert region.mask is not None, region.refusals
    assert phantom.truth.whole_liver[region.mask].mean() > 0.99
    assert region.checks["second_opinion_overlap"] > 0.5
    assert region.parts is not None


def test_the_same_answer_however_the_images_are_stored(phantom: Phantom, tmp_path: Path) -> None:
    other = stored_otherwise(phantom.acquisition, False, False, True)
    mirrored_fit = fit_r2star(other.signal, other.echo_times_s, field_t=other.field_t, threads=1)
    config = _card(tmp_path, _model(tmp_path), orientation="IAR")
    region = _find(other, mirrored_fit, config)
    assert region.mask is not None
    assert phantom.truth.whole_liver[::-1, :, ::-1][region.mask].mean() > 0.99


def test_a_model_without_an_answer_is_a_reason(phantom: Phantom, fit: R2StarMap, tmp_path: Path) -> None:
    config = _card(tmp_path, _model(tmp_path, scale=0.0))
    assert [r.code for r in _find(phantom.acquisition, fit, config).refusals] == ["roi_no_liver"]


@pytest.mark.parametrize(
    ("model", "card", "told"),
    [
        ({}, {"sha256": "0" * 64}, "sha256"),
        ({"channels": 3}, {}, "describes"),
        ({"size": (2, 32, 32)}, {}, "describes"),
        ({}, {"orientation": "SPP"}, "orientation"),
        ({}, {"surprise": 1}, "surprise"),
        ({}, {"patch": [2, 64]}, "patch"),
        ({}, {"channels": []}, "channels"),
    ],
)
def test_a_wrong_card_is_told_before_anything_runs(
    phantom: Phantom, fit: R2StarMap, tmp_path: Path, model: dict[str, Any], card: dict[str, Any], told: str
) -> None:
    config = _card(tmp_path, _model(tmp_path, **model), **card)
    with pytest.raises(ConfigError, match=told):
        _find(phantom.acquisition, fit, config)


def test_a_damaged_model_is_told(phantom: Phantom, fit: R2StarMap, tmp_path: Path) -> None:
    content = _model(tmp_path)[:100]
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be loaded"):
        _find(phantom.acquisition, fit, _card(tmp_path, content))


def test_answers_that_are_not_finite_refuse(phantom: Phantom, fit: R2StarMap, tmp_path: Path) -> None:
    region = _find(phantom.acquisition, fit, _card(tmp_path, _model(tmp_path, scale=np.inf)))
    assert [reason.code for reason in region.refusals] == ["roi_segmenter_failed"]
    assert "finite" in region.refusals[0].text


def test_or_let_the_built_in_region_stand_in(phantom: Phantom, fit: R2StarMap, tmp_path: Path) -> None:
    config = _card(tmp_path, _model(tmp_path), label_index=7).model_copy(update={"on_failure": "built_in"})
    region, own = _find(phantom.acquisition, fit, config), find_liver(phantom.acquisition, fit)
    assert region.mask is not None
    assert (region.mask == own.mask).all()
    assert "roi_segmenter_replaced" in {line.code for line in region.qc}


def test_none_is_the_built_in_search(phantom: Phantom, fit: R2StarMap) -> None:
    region, own = _find(phantom.acquisition, fit, SegmenterConfig()), find_liver(phantom.acquisition, fit)
    assert (region.mask == own.mask).all()


_PROGRAM = """
import gzip, sys
from pathlib import Path
import numpy as np
source, output, what = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
if what == "hang":
    import threading
    threading.Event().wait()
if what == "fail":
    sys.exit("no licence found")
data = bytearray((source / "r2star_per_s.nii").read_bytes())
if what == "elsewhere":
    data[280 + 12 : 280 + 16] = np.float32(500).tobytes()
rates = np.frombuffer(bytes(data[352:]), "<f4")
first = np.frombuffer((source / "echo_01.nii").read_bytes()[352:], "<f4")
liver = ((rates > 200) & (rates < 450) & (first > 300)).astype("<f4") * 3
if what == "text":
    output.write_text("liver")
elif what != "nothing":
    output.write_bytes(gzip.compress(bytes(data[:352]) + liver.tobytes()))
"""


def _command(folder: Path, what: str, **changes: Any) -> SegmenterConfig:
    program = folder / "program.py"
    program.write_text(_PROGRAM)
    argv = (sys.executable, str(program), "{input}", "{output}", what)
    return SegmenterConfig(**({"kind": "command", "argv": argv, "label": 3} | changes))


def test_a_program_outlines_the_liver(phantom: Phantom, fit: R2StarMap, tmp_path: Path) -> None:
    region = _find(phantom.acquisition, fit, _command(tmp_path, "answer"))
    assert region.mask is not None, region.refusals
    assert phantom.truth.whole_liver[region.mask].mean() > 0.99


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("fail", "no licence found"),
        ("elsewhere", "elsewhere"),
        ("nothing", "without writing"),
        ("text", "cannot be read"),
    ],
)
def test_a_program_that_errs_refuses(phantom: Phantom, fit: R2StarMap, tmp_path: Path, what: str, told: str) -> None:
    region = _find(phantom.acquisition, fit, _command(tmp_path, what))
    assert [reason.code for reason in region.refusals] == ["roi_segmenter_failed"]
    assert told in region.refusals[0].text


def test_a_program_that_hangs_is_stopped(phantom: Phantom, fit: R2StarMap, tmp_path: Path) -> None:
    region = _find(phantom.acquisition, fit, _command(tmp_path, "hang", timeout_s=1))
    assert "within 1 s" in region.refusals[0].text


def test_a_program_that_is_not_there(phantom: Phantom, fit: R2StarMap, tmp_path: Path) -> None:
    config = _command(tmp_path, "answer", argv=("/nowhere/liver", "{output}"))
    assert "cannot be started" in _find(phantom.acquisition, fit, config).refusals[0].text


@pytest.mark.parametrize(
    ("wrong", "needed"),
    [
        ({"kind": "onnx"}, "needs the folder of the model"),
        ({"kind": "command"}, r"told \{output\} \(argv\)"),
        ({"kind": "command", "argv": ("program", "{input}")}, r"told \{output\} \(argv\)"),
    ],
)
def test_incomplete_configuration(wrong: dict[str, Any], needed: str) -> None:
    with pytest.raises(ValueError, match=needed):
        SegmenterConfig(**wrong)


@pytest.mark.parametrize("flips", [(False, False, False), (True, False, True), (True, True, False)])
def test_nifti_files_come_back_where_they_were(phantom: Phantom, tmp_path: Path, flips: tuple[bool, ...]) -> None:
    acquisition = stored_otherwise(phantom.acquisition, *flips)
    volume = acquisition.magnitude[..., 0].astype(np.float32)
    write_nifti(tmp_path / "a.nii", volume, acquisition.geometry)
    voxels, affine = read_nifti(tmp_path / "a.nii")
    assert np.allclose(affine, affine_of(acquisition.geometry), atol=1e-3)
    assert (on_grid(voxels, affine, acquisition.geometry, volume.shape) == volume).all()
    turned = np.flip(voxels, (0, 2)).transpose(0, 2, 1)  # another program's order: y, x exchanged, x and z flipped
    step = np.array([[0, -1, 0, voxels.shape[2] - 1], [1, 0, 0, 0], [0, 0, -1, voxels.shape[0] - 1], [0, 0, 0, 1]])
    assert (on_grid(turned, affine @ step, acquisition.geometry, volume.shape) == volume).all()


def test_other_grids_are_refused(phantom: Phantom, tmp_path: Path) -> None:
    geometry = phantom.acquisition.geometry
    volume = phantom.acquisition.magnitude[..., 0].astype(np.float32)
    affine = affine_of(geometry)
    for wrong in (affine @ np.diag([2, 2, 1, 1]), affine + np.eye(4, k=3) * 8):
        with pytest.raises(NiftiError):
            on_grid(volume, wrong, geometry, volume.shape)
    with pytest.raises(NiftiError, match="size"):
        on_grid(volume[:, :-1], affine, geometry, volume.shape)


@pytest.mark.parametrize("cut", [0, 200, 400])
def test_cut_nifti_files_are_refused(phantom: Phantom, tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.nii"
    write_nifti(path, phantom.acquisition.magnitude[..., 0].astype(np.float32), phantom.acquisition.geometry)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(NiftiError):
        read_nifti(path)
