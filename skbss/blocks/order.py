"""The order of outputs, block after block, for the whole of a recording."""

# License: BSD-3-Clause

import numpy as np

from skbss.blocks.tracks import Tracks, best_order, waveform_similarity

# How much the waveforms of the overlap count, beside the columns. 12 runs on meetings
# of 4 minutes had no swap in blocks of 20 s; with either alone there were 4 and 19.
WAVEFORM = 0.5
# Waveforms in the overlap that are less alike don't go on with one another: somebody
# moved within one of the blocks. After such a block voices tell who is who.
ALIKE = 0.9


class Order:
    """Puts the outputs of successive blocks into the order of tracks.

    Parameters
    ----------
    tracks : Tracks, default=None
        What is known of an earlier recording. None begins with the first block.
    moving : bool, default=False
        Whether people may be elsewhere from one block to the next.

    Attributes
    ----------
    tracks : Tracks
        Where the tracks came from until now.
    """

    def __init__(self, tracks=None, *, moving=False):
        self.tracks, self.moving = tracks, moving
        self._previous = self._voices = None
        self._is_cut = False

    def place(self, span, y, description, voices):
        """Return the outputs of the next block in the order of the tracks.

        Parameters
        ----------
        span : tuple of (int, int)
            Where the block is.
        y : ndarray of shape (n_samples, n_sources)
            Its outputs.
        description : Description
            Where they come from.
        voices : Voices
            What they sound like.

        Returns
        -------
        y : ndarray of shape (n_samples, n_sources)
            In order.
        """
        order = np.arange(y.shape[1])
        similarity = None
        if self.tracks is not None:
            similarity = self.tracks.similarity(description)
        if self._previous is not None:
            (_, stop), z, z_voices = self._previous
            n_shared = stop - span[0]
            waveform = waveform_similarity(z[len(z) - n_shared :], y[:n_shared])
            similarity = similarity + WAVEFORM * waveform
            order = best_order(similarity)
            was_cut = self._is_cut
            alike = waveform[np.arange(len(order)), order].mean()
            self._is_cut = self.moving and alike < ALIKE
            if self._is_cut:
                # Places mean nothing any more, and the block before was no use.
                if was_cut and self._voices is not None:
                    order = best_order(self._voices.similarity(voices))
                self.tracks = None
            elif self.moving:
                known = self._voices
                self._voices = z_voices if known is None else known.joined(z_voices)
        elif similarity is not None:
            order = best_order(similarity)
        description = description.take(order)
        if self.tracks is None:
            self.tracks = Tracks(description)
        else:
            self.tracks.add(description)
        self._previous = span, y[:, order], voices.take(order)
        return y[:, order]
