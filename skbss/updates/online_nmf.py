"""Online Itakura-Saito NMF: activations of frames, and refreshes of the basis.

Powers are taken relative to the mean of their frame. The divergence doesn't depend on
such a scale and neither do the statistics of the basis, so that nothing here depends on
the level of a recording, however it changes. The products are made frame by frame, in
one call: a matrix product of several frames rounds differently than that of one.
"""

# License: BSD-3-Clause

import numpy as np

# Least powers and activations, relative to the mean of the frame (-100 dB).
FLOOR = 1e-10

# Amplitudes above can't be told apart: their squares times a few more overflow.
LOUDEST = 1e140


def frame_powers(x):
    """Powers of frames relative to their means, on top of a trace of noise.

    Parameters
    ----------
    x : ndarray of shape (n_frames, n_freqs)
        Complex frames.

    Returns
    -------
    V : ndarray of shape (n_frames, n_freqs)
        Powers: means of one, plus the noise.
    levels : ndarray of shape (n_frames,)
        The means, in float64. Zero for silent frames; those above 10¹⁴⁰ are cut.
    """
    # Scaled before they are squared, powers neither overflow nor vanish.
    parts = np.ascontiguousarray(x).view(x.real.dtype)
    peaks = abs(parts).max(axis=1, keepdims=True)
    silent = peaks == 0
    parts = parts / (peaks + silent)
    parts *= parts
    V = parts[:, ::2] + parts[:, 1::2]
    means = np.add.reduce(V, axis=1, keepdims=True) / V.shape[1]
    V /= means + silent
    V += FLOOR
    return V, (np.minimum(peaks, LOUDEST, dtype=float) ** 2 * means)[:, 0]


def activate(V, B, n_iter, exponent):
    r"""Fit the activations of frames to a fixed basis, from equal ones.

    Multiplicative updates of :math:`h_l` lower the Itakura-Saito divergence of the
    powers :math:`v_f` from the model :math:`m_f = \sum_l b_{lf} h_l + \text{noise}`.

    Parameters
    ----------
    V : ndarray of shape (n_frames, n_freqs)
        From `frame_powers`.
    B : ndarray of shape (n_components, n_freqs)
        The basis, C-contiguous, rows with means of one.
    n_iter : int
        Number of updates.
    exponent : float
        Of the updates: 1/2 never raises the divergence, 1 is faster and does so rarely.

    Returns
    -------
    H : ndarray of shape (n_frames, n_components)
        Activations.
    weights : ndarray of shape (2, n_frames, n_freqs)
        1 / m and v / m², of which the statistics of the basis are made.
    """
    H = np.full((len(V), len(B)), 1 / len(B), V.dtype)
    weights = np.empty((2, *V.shape), V.dtype)
    _weigh(V, H, B, weights)
    for _ in range(n_iter):
        denominators, numerators = np.matvec(B, weights)
        numerators /= denominators
        H *= np.sqrt(numerators) if exponent == 0.5 else numerators
        np.maximum(H, FLOOR, out=H)
        _weigh(V, H, B, weights)
    return H, weights


def _weigh(V, H, B, weights):
    u, v = weights
    np.vecmat(H, B, out=u)
    u += FLOOR
    np.reciprocal(u, out=u)
    np.multiply(V, u, out=v)
    v *= u


def wiener_masks(H, B, members):
    """Share of each source in the model's power.

    Parameters
    ----------
    H : ndarray of shape (n_frames, n_components)
        Activations.
    B : ndarray of shape (n_components, n_freqs)
        The basis.
    members : ndarray of shape (n_sources, n_components)
        1 where a component belongs to a source, else 0.

    Returns
    -------
    masks : ndarray of shape (n_frames, n_sources, n_freqs)
        They sum to one over the sources.
    """
    masks = (H[:, None] * members) @ B
    masks /= np.add.reduce(masks, axis=1, keepdims=True)
    return masks


def normalize_basis(B):
    """Return the basis with means of one and no entry at zero, and the means."""
    B = np.maximum(B, FLOOR)
    means = B.mean(axis=1, keepdims=True)
    return np.maximum(B / means, FLOOR), means


def start_statistics(B):
    """Statistics that keep the basis as it is, with the weight of about one frame."""
    Q = np.full(B.shape, 1 / len(B))
    return B**2 * Q, Q


def refresh_basis(B, P, Q, H, weights, decay):
    r"""Add frames to the statistics of the basis, and renew it from them.

    .. math:: P \leftarrow \rho P + B^2 \odot \sum_t h_t (v_t / m_t^2)^T, \quad
        Q \leftarrow \rho Q + \sum_t h_t (1 / m_t)^T, \quad
        B \leftarrow \sqrt{P / Q}

    Parameters
    ----------
    B, P, Q : ndarray of shape (n_components, n_freqs)
        The basis that the frames were analyzed with, and the statistics.
    H, weights : ndarrays
        From `activate`.
    decay : float
        Weight of the past, ρ.

    Returns
    -------
    B, P, Q : ndarray of shape (n_components, n_freqs)
        The basis with means of one, and the statistics on its scale.
    means : ndarray of shape (n_components,)
        What activations are to be multiplied by to fit the new basis.
    """
    P = decay * P + B**2 * (H.T @ weights[1])
    Q = decay * Q + H.T @ weights[0]
    B, means = normalize_basis(np.sqrt(P / Q))
    return B, P / means, Q * means, means[:, 0]
