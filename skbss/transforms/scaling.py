"""Scales of sources at a microphone, of arrays."""

# License: BSD-3-Clause

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import assert_all_finite

from skbss.base import check_ref_mic, check_spectrogram
from skbss.transforms.frames import blocks


def check_demixing(demixing):
    """Return demixing matrices as a finite array, complex64 or complex128."""
    demixing = np.asarray(demixing)
    if demixing.ndim not in (3, 4) or 0 in demixing.shape:
        raise ValueError(
            f"Got demixing matrices of shape {demixing.shape}, expected (n_freqs, "
            "n_sources, n_mics) or (n_frames, n_freqs, n_sources, n_mics)."
        )
    n_sources, n_mics = demixing.shape[-2:]
    if n_sources < n_mics:
        raise ValueError(
            f"Got demixing matrices of {n_sources} sources from {n_mics} microphones, "
            "which don't tell how the sources arrive there: the recording does. Take "
            "the separator's mixing_, or ProjectionBack in a pipeline."
        )
    if demixing.dtype not in (np.complex64, np.complex128):
        demixing = demixing.astype(np.complex128)
    assert_all_finite(demixing, input_name="demixing")
    return demixing


def invert(demixing):
    """Invert demixing matrices (..., n_sources, n_mics), singular ones as well.

    The inverse follows any scaling of the rows: ``invert(d[:, None] * W)`` equals
    ``invert(W) / d``. A plain pseudo-inverse of a singular matrix, or of rows whose
    scales differ by more than the precision, doesn't.
    """
    n_sources, n_mics = demixing.shape[-2:]
    eps, tiny = np.finfo(demixing.dtype).eps, np.finfo(demixing.dtype).tiny
    level = abs(demixing).max(axis=-1, keepdims=True)
    level[level < tiny / eps] = 1  # the inverse of such a row might overflow
    W = (demixing / level).astype(np.complex128)
    A = np.empty((*W.shape[:-2], n_mics, n_sources), W.dtype)
    regular = np.zeros(W.shape[:-2], bool)
    if n_sources == n_mics:
        # As no entry exceeds 1, such a determinant rules out tiny singular values. LU
        # is several times faster than the SVD, which decides on the other bins.
        regular = abs(np.linalg.det(W)) > np.sqrt(eps)
        A[regular] = np.linalg.inv(W[regular])
    A[~regular] = np.linalg.pinv(W[~regular], rtol=max(n_sources, n_mics) * eps)
    return A / level[..., 0][..., None, :]


def scale(Y, gains, out=None):
    """Multiply, in the higher precision, to the precision of Y."""
    out = np.empty_like(Y) if out is None else out
    return np.multiply(Y, gains, out=out, casting="same_kind")


def rescale_mixing(mixing, gains):
    """Divide columns (..., n_mics, n_sources) by gains (..., n_sources), x / 0 = 0."""
    out = np.zeros_like(mixing)
    gains = np.broadcast_to(gains, (*mixing.shape[:-2], mixing.shape[-1]))
    tiny = np.finfo(mixing.dtype).tiny
    for block in blocks(len(mixing), mixing[0].nbytes):
        A, g = mixing[block], gains[block][..., None, :]
        # Quotients by a gain that is smaller still would overflow.
        least = tiny * np.maximum(abs(A).max(axis=-2, keepdims=True), 1)
        np.divide(A, g, out=out[block], where=abs(g) > least, casting="same_kind")
    return out


def lstsq_gains(Y, reference):
    """Complex gains (n_freqs, n_sources) that bring Y nearest to the reference.

    Parameters
    ----------
    Y : ndarray of shape (n_frames, n_freqs, n_sources)
        Separated sources.
    reference : callable
        Returns the reference (n_frames_in_block, n_freqs) of a slice of frames.

    Returns
    -------
    gains : ndarray of shape (n_freqs, n_sources)
        Complex128, zero for silent sources.
    """
    cross = np.zeros(Y.shape[1:], np.complex128)
    power = np.zeros(Y.shape[1:])
    for block in blocks(len(Y), Y[0].nbytes):
        # Squares of small single-precision numbers need the range of double precision.
        y = Y[block].astype(np.complex128)
        cross += (y.conj() * reference(block)[..., None]).sum(axis=0)
        power += (y.real**2 + y.imag**2).sum(axis=0)
    audible = power > np.finfo(power.dtype).tiny
    return np.divide(cross, power, out=np.zeros_like(cross), where=audible)


def normalized_mixing(demixing: ArrayLike, ref_mic: int = 0) -> np.ndarray:
    r"""Compute the mixing matrices, normalized to a reference microphone.

    With the mixing matrix :math:`A_f`, the inverse of the demixing matrix, column k
    becomes :math:`a_{kf} / a_{kf}[\mathrm{ref}]`: how source k arrives at the
    microphones, relative to the reference. Unlike the mixing matrix itself it doesn't
    depend on the scale of the demixing rows, and tells directions of arrival.

    Parameters
    ----------
    demixing : array-like of shape ([n_frames,] n_freqs, n_sources, n_mics)
        Demixing matrices, the same for all frames or one for each.
    ref_mic : int, default=0
        The reference microphone.

    Returns
    -------
    mixing : ndarray of shape ([n_frames,] n_freqs, n_mics, n_sources)
        Columns are 1 at the reference microphone, or all zero for a source that doesn't
        reach it. complex64 if `demixing` is.

    Raises
    ------
    ValueError
        If `ref_mic` is out of range, or `demixing` isn't finite or of such a shape, or
        has fewer sources than microphones.

    See Also
    --------
    projection_back : Scale spectrograms.

    Examples
    --------
    >>> import numpy as np
    >>> from skbss.transforms import normalized_mixing
    >>> mixing = np.array([[[2, 1], [1, -4]]])  # 1 frequency, 2 microphones
    >>> normalized_mixing(np.linalg.inv(mixing)).real.round(3)
    array([[[ 1. ,  1. ],
            [ 0.5, -4. ]]])
    """
    demixing = check_demixing(demixing)
    check_ref_mic(ref_mic, demixing.shape[-1])
    mixing = np.empty(demixing.swapaxes(-1, -2).shape, demixing.dtype)
    for block in blocks(len(demixing), demixing[0].nbytes):
        mixing[block] = invert(demixing[block])
    return rescale_mixing(mixing, mixing[..., ref_mic, :])


def projection_back(
    Y: ArrayLike, demixing: ArrayLike, *, ref_mic: int = 0
) -> np.ndarray:
    r"""Scale separated sources as they are at a microphone, by the mixing matrix.

    .. math:: \hat{y}_{kft} = a_{kf}[\mathrm{ref}] \, y_{kft}

    with the mixing matrix :math:`A_f = W_f^{-1}`. The outputs sum to the signal of the
    reference microphone wherever the demixing matrix is invertible, and don't depend on
    the scale of its rows [1]_.

    Parameters
    ----------
    Y : array-like of shape (n_frames, n_freqs, n_sources)
        Separated sources, y = W x.
    demixing : array-like of shape ([n_frames,] n_freqs, n_sources, n_mics)
        The demixing matrices W that gave them, the same for all frames or one for each.
        Where singular, as in a bin without signal, the pseudo-inverse stands in.
    ref_mic : int, default=0
        The reference microphone.

    Returns
    -------
    scaled : ndarray of shape (n_frames, n_freqs, n_sources)
        The scaled sources, of the precision of `Y`.

    Raises
    ------
    ValueError
        If `ref_mic` is out of range, an input isn't finite, shapes don't match, or
        there are fewer sources than microphones: multiply by the separator's `mixing_`
        at the reference then.

    See Also
    --------
    ProjectionBack : The same for pipelines.
    projection_back_lstsq : By least squares, without demixing matrices.

    References
    ----------
    .. [1] N. Murata, S. Ikeda and A. Ziehe, "An approach to blind source separation
       based on temporal structure of speech signals", Neurocomputing 41 (2001).
       :doi:`10.1016/S0925-2312(00)00345-3`

    Examples
    --------
    >>> import numpy as np
    >>> from skbss.transforms import projection_back
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(100, 9, 2, 2)) @ [1, 1j]  # 100 frames, 9 frequencies
    >>> W = rng.normal(size=(9, 2, 2, 2)) @ [1, 1j]
    >>> Y = np.einsum("fkm,tfm->tfk", W, X)
    >>> np.allclose(projection_back(Y, W, ref_mic=1).sum(axis=2), X[..., 1])
    True
    """
    demixing = check_demixing(demixing)
    check_ref_mic(ref_mic, demixing.shape[-1])
    Y = check_spectrogram(Y, "projection_back")
    if demixing.shape[:-1] not in (Y.shape, Y.shape[1:]):
        raise ValueError(
            f"Got demixing matrices of shape {demixing.shape} for sources of shape "
            f"{Y.shape}, expected {Y.shape[1:]} or {Y.shape} before the microphones."
        )
    # Gains of each frame are as large as the result, which can take their place.
    dtype = Y.dtype if demixing.ndim == 4 else demixing.dtype
    gains = np.empty(demixing.shape[:-1], dtype)
    for block in blocks(len(demixing), demixing[0].nbytes):
        gains[block] = invert(demixing[block])[..., ref_mic, :]
    return scale(Y, gains, out=gains if gains.shape == Y.shape else None)


def projection_back_lstsq(Y: ArrayLike, reference: ArrayLike) -> np.ndarray:
    r"""Scale separated sources to be nearest to a reference signal.

    .. math:: \hat{y}_{kft} = c_{kf} y_{kft}, \quad
        c_{kf} = \arg\min_c \sum_t |r_{ft} - c \, y_{kft}|^2

    for each source and frequency bin [1]_. No demixing matrices are needed, so any
    method's outputs can be scaled so. Other than with `projection_back`, the outputs
    sum to the reference only if they are uncorrelated.

    Parameters
    ----------
    Y : array-like of shape (n_frames, n_freqs, n_sources)
        Separated sources.
    reference : array-like of shape (n_frames, n_freqs)
        The spectrogram of the reference microphone.

    Returns
    -------
    scaled : ndarray of shape (n_frames, n_freqs, n_sources)
        The scaled sources, of the precision of `Y`. Silence stays silence.

    Raises
    ------
    ValueError
        If an input isn't finite or shapes don't match.

    See Also
    --------
    ProjectionBack : The same for pipelines, with ``method="least_squares"``.
    projection_back : By the mixing matrix.

    References
    ----------
    .. [1] K. Matsuoka, "Minimal distortion principle for blind source separation", SICE
       Annual Conference 2002. :doi:`10.1109/SICE.2002.1195729`

    Examples
    --------
    >>> import numpy as np
    >>> from skbss.transforms import projection_back_lstsq
    >>> X = np.random.default_rng(0).normal(size=(100, 9, 1, 2)) @ [1, 1j]
    >>> np.allclose(projection_back_lstsq(0.01j * X, X[..., 0]), X)
    True
    """
    Y = check_spectrogram(Y, "projection_back_lstsq")
    reference = np.asarray(reference)
    if reference.shape != Y.shape[:2]:
        raise ValueError(
            f"Got a reference of shape {reference.shape} for sources of shape "
            f"{Y.shape}, expected (n_frames, n_freqs) = {Y.shape[:2]}."
        )
    assert_all_finite(reference, input_name="reference")
    gains = lstsq_gains(Y, lambda block: reference[block])
    return scale(Y, gains)
