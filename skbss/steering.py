"""What microphones hear of a direction."""

# License: BSD-3-Clause

import numpy as np
from numpy.typing import ArrayLike

SPEED_OF_SOUND = 343.0


def steering_vectors(
    mics: ArrayLike,
    direction: ArrayLike,
    n_freqs: int = 2049,
    sample_rate: float = 16_000,
) -> np.ndarray:
    """Steering vectors of a direction, for the `target` of separators.

    The sound of a far source arrives at one microphone after the other. A room, and
    bodies near the microphones, are left out: they are why a direction is only roughly
    what is heard from there.

    Parameters
    ----------
    mics : array-like of shape (n_mics, n_dimensions)
        Places of the microphones in meters, in two or three dimensions.
    direction : array-like of shape (n_dimensions,)
        From the microphones to the source, of any length.
    n_freqs : int, default=2049
        Number of frequencies from 0 to half the sample rate.
    sample_rate : float, default=16000
        In Hz.

    Returns
    -------
    vectors : ndarray of shape (n_freqs, n_mics)
        Complex, of modulus one.

    Raises
    ------
    ValueError
        If the direction has another number of dimensions, or no length.

    See Also
    --------
    AuxIVA, ILRMA, OnlineSeparator, make_separator : Take a `target`.

    Examples
    --------
    >>> from skbss import steering_vectors
    >>> vectors = steering_vectors([[0, 0], [0.05, 0]], [1, 1], n_freqs=3)
    >>> vectors.shape
    (3, 2)
    >>> float(abs(vectors).min())
    1.0
    """
    mics, direction = np.asarray(mics, float), np.asarray(direction, float)
    length = np.linalg.norm(direction)
    if mics.ndim != 2 or direction.shape != mics.shape[1:] or not 0 < length < np.inf:
        raise ValueError(
            f"Got mics of shape {mics.shape} and direction={direction.tolist()}, "
            "expected (n_mics, n_dimensions) and a vector of as many dimensions that "
            "isn't zero."
        )
    delays = -(mics - mics.mean(0)) @ (direction / length) / SPEED_OF_SOUND
    frequencies = np.linspace(0, sample_rate / 2, n_freqs)
    return np.exp(-2j * np.pi * frequencies[:, None] * delays)
