"""The phantom's signal against closed forms and against the statistics of its noise."""

import numpy as np
import pytest
from scipy import ndimage, stats

from quant.phantom import AbdomenAnatomy, Label, Phantom, default_echo_times_s, make_abdomen

PLAIN = AbdomenAnatomy(heterogeneity=0.0, texture=0.0, coil_shading=0.0, susceptibility=0.0)
# Hamilton's liver fat as printed in absolute ppm (10.1002/nbm.1622), water at 4.7 ppm
FAT_ABSOLUTE_PPM = (5.3, 4.31, 2.76, 2.10, 1.3, 0.9)
FAT_AMPLITUDE = (0.048, 0.039, 0.004, 0.128, 0.693, 0.087)


def complex_form(times_s, field_t, s0, r2star, pdff):
    """S(t) of a water-fat voxel with six peaks, written out from the published spectrum."""
    fat = np.zeros(len(times_s), dtype=complex)
    for ppm, amplitude in zip(FAT_ABSOLUTE_PPM, FAT_AMPLITUDE, strict=True):
        fat += amplitude / sum(FAT_AMPLITUDE) * np.exp(2j * np.pi * 42.577478518 * field_t * (ppm - 4.7) * times_s)
    return s0 * np.exp(-r2star * times_s) * (1 - pdff + pdff * fat)


def closed_form(times_s, field_t, s0, r2star, pdff):
    return np.abs(complex_form(times_s, field_t, s0, r2star, pdff))


def pure_air(phantom: Phantom):
    """Voxels (z, y, x) of air that touch no tissue."""
    return ndimage.binary_erosion(phantom.truth.labels == Label.BACKGROUND, np.ones((1, 3, 3)), border_value=1)


@pytest.fixture(scope="module")
def plain() -> Phantom:
    return make_abdomen(
        anatomy=PLAIN, snr=1e7, n_slices=3, gap_mm=25, matrix=160, pdff_percent=12, r2star_per_s=180, seed=4
    )


@pytest.mark.parametrize("label", [Label.LIVER, Label.SPLEEN, Label.SUBCUTANEOUS_FAT, Label.AORTA, Label.MUSCLE])
def test_every_tissue_follows_the_equation(plain: Phantom, label: Label) -> None:
    truth, acquisition = plain.truth, plain.acquisition
    inside = ndimage.binary_erosion(truth.labels == label, np.ones((1, 3, 3)))
    assert inside.sum() > 20
    tissue = truth.tissues[label]
    if label is Label.LIVER:
        r2star, pdff, tolerance = 180.0, 0.12, 3e-3
    else:
        r2star, pdff, tolerance = tissue.r2star_per_s, tissue.pdff, 5e-2
    expected = closed_form(acquisition.echo_times_s, 1.5, 1000 * tissue.s0, r2star, pdff)
    measured = np.median(acquisition.signal[inside], axis=0)
    assert measured == pytest.approx(expected, rel=tolerance)


def test_single_voxel_follows_its_own_truth(plain: Phantom) -> None:
    truth, acquisition = plain.truth, plain.acquisition
    for z, y, x in np.argwhere(truth.liver)[::977]:
        expected = closed_form(
            acquisition.echo_times_s, 1.5, 1000.0, truth.r2star_per_s[z, y, x], float(truth.pdff[z, y, x])
        )
        assert acquisition.signal[z, y, x] == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize(("field_t", "r2star", "pdff"), [(1.5, 67.73, 2.0), (3.0, 400.0, 25.0), (1.5, 1500.0, 0.0)])
def test_pure_parenchyma_has_the_requested_median(field_t: float, r2star: float, pdff: float) -> None:
    for seed in (0, 1, 2):
        truth = make_abdomen(
            field_t=field_t, r2star_per_s=r2star, pdff_percent=pdff, n_slices=3, matrix=96, seed=seed
        ).truth
        assert np.median(truth.r2star_per_s[truth.liver]) == pytest.approx(r2star, rel=2e-3)
        assert 100 * np.median(truth.pdff[truth.liver]) == pytest.approx(pdff, rel=2e-3, abs=1e-6)


def test_heterogeneity_is_the_relative_spread_of_r2star() -> None:
    truth = make_abdomen(n_slices=5, matrix=96, anatomy=AbdomenAnatomy(heterogeneity=0.1)).truth
    values = truth.r2star_per_s[truth.liver]
    assert 0.05 < values.std() / values.mean() < 0.15


def test_edges_mix_signals_not_rates(plain: Phantom) -> None:
    """On the border of muscle and fat a voxel holds 0 to 4 quarters of either, added as complex signals."""
    pair = (Label.MUSCLE, Label.SUBCUTANEOUS_FAT)
    labels, acquisition = plain.truth.labels, plain.acquisition
    only_the_pair = ndimage.binary_erosion(np.isin(labels, pair), np.ones((1, 5, 5)))
    muscle, fat = (ndimage.binary_dilation(labels == label, np.ones((1, 3, 3))) for label in pair)
    values = acquisition.signal[only_the_pair & muscle & fat]
    pure = [
        complex_form(acquisition.echo_times_s, 1.5, 1000 * t.s0, t.r2star_per_s, t.pdff)
        for t in (plain.truth.tissues[label] for label in pair)
    ]
    mixtures = np.abs([pure[0] + quarters / 4 * (pure[1] - pure[0]) for quarters in range(5)])
    error = np.abs(values[:, None, :] / mixtures[None] - 1)[..., :4].max(axis=2)
    assert len(values) > 100
    assert (error.min(axis=1) < 0.03).mean() > 0.95
    assert (np.isin(error.argmin(axis=1), (1, 2, 3))).mean() > 0.2


def test_phase_follows_the_field() -> None:
    anatomy = AbdomenAnatomy(heterogeneity=0.0, texture=0.0)
    phantom = make_abdomen(anatomy=anatomy, snr=1e7, n_slices=1, matrix=96, kind="complex", pdff_percent=0, seed=1)
    acquisition, truth = phantom.acquisition, phantom.truth
    liver = acquisition.signal[truth.liver]
    step = np.angle(liver[:, 1:] * np.conj(liver[:, :-1]))
    expected = 2 * np.pi * truth.b0_hz[truth.liver][:, None] * np.diff(acquisition.echo_times_s)
    assert np.abs(np.angle(np.exp(1j * (step - expected)))).max() < 2e-3


@pytest.mark.parametrize("coils", [1, 8])
def test_background_noise_is_chi_distributed(coils: int) -> None:
    """Air of an n-coil sum of squares: chi with 2 n degrees of freedom (Rayleigh for one)."""
    phantom = make_abdomen(n_slices=1, matrix=128, snr=40, coils=coils)
    sigma = 1000 / 40
    assert phantom.truth.sigma == sigma
    air = phantom.acquisition.signal[pure_air(phantom)].ravel()
    expected = stats.chi(2 * coils, scale=sigma)
    assert air.mean() == pytest.approx(expected.mean(), rel=5e-3)
    assert air.std() == pytest.approx(expected.std(), rel=1e-2)
    assert stats.kstest(air[::7], expected.cdf).pvalue > 1e-3


@pytest.mark.parametrize("coils", [1, 4])
def test_tissue_noise_is_non_central_chi(coils: int) -> None:
    """Squared magnitude over sigma squared: non-central chi-square with 2 n degrees of freedom."""
    request = {"r2star_per_s": 700.0, "pdff_percent": 0.0, "anatomy": PLAIN, "n_slices": 1, "matrix": 160, "seed": 3}
    noisy = make_abdomen(snr=30, coils=coils, **request)
    clean = make_abdomen(snr=1e9, coils=coils, **request)
    liver, sigma = noisy.truth.liver, noisy.truth.sigma
    for echo in (0, 3, 8):
        level = float(np.median(clean.acquisition.signal[liver][:, echo]))
        power = (noisy.acquisition.signal[liver][:, echo] / sigma) ** 2
        law = stats.ncx2(2 * coils, (level / sigma) ** 2)
        error = 5 * law.std() / np.sqrt(power.size)
        assert power.mean() == pytest.approx(law.mean(), abs=error)
        assert power.std() == pytest.approx(law.std(), rel=0.08)


def test_complex_noise_has_sigma_per_part() -> None:
    phantom = make_abdomen(n_slices=1, matrix=96, snr=25, kind="complex")
    air = phantom.acquisition.signal[pure_air(phantom)]
    assert air.real.std() == pytest.approx(40, rel=0.01)
    assert air.imag.std() == pytest.approx(40, rel=0.01)
    assert abs(np.corrcoef(air.real.ravel(), air.imag.ravel())[0, 1]) < 0.01


def test_magnitude_is_never_negative_and_always_finite() -> None:
    phantom = make_abdomen(n_slices=2, matrix=96, snr=5, r2star_per_s=1500)
    assert phantom.acquisition.signal.dtype == np.float32
    assert np.isfinite(phantom.acquisition.signal).all()
    assert phantom.acquisition.signal.min() >= 0


def test_lung_and_gas_dephase_thick_slices() -> None:
    """The field of air costs signal near the dome: weaker with a thin slice, none without susceptibility."""

    def late_share(susceptibility: float, thickness_mm: float) -> float:
        anatomy = AbdomenAnatomy(heterogeneity=0, texture=0, susceptibility=susceptibility)
        phantom = make_abdomen(
            anatomy=anatomy, snr=1e6, n_slices=1, level_mm=62, slice_thickness_mm=thickness_mm, matrix=96, field_t=3.0
        )
        signal = phantom.acquisition.signal[phantom.truth.liver]
        return float(np.percentile(signal[:, -1] / signal[:, 0], 10))

    free, thin, thick = late_share(0.0, 4.0), late_share(1.0, 4.0), late_share(1.0, 10.0)
    assert thick < 0.95 * thin
    assert thin < free


def test_ghosts_appear_in_air_along_the_phase_direction() -> None:
    still, ghosted = (
        make_abdomen(n_slices=1, matrix=128, snr=400, seed=1, anatomy=AbdomenAnatomy(ghosts=level, variation=0.0))
        for level in (0.0, 0.06)
    )
    air = pure_air(still)[0]
    torso_columns = ~air.all(axis=0)
    above = air & torso_columns[None, :]
    assert ghosted.acquisition.signal[0, ..., 0][above].max() > 3 * still.acquisition.signal[0, ..., 0][above].max()
    beside = air & ~torso_columns[None, :]
    assert ghosted.acquisition.signal[0, ..., 0][beside].mean() == pytest.approx(
        still.acquisition.signal[0, ..., 0][beside].mean(), rel=0.02
    )


def test_default_echo_times_measure_low_and_high_iron() -> None:
    assert default_echo_times_s(1.5)[[0, 1, -1]] == pytest.approx([1.0e-3, 2.4e-3, 16.4e-3])
    assert default_echo_times_s(3.0)[[0, 1, -1]] == pytest.approx([1.0e-3, 1.9e-3, 10.9e-3])
    assert default_echo_times_s(1.5, echoes=6, te1_ms=1.3, delta_te_ms=2.0) == pytest.approx(
        np.array([1.3, 3.3, 5.3, 7.3, 9.3, 11.3]) * 1e-3
    )
