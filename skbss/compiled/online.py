"""Iterative projection by one frame, for blocks of bins that stay in the L1 cache.

The equations and their guards are those of `skbss.updates.online._ip1_rank_one`. All
numbers of a frame are in an array whose rows hold LANES complex numbers, real parts
first. A block of as many bins has one row for each element of the frame x, of the
demixing matrices W, of the inverses C of the covariances of the past, of z = C x and of
q = xᴴ z (and the inverses of the covariances' traces). After the last block come rows
for results in between, which all blocks share.
"""

# License: BSD-3-Clause

import numpy as np

from skbss.compiled.jit import inlined, kernel, kernel_in_order
from skbss.compiled.rows import (
    LANES,
    add_product,
    dot,
    inner,
    load,
    orthogonal_to_others,
)


def start(W, B, x):
    """Copy what one frame needs, and invert the covariances.

    Parameters
    ----------
    W : ndarray of shape (n_mics, n_mics, n_freqs)
        Demixing matrices.
    B : ndarray of shape (n_mics, n_mics ** 2, n_freqs)
        Covariances of the past, as features.
    x : ndarray of shape (n_mics, n_freqs)
        The frame.

    Returns
    -------
    s : ndarray of shape (n_rows, 2 * LANES)
        For `powers`, `sweep` and `finish`.
    mics : tuple of length n_mics
        Likewise.
    """
    M, n_freqs = x.shape
    n_blocks = -(-n_freqs // LANES)
    s = np.empty((n_blocks * _size.py_func(M) + 2 * M + 3, 2 * LANES), B.dtype)
    mics = (0,) * M
    eps = B.dtype.type(30 * np.finfo(B.dtype).eps)
    _start(s, W, B, x, B.dtype.type(1), eps, mics)
    return s, mics


@inlined
def _size(M):
    """Rows of a block."""
    return M + M * (M + M * M + M + 1) + 1


@inlined
def _rows(M, block):
    """First rows of a block's x, W, C, z and q, and the row of its gains."""
    X = block * _size(M)
    W = X + M
    C = W + M * M
    Z = C + M**3
    Q = Z + M * M
    return X, W, C, Z, Q, Q + M


@inlined
def _shared(s, M):
    """First rows of two vectors and of single results."""
    U = len(s) - 2 * M - 3
    return U, U + M, U + 2 * M


@inlined
def _n_blocks(s, M):
    return _shared(s, M)[0] // _size(M)


@kernel
def _start(s, W, B, x, one, eps, mics):
    M = len(mics)
    n_freqs = x.shape[1]
    n_pairs = M * (M - 1) // 2
    U, _, T = _shared(s, M)
    for block in range(_n_blocks(s, M)):
        X, W0, C0, Z, Q, G = _rows(M, block)
        first = block * LANES
        for m in range(M):
            load(s, X + m, x[m], first)
        for k in range(M):
            for m in range(M):
                load(s, W0 + k * M + m, W[k, m], first)
        # Products of rows in quiet bins would overflow in single precision.
        for i in range(LANES):
            s[G, i] = 0
        for row in range(W0, C0):
            for i in range(LANES):
                size = max(abs(s[row, i]), abs(s[row, LANES + i]))
                s[G, i] = max(s[G, i], size)
        for i in range(LANES):
            if first + i >= n_freqs:
                s[G, i] = one
        for i in range(LANES):
            s[T, i] = one / s[G, i]
        for row in range(W0, C0):
            for i in range(LANES):
                s[row, i] *= s[T, i]
                s[row, LANES + i] *= s[T, i]
        for k in range(M):
            if first + LANES > n_freqs:
                for i in range(n_freqs - first, LANES):
                    s[W0 + k * M + k, i] = one
            C = C0 + k * M * M
            for j in range(M):  # by bordering
                # Column j of the covariance in rows U, its diagonal in T.
                p = M + j - 1
                for m in range(j):
                    for i in range(min(LANES, n_freqs - first)):
                        s[U + m, i] = B[k, p, first + i]
                        s[U + m, LANES + i] = B[k, p + n_pairs, first + i]
                    for i in range(n_freqs - first, LANES):
                        s[U + m, i] = s[U + m, LANES + i] = 0
                    p += M - 2 - m
                for i in range(min(LANES, n_freqs - first)):
                    s[T, i] = B[k, j, first + i]
                for i in range(n_freqs - first, LANES):
                    s[T, i] = one
                _border(s, M, j, C, one, eps)
            for m in range(M):
                dot(s, Z + k * M + m, C + m * M, X, mics)
            inner(s, Q + k, X, Z + k * M, mics)
            # It is real: the traces' inverses take the place of imaginary parts.
            for i in range(LANES):
                s[Q + k, LANES + i] = 0 if first + i < n_freqs else one
            for j in range(M):
                for i in range(min(LANES, n_freqs - first)):
                    s[Q + k, LANES + i] += B[k, j, first + i]
            for i in range(LANES):
                s[Q + k, LANES + i] = one / s[Q + k, LANES + i]
        for m in range(M):
            for i in range(LANES):
                s[X + m, i] *= s[G, i]
                s[X + m, LANES + i] *= s[G, i]


@inlined
def _border(s, M, j, C, one, eps):
    """Extend the inverse of a leading block by a row and a column."""
    U, A, T = _shared(s, M)
    pivot = T + 1
    for i in range(LANES):
        s[pivot, i] = s[T, i]
    for m in range(j):
        for i in range(2 * LANES):
            s[A + m, i] = 0
        for n in range(j):
            add_product(s, A + m, C + m * M + n, U + n)
        for i in range(LANES):
            s[pivot, i] -= s[U + m, i] * s[A + m, i]
            s[pivot, i] -= s[U + m, LANES + i] * s[A + m, LANES + i]
    for i in range(LANES):
        s[pivot, i] = one / max(s[pivot, i], eps * s[T, i])
        s[C + j * M + j, i] = s[pivot, i]
        s[C + j * M + j, LANES + i] = 0
    for m in range(j):
        for n in range(m + 1):
            for i in range(LANES):
                ar, ai = s[A + m, i], s[A + m, LANES + i]
                br, bi = s[A + n, i], s[A + n, LANES + i]
                s[C + m * M + n, i] += (ar * br + ai * bi) * s[pivot, i]
                s[C + m * M + n, LANES + i] += (ai * br - ar * bi) * s[pivot, i]
            _copy_conj(s, C + n * M + m, C + m * M + n)
        for i in range(LANES):
            s[C + m * M + j, i] = -s[A + m, i] * s[pivot, i]
            s[C + m * M + j, LANES + i] = -s[A + m, LANES + i] * s[pivot, i]
        _copy_conj(s, C + j * M + m, C + m * M + j)


@inlined
def _copy_conj(s, out, a):
    for i in range(LANES):
        s[out, i] = s[a, i]
        s[out, LANES + i] = -s[a, LANES + i]


@kernel
def powers(s, out, mics):
    """Write the powers of the outputs, (n_mics, n_freqs), or their sums, (n_mics, 1).

    Sums are added.
    """
    M = len(mics)
    for block in range(_n_blocks(s, M)):
        for k in range(M):
            _add_power(s, block, k, out, mics)


@inlined
def _add_power(s, block, k, out, mics):
    M = len(mics)
    X, W, _, _, _, _ = _rows(M, block)
    _, _, T = _shared(s, M)
    dot(s, T, W + k * M, X, mics)
    first = block * LANES
    if out.shape[1] > 1:
        for i in range(min(LANES, out.shape[1] - first)):
            out[k, first + i] = s[T, i] ** 2 + s[T, LANES + i] ** 2
    else:
        total = s[T, 0] * 0
        for i in range(2 * LANES):
            total += s[T, i] * s[T, i]
        out[k, 0] += total


@kernel
def sweep(s, phi, out, one, tiny, mics):
    """Update all rows of W by weights like `out`; see `powers`."""
    M = len(mics)
    U, A, T = _shared(s, M)
    along, form, weight = T, T + 1, T + 2
    for block in range(_n_blocks(s, M)):
        _, W, C, Z, Q, G = _rows(M, block)
        first = block * LANES
        for k in range(M):
            z = Z + k * M
            orthogonal_to_others(s, M, W, k, A, T)
            _scale(s, A, weight, one, tiny, mics)
            for m in range(M):
                dot(s, U + m, C + (k * M + m) * M, A, mics)
            inner(s, form, A, U, mics)
            inner(s, along, z, A, mics)
            for i in range(LANES):
                s[weight, i] = phi[k, 0]
            if phi.shape[1] > 1:
                for i in range(min(LANES, phi.shape[1] - first)):
                    s[weight, i] = phi[k, first + i]
            for i in range(LANES):
                shrink = one / (one + s[weight, i] * s[Q + k, i])
                factor = s[weight, i] * shrink
                square = s[along, i] ** 2 + s[along, LANES + i] ** 2
                # Whatever the rounding: aᴴ V⁻¹ a is at least |a|² / tr V, and by Cauchy
                # and Schwarz shrinks by no more.
                least = s[weight, LANES + i] * s[Q + k, LANES + i]
                whole = max(s[form, i], least)
                rest = max(whole - factor * square, shrink * whole)
                s[form, i] = one / (np.sqrt(rest) * s[G, i])
                s[along, i] *= factor
                s[along, LANES + i] *= factor
            for m in range(M):
                for i in range(LANES):
                    zr, zi = s[z + m, i], s[z + m, LANES + i]
                    ar, ai = s[along, i], s[along, LANES + i]
                    re = s[U + m, i] - (zr * ar - zi * ai)
                    im = s[U + m, LANES + i] - (zr * ai + zi * ar)
                    s[W + k * M + m, i] = re * s[form, i]
                    s[W + k * M + m, LANES + i] = -im * s[form, i]
            _add_power(s, block, k, out, mics)


@inlined
def _scale(s, A, squares, one, tiny, mics):
    """Scale a vector, on whose size nothing depends, and write its squared length.

    Cofactors of large rows would overflow in single precision.
    """
    for i in range(LANES):
        s[squares, i] = tiny
        s[squares, LANES + i] = 0
    for m in range(len(mics)):
        for i in range(LANES):
            size = max(abs(s[A + m, i]), abs(s[A + m, LANES + i]))
            s[squares, i] = max(s[squares, i], size)
    for i in range(LANES):
        s[squares, i] = one / s[squares, i]
    for m in range(len(mics)):
        for i in range(LANES):
            re, im = s[A + m, i] * s[squares, i], s[A + m, LANES + i] * s[squares, i]
            s[A + m, i], s[A + m, LANES + i] = re, im
            s[squares, LANES + i] += re * re + im * im


@kernel
def finish(s, old, W, y, one, tiny, mics):
    """Write the demixing matrices, with rows in the phase of old ones, and outputs."""
    M = len(mics)
    n_freqs = W.shape[2]
    old_row, _, T = _shared(s, M)
    turn, output = T, T + 1
    for block in range(_n_blocks(s, M)):
        X, W0, _, _, _, G = _rows(M, block)
        first = block * LANES
        size = min(LANES, n_freqs - first)
        for k in range(M):
            row = W0 + k * M
            for m in range(M):
                load(s, old_row + m, old[k, m], first)
            inner(s, turn, row, old_row, mics)
            dot(s, output, row, X, mics)
            for i in range(LANES):
                length = np.sqrt(s[turn, i] ** 2 + s[turn, LANES + i] ** 2)
                inverse = one / max(length, tiny)
                s[turn, i] = s[turn, i] * inverse if length > tiny else one
                s[turn, LANES + i] *= inverse
            for i in range(size):
                tr, ti = s[turn, i], s[turn, LANES + i]
                ar, ai = s[output, i], s[output, LANES + i]
                y[k, first + i] = complex(ar * tr - ai * ti, ar * ti + ai * tr)
            for m in range(M):
                for i in range(size):
                    tr, ti = s[turn, i] * s[G, i], s[turn, LANES + i] * s[G, i]
                    ar, ai = s[row + m, i], s[row + m, LANES + i]
                    W[k, m, first + i] = complex(ar * tr - ai * ti, ar * ti + ai * tr)


@kernel_in_order
def image_mixing(W, R, eps, tiny, one, scale, out, mics):
    """Write mixing matrices by least squares, (n_freqs, n_mics, n_sources).

    See `skbss.updates.online.image_mixing`. They are multiplied by a scale.
    """
    M = len(mics)
    n_pairs = M * (M - 1) // 2
    for f in range(len(out)):
        for k in range(M):
            power = least = R[0, f] * 0
            for m in range(M):
                wr, wi = W[k, m, f].real, W[k, m, f].imag
                # Of xₘ yᴴ
                ar, ai = R[m, f] * wr, -R[m, f] * wi
                least += R[m, f] * (wr * wr + wi * wi)
                for n in range(M):
                    if n == m:
                        continue
                    low, high = min(m, n), max(m, n)
                    p = M + low * (2 * M - low - 1) // 2 + high - low - 1
                    rr = R[p, f]
                    ri = R[p + n_pairs, f] if m < n else -R[p + n_pairs, f]
                    vr, vi = W[k, n, f].real, -W[k, n, f].imag
                    ar += rr * vr - ri * vi
                    ai += rr * vi + ri * vr
                power += wr * ar - wi * ai
                out[f, m, k] = complex(ar, ai)
            # An output that is nothing but rounding errors must not be blown up.
            inverse = one / max(power, least * eps + tiny)
            for m in range(M):
                ar, ai = out[f, m, k].real * inverse, out[f, m, k].imag * inverse
                out[f, m, k] = complex(ar * scale, ai * scale)
