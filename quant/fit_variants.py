"""The decay plus a constant, for comparison and research: it overestimates R2* at high iron (Feng 2013)."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_GRID = 120
_REFINEMENTS = 40
_GOLDEN = (np.sqrt(5.0) - 1) / 2


def fit_plus_constant(samples: Array, echo_times_s: Array, largest_per_s: float) -> tuple[Array, Array, Array]:
    """Least squares of S0 exp(-R2* TE) + C with C >= 0 to ``samples`` (k, e): S0, R2* (1/s), C, each (k,).

    S0 and C follow linearly from R2* (variable projection), so R2* is a one-dimensional search: a logarithmic grid,
    then golden sections around its best node.
    """
    grid = np.geomspace(1.0, largest_per_s, _GRID)
    cost = np.stack([_project(samples, np.full(len(samples), r), echo_times_s)[0] for r in grid])
    best = np.argmin(cost, axis=0)
    low, high = grid[np.maximum(best - 1, 0)], grid[np.minimum(best + 1, _GRID - 1)]
    for _ in range(_REFINEMENTS):
        width = _GOLDEN * (high - low)
        left, right = high - width, low + width
        lower = _project(samples, left, echo_times_s)[0] < _project(samples, right, echo_times_s)[0]
        low, high = np.where(lower, low, left), np.where(lower, right, high)
    r2star = (low + high) / 2
    _, s0, constant = _project(samples, r2star, echo_times_s)
    return s0, r2star, constant


def _project(samples: Array, r2star: Array, times: Array) -> tuple[Array, Array, Array]:
    """Sum of squares, S0 and C for given R2* (k,)."""
    decay = np.exp(-r2star[:, None] * times)
    n = times.size
    see, se = (decay**2).sum(1), decay.sum(1)
    sey, sy = (decay * samples).sum(1), samples.sum(1)
    determinant = np.maximum(n * see - se**2, 1e-12)
    constant = np.maximum((see * sy - se * sey) / determinant, 0)
    s0 = (sey - constant * se) / np.maximum(see, 1e-300)
    residual = samples - s0[:, None] * decay - constant[:, None]
    return (residual**2).sum(1), s0, constant
