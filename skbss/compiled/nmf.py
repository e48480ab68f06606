"""Itakura-Saito NMF of single frames, for `skbss.updates.online_nmf`."""

# License: BSD-3-Clause

import numpy as np

from skbss.compiled.jit import kernel

BINS = 128  # at a time, whose rows stay in the L1 cache


@kernel
def frame_powers(parts, peaks, V, means, floor, one):
    """Write powers of frames relative to their means, on top of a floor.

    Parameters
    ----------
    parts : ndarray of shape (n_frames, 2 * n_freqs)
        Real and imaginary parts in turn.
    peaks, means : ndarray of shape (n_frames,)
        Where to write the greatest magnitude of parts, and the mean powers relative to
        its square.
    V : ndarray of shape (n_frames, n_freqs)
        Where to write the powers.
    floor, one : float
        As for `activate`.
    """
    n_freqs = V.shape[1]
    for t in range(len(V)):
        row, powers = parts[t], V[t]
        peak = floor * 0
        for i in range(2 * n_freqs):
            peak = max(peak, abs(row[i]))
        peaks[t] = peak
        peak = peak if peak > 0 else one
        total = floor * 0
        for i in range(n_freqs):
            re, im = row[2 * i] / peak, row[2 * i + 1] / peak
            powers[i] = re * re + im * im
            total += powers[i]
        means[t] = total / n_freqs
        level = means[t] if total > 0 else one
        for i in range(n_freqs):
            powers[i] = powers[i] / level + floor


@kernel
def activate(V, B, H, weights, n_iter, root, floor, one):
    """Update activations in place, and write 1 / m and v / m².

    Parameters
    ----------
    V : ndarray of shape (n_frames, n_freqs)
        Powers.
    B : ndarray of shape (n_components, n_freqs)
        The basis.
    H : ndarray of shape (n_frames, n_components)
        Activations.
    weights : ndarray of shape (2, n_frames, n_freqs)
        Where to write the weights of the last activations.
    n_iter : int
        Number of updates.
    root : bool
        Whether to take the square root of their factors.
    floor : float
        Least activation, and the noise of the model. With `one`, it has the type of
        all other numbers, else single precision would be left.
    one : float
        The number.
    """
    n_components, n_freqs = B.shape
    sums = np.empty((2, n_components), B.dtype)
    for t in range(len(V)):
        for n in range(n_iter + 1):
            sums[:] = 0
            for start in range(0, n_freqs, BINS):
                stop = min(start + BINS, n_freqs)
                size = stop - start
                u, v = weights[0, t, start:stop], weights[1, t, start:stop]
                u[:] = floor
                for k in range(n_components):
                    b, h = B[k, start:stop], H[t, k]
                    for i in range(size):
                        u[i] += h * b[i]
                power = V[t, start:stop]
                for i in range(size):
                    inverse = one / u[i]
                    u[i] = inverse
                    v[i] = power[i] * inverse * inverse
                if n < n_iter:
                    for k in range(n_components):
                        b = B[k, start:stop]
                        numerator = denominator = floor * 0
                        for i in range(size):
                            numerator += b[i] * v[i]
                            denominator += b[i] * u[i]
                        sums[0, k] += numerator
                        sums[1, k] += denominator
            if n < n_iter:
                for k in range(n_components):
                    ratio = sums[0, k] / sums[1, k]
                    H[t, k] = max(H[t, k] * (np.sqrt(ratio) if root else ratio), floor)


@kernel
def wiener_masks(H, B, members, masks):
    """Write the sources' shares (n_frames, n_sources, n_freqs) in the model's power.

    Parameters
    ----------
    H, B : ndarray
        As for `activate`.
    members : ndarray of shape (n_sources, n_components)
        1 where a component belongs to a source, else 0.
    masks : ndarray of shape (n_frames, n_sources, n_freqs)
        Where to write them.
    """
    n_sources, n_components = members.shape
    total = np.empty(B.shape[1], B.dtype)
    for t in range(len(H)):
        total[:] = 0
        for k in range(n_sources):
            mask = masks[t, k]
            mask[:] = 0
            for j in range(n_components):
                if members[k, j] > 0:
                    b, h = B[j], H[t, j]
                    for i in range(len(mask)):
                        mask[i] += h * b[i]
            for i in range(len(mask)):
                total[i] += mask[i]
        for k in range(n_sources):
            mask = masks[t, k]
            for i in range(len(mask)):
                mask[i] /= total[i]
