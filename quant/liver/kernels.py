"""Compiled loops of the liver finder: block averages, medians, matching and joining.

Each does what its plain numpy or scipy counterpart does, without the copies that those need; the order of every sum is
fixed. Each call runs on one thread; the callers work off parts side by side (``quant.threads``), which are independent,
so that results do not depend on the number of threads.
"""

from collections.abc import Callable
from typing import Any

import numba as nb
import numpy as np

LANES = 256  # signals matched side by side, so that the inner loops vectorise
_FAST = {"contract", "nnan", "nsz"}  # no reassociation: the order of summation is the result


def _compiled(*, fast: bool) -> Callable[[Callable[..., Any]], Any]:
    """Compile with numba's cache on disk, or without where none can be kept (as ``quant.fit_block``)."""

    def compile_one(function: Callable[..., Any]) -> Any:
        fastmath = _FAST if fast else False
        try:
            return nb.njit(fastmath=fastmath, error_model="numpy", nogil=True, cache=True)(function)
        except RuntimeError:
            return nb.njit(fastmath=fastmath, error_model="numpy", nogil=True)(function)

    return compile_one


@_compiled(fast=False)
def block_power_means(flat, first, steps, blocks, echoes, out):  # type: ignore[no-untyped-def]  # numba infers
    """Root of the mean power over blocks of voxels, of the listed ``echoes``.

    ``flat`` is the raveled acquisition (float32) whose voxel (z, y, x), echo e lies at ``first`` + ``steps`` . (z, y,
    x) + e; ``blocks`` are rows and columns averaged. Fills ``out`` (e, z, Y, X).
    """
    rows, columns = blocks
    number = np.float32(rows * columns)
    whole = np.empty(echoes.size, np.float32)
    line = np.empty(echoes.size, np.float32)
    for z in range(out.shape[1]):
        for y in range(out.shape[2]):
            for x in range(out.shape[3]):
                whole[:] = np.float32(0)
                for row in range(rows):
                    line[:] = np.float32(0)
                    for column in range(columns):
                        at = first + z * steps[0] + (y * rows + row) * steps[1] + (x * columns + column) * steps[2]
                        for i in range(echoes.size):
                            value = flat[at + echoes[i]]
                            line[i] += value * value
                    for i in range(echoes.size):
                        whole[i] += line[i]
                for i in range(echoes.size):
                    out[i, z, y, x] = np.sqrt(whole[i] / number)


@_compiled(fast=True)
def medians_of_neighbours(padded, down, right, out):  # type: ignore[no-untyped-def]
    """Median (upper one) of the samples of ``padded`` (z, y', x') at the offsets ``down``, ``right`` (k,) of a pixel.

    A whole row at a time is sorted from the top until the middle: partial bubble sort without branches. Fills ``out``
    (z, y, x).
    """
    size, width = down.size, out.shape[2]
    samples = np.empty((size, width), np.float32)
    largest = np.empty(width, np.float32)
    for z in range(out.shape[0]):
        for y in range(out.shape[1]):
            for k in range(size):
                for x in range(width):
                    samples[k, x] = padded[z, y + down[k], x + right[k]]
            for last in range(size - 1, size // 2 - 1, -1):
                for x in range(width):
                    largest[x] = samples[0, x]
                for k in range(1, last + 1):
                    for x in range(width):
                        value = samples[k, x]
                        samples[k - 1, x] = min(value, largest[x])
                        largest[x] = max(value, largest[x])
                for x in range(width):
                    samples[last, x] = largest[x]
            for x in range(width):
                out[z, y, x] = samples[size // 2, x]


@nb.njit(fastmath=_FAST, error_model="numpy")
def _correlation(block, i, atoms, k):  # type: ignore[no-untyped-def]
    total = block[0, i] * atoms[0, k]
    for e in range(1, atoms.shape[0]):
        total += block[e, i] * atoms[e, k]
    return total


@_compiled(fast=True)
def best_matches(signals, atoms, columns, at, near):  # type: ignore[no-untyped-def]
    """For each of ``signals`` (e, n) the atom of ``atoms`` (e, rows * columns) of the highest correlation.

    The atoms are a table of rows and ``columns``. Fills ``at`` (n,) with the first best one and ``near`` (5, n) with
    the correlation there, one row up and down and one column back and on (the table's edge repeated).
    """
    echoes, count = atoms.shape
    block = np.empty((echoes, LANES), np.float32)
    correlation, highest = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    best = np.empty(LANES, np.int32)
    for low in range(0, at.size, LANES):
        used = min(LANES, at.size - low)
        for e in range(echoes):
            for i in range(LANES):
                block[e, i] = signals[e, low + i] if i < used else np.float32(0)
        for i in range(LANES):
            highest[i] = -np.inf
        for k in range(count):
            for i in range(LANES):
                correlation[i] = block[0, i] * atoms[0, k]
            for e in range(1, echoes):
                for i in range(LANES):
                    correlation[i] += block[e, i] * atoms[e, k]
            for i in range(LANES):
                better = correlation[i] > highest[i]
                highest[i] = correlation[i] if better else highest[i]
                best[i] = np.int32(k) if better else best[i]
        for i in range(used):
            k = best[i]
            column = k % columns
            at[low + i] = k
            near[0, low + i] = highest[i]
            near[1, low + i] = _correlation(block, i, atoms, k - columns if k >= columns else k)
            near[2, low + i] = _correlation(block, i, atoms, k + columns if k + columns < count else k)
            near[3, low + i] = _correlation(block, i, atoms, k - 1 if column > 0 else k)
            near[4, low + i] = _correlation(block, i, atoms, k + 1 if column < columns - 1 else k)


@_compiled(fast=False)
def medians_of_lists(values, members, ends, out):  # type: ignore[no-untyped-def]
    """Median (upper one) of ``values`` at each list of ``members``; list k ends before ``ends[k]``. Fills ``out``."""
    start = 0
    for k in range(ends.size):
        if ends[k] > start:
            some = values[members[start : ends[k]]]
            out[k] = np.partition(some, some.size // 2)[some.size // 2]
        start = ends[k]


@_compiled(fast=False)
def weighted_median(values, weights):  # type: ignore[no-untyped-def]
    """Value at half the weight, of ``values`` and ``weights`` (n,)."""
    order = np.argsort(values, kind="mergesort")
    cumulative = np.cumsum(weights[order])
    return values[order[np.searchsorted(cumulative, cumulative[-1] / 2)]]


@_compiled(fast=False)
def spread(seed, organ, links, ends, area, touching, whole, limits, organ_of):  # type: ignore[no-untyped-def]
    """Marks with ``organ`` in ``organ_of`` (n,) the pieces that join ``seed``, breadth first.

    ``links`` up to ``ends[k]`` are the neighbours of piece k. A piece joins when its ``touching`` (n,) is within
    ``limits[0]`` (n,) of that of a member it touches, and each of its features ``whole`` (f, n) within ``limits[1:]``
    (f, n) of the members' median by ``area`` (n,).
    """
    members = np.empty(ends.size, np.int64)
    members[0], count, measured = seed, 1, 0
    organ_of[seed] = organ
    middle = np.empty(whole.shape[0])
    queue = np.empty(links.size + 1, np.int64)
    head, tail = 0, 0
    for link in links[ends[seed - 1] : ends[seed]]:
        queue[tail] = link
        tail += 1
    while head < tail:
        piece = queue[head]
        head += 1
        if organ_of[piece] != 0:
            continue
        nearest = np.inf
        for other in links[ends[piece - 1] : ends[piece]]:
            if organ_of[other] == organ:
                nearest = min(nearest, abs(touching[piece] - touching[other]))
        if not nearest < limits[0, piece]:
            continue
        if measured < count:
            for f in range(whole.shape[0]):
                middle[f] = weighted_median(whole[f][members[:count]], area[members[:count]])
            measured = count
        fits = True
        for f in range(whole.shape[0]):
            fits = fits and abs(whole[f, piece] - middle[f]) < limits[f + 1, piece]
        if not fits:
            continue
        organ_of[piece] = organ
        members[count] = piece
        count += 1
        for link in links[ends[piece - 1] : ends[piece]]:
            queue[tail] = link
            tail += 1


def warm_up() -> None:
    """Compile all kernels, or load them from numba's cache, for the types that the finder calls them with."""
    one, index = np.ones(1, np.float32), np.zeros(1, np.int64)
    block_power_means(one, 0, (1, 1, 1), (1, 1), index, np.empty((1, 1, 1, 1), np.float32))
    medians_of_neighbours(one.reshape(1, 1, 1), index, index, np.empty((1, 1, 1), np.float32))
    best_matches(one.reshape(1, 1), one.reshape(1, 1), 1, np.empty(1, np.int64), np.empty((5, 1), np.float32))
    medians_of_lists(np.ones(1), index, index + 1, np.empty(1))
    nothing = np.zeros(2)
    spread(
        1,
        1,
        index[:0],
        np.zeros(2, np.int64),
        nothing,
        nothing,
        np.zeros((3, 2)),
        np.zeros((4, 2)),
        np.zeros(2, np.int64),
    )
