"""Updates of an online model by one frame.

A frame x is an array of shape (n_mics, n_freqs), P of shape (n_mics ** 2, n_freqs) its
Hermitian features. W of shape (n_sources, n_mics, n_freqs) are the demixing matrices,
B of shape (n_sources, n_mics ** 2, n_freqs) the weighted covariances, as features, of
all frames but the present one.
"""

# License: BSD-3-Clause

from math import isqrt

import numpy as np

from skbss.linalg import (
    adjoint,
    hermitian_features,
    matmul,
    power_features,
    unpack_hermitian,
)
from skbss.updates.spatial import update_demixing

# So many times the reference microphone counts where outputs are scaled to mixing
# matrices of earlier frames. With 1 separation was 0.1 dB worse at that microphone,
# with 100 it was 0.2 dB worse at the others.
REFERENCE = 10


def weighted_sum(rows, weights):
    """Weighted sum of past frames.

    Parameters
    ----------
    rows : ndarray of shape (n_past, n_mics ** 2, n_freqs)
        Features of the frames.
    weights : ndarray of shape (n_sources, n_past) or (n_sources, n_past, n_freqs)
        Their weights.

    Returns
    -------
    S : ndarray of shape (n_sources, n_mics ** 2, n_freqs)
        The covariances, as features.
    """
    if weights.ndim == 3:
        return np.einsum("knf,npf->kpf", weights, rows)
    S = weights @ rows.reshape(len(rows), -1)
    return S.reshape(len(weights), *rows.shape[1:])


def past_powers(rows, W):
    """Mean powers of the outputs, (n_sources, n_past), of frames with features rows."""
    Q = power_features(W).reshape(len(W), -1)
    return Q @ rows.reshape(len(rows), -1).T / W.shape[2]


def frame_features(x):
    """Features (n_mics ** 2, n_freqs) of a frame."""
    out = np.empty((len(x) ** 2, x.shape[1]), x.real.dtype)
    return hermitian_features(x.real, x.imag, out)


def mean_powers(P):
    """Mean powers of frames whose features are P (..., n_mics ** 2, n_freqs)."""
    M = isqrt(P.shape[-2])
    return P[..., :M, :].sum(axis=(-2, -1)) / (M * P.shape[-1])


def outputs(W, x):
    """Return outputs of shape (n_sources, n_freqs)."""
    return (W * x).sum(axis=1)


def power_of(y):
    """Power in each bin."""
    return y.real**2 + y.imag**2


def sweep(W, B, x, P, weigh, spatial):
    """Update the demixing matrices with a frame.

    Parameters
    ----------
    W, B, x, P : ndarray
        See the module.
    weigh : callable
        Maps the powers of the outputs, of shape (n_sources, n_freqs), to weights of the
        frame, of that shape or (n_sources, 1).
    spatial : object
        The spatial update.

    Returns
    -------
    W : ndarray of shape (n_sources, n_mics, n_freqs)
        The new demixing matrices.
    """
    V = B + weigh(power_of(outputs(W, x)))[:, None] * P
    load(V, 0)  # a loud frame leaves B less than rounding errors
    return update_demixing(spatial, W, unpack_hermitian(V)).astype(W.dtype, copy=False)


def phase_to(W, old):
    """Factors (n_sources, n_freqs) that turn the rows of W to the phase of old ones.

    No update cares about the phase of a row, but who listens to the outputs does.
    """
    inner = (W.conj() * old).sum(axis=1)
    inner += np.finfo(inner.dtype).tiny  # where they are orthogonal
    return inner / abs(inner)


def load(B, white):
    """Add white noise and some rounding errors, so that B is definite, in place.

    Parameters
    ----------
    B : ndarray of shape (n_sources, n_mics ** 2, n_freqs)
        Covariances.
    white : ndarray of shape (n_sources, n_freqs)
        Power of the noise in each bin.
    """
    M = isqrt(B.shape[1])
    noise = B[:, :M].sum(axis=1)
    noise *= 10 * np.finfo(B.dtype).eps
    noise += white
    B[:, :M] += noise[:, None]


def coherence(W, S):
    """Mean coherence of the outputs, between 0 and 1.

    Parameters
    ----------
    W : ndarray of shape (n_sources, n_mics, n_freqs)
        Demixing matrices.
    S : ndarray of shape (n_sources, n_mics ** 2, n_freqs)
        Weighted covariances, as features.

    Returns
    -------
    mean : float
        Over bins and all ordered pairs of outputs, with the weights of the first.
    """
    K = len(W)
    if K == 1:
        return 0.0
    images = (unpack_hermitian(S) * W.conj()[:, None]).sum(axis=2)
    cross = abs((W * images[:, None]).sum(axis=2))
    power = np.einsum("kpf,jpf->kjf", S, power_features(W))
    size = np.sqrt(np.maximum(power, np.finfo(power.dtype).tiny))
    with np.errstate(over="ignore"):  # where nothing is heard
        cross /= size
        cross /= np.einsum("kkf->kf", size)[:, None]
    return float(np.square(np.minimum(cross[~np.eye(K, dtype=bool)], 1)).mean())


def image_mixing(W, R):
    """Mixing matrices by least squares, E[x yᴴ] diag(1 / E[|y|²]).

    Parameters
    ----------
    W : ndarray of shape (n_sources, n_mics, n_freqs)
        Demixing matrices.
    R : ndarray of shape (n_mics ** 2, n_freqs)
        Covariances of the microphones, as features.

    Returns
    -------
    A : ndarray of shape (n_mics, n_sources, n_freqs)
        Column k times output k is nearest to the microphones. Zero in a bin in which
        nothing was ever heard.
    """
    M = W.shape[1]
    A = matmul(unpack_hermitian(R), adjoint(W))
    power = (W.swapaxes(0, 1) * A).sum(axis=0).real
    # An output that is nothing but rounding errors must not be blown up.
    least = (power_of(W) * R[:M]).sum(axis=1)
    least *= 10 * M**2 * np.finfo(R.dtype).eps
    return A / np.maximum(power, least + np.finfo(R.dtype).tiny)


def relative_to(A, ref_mic):
    """Divide columns by their entries at a microphone, where these become one.

    A column that is zero there, up to rounding, or infinite relative to it, becomes the
    unit vector of the microphone: then nothing is known of the others.

    Parameters
    ----------
    A : ndarray of shape (n_mics, n_sources, n_freqs)
        Mixing matrices.
    ref_mic : int
        The microphone.

    Returns
    -------
    relative : ndarray of shape (n_mics, n_sources, n_freqs)
        Relative mixing matrices.
    """
    at_ref = A[ref_mic]
    heard = abs(at_ref) > np.finfo(A.dtype).eps * abs(A).max(axis=0)
    relative = np.divide(A, at_ref, out=np.zeros_like(A), where=heard)
    relative[ref_mic] = 1
    return relative


def scale_to(relative, A, ref_mic):
    """Factors of outputs, for which relative matrices are nearest to mixing matrices.

    Parameters
    ----------
    relative, A : ndarray of shape (n_mics, n_sources, n_freqs)
        Relative mixing matrices of an earlier frame, and mixing matrices.
    ref_mic : int
        The microphone that they are relative to.

    Returns
    -------
    factors : ndarray of shape (n_sources, n_freqs)
        Complex. With those of the same frame they are the entries at the microphone.
    """
    weights = np.full((len(A), 1, 1), 1 / REFERENCE, A.real.dtype)
    weights[ref_mic] = 1
    weighted = weights * relative.conj()
    return (weighted * A).sum(axis=0) / (weighted * relative).sum(axis=0).real
