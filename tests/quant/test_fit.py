"""R2* fits against simulated truth, against scipy, and under the symmetries that physics demands."""

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.special import gammaln, hyp1f1

from quant import fit_kernels
from quant.fit import fit_r2star
from quant.flags import UNFIT, FitFlag
from quant.models import measurable_limit, sd_mono
from quant.noise import NoiseModel
from quant.noise_law import GAUSSIAN, noise_law
from tests.quant.decays import SIGMA, block, body_in_air, even_times

TIMES = even_times(0.95, 0.75, 6)
UNEVEN = 1e-3 * np.array([1.0, 1.7, 3.9, 4.4, 7.0, 10.5])
VOXELS = 4000
MONO = "magnitude_first_moment"


def known(coils: float) -> NoiseModel:
    return NoiseModel(sigma=SIGMA, coils=coils, source="known")


def exact_moment(a: np.ndarray, coils: int) -> np.ndarray:
    return np.sqrt(2) * np.exp(gammaln(coils + 0.5) - gammaln(coils)) * hyp1f1(-0.5, coils, -(a**2) / 2)


@pytest.mark.parametrize("times", [TIMES, even_times(1.2, 1.2, 12), UNEVEN], ids=["3T6", "15T12", "uneven"])
@pytest.mark.parametrize("coils", [1, 8])
@pytest.mark.parametrize("r2star", [20, 67.73, 200, 500, 1000])
def test_voxels_are_unbiased_and_as_sharp_as_the_information_allows(
    r2star: float, coils: int, times: np.ndarray
) -> None:
    law = noise_law(coils)
    bound = sd_mono(times, law, snr=50, r2star_per_s=r2star)
    fit = fit_r2star(block(times, r2star, VOXELS, coils=coils), times, field_t=3.0, model=MONO, noise=known(coils))
    values = fit.r2star_per_s[np.isfinite(fit.r2star_per_s)].astype(float)
    tolerance = 3 * bound / np.sqrt(VOXELS)
    if bound <= 0.125 * r2star:
        assert values.size == VOXELS
        assert abs(values.mean() - r2star) < 0.01 * r2star + tolerance
        assert values.std() < 1.05 * bound * (1 + 3 / np.sqrt(2 * VOXELS))
        assert np.median(fit.sd_r2star_per_s) == pytest.approx(bound, rel=0.02)
    elif bound <= 0.25 * r2star:
        assert abs(np.median(values) - r2star) < 0.01 * r2star + 1.25 * tolerance
    else:
        dim = (fit.flags & (FitFlag.AT_LIMIT | FitFlag.NO_DECAY)) != 0
        assert np.mean(dim) > 0.4 or r2star * times[-1] < 1


@pytest.mark.parametrize("coils", [1, 8])
@pytest.mark.parametrize("times", [TIMES, UNEVEN], ids=["even", "uneven"])
def test_same_minimum_as_scipy_with_the_exact_moment(times: np.ndarray, coils: int) -> None:
    signal = block(times, 300, 25, coils=coils)
    fit = fit_r2star(signal, times, field_t=3.0, model=MONO, noise=known(coils))
    for voxel, r2star, s0, sd in zip(
        signal[0, 0], fit.r2star_per_s[0, 0], fit.s0[0, 0], fit.sd_r2star_per_s[0, 0], strict=True
    ):

        def residual(x: np.ndarray, y: np.ndarray = voxel) -> np.ndarray:
            return exact_moment(x[0] * np.exp(-100 * x[1] * times), coils) - y / SIGMA

        peer = least_squares(residual, (50.0, 3.0), xtol=1e-12, ftol=1e-12, gtol=1e-12).x
        assert r2star == pytest.approx(100 * peer[1], abs=0.02 * float(sd))  # the rational law costs up to that
        assert s0 == pytest.approx(SIGMA * peer[0], rel=2e-3)


def test_uncertainty_is_the_inverse_fisher_matrix() -> None:
    """Cramer-Rao bound of two parameters, Gaussian noise: closed form."""
    a = 80 * np.exp(-150 * TIMES)
    s11, s12, s22 = np.sum((a / 80) ** 2), np.sum(-TIMES * a**2 / 80), np.sum((TIMES * a) ** 2)
    expected = np.sqrt(s11 / (s11 * s22 - s12**2))
    assert sd_mono(TIMES, GAUSSIAN, snr=80, r2star_per_s=150) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("first_ms", "step_ms", "echoes", "limits"),
    [(0.99, 1.41, 12, (275, 785, 1200, 1590)), (1.23, 1.23, 6, (None, 715, 1100, 1475)),
     (2.3, 2.3, 6, (None, 380, 585, 785))],
)  # fmt: skip
def test_measurable_limit_reproduces_the_published_table(
    first_ms: float, step_ms: float, echoes: int, limits: tuple[float | None, ...]
) -> None:
    """Clinical reference section 4.4: Gaussian noise, Cramer-Rao SD of 10 %, SNR 20, 50, 100 and 200."""
    times = even_times(first_ms, step_ms, echoes)
    for snr, expected in zip((20, 50, 100, 200), limits, strict=True):
        found = measurable_limit(times, GAUSSIAN, snr=snr, relative_sd=0.10)
        assert found is None if expected is None else found == pytest.approx(expected, rel=0.02)


def test_acquisition_limit_is_where_a_voxel_of_the_tissue_reaches_25_percent() -> None:
    fit = fit_r2star(body_in_air(TIMES, coils=8), TIMES, field_t=3.0, model=MONO)
    limit = fit.measurable_limit_per_s
    assert limit is not None
    snr = float(np.median(fit.s0[fit.s0 > 10 * fit.sigma])) / fit.sigma
    assert sd_mono(TIMES, noise_law(fit.coils), snr=snr, r2star_per_s=limit) == pytest.approx(0.25 * limit, rel=1e-3)


@pytest.mark.parametrize("factor", [1e-3, 7.0, 1e4])
def test_scaling_the_signal_scales_s0_only(factor: float) -> None:
    signal = body_in_air(TIMES, coils=1)
    one = fit_r2star(signal, TIMES, field_t=3.0)
    other = fit_r2star(signal * np.float32(factor), TIMES, field_t=3.0)
    tissue = one.s0 > 20 * one.sigma
    assert other.model == one.model
    assert other.sigma == pytest.approx(factor * one.sigma, rel=1e-3)
    close = np.abs(other.r2star_per_s - one.r2star_per_s)[tissue] < 0.03 * one.sd_r2star_per_s[tissue]
    assert np.all(close)
    assert other.s0[tissue] == pytest.approx(factor * one.s0[tissue], rel=1e-3)


@pytest.mark.parametrize("stretch", [0.4, 3.0])
def test_stretching_the_echo_times_divides_r2star(stretch: float) -> None:
    signal = block(UNEVEN, 150, 500)
    one = fit_r2star(signal, UNEVEN, field_t=3.0, model=MONO, noise=known(1))
    other = fit_r2star(signal, UNEVEN * stretch, field_t=3.0, model=MONO, noise=known(1))
    assert stretch * other.r2star_per_s == pytest.approx(one.r2star_per_s, rel=1e-4)
    assert other.s0 == pytest.approx(one.s0, rel=1e-4)


@pytest.mark.parametrize("model", [MONO, "magnitude_fat_first_moment"])
def test_neither_order_nor_threads_nor_neighbours_change_a_bit(model: str) -> None:
    signal = block(TIMES, 120, 1000, pdff=0.15, field_t=3.0)
    order = np.random.default_rng(0).permutation(1000)
    options = {"field_t": 3.0, "model": model, "noise": known(1)}
    one = fit_r2star(signal, TIMES, threads=1, **options).r2star_per_s
    two = fit_r2star(signal, TIMES, threads=2, **options).r2star_per_s
    shuffled = fit_r2star(np.ascontiguousarray(signal[:, :, order]), TIMES, **options).r2star_per_s
    alone = fit_r2star(signal[:, :, 417:418], TIMES, **options).r2star_per_s
    assert np.array_equal(one, two, equal_nan=True)
    assert np.array_equal(one[:, :, order], shuffled, equal_nan=True)
    assert np.array_equal(one[:, :, 417:418], alone, equal_nan=True)


def test_air_is_nan_and_flagged() -> None:
    signal = body_in_air(TIMES, coils=4)
    fit = fit_r2star(signal, TIMES, field_t=3.0)
    air = np.ones((2, 64, 64), bool)
    air[:, 12:52, 10:54] = False
    assert np.mean(np.isnan(fit.r2star_per_s[air])) > 0.99
    assert np.mean((fit.flags[air] & FitFlag.NOISE_ONLY) != 0) > 0.99
    tissue = fit.flags[:, 20:44, 18:46]
    assert np.mean(tissue == 0) > 0.99


def test_a_value_or_a_reason_never_neither() -> None:
    fit = fit_r2star(body_in_air(TIMES, coils=1, r2star=700), TIMES, field_t=3.0)
    missing = np.isnan(fit.r2star_per_s)
    assert np.all((fit.flags[missing] & (UNFIT | FitFlag.AT_LIMIT)) != 0)
    assert np.all((fit.flags[~missing] & UNFIT) == 0)
    assert not np.any(fit.r2star_per_s == 0)
    for other in (fit.s0, fit.sd_r2star_per_s, fit.residual):
        assert np.array_equal(np.isnan(other), missing)


def test_decays_too_fast_to_measure_are_at_the_limit() -> None:
    fit = fit_r2star(block(TIMES, 2200, 500, coils=8), TIMES, field_t=3.0, model=MONO, noise=known(8))
    assert np.mean((fit.flags & (FitFlag.AT_LIMIT | FitFlag.NOISE_ONLY)) != 0) > 0.8


def test_slow_decays_are_uncertain_but_not_at_the_limit() -> None:
    fit = fit_r2star(block(TIMES, 20, 500), TIMES, field_t=3.0, model=MONO, noise=known(1))
    assert not np.any(fit.flags & FitFlag.AT_LIMIT)


def test_a_bent_decay_is_a_poor_fit_and_noise_is_not() -> None:
    bent = block(TIMES, 60, 300, snr=100)
    bent[..., 3] *= 1.3
    fit = fit_r2star(bent, TIMES, field_t=3.0, model=MONO, noise=known(1))
    assert np.all(fit.flags & FitFlag.POOR_FIT)
    straight = fit_r2star(block(TIMES, 60, 3000, snr=100), TIMES, field_t=3.0, model=MONO, noise=known(1))
    assert np.mean((straight.flags & FitFlag.POOR_FIT) != 0) < 0.005
    assert np.sqrt(np.mean(straight.residual.astype(float) ** 2)) == pytest.approx(1, abs=0.03)


def test_voxels_that_are_no_magnitudes_fail_alone() -> None:
    signal = block(TIMES, 60, 4)
    signal[0, 0, 0, 2], signal[0, 0, 1, 0], signal[0, 0, 2, 1] = np.nan, -5, np.inf
    fit = fit_r2star(signal, TIMES, field_t=3.0, model=MONO, noise=known(1))
    assert fit.flags[0, 0].tolist() == [FitFlag.FAILED] * 3 + [0]
    assert np.isnan(fit.r2star_per_s[0, 0]).tolist() == [True, True, True, False]


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float64])
def test_every_numeric_type_gives_the_same_answer(dtype: type) -> None:
    whole = np.round(block(TIMES, 90, 200))
    expected = fit_r2star(whole, TIMES, field_t=3.0, noise=known(1), model=MONO)
    found = fit_r2star(whole.astype(dtype), TIMES, field_t=3.0, noise=known(1), model=MONO)
    assert np.array_equal(found.r2star_per_s, expected.r2star_per_s)


def test_mask_limits_the_fit() -> None:
    signal = block(TIMES, 90, 10)
    mask = np.zeros((1, 1, 10), bool)
    mask[0, 0, 3:6] = True
    fit = fit_r2star(signal, TIMES, field_t=3.0, noise=known(1), mask=mask, model=MONO)
    assert np.array_equal(np.isfinite(fit.r2star_per_s), mask)
    assert np.all(fit.flags[~mask] == FitFlag.OUTSIDE)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"signal": np.ones((4, 4, 6))}, "signal"),
        ({"signal": np.ones((1, 4, 4, 5))}, "echo_times_s"),
        ({"signal": np.ones((1, 4, 4, 6), bool)}, "signal"),
        ({"signal": np.ones((0, 4, 4, 6))}, "signal"),
        ({"signal": np.full((1, 4, 4, 6), 1e-30)}, "signal: its first echo reaches 1e-30"),
        ({"signal": np.full((1, 4, 4, 6), 1e30)}, "signal: its first echo reaches"),
        ({"echo_times_s": 1000 * TIMES}, "seconds"),
        ({"echo_times_s": TIMES[::-1]}, "echo_times_s"),
        ({"echo_times_s": TIMES[:2], "signal": np.ones((1, 4, 4, 2))}, "echo_times_s"),
        ({"field_t": 0.0}, "field_t"),
        ({"field_t": float("nan")}, "field_t"),
        ({"model": "magic"}, "model"),
        ({"mask": np.ones((4, 4), bool)}, "mask"),
        ({"mask": np.ones((1, 4, 4))}, "mask"),
        ({"threads": 0}, "threads"),
        ({"threads": 1.5}, "threads"),
        ({"field_t": "3"}, "field_t"),
        ({"signal": None}, "signal"),
        ({"signal": np.ma.masked_less(np.ones((1, 4, 4, 6)), 0)}, "signal"),
        ({"mask": [[True]]}, "mask"),
        ({"echo_times_s": ["a"] * 6}, "echo_times_s"),
        ({"echo_times_s": np.array(TIMES) + 0j}, "echo_times_s"),
    ],
)
def test_wrong_arguments_are_named(change: dict[str, object], named: str) -> None:
    arguments: dict[str, object] = {
        "signal": np.ones((1, 4, 4, 6)), "echo_times_s": TIMES, "field_t": 3.0, "noise": known(1), **change
    }  # fmt: skip
    signal, times = arguments.pop("signal"), arguments.pop("echo_times_s")
    with pytest.raises(ValueError, match=named):
        fit_r2star(signal, times, **arguments)


def test_clipped_voxels_are_marked_and_keep_their_value() -> None:
    rng = np.random.default_rng(5)
    clean = rng.uniform(60, 240, (1, 40, 50, 1)) * np.exp(-80 * np.asarray(TIMES))
    signal = np.minimum(np.abs(clean + rng.normal(0, 1, clean.shape)), 200).astype(np.float32)
    fit = fit_r2star(signal, TIMES, field_t=3.0, noise=known(1), model="magnitude_first_moment")
    clipped = (signal == signal.max()).any(axis=-1)
    assert clipped.sum() > 50
    np.testing.assert_array_equal((fit.flags & FitFlag.SATURATED) != 0, clipped)
    assert np.isfinite(fit.r2star_per_s[clipped]).all()


def test_three_echoes_are_too_few_for_fat() -> None:
    with pytest.raises(ValueError, match="echo_times_s"):
        fit_r2star(np.ones((1, 4, 4, 3)), TIMES[:3], field_t=3.0, noise=known(1), model="magnitude_fat_first_moment")


def test_compiling_does_without_a_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """numba refuses ``cache=True`` where no folder can be written; the kernel is then built without."""
    real = fit_kernels.nb.njit
    asked: list[bool] = []

    def read_only(*, cache: bool = False, **options: object) -> object:
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(fit_kernels.nb, "njit", read_only)

    def twice(x: float) -> float:
        return 2 * x

    assert hasattr(fit_kernels.compiled_entry(twice), "py_func")
    assert asked == [True, False]
