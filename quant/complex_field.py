"""The field of a volume from the candidates of its voxels: sequential tree-reweighted message passing.

Chooses for every voxel one candidate so that the sum of its cost and of the squared field differences between
neighbours, weighted by how sharply the voxels tell their field, is least (the energy of Hernando 2010,
10.1002/mrm.22177, on candidates as in Berglund 2017, 10.1002/mrm.26479). TRW-S (Kolmogorov 2006,
10.1109/TPAMI.2006.200) solves it approximately on any number of candidates. Voxels are ordered by the parity of their
slice, then line by line: slices of one parity do not touch, so they are swept side by side and the result does not
depend on the number of threads.
"""

import numba as nb
import numpy as np

from quant.complex_scan import NONE
from quant.fit_block import compiled_entry, inlined

f32 = np.float32
_inner = inlined(fastmath={"contract", "arcp", "nsz"})


@_inner
def _difference(d, period, inverse):  # type: ignore[no-untyped-def]
    """Difference ``d`` of two offsets, wrapped where the field has a period (``inverse`` 0: none)."""
    return d - period * np.rint(d * inverse)


@_inner
def _belief(p, near, message, cost, belief):  # type: ignore[no-untyped-def]
    """Cost of voxel p's candidates plus the messages of all its neighbours."""
    for k in range(belief.size):
        belief[k] = cost[p, k]
    for side in range(6):
        q = near[side]
        if q >= 0:
            edge = p if side % 2 == 0 else q
            for k in range(belief.size):
                belief[k] += message[edge, side // 2, k]


@_inner
def _neighbours(index, z, y, x, near):  # type: ignore[no-untyped-def]
    """Rows of the neighbours of a voxel, -1 where there is none: after and before it along x, y, z."""
    depth, height, width = index.shape
    near[0] = index[z, y, x + 1] if x + 1 < width else -1
    near[1] = index[z, y, x - 1] if x > 0 else -1
    near[2] = index[z, y + 1, x] if y + 1 < height else -1
    near[3] = index[z, y - 1, x] if y > 0 else -1
    near[4] = index[z + 1, y, x] if z + 1 < depth else -1
    near[5] = index[z - 1, y, x] if z > 0 else -1


@_inner
def _send(p, q, edge, axis, share, belief, base, offset, slope, stiffness, weight, largest, period, inverse, message):  # type: ignore[no-untyped-def]
    """Replace the message on an edge (from q to p) by the one from p to q; ``base`` is scratch."""
    candidates = belief.size
    w = weight[axis] * min(stiffness[p], stiffness[q])
    expected = slope[p, axis] if edge == p else -slope[q, axis]  # of offset[q] - offset[p]
    for i in range(candidates):
        base[i] = share * belief[i] - message[edge, axis, i]
    least = NONE
    for j in range(candidates):
        best = NONE
        for i in range(candidates):
            d = _difference(offset[q, j] - offset[p, i] - expected, period, inverse)
            best = min(best, base[i] + w * min(d * d, largest))
        message[edge, axis, j] = best
        least = min(least, best)
    for j in range(candidates):
        message[edge, axis, j] -= least


@_inner
def _sweep_slice(index, z, forward, offset, cost, slope, stiffness, weight, largest, period, inverse, message, label):  # type: ignore[no-untyped-def]
    height, width = index.shape[1:]
    near = np.empty(6, np.int64)
    belief = np.empty(cost.shape[1], np.float32)
    base = np.empty_like(belief)
    first = z % 2 == 0
    for line in range(height):
        y = line if forward else height - 1 - line
        for column in range(width):
            x = column if forward else width - 1 - column
            p = index[z, y, x]
            if p < 0:
                continue
            _neighbours(index, z, y, x, near)
            _belief(p, near, message, cost, belief)
            later = 0
            earlier = 0
            for side in range(6):
                if near[side] >= 0:
                    if _is_later(side, first):
                        later += 1
                    else:
                        earlier += 1
            share = f32(1) / f32(max(later, earlier, 1))
            if forward:
                label[p] = _decide(
                    p, near, first, offset, cost, slope, stiffness, weight, largest, period, inverse, message, label
                )
            for side in range(6):
                q = near[side]
                if q >= 0 and _is_later(side, first) == forward:
                    edge = p if side % 2 == 0 else q
                    _send(
                        p,
                        q,
                        edge,
                        side // 2,
                        share,
                        belief,
                        base,
                        offset,
                        slope,
                        stiffness,
                        weight,
                        largest,
                        period,
                        inverse,
                        message,
                    )


@_inner
def _is_later(side, first):  # type: ignore[no-untyped-def]
    """Whether the neighbour on this side comes later in the order; ``first``: the voxel's slice is even."""
    if side < 4:
        return side % 2 == 0
    return first


@_inner
def _decide(p, near, first, offset, cost, slope, stiffness, weight, largest, period, inverse, message, label):  # type: ignore[no-untyped-def]
    """Candidate of voxel p given those already decided before it and the messages of those after it."""
    best, chosen = NONE, 0
    for k in range(cost.shape[1]):
        value = cost[p, k]
        for side in range(6):
            q = near[side]
            if q < 0:
                continue
            axis = side // 2
            edge = p if side % 2 == 0 else q
            if _is_later(side, first):
                value += message[edge, axis, k]
            else:
                w = weight[axis] * min(stiffness[p], stiffness[q])
                expected = slope[p, axis] if edge == p else -slope[q, axis]
                d = _difference(offset[q, label[q]] - offset[p, k] - expected, period, inverse)
                value += w * min(d * d, largest)
        if value < best:
            best, chosen = value, k
    return chosen


@compiled_entry
def settle(index, offset, cost, slope, stiffness, weight, largest, period, message, label, sweeps):  # type: ignore[no-untyped-def]
    """Fill ``label`` (k,): the candidate of every voxel.

    ``index`` (z, y, x) int32 holds the row of a voxel or -1; ``offset`` and ``cost`` (k, c), ``stiffness`` (k,) and
    ``slope`` (k, 3), the expected change of offset to the next voxel along x, y, z; ``weight`` (3,) by axis;
    squared differences count up to ``largest``, as tissue across air has a field of its own;
    ``message`` (k, 3, c) is scratch, 0 at the start or what an earlier call left.
    ``period`` of the field in points, 0 for none.
    """
    depth = index.shape[0]
    inverse = f32(1) / period if period > 0 else f32(0)
    for _ in range(sweeps):
        for turn in range(4):
            forward = turn < 2
            parity = turn if forward else 3 - turn
            for half in nb.prange((depth - parity + 1) // 2):
                _sweep_slice(
                    index,
                    2 * half + parity,
                    forward,
                    offset,
                    cost,
                    slope,
                    stiffness,
                    weight,
                    largest,
                    period,
                    inverse,
                    message,
                    label,
                )
