"""What is done with one block, here or in other processes."""

# License: BSD-3-Clause

import warnings

from skbss.blocks.tracks import describe
from skbss.blocks.voices import describe_voices
from skbss.compose import window_length
from skbss.sound_pipeline import RecordingWarning
from skbss.window_search import overlap

# Windows by which blocks are compared, and outputs of one block, in seconds.
TRACK_WINDOW, OVERLAP_WINDOW = 0.128, 0.064


def separate_block(estimator, x, sample_rate):
    """Separate a block of microphones and describe where outputs come from, and sound.

    Returns
    -------
    y : ndarray of shape (n_samples, n_sources)
        The outputs.
    description : Description
        Where they come from.
    voices : Voices
        What they sound like.
    common : float
        How much they overlap, see `skbss.metrics.overlap`.
    """
    with warnings.catch_warnings():
        # What is wrong with a recording is said once, not of every block.
        warnings.simplefilter("ignore", RecordingWarning)
        y = estimator.fit_transform(x)
    common = overlap(y, n_fft=window_length(sample_rate, OVERLAP_WINDOW))
    description = describe(x, y, window_length(sample_rate, TRACK_WINDOW))
    return y, description, describe_voices(y, sample_rate), common
