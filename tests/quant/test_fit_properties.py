"""What must hold for every decay: the same answer wherever a voxel lies, a value or a reason, the units of physics."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quant import fit as fit_module
from quant import fit_block, voxel_fit
from quant.fit import fit_r2star
from quant.flags import UNFIT, FitFlag
from quant.models import SignalModel
from quant.noise import NoiseModel
from quant.voxel_fit import Setup, VoxelFit, fit_free_fat, fit_given_fat, fit_voxels
from tests.quant.decays import SIGMA, block, decay, even_times, noisy

TIMES = even_times(0.95, 0.75, 6)
UNEVEN = 1e-3 * np.array([1.0, 1.7, 3.9, 4.4, 7.0, 10.5])
FIELD_T = 3.0
MONO = "magnitude_first_moment"


def known(coils: float = 1) -> NoiseModel:
    return NoiseModel(sigma=SIGMA, coils=coils, source="known")


def setup(times: np.ndarray, *, coils: float = 1, field_t: float = FIELD_T) -> Setup:
    return Setup(echo_times_s=times, field_t=field_t, noise=known(coils))


def mixed(times: np.ndarray, n: int = 900) -> np.ndarray:
    """Easy and hopeless decays side by side, (n, e): R2* 0 to 4000/s, fat 0 to 100 %, SNR 0 to 500."""
    rng = np.random.default_rng(11)
    r2star, pdff, snr = rng.uniform(0, 1, (3, n)) ** 2 * np.array([[4000], [1], [500]])
    clean = np.stack(
        [decay(times, r, snr=s, pdff=f, field_t=FIELD_T) for r, f, s in zip(r2star, pdff, snr, strict=True)]
    )
    return noisy(clean, coils=1, seed=12)


def same(one: VoxelFit, other: VoxelFit, order: np.ndarray) -> bool:
    """Whether ``other`` holds the voxels ``order`` of ``one``, to the last bit."""
    return all(
        np.array_equal(getattr(one, name)[order], getattr(other, name), equal_nan=True)
        for name in ("r2star_per_s", "s0", "sd_r2star_per_s", "chi2", "at_top", "at_zero")
    )


@pytest.mark.parametrize("times", [TIMES, UNEVEN], ids=["even", "uneven"])
def test_neither_place_nor_company_change_a_bit_of_hard_decays(times: np.ndarray) -> None:
    """Some of these need many iterations, their neighbours few."""
    signal, s = mixed(times), setup(times)
    order = np.random.default_rng(1).permutation(len(signal))[:333]
    for fit in (
        lambda voxels: fit_voxels(signal, voxels, s, SignalModel.FIRST_MOMENT),
        lambda voxels: fit_free_fat(signal, voxels, s),
    ):
        whole = fit(np.arange(len(signal)))
        assert same(whole, fit(order), order)
        assert same(whole, fit(order[:1]), order[:1])


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    signal = mixed(TIMES).reshape(1, 30, 30, -1)
    options = {"field_t": FIELD_T, "model": MONO, "noise": known()}
    whole = fit_r2star(signal, TIMES, **options)
    monkeypatch.setattr(fit_module, "_CHUNK", 77)
    parts = fit_r2star(signal, TIMES, **options)
    for name in ("r2star_per_s", "s0", "sd_r2star_per_s", "residual", "flags"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name), equal_nan=True)


def test_a_mask_changes_no_voxel_inside_it() -> None:
    signal = mixed(TIMES).reshape(1, 30, 30, -1)
    mask = np.random.default_rng(2).random((1, 30, 30)) < 0.3
    options = {"field_t": FIELD_T, "model": MONO, "noise": known()}
    whole = fit_r2star(signal, TIMES, **options)
    inside = fit_r2star(signal, TIMES, mask=mask, **options)
    assert np.array_equal(whole.r2star_per_s[mask], inside.r2star_per_s[mask], equal_nan=True)
    assert np.array_equal(whole.flags[mask], inside.flags[mask])
    assert np.all(np.isnan(inside.r2star_per_s[~mask]))


@pytest.mark.parametrize("times", [TIMES, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize(("coils", "r2star"), [(1, 40), (8, 40), (1, 400), (8, 400), (1, 1100), (8, 1100)])
def test_more_iterations_would_not_move_it(
    r2star: float, coils: int, times: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopping early costs at most a fortieth of the standard deviation, and nothing on average."""
    signal = block(times, r2star, 2000, coils=coils, snr=80)[0, 0]
    s = setup(times, coils=coils)
    early = fit_voxels(signal, np.arange(2000), s, SignalModel.FIRST_MOMENT).cast(np.float64)
    monkeypatch.setattr(voxel_fit, "_MONO_ITERATIONS", 25)
    late = fit_voxels(signal, np.arange(2000), s, SignalModel.FIRST_MOMENT).cast(np.float64)
    moved = (early.r2star_per_s - late.r2star_per_s) / late.sd_r2star_per_s
    assert np.abs(moved).max() < 0.025
    assert abs(moved.mean()) < 0.001


@pytest.mark.parametrize("stretch", [0.5, 1.9])
def test_stretched_echo_times_in_a_weaker_field_divide_r2star_with_fat(stretch: float) -> None:
    """Fat meets the stretched echoes at the same phases where the field is weaker by as much."""
    times = even_times(1.2, 1.1, 8)
    signal = block(times, 120, 400, pdff=0.2, field_t=1.5)[0, 0]
    one = fit_free_fat(signal, np.arange(400), setup(times, field_t=1.5))
    other = fit_free_fat(signal, np.arange(400), setup(times * stretch, field_t=1.5 / stretch))
    assert stretch * other.r2star_per_s == pytest.approx(one.r2star_per_s, rel=1e-3)
    assert one.pdff is not None
    assert other.pdff == pytest.approx(one.pdff, abs=1e-3)


@pytest.mark.parametrize("factor", [1e-3, 300.0])
def test_scaling_signal_and_sigma_scales_s0_only_with_fat(factor: float) -> None:
    signal = block(TIMES, 90, 400, pdff=0.15, field_t=FIELD_T)[0, 0]
    one = fit_free_fat(signal, np.arange(400), setup(TIMES))
    noise = NoiseModel(sigma=factor * SIGMA, coils=1, source="known")
    scaled = Setup(echo_times_s=TIMES, field_t=FIELD_T, noise=noise)
    other = fit_free_fat(signal * np.float32(factor), np.arange(400), scaled)
    near = np.abs(other.r2star_per_s - one.r2star_per_s) < 0.05 * one.sd_r2star_per_s
    assert np.mean(near) > 0.99  # rounding may tip a voxel between two ends that fit alike
    assert other.s0[near] == pytest.approx(factor * one.s0[near], rel=2e-3)


def test_given_fat_of_nothing_is_water_alone() -> None:
    signal = mixed(TIMES)
    water = fit_voxels(signal, np.arange(len(signal)), setup(TIMES), SignalModel.FIRST_MOMENT)
    assert np.array_equal(fit_given_fat(signal, np.zeros(len(signal), np.float32), setup(TIMES)).r2star_per_s,
                          water.r2star_per_s, equal_nan=True)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    signal=arrays(
        np.float32,
        (1, 1, 7, 6),
        elements=st.one_of(
            st.floats(0, 1e5, width=32),
            st.sampled_from([0.0, float("nan"), float("inf"), -1.0, 65535.0]),
        ),
    ),
    coils=st.sampled_from([1.0, 2.3, 16.0]),
    model=st.sampled_from(list(SignalModel)),
)
def test_whatever_comes_in_a_value_or_a_reason_comes_out(signal: np.ndarray, coils: float, model: SignalModel) -> None:
    if model is SignalModel.COMPLEX_FAT:
        model = SignalModel.FIRST_MOMENT
    found = fit_r2star(signal, UNEVEN, field_t=FIELD_T, model=str(model), noise=known(coils))
    missing = np.isnan(found.r2star_per_s)
    assert np.all((found.flags[missing] & (UNFIT | FitFlag.AT_LIMIT)) != 0)
    assert np.all((found.flags[~missing] & UNFIT) == 0)
    assert np.all(found.r2star_per_s[~missing] > 0)
    assert np.all(np.isfinite(found.r2star_per_s[~missing]))
    broken = ~np.all(np.isfinite(signal) & (signal >= 0), axis=3)
    assert np.all(found.flags[broken] == FitFlag.FAILED)
    for other in (found.s0, found.sd_r2star_per_s, found.residual):
        assert np.array_equal(np.isnan(other), missing)


def _module(folder: Path, factor: int) -> ModuleType:
    """A file with a compiled helper, and one that uses it, freshly imported."""
    (folder / "helper.py").write_text(f"import numba as nb\n@nb.njit\ndef times(x):\n    return {factor} * x\n")
    spec = importlib.util.spec_from_file_location("helper", folder / "helper.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_kernels_are_cached_by_the_source_of_what_they_call(tmp_path: Path) -> None:
    """numba looks at the file of the entry alone: a changed helper elsewhere would leave old machine code in use."""
    names = []
    for factor in (2, 2, 3):
        times = _module(tmp_path, factor).times
        entry = {"times": times}
        exec("def entry(x):\n    return times(x)\n", entry)
        names.append(fit_block._digest_of_callees(entry["entry"]))
    assert names[0] == names[1]
    assert names[0] != names[2]
