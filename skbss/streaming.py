"""Block-by-block separation of signals, as they arrive."""

# License: BSD-3-Clause

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline

from skbss.base import to_floats
from skbss.frame_stream import FrameStream
from skbss.live import OnlineSeparator


class SignalStream:
    """What drives an `OnlineSeparator`, which takes signals itself.

    Parameters
    ----------
    separator : OnlineSeparator
        It is copied.
    """

    pipeline = None

    def __init__(self, separator):
        separator._validate_params()
        self.separator = deepcopy(separator)
        self.reset()

    @property
    def hop_length(self) -> int:
        """Samples in which a learner takes the signal."""
        return self.separator.hop_length

    @property
    def latency(self) -> int:
        """Samples that the output is behind the input."""
        return self.separator.n_samples_latency

    @property
    def latency_seconds(self) -> float:
        """`latency` in seconds."""
        return self.latency / self.separator.sample_rate

    def reset(self):
        """Forget everything."""
        self.separator = clone(self.separator)

    def process(self, block):
        """Take a block and return what is due."""
        return self.separator.partial_fit_transform(block)

    def flush(self):
        """End the signal and return the rest."""
        if not self.separator.__sklearn_is_fitted__():
            return np.empty((0, 0))
        return self.separator.flush()

    def get_state(self):
        """Return all that the coming output depends on."""
        if not self.separator.__sklearn_is_fitted__():
            raise NotFittedError("Stream has no state before the first block.")
        return self.separator.get_state()

    def set_state(self, state):
        """Continue from a state."""
        self.separator.set_state(state)


class Stream:
    """Separate a signal block by block, as it arrives.

    Put together, the outputs are what ``separator.fit_transform`` returns for the whole
    signal, whatever the sizes of the blocks. Memory doesn't grow.

    Parameters
    ----------
    separator : OnlineSeparator or Pipeline, default=None
        None means `OnlineSeparator()`, for a sample rate of 16 kHz. A pipeline has
        `STFT`, one or more steps that work frame by frame, and `ISTFT`: an online
        separator among them learns as the signal goes by, from the beginning, whatever
        it was fitted to before. Any other separator must have been fitted and is
        applied as it is, as ``pipeline.transform`` does. All is copied.

    Attributes
    ----------
    separator : OnlineSeparator or Pipeline
        The copy that is at work. What was learned so far is found there.
    pipeline : Pipeline or None
        The same, if it is a pipeline.

    Raises
    ------
    TypeError
        If `separator` is neither.
    ValueError
        If a pipeline can't work frame by frame, or a parameter is out of its range.

    See Also
    --------
    OnlineSeparator : Has the methods of a stream itself.
    STFT : Its window decides on the latency of a pipeline.

    Notes
    -----
    The first block decides the number of microphones and the precision, float32 or
    float64. It may be empty: then all is checked and allocated before the signal comes.

    To begin with what an online separator in a pipeline has learned from another
    recording, hand over its state before the first block::

        stream.pipeline["onlineauxiva"].set_state(learned["onlineauxiva"].get_state())

    Examples
    --------
    >>> import numpy as np
    >>> from skbss import Stream
    >>> x = np.random.default_rng(0).laplace(size=(8000, 2))
    >>> stream = Stream()
    >>> stream.latency
    2048
    >>> y = list(stream.blocks(x[k : k + 1000] for k in range(0, 8000, 1000)))
    >>> [len(block) for block in y]
    [0, 0, 952, 1000, 1000, 1000, 1000, 1000, 2048]

    A pipeline that was fitted:

    >>> from sklearn.pipeline import make_pipeline
    >>> from skbss import ISTFT, STFT, AuxIVA, ProjectionBack
    >>> steps = STFT(n_fft=256), AuxIVA(max_iter=5), ProjectionBack(), ISTFT()
    >>> pipeline = make_pipeline(*steps).fit(x)
    >>> y = list(Stream(pipeline).blocks(np.split(x, 8)))
    >>> np.allclose(np.concatenate(y), pipeline.transform(x))
    True
    """

    def __init__(self, separator: OnlineSeparator | Pipeline | None = None):
        if separator is None:
            separator = OnlineSeparator()
        kind = SignalStream if isinstance(separator, OnlineSeparator) else FrameStream
        self._driver = kind(separator)

    @property
    def separator(self) -> OnlineSeparator | Pipeline:
        """What is at work."""
        return getattr(self._driver, "separator", self._driver.pipeline)

    @property
    def pipeline(self) -> Pipeline | None:
        """What is at work, if it is a pipeline, or None."""
        return self._driver.pipeline

    @property
    def hop_length(self) -> int:
        """Samples from one frame to the next, a natural size of blocks."""
        return self._driver.hop_length

    @property
    def latency(self) -> int:
        """Most samples that the output is behind the input.

        Of n samples that went in, at least n - `latency` have come out, whatever the
        sizes of the blocks.
        """
        return self._driver.latency

    @property
    def latency_seconds(self) -> float:
        """`latency` in seconds, or None if `STFT` has no sample_rate."""
        return self._driver.latency_seconds

    def reset(self) -> Self:
        """Forget the signal and what online separators have learned from it.

        Returns
        -------
        self : Stream
            The stream, as if new.
        """
        self._driver.reset()
        return self

    def process(self, block: ArrayLike) -> np.ndarray:
        """Take a block of the signal and return what is complete of the sources.

        Parameters
        ----------
        block : array-like of shape (n_samples, n_mics)
            Real, finite samples that follow those before; any number, also none.
            Integers are scaled to the range from -1 to 1.

        Returns
        -------
        y : ndarray of shape (n_out, n_sources)
            The sources' samples that follow those returned before: none until as many
            have come as the latency has, and about as many as went in from then on.

        Raises
        ------
        ValueError
            If the block isn't two-dimensional, real and finite, is so loud that its
            power isn't finite, or has another number of microphones than those before.
            The stream then goes on as if it hadn't been given.
        """
        return self._driver.process(to_floats(block))

    def flush(self) -> np.ndarray:
        """End the signal and return the rest of the sources.

        The next block begins another signal. Online separators then go on with what
        they have learned, unless `reset` is called.

        Returns
        -------
        y : ndarray of shape (n_out, n_sources)
            What is missing until all outputs are as long as all blocks together.
        """
        return self._driver.flush()

    def blocks(self, signal: Iterable[ArrayLike]) -> Iterator[np.ndarray]:
        """Separate a signal that comes in blocks, from the present state to its end.

        Parameters
        ----------
        signal : iterable of array-like of shape (n_samples, n_mics)
            The blocks.

        Yields
        ------
        y : ndarray of shape (n_out, n_sources)
            What `process` returns for each block, and what `flush` returns at the end.
        """
        for block in signal:
            yield self.process(block)
        yield self.flush()

    def get_state(self) -> dict:
        """Return all that the coming output depends on, beside the parameters.

        With a stream of the same separator in another process, `set_state` continues
        where this one is, to the same bits.

        Returns
        -------
        state : dict
            Arrays and numbers, as :func:`numpy.savez` stores them. Those of online
            steps have the name of the step in front, as in ``onlineauxiva.<name>``.

        Raises
        ------
        NotFittedError
            If there was no block yet.
        """
        return self._driver.get_state()

    def set_state(self, state: Mapping[str, Any]) -> Self:
        """Continue from what `get_state` returned.

        Parameters
        ----------
        state : mapping
            The state, or what :func:`numpy.load` returns for it.

        Returns
        -------
        self : Stream
            The stream.

        Raises
        ------
        ValueError
            If the state is that of another separator, or of another number of
            microphones than the stream began with, or isn't complete, finite and of
            one piece. Nothing is changed then.
        """
        self._driver.set_state(state)
        return self
