"""The complex fit against known water, fat, R2* and field, and against bounds and searches computed here."""

import numpy as np
import pytest

from quant.fit import fit_r2star
from quant.flags import FitFlag
from quant.models import fat_phasor
from quant.noise import NoiseModel
from tests.further import further
from tests.quant.complex_volumes import LABELS, TIMES_3T, Truth, body, with_bipolar_readout

SWAP = 0.3  # error of the fat fraction


def swapped(fit, truth: Truth) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.abs(fit.pdff - truth.pdff) > SWAP


def assert_same_within_noise(one, other, where: np.ndarray) -> None:
    """R2* alike to a small part of what noise makes of it: float32 rounding steers the last iterations."""
    apart = np.abs(one.r2star_per_s - other.r2star_per_s)[where] / other.sd_r2star_per_s[where]
    assert np.nanmax(apart) < 0.05
    assert np.nanmedian(apart) < 1e-4
    np.testing.assert_array_equal(np.isnan(one.r2star_per_s), np.isnan(other.r2star_per_s))


def cramer_rao(times: np.ndarray, field_t: float, r2star: float, pdff: float, snr: float) -> tuple[float, float]:
    """SD of R2* (1/s) and PDFF with free complex water, fat and field, from numerical derivatives."""
    c = fat_phasor(times, field_t)

    def model(p: np.ndarray) -> np.ndarray:
        s = ((p[0] + 1j * p[1]) + (p[2] + 1j * p[3]) * c) * np.exp((-p[4] + 2j * np.pi * p[5]) * times)
        return np.concatenate([s.real, s.imag])

    at = np.array([snr * (1 - pdff), 0, snr * pdff, 0, r2star, 0.0])
    step = np.array([1e-3, 1e-3, 1e-3, 1e-3, 1e-2, 1e-2])
    jacobian = np.stack([(model(at + d) - model(at - d)) / (2 * h) for d, h in zip(np.diag(step), step, strict=True)])
    covariance = np.linalg.inv(jacobian @ jacobian.T)
    gradient = np.zeros(6)
    gradient[0], gradient[2] = -pdff / snr, (1 - pdff) / snr
    return float(np.sqrt(covariance[4, 4])), float(np.sqrt(gradient @ covariance @ gradient))


@pytest.mark.parametrize("gradient", [0.01, 0.05, 0.10])
@pytest.mark.parametrize("times", [TIMES_3T, 0.99e-3 + 0.75e-3 * np.arange(12)], ids=["6 echoes", "12 echoes"])
def test_no_voxel_has_water_and_fat_exchanged_up_to_a_tenth_of_a_period_per_pixel(
    gradient: float, times: np.ndarray
) -> None:
    truth = body(gradient=gradient, times=times)
    fit = fit_r2star(truth.signal, times, field_t=3.0)
    assert fit.model == "complex_fat"
    assert not swapped(fit, truth)[truth.label != LABELS["air"]].any()
    error_hz = fit.b0_hz - truth.b0_hz
    period = 1 / float(np.diff(times).min())
    error_hz -= period * np.round(error_hz / period)
    assert np.nanmax(np.abs(error_hz[truth.label != LABELS["air"]])) < 0.1 * period


@pytest.mark.parametrize(
    "times",
    [
        1.2e-3 + 1.1e-3 * np.arange(6),
        np.array([1.1, 2.15, 3.4, 4.3, 5.7, 6.6, 8.1]) * 1e-3,
        np.array([1.2, 2.3, 4.5, 5.6, 7.8, 8.9]) * 1e-3,
    ],
    ids=["even", "uneven", "echoes dropped"],
)
def test_bias_and_scatter_at_the_bound_for_any_echo_times(times: np.ndarray) -> None:
    truth = body(times=times, field_t=1.5, snr=60, shape=(6, 72, 96), gradient=0.03)
    fit = fit_r2star(truth.signal, times, field_t=1.5, noise=NoiseModel(sigma=truth.sigma, coils=1.0, source="given"))
    inner = truth.label == LABELS["liver"]
    scale = np.abs(1 - 0.2 * np.linspace(-1, 1, 72))[None, :, None]
    checked = 0
    for r2star in (30, 60, 120, 250):
        for pdff in (0.0, 0.1, 0.3):
            cell = inner & (truth.r2star_per_s == r2star) & (truth.pdff == pdff)
            sd, sd_pdff = cramer_rao(times, 1.5, r2star, pdff, 60.0)
            if cell.sum() < 300 or sd / r2star > 0.125:
                continue
            unit = ((fit.r2star_per_s - r2star) * scale)[cell] / sd
            assert abs(unit.mean()) < 4 / np.sqrt(unit.size) + 0.005 * r2star / sd
            assert unit.std() == pytest.approx(1, abs=4 / np.sqrt(2 * unit.size) + 0.05)
            assert fit.pdff[cell].mean() == pytest.approx(pdff, abs=0.003 + 4 * sd_pdff / np.sqrt(unit.size))
            assert np.median((fit.sd_r2star_per_s * scale)[cell]) == pytest.approx(sd, rel=0.03)
            checked += 1
    assert checked >= 6


def test_the_sense_of_rotation_is_found() -> None:
    truth = body(gradient=0.05)
    usual = fit_r2star(truth.signal, TIMES_3T, field_t=3.0)
    turned = fit_r2star(truth.signal.conj(), TIMES_3T, field_t=3.0)
    assert usual.phase_note == "phase used."
    assert "against" in turned.phase_note
    body_of = truth.label != LABELS["air"]
    assert_same_within_noise(turned, usual, body_of)
    np.testing.assert_allclose(turned.b0_hz[body_of], -usual.b0_hz[body_of], atol=0.5)


@pytest.mark.parametrize("conjugated", [False, True])
def test_bipolar_readout_is_corrected(conjugated: bool) -> None:
    truth = body(gradient=0.04)
    signal = with_bipolar_readout(truth.signal, constant_rad=0.3, across_rad=1.2, gain=0.01)
    signal = signal.conj() if conjugated else signal
    fit = fit_r2star(signal, TIMES_3T, field_t=3.0)
    assert "odd and even" in fit.phase_note
    tissue = truth.label != LABELS["air"]
    assert not swapped(fit, truth)[tissue].any()
    clean = fit_r2star(truth.signal, TIMES_3T, field_t=3.0)
    shift = np.nanmedian((fit.r2star_per_s - clean.r2star_per_s)[tissue])
    assert abs(shift) < 1.0
    assert np.nanmedian(np.abs(fit.pdff - clean.pdff)[tissue]) < 0.01


@pytest.mark.parametrize("step_s", [1.15e-3, 3.45e-3])
def test_bipolar_readout_is_not_told_where_fat_alternates_too(step_s: float) -> None:
    """At half a turn of fat per echo (one and a half at 3.45 ms) the phase would exchange water and fat."""
    times = 1.1e-3 + step_s * np.arange(6)
    truth = body(times=times, shape=(2, 72, 96), liver_r2star=(30, 60, 120))
    fit = fit_r2star(
        with_bipolar_readout(truth.signal, constant_rad=0.4, across_rad=0.6, gain=0.01), times, field_t=3.0
    )
    assert "cannot be told apart" in fit.phase_note
    liver = truth.label == LABELS["liver"]
    error = fit.r2star_per_s[liver] / truth.r2star_per_s[liver] - 1
    assert abs(np.nanmedian(error)) < 0.03


@pytest.mark.parametrize("phase", ["random", "none"])
def test_a_phase_without_use_leaves_the_magnitude_fit_and_says_so(phase: str) -> None:
    truth = body()
    magnitude = np.abs(truth.signal)
    turns = np.random.default_rng(1).random(magnitude.shape) if phase == "random" else 0.0
    noise = NoiseModel(sigma=truth.sigma, coils=1.0, source="given")
    signal = (magnitude * np.exp(2j * np.pi * turns)).astype(np.complex64)
    fit = fit_r2star(signal, TIMES_3T, field_t=3.0, noise=noise)
    assert fit.phase_note.startswith("Phase not used: ")
    assert fit.b0_hz is None
    plain = fit_r2star(magnitude, TIMES_3T, field_t=3.0, noise=noise)
    assert fit.model == plain.model
    assert_same_within_noise(fit, plain, truth.label != LABELS["air"])


def test_echo_times_that_cannot_tell_fat_leave_the_magnitude_fit() -> None:
    times = 2.3e-3 * np.arange(1, 7)  # in phase at 3 T
    fit = fit_r2star(body(times=times).signal, times, field_t=3.0)
    assert fit.model == "magnitude_first_moment"
    assert "echo times" in fit.phase_note


def test_where_iron_is_high_the_magnitude_is_fitted_and_flagged() -> None:
    truth = body(liver_r2star=(1200,), liver_pdff=(0.0,), snr=50)
    fit = fit_r2star(truth.signal, TIMES_3T, field_t=3.0)
    y, x = np.ogrid[0:72, 0:96]
    core = np.broadcast_to(((x - 35) / 18) ** 2 + ((y - 36) / 16) ** 2 < 1, truth.label.shape)
    assert np.mean((fit.flags & FitFlag.PHASE_NOT_USED)[core] != 0) > 0.95
    assert np.nanmedian(fit.r2star_per_s[core]) == pytest.approx(1200, rel=0.03)
    muscle = truth.label == LABELS["muscle"]
    assert np.mean((fit.flags & FitFlag.PHASE_NOT_USED)[muscle] != 0) < 0.1


def test_high_iron_at_uneven_times_is_not_exchanged_where_the_phase_is_used() -> None:
    """The field may be anything there, and an exchange moves it by the shift of fat."""
    times = np.array([0.95, 1.7, 2.5, 3.15, 4.05, 4.7, 5.55, 6.2]) * 1e-3
    truth = body(times=times, liver_r2star=(700, 1000), liver_pdff=(0.0, 0.1, 0.2), snr=100, shape=(6, 72, 96))
    fit = fit_r2star(truth.signal, times, field_t=3.0)
    liver = truth.label == LABELS["liver"]
    by_phase = liver & ((fit.flags & FitFlag.PHASE_NOT_USED) == 0)
    assert np.count_nonzero(by_phase) > np.count_nonzero(liver) / 2
    assert not swapped(fit, truth)[by_phase].any()


def test_threads_and_numeric_type_do_not_change_the_result() -> None:
    truth = body()
    one = fit_r2star(truth.signal, TIMES_3T, field_t=3.0, threads=1)
    two = fit_r2star(truth.signal.astype(np.complex128), TIMES_3T, field_t=3.0, threads=2)
    for name in ("r2star_per_s", "pdff", "b0_hz", "sd_r2star_per_s", "residual", "flags"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_scale_and_common_phase_do_not_matter() -> None:
    truth = body()
    plain = fit_r2star(truth.signal, TIMES_3T, field_t=3.0)
    turned = fit_r2star((truth.signal * 512 * np.exp(2.1j)).astype(np.complex64), TIMES_3T, field_t=3.0)
    tissue = truth.label != LABELS["air"]
    assert_same_within_noise(turned, plain, tissue)
    np.testing.assert_allclose(turned.s0[tissue], 512 * plain.s0[tissue], rtol=1e-3)
    assert turned.sigma == pytest.approx(512 * plain.sigma, rel=1e-3)


@pytest.mark.parametrize("broken", [np.nan, np.inf, 3e38])
def test_broken_samples_are_flagged_and_harm_nobody_else(broken: float) -> None:
    truth = body()
    signal = truth.signal.copy()
    signal[1, 30, 30, 2] = broken
    signal[2, 40, 50, :] = 0
    fit = fit_r2star(signal, TIMES_3T, field_t=3.0)
    assert fit.flags[1, 30, 30] == FitFlag.FAILED
    assert fit.flags[2, 40, 50] == FitFlag.NOISE_ONLY
    for values in (fit.r2star_per_s, fit.pdff, fit.b0_hz, fit.sd_r2star_per_s):
        assert np.isnan(values[1, 30, 30])
        assert np.isnan(values[2, 40, 50])
    tissue = truth.label != LABELS["air"]
    assert not swapped(fit, truth)[tissue].any()


def test_air_is_noise_and_never_a_number() -> None:
    truth = body()
    fit = fit_r2star(truth.signal, TIMES_3T, field_t=3.0)
    air = truth.label == LABELS["air"]
    assert np.mean(fit.flags[air] == FitFlag.NOISE_ONLY) > 0.99
    assert np.isnan(fit.r2star_per_s[fit.flags == FitFlag.NOISE_ONLY]).all()


def test_a_mask_restricts_the_fit() -> None:
    truth = body()
    mask = truth.label == LABELS["liver"]
    fit = fit_r2star(truth.signal, TIMES_3T, field_t=3.0, mask=mask)
    assert (fit.flags[~mask] == FitFlag.OUTSIDE).all()
    assert not swapped(fit, truth)[mask].any()


def test_magnitude_cannot_be_fitted_as_complex() -> None:
    with pytest.raises(ValueError, match="signal must be complex"):
        fit_r2star(np.ones((1, 4, 4, 6), np.float32), TIMES_3T, field_t=3.0, model="complex_fat")


def echo_errors(kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """Phase (z, y, x, e), radians, that the model does not know."""
    _, rows, columns, echoes = shape
    y, x = np.linspace(-1, 1, rows)[:, None], np.linspace(-1, 1, columns)
    rng, phase = np.random.default_rng(5), np.zeros(shape)
    if kind == "random planes":
        for e in range(echoes):
            constant, across, down = rng.normal(0, 0.2, 3)
            phase[..., e] = constant + across * x + down * y
    elif kind == "eddy current":
        phase += 0.4 * np.exp(-np.arange(echoes) / 1.5) * (1 + 0.5 * x[:, None])
    elif kind == "wave":
        phase[..., 0] = 0.5 * np.sin(3 * np.pi * x)
    else:
        phase[..., 0] = float(kind)
    return phase


@pytest.mark.parametrize("kind", ["0.15", "-0.3", "random planes", "eddy current"])
@pytest.mark.parametrize(("r2star", "pdff"), [(450, 0.05), *further([(200, 0.1)])])
def test_phase_errors_common_to_the_tissue_are_taken_out(r2star: float, pdff: float, kind: str) -> None:
    truth = body(liver_r2star=(r2star,), liver_pdff=(pdff,))
    signal = truth.signal * np.exp(1j * echo_errors(kind, truth.signal.shape))
    fit = fit_r2star(signal.astype(np.complex64), TIMES_3T, field_t=3.0)
    liver = truth.label == LABELS["liver"]
    assert "brought into line" in fit.phase_note
    assert np.nanmedian(fit.r2star_per_s[liver]) == pytest.approx(r2star, rel=0.01)
    assert np.nanmedian(fit.pdff[liver]) == pytest.approx(pdff, abs=0.01)
    assert not swapped(fit, truth)[truth.label != LABELS["air"]].any()


def test_a_gain_of_bipolar_readout_that_changes_over_the_image_is_taken_out() -> None:
    times = 1.2e-3 + 0.8e-3 * np.arange(8)
    truth = body(liver_r2star=(250,), liver_pdff=(0.1,), snr=80, times=times)
    sign = np.where(np.arange(8) % 2 == 0, 1, -1)
    across = np.linspace(-1, 1, truth.signal.shape[2])[:, None]
    signal = truth.signal * np.exp((0.05 + 0.15 * across + 0.5j) * sign)
    fit = fit_r2star(signal.astype(np.complex64), times, field_t=3.0)
    liver = truth.label == LABELS["liver"]
    assert np.nanmedian(fit.r2star_per_s[liver]) == pytest.approx(250, rel=0.01)
    assert np.nanmedian(fit.pdff[liver]) == pytest.approx(0.1, abs=0.01)
    assert np.allclose(np.log(fit.echo_gain), (0.05 + 0.15 * across) * sign, atol=0.01)


def test_a_phase_that_the_magnitudes_contradict_is_not_used() -> None:
    truth = body(liver_r2star=(200,), liver_pdff=(0.1,))
    signal = truth.signal * np.exp(1j * echo_errors("wave", truth.signal.shape))
    fit = fit_r2star(signal.astype(np.complex64), TIMES_3T, field_t=3.0)
    liver = truth.label == LABELS["liver"]
    assert fit.phase_note == "Phase not used: the magnitudes of the same images contradict it."
    assert np.nanmedian(fit.r2star_per_s[liver]) == pytest.approx(200, rel=0.01)


def test_echoes_in_line_are_left_alone() -> None:
    fit = fit_r2star(body().signal, TIMES_3T, field_t=3.0)
    assert "line" not in fit.phase_note
