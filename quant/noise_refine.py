"""Noise of an acquisition without usable background, made sharper with the signal model itself.

The spread between neighbouring voxels and echoes (``quant.noise``) errs upwards wherever anatomy has edges, and says
nothing about the coil number. What a fit of the right signal model leaves over has neither fault: sigma follows from
the residual of tissue far above the floor, the coil number from which floor the darkest decays run into.
"""

from dataclasses import replace

import numpy as np
from scipy.stats import chi2 as chi_squared

from quant.model_choice import tissue_sample, voxels_show_fat
from quant.models import SignalModel
from quant.noise import NoiseModel
from quant.voxel_fit import Setup, Signal, VoxelFit, Voxels, fit_voxels

_COIL_CANDIDATES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_QUANTILE = 0.25  # of the residuals: partial volume and motion only add to them
_FAR_ABOVE_FLOOR = 8.0  # times sigma, weakest echo
_LEAST_VOXELS = 200
_LEAST_GAIN = 100.0  # in capped chi squared summed over the sample, to leave one coil
_CAP = 4.0  # times the degrees of freedom: what one voxel may add


def refine_body_noise(signal: Signal, voxels: Voxels, setup: Setup) -> NoiseModel:
    """Sigma and coils from the residuals of ``signal`` (n, e) at the rows ``voxels``; never above the sigma given."""
    sample = tissue_sample(signal, voxels, setup)
    weakest = signal[sample].min(axis=1)
    clear = sample[weakest > _FAR_ABOVE_FLOOR * setup.noise.sigma]
    if clear.size < _LEAST_VOXELS:
        return setup.noise
    model = _richest_model(setup, float(np.median(signal[clear, 0])) / setup.noise.sigma)
    ratio = _residual_ratio(fit_voxels(signal, clear, setup, model))
    sigma = setup.noise.sigma * float(np.sqrt(min(ratio, 1.0)))
    if not sigma > 0:
        return setup.noise
    noise = replace(setup.noise, sigma=sigma, source="body residual")
    return replace(noise, coils=_coils_of_the_floor(signal, sample, replace(setup, noise=noise), model))


def _residual_ratio(fit: VoxelFit) -> float:
    """Chi squared found over chi squared expected, from the better fitted voxels (mostly fat ones left out)."""
    relative = fit.chi2 / chi_squared.ppf(_QUANTILE, fit.dof)
    if fit.ambiguous is not None and not np.all(fit.ambiguous):
        relative = relative[~fit.ambiguous]
    return float(np.quantile(relative, _QUANTILE))


def _richest_model(setup: Setup, snr: float) -> SignalModel:
    return SignalModel.FAT_FIRST_MOMENT if voxels_show_fat(setup, snr) else SignalModel.FIRST_MOMENT


def _coils_of_the_floor(signal: Signal, sample: Voxels, setup: Setup, model: SignalModel) -> float:
    """The candidate that leaves least residual, one coil unless another is clearly better."""
    cost = [
        _capped(fit_voxels(signal, sample, replace(setup, noise=replace(setup.noise, coils=coils)), model))
        for coils in _COIL_CANDIDATES
    ]
    best = int(np.argmin(cost))
    return _COIL_CANDIDATES[best] if cost[0] - cost[best] > _LEAST_GAIN else 1.0


def _capped(fit: VoxelFit) -> float:
    return float(np.minimum(fit.chi2, _CAP * np.maximum(fit.dof, 1)).sum())
