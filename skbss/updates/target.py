"""What is known of a target: covariances of the microphones, a quadratic term.

A target is the source that is to be the first output. What is known of it is a
covariance of the microphones in every frequency bin; in coordinates of whitened
microphones it is the term Q that `skbss.updates.spatial.update_demixing` adds.
"""

# License: BSD-3-Clause

import numpy as np

from skbss.linalg import matmul, pinv
from skbss.spectrogram import Spectrogram


def target_covariances(target, record, X):
    """Return covariances (n_freqs, n_mics, n_mics) of a target, of unit mean diagonal.

    Parameters
    ----------
    target : array-like
        A time in seconds, steering vectors or covariances, as of `skbss.AuxIVA`.
    record : Spectrogram or array
        Knows the sample rate, if it is a record.
    X : ndarray of shape (n_frames, n_freqs, n_mics)
        Its data.

    Returns
    -------
    C : ndarray of shape (n_freqs, n_mics, n_mics)
        Zero in bins where nothing is known.

    Raises
    ------
    ValueError
        If the target has another shape, or no frame is in that time.
    """
    _, F, M = X.shape
    target = np.asarray(target)
    if target.shape == (2,) and np.isfinite(target).all():
        return of_unit_power(_of_time(target, record, X))
    return resampled(covariances_of(target, M), F)


def covariances_of(target, n_mics):
    """Covariances of steering vectors or covariances, of unit mean diagonal.

    Parameters
    ----------
    target : array-like of shape (n_freqs, n_mics) or (n_freqs, n_mics, n_mics)
        What is known.
    n_mics : int
        Number of microphones.

    Returns
    -------
    C : ndarray of shape (n_freqs, n_mics, n_mics)
        Hermitian.

    Raises
    ------
    ValueError
        If the target has another shape, or isn't finite.
    """
    target = np.asarray(target)
    fits = target.shape[1:] in ((n_mics,), (n_mics, n_mics)) and len(target) > 0
    if not fits or not np.isfinite(target).all():
        raise ValueError(
            f"Got target of shape {target.shape}, expected a time (start, end), finite "
            f"steering vectors (n_freqs, {n_mics}) or covariances "
            f"(n_freqs, {n_mics}, {n_mics})."
        )
    peak = abs(target).max(tuple(range(1, target.ndim)), keepdims=True)
    C = (target / np.where(peak > 0, peak, 1)).astype(complex)
    if C.ndim == 2:
        C = C[:, :, None] * C[:, None].conj()
    return of_unit_power((C + C.conj().swapaxes(1, 2)) / 2)


def of_unit_power(C):
    """Covariances of unit mean diagonal; zero stays zero."""
    mean = np.einsum("fmm->f", C).real[:, None, None] / C.shape[-1]
    return C / np.where(mean > 0, mean, 1)


def resampled(C, n_freqs):
    """Covariances of as many frequencies, from 0 to half the sample rate."""
    if len(C) == n_freqs:
        return C
    place = np.linspace(0, len(C) - 1, n_freqs)
    low = np.minimum(place.astype(int), max(len(C) - 2, 0))
    high = np.minimum(low + 1, len(C) - 1)
    share = (place - low)[:, None, None]
    return (1 - share) * C[low] + share * C[high]


def _of_time(target, record, X):
    """Covariances of the frames of a time."""
    T = len(X)
    params = record.stft_params if isinstance(record, Spectrogram) else {}
    rate = params.get("sample_rate")
    if rate is None:
        raise ValueError(
            f"Got target={tuple(target.tolist())}, a time in seconds, which needs the "
            "record of STFT(sample_rate=...)."
        )
    hop, n_fft = params["hop_length"], params["n_fft"]
    # The first frame ends with the first hop.
    middle = (hop * (np.arange(T) + 1) - n_fft / 2) / rate
    x = X[(middle >= target[0]) & (middle < target[1])].transpose(1, 2, 0)
    if not x.shape[2]:
        raise ValueError(
            f"Got target={tuple(target.tolist())}, in which there is no frame of the "
            f"{T * hop / rate:.3g} s."
        )
    peak = abs(x).max(initial=0) or 1.0
    x = (x / peak).astype(complex)
    return x @ x.conj().swapaxes(1, 2)


class Target:
    """What is known of a target, for a whitened recording.

    Parameters
    ----------
    C : ndarray of shape (n_freqs, n_mics, n_mics)
        Covariances at the microphones, of unit mean diagonal.
    recording : Recording
        Whose whitening it is.
    weight : float
        How much it counts, as a fraction of the frames.

    Attributes
    ----------
    Q : ndarray of shape (n_mics, n_mics, n_freqs)
        Covariance at the whitened microphones, whose mean diagonal is the weight; zero
        where nothing is known.
    """

    def __init__(self, C, recording, weight):
        Z = recording.Z.transpose(2, 0, 1)
        Q = of_unit_power(Z @ C @ Z.conj().swapaxes(1, 2))
        self.Q = np.ascontiguousarray(weight * Q.transpose(1, 2, 0))
        self._C, self._Z_inv = C, recording.Z_inv

    def first(self, W):
        """Put the row first whose source arrives at the microphones like the target.

        Parameters
        ----------
        W : ndarray of shape (n_sources, n_mics, n_freqs)
            Demixing matrices of whitened microphones.

        Returns
        -------
        W : ndarray of shape (n_sources, n_mics, n_freqs)
            The first one may have been moved.
        """
        A = matmul(self._Z_inv, pinv(W))
        # Loud bins decide, as they decide who an output is where ranges are swapped.
        amplitude = np.sqrt(np.square(abs(A)).sum(0) * np.square(abs(W)).sum(1))
        total = amplitude.sum(1)
        alike = (likeness(self._C, A) * amplitude).sum(1) / np.where(
            total > 0, total, 1
        )
        first = int(np.argmax(alike))
        return W[[first, *(k for k in range(len(W)) if k != first)]]


def likeness(C, A):
    """How much each source arrives at the microphones like a target, bin by bin.

    Parameters
    ----------
    C : ndarray of shape (n_freqs, n_mics, n_mics)
        Covariances of the target.
    A : ndarray of shape (n_mics, n_sources, n_freqs)
        Mixing vectors of the sources, up to a factor.

    Returns
    -------
    likeness : ndarray of shape (n_sources, n_freqs)
    """
    size = np.square(abs(A)).sum(0)
    alike = (A.conj() * matmul(C.transpose(1, 2, 0), A)).real.sum(0)
    return alike / np.where(size > 0, size, 1)


def prominence(W, C, X):
    """How much louder outputs are in frames of a covariance than in others.

    Parameters
    ----------
    W : ndarray of shape (n_sources, n_mics, n_freqs)
        Demixing matrices of microphones.
    C : ndarray of shape (n_freqs, n_mics, n_mics)
        Covariances of the former frames.
    X : ndarray of shape (n_frames, n_freqs, n_mics)
        The others.

    Returns
    -------
    ratios : ndarray of shape (n_sources,)
        Up to a common factor.
    """
    x = X.transpose(1, 2, 0).astype(complex)
    inside, overall = (
        (matmul(W, some.transpose(1, 2, 0)) * W.conj()).real.sum((1, 2))
        for some in (C, x @ x.conj().swapaxes(1, 2))
    )
    return inside / np.where(overall > 0, overall, 1)
