"""Arithmetic on rows of LANES complex numbers, of blocks of bins that stay in L1.

Rows are those of an array of shape (n_rows, 2 * LANES), real parts first, and are given
by their numbers. The number of microphones is a tuple of that length, which makes it
known to the compiler: sums over microphones stay in registers.
"""

# License: BSD-3-Clause

from skbss.compiled.jit import inlined

LANES = 32


@inlined
def load(s, row, values, first):
    """Copy a row, zeros beyond its end."""
    size = min(LANES, len(values) - first)
    for i in range(size):
        s[row, i] = values[first + i].real
        s[row, LANES + i] = values[first + i].imag
    for i in range(size, LANES):
        s[row, i] = s[row, LANES + i] = 0


@inlined
def add_product(s, out, a, b):
    """Add the product of two rows to a row."""
    for i in range(LANES):
        ar, ai, br, bi = s[a, i], s[a, LANES + i], s[b, i], s[b, LANES + i]
        s[out, i] += ar * br - ai * bi
        s[out, LANES + i] += ar * bi + ai * br


@inlined
def dot(s, out, a, b, mics, conjugate=False):
    """Sum of the products of rows from a, or of their conjugates, and from b on."""
    for i in range(LANES):
        re = im = s[a, i] * 0
        for n in range(len(mics)):
            ar, ai = s[a + n, i], s[a + n, LANES + i]
            ai = -ai if conjugate else ai
            br, bi = s[b + n, i], s[b + n, LANES + i]
            re += ar * br - ai * bi
            im += ar * bi + ai * br
        s[out, i] = re
        s[out, LANES + i] = im


@inlined
def inner(s, out, a, b, mics):
    """Inner products; see `dot`."""
    dot(s, out, a, b, mics, True)


@inlined
def minor(s, out, a, b, p, q):
    """a[p] b[q] - a[q] b[p]."""
    for i in range(LANES):
        ar, ai = s[a + p, i], s[a + p, LANES + i]
        br, bi = s[b + q, i], s[b + q, LANES + i]
        cr, ci = s[a + q, i], s[a + q, LANES + i]
        dr, di = s[b + p, i], s[b + p, LANES + i]
        s[out, i] = ar * br - ai * bi - (cr * dr - ci * di)
        s[out, LANES + i] = ar * bi + ai * br - (cr * di + ci * dr)


@inlined
def orthogonal_to_others(s, M, W, k, out, T):
    """Write a vector to which all rows of W but the k-th are orthogonal."""
    b = W + (k + 1) % M * M
    if M == 2:
        for i in range(2 * LANES):
            s[out, i] = s[b + 1, i]
        for i in range(2 * LANES):
            s[out + 1, i] = -s[b, i]
        return
    c = W + (k + 2) % M * M
    if M == 3:
        for m in range(3):
            minor(s, out + m, b, c, (m + 1) % 3, (m + 2) % 3)
        return
    d = W + (k + 3) % M * M
    for m in range(4):
        p, q, r = (m + 1) % 4, (m + 2) % 4, (m + 3) % 4
        for i in range(2 * LANES):
            s[out + m, i] = 0
        for _ in range(3):
            if m % 2:
                minor(s, T, c, b, p, q)
            else:
                minor(s, T, b, c, p, q)
            add_product(s, out + m, T, d + r)
            p, q, r = q, r, p
