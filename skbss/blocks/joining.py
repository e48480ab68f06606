"""Long signals in blocks that overlap: where they are, and how they are joined."""

# License: BSD-3-Clause

import numpy as np


def spans_of(n_samples, length, overlap):
    """Divide a signal into blocks of one length, evenly.

    Parameters
    ----------
    n_samples : int
        Length of the signal.
    length : int
        Of a block. A shorter signal is one block.
    overlap : int
        The least that successive blocks share.

    Returns
    -------
    spans : list of (int, int)
        First sample of each block, and the one after its last.

    Examples
    --------
    >>> from skbss.blocks.joining import spans_of
    >>> spans_of(100, 40, 10)
    [(0, 40), (30, 70), (60, 100)]
    >>> spans_of(99, 40, 10)
    [(0, 40), (29, 69), (59, 99)]
    """
    beyond = n_samples - length
    if beyond <= 0:
        return [(0, n_samples)]
    n_steps = -(-beyond // (length - overlap))
    starts = [k * beyond // n_steps for k in range(n_steps + 1)]
    return [(start, start + length) for start in starts]


def crossfade(blocks, spans, overlap):
    """Join blocks, one fading into the next where they overlap.

    Parameters
    ----------
    blocks : iterable of ndarray of shape (n_samples, n_channels)
        The blocks in order.
    spans : list of (int, int)
        Where they are, as from `spans_of`.
    overlap : int
        How many samples a fade takes, in the middle of what two blocks share: their
        ends are their worst parts.

    Yields
    ------
    piece : ndarray of shape (n_samples, n_channels)
        The signal, one piece a block.
    """
    done, tail = 0, None
    for k, ((start, stop), y) in enumerate(zip(spans, blocks, strict=True)):
        parts = []
        if tail is not None:
            n = len(tail)
            weight = np.sin(np.pi / 2 * (np.arange(n) + 0.5) / max(n, 1)) ** 2
            weight = weight[:, None].astype(y.dtype)
            parts.append(tail + weight * (y[done - start : done - start + n] - tail))
            done += n
        end = stop
        if k + 1 < len(spans):
            following = spans[k + 1][0]
            fade = min(overlap, following - start)
            end = max(done, (following + stop - fade) // 2)
            tail = y[end - start : end - start + fade]
        parts.append(y[done - start : end - start])
        done = end
        yield np.concatenate(parts)


class Activity:
    """Loudness of tracks in every second, from pieces of them as they come.

    Parameters
    ----------
    sample_rate : float
        In Hz.
    """

    def __init__(self, sample_rate):
        self.size = max(1, round(sample_rate))
        self._powers, self._rest = [], None

    def add(self, y):
        """Take the next piece, of shape (n_samples, n_tracks)."""
        if self._rest is not None:
            y = np.concatenate([self._rest, y])
        n = len(y) // self.size
        for second in y[: n * self.size].reshape(n, self.size, y.shape[1]):
            self._powers.append((second.astype(float) ** 2).mean(0))
        self._rest = y[n * self.size :]

    def is_active(self):
        """Tell in which seconds tracks are active.

        Returns
        -------
        active : ndarray of bool of shape (n_seconds, n_tracks)
            Where a track is within 20 dB of its own loud seconds, and 13 dB of the
            loudest track.
        """
        if not self._powers:
            return np.zeros((0, self._rest.shape[1]), dtype=bool)
        power = np.array(self._powers)
        loud = np.percentile(power, 90, axis=0)
        loudest = power.max(1, keepdims=True)
        return (power > 0) & (power > 0.01 * loud) & (power > 0.05 * loudest)


def busiest(active, n_seconds):
    """Find the stretch of time that tells most about all tracks.

    Parameters
    ----------
    active : ndarray of bool of shape (n_seconds, n_tracks)
        Where tracks are active.
    n_seconds : int
        Length of the stretch.

    Returns
    -------
    start : int
        Its first second. There the product of the numbers of seconds in which tracks
        are active, each plus one, is the largest: what the rarest talker says counts
        most, and an output that never is active doesn't count.
    counts : ndarray of shape (n_tracks,)
        The numbers of seconds.
    """
    n_seconds = min(n_seconds, len(active))
    total = np.vstack([np.zeros(active.shape[1]), np.cumsum(active, axis=0)])
    counts = total[n_seconds:] - total[:-n_seconds]
    start = int(np.log1p(counts).sum(1).argmax())
    return start, counts[start]
