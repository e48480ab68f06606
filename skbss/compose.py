"""Pipelines with tuned defaults."""

# License: BSD-3-Clause

from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skbss.loudest_sources import LoudestSources
from skbss.separators import ILRMA, AuxIVA, FullRankRefine, MaskSeparator
from skbss.sound_pipeline import SoundPipeline
from skbss.spectrogram import window_length
from skbss.transforms import (
    ISTFT,
    STFT,
    WPE,
    CrosstalkCanceller,
    LoudestFirst,
    NoiseReducer,
    ProjectionBack,
    RemixNoisyBins,
    SortFrequencies,
    TargetFirst,
)
from skbss.window_search import WindowSearch

# Fraction of frames in which there is only noise, where the outputs are found. Later
# passes refine these, and did without as well with noise 20 dB below.
QUIET = 0.1

# Least gain for which a range is sorted after long windows. There, bass is a few bins,
# which end in the wrong output. Two voices were never sorted wrongly by so little.
LEAST_GAIN = 0.03

METHODS = ("refined", "ilrma", "auxiva")


def make_separator(
    method: Literal["refined", "ilrma", "auxiva"] = "refined",
    *,
    n_sources: int | None = None,
    sample_rate: float = 16_000,
    ref_mic: int = 0,
    dereverberate: bool = False,
    denoise: bool = False,
    highpass: float | Literal["auto"] = "auto",
    target: ArrayLike | None = None,
    random_state: int | np.random.RandomState | None = None,
    memory: object = None,
) -> SoundPipeline:
    """Make a pipeline from recordings to sources, with defaults tuned on speech.

    Parameters
    ----------
    method : {'refined', 'ilrma', 'auxiva'}, default='refined'
        How to separate: `AuxIVA` alone, `ILRMA` started by it, or three stages, which
        separate best and take about as long as `ILRMA`.
    n_sources : int, default=None
        Number of outputs; None means as many as there are microphones. If it is known
        how many people speak, say so: all microphones then help to separate these. Only
        'refined' separates more than there are microphones, of which two are needed.
    sample_rate : float, default=16000
        In Hz, of the recordings to come. Windows of the `STFT` are powers of two,
        within a factor of √2 of 256 and 512 ms in two passes, of 512 ms in a single
        one: 4096 and 8192 at 16 kHz, 8192 and 16384 at 44.1 kHz (186 and 372 ms). Hops
        are a quarter of them. Recordings of a few seconds get shorter ones, by the
        `min_frames` of the `STFT`: 50 frames in a single pass, 40 and 20 in two. With 3
        seconds that brings 2 dB to 'auxiva' and 'ilrma', with 2 seconds also to
        'refined'.
    ref_mic : int, default=0
        The microphone whose scale the outputs take.
    dereverberate : bool, default=False
        Whether to take off reverberation, by `WPE`, from the microphones first, and
        once more from each output. What is left of a source is its direct sound and the
        reflections of the first 50 milliseconds or so, and outputs no longer sum to the
        microphone. Scores against sources with all of their reverberation fall.
    denoise : bool, default=False
        Whether to take stationary noise out of the outputs, by `NoiseReducer`. They no
        longer sum to the microphone then.
    highpass : 'auto' or float, default='auto'
        Frequency in Hz below which recordings are left out, 0 for never. 'auto' leaves
        out what is below 25 or 75 Hz if it is loud in comparison with speech: offsets,
        wind, hum. Give 0 or 25 for music.
    target : array-like, default=None
        What is known of the talker who is to be the first output: a time in which only
        they speak, as its start and end in seconds; or `steering_vectors` of their
        direction, of shape (n_freqs, n_mics), for frequencies from 0 to half the sample
        rate. All others follow, the loudest first.
    random_state : int, RandomState instance or None, default=None
        Seed of ILRMA, and of what separates more sources than microphones.
    memory : str or object with the joblib.Memory interface, default=None
        Cache of the pipeline's steps.

    Returns
    -------
    pipeline : SoundPipeline
        It takes signals of shape (n_samples, n_mics) and gives signals of shape
        (n_samples, n_sources), the loudest source at the reference microphone first.
        Its steps are 'stft', the separator, of the method's name, 'projectionback',
        'istft' and 'loudestfirst'. For 'refined' they are the stages 'first', 'second'
        and 'cancel', each a pipeline from signals to signals, and 'loudestfirst'. With
        `n_sources` the first two are the `separator` in a step 'sources', a
        `skbss.LoudestSources`. With `denoise` there is a stage of this name before the
        last step. With `dereverberate` there is one of this name before all others, and
        'dereverberate_again' after separation. With a time for a `target` the last step
        is 'targetfirst'.

    Raises
    ------
    ValueError
        If there is no such method.

    Notes
    -----
    The stages of 'refined' are:

    first : 'stft', 'auxiva', 'refine', 'projectionback', 'sort', 'remix', 'istft'
        `AuxIVA`, then once more with the source model 'cliques', on windows of 256 ms:
        short ones have more frames to learn from. With ``quiet=0.1`` bins that noise
        fills don't mislead them, and in noise the first one starts twice.
        `SortFrequencies` gives ranges of frequency back to the outputs that they belong
        to, and `RemixNoisyBins` separates low frequencies that are full of noise.
    second : 'stft', 'refine', 'projectionback', 'istft', 'cancel'
        'cliques' again on windows of 512 ms, which cover the reverberation, then
        `SortFrequencies` and `CrosstalkCanceller` on windows of 128 ms. This is the
        `stage` of a `WindowSearch`: in longer recordings windows of 1024 ms and more
        are tried, and taken if the outputs overlap less.
    cancel : 'long', 'short'
        `CrosstalkCanceller` on windows of 256 and 128 ms, each a pipeline of 'stft',
        'cancel' and 'istft'.
    dereverberate, dereverberate_again : 'stft', 'wpe', 'istft'
        `WPE` on windows of 64 ms, of all methods, if asked for.
    denoise : 'stft', 'noisereducer', 'istft'
        `NoiseReducer` on windows of 128 ms, of all methods, if asked for.

    With `n_sources` the first two stages separate four microphones, or one more than
    sources. Two passes follow, on windows of 256 ms and, as before, of 512 ms or more,
    of `AuxIVA` with cliques, that many sources and ``noise=0.01``, on the loudest
    outputs and other microphones.

    If a recording has fewer microphones than `n_sources`, the step 'sources' instead
    does what is in its parameter `masks`: `MaskSeparator` on windows of 128 ms, then
    `FullRankRefine` on windows of 256 ms, of its outputs and the microphones.

    Parameters are those of the classes, except that `ILRMA` has ``update='me'`` and
    `AuxIVA` with cliques ``max_iter=20``, in later passes 8 or 10: more bring less than
    0.1 dB.

    Examples
    --------
    >>> from skbss import make_separator
    >>> from skbss.datasets import load_cocktail_party
    >>> recording = load_cocktail_party()
    >>> pipeline = make_separator(sample_rate=recording.sample_rate, random_state=0)
    >>> pipeline.fit_transform(recording.mixture).shape
    (126400, 2)
    """
    if method not in METHODS:
        raise ValueError(f"Got method={method!r}, expected one of {METHODS}.")

    stage = partial(_stage, sample_rate, memory)
    whole = partial(
        SoundPipeline, sample_rate=sample_rate, highpass=highpass, memory=memory
    )
    first, last = [], []
    if dereverberate:
        first.append(("dereverberate", stage(0.064, [("wpe", WPE())])))
        again = stage(0.064, [("wpe", WPE(joint=False))])
        last.append(("dereverberate_again", again))
    if denoise:
        reduce = stage(0.128, [("noisereducer", NoiseReducer())])
        last.append(("denoise", reduce))
    last.append(("loudestfirst", LoudestFirst(keep_first=target is not None)))
    # A time tells the output when all is done, a direction while microphones are known.
    is_time = np.shape(target) == (2,)
    if is_time:
        start, end = np.asarray(target).tolist()
        first_one = TargetFirst(start, end, sample_rate=sample_rate)
        last.append(("targetfirst", first_one))
    few: dict[str, object] = {"n_sources": n_sources}
    if target is not None and (not is_time or n_sources == 1):
        few["target"] = target
    single = {
        "auxiva": AuxIVA(quiet=QUIET, **few),
        "ilrma": ILRMA(update="me", random_state=random_state, **few),
    }
    if method in single:
        steps = [(method, single[method]), _back(ref_mic)]
        pipeline = stage(0.512, steps, min_frames=50)
        return whole([*first, *pipeline.steps, *last])
    # A separator of fewer sources gets the reference microphone as the first one.
    is_plain = n_sources is None and (target is None or is_time)
    back = _back(ref_mic if is_plain else 0)
    short = [("auxiva", AuxIVA(quiet=QUIET)), _refine(20, quiet=QUIET)]
    short += [back, ("sort", SortFrequencies()), ("remix", RemixNoisyBins())]
    first_stage = ("first", stage(0.256, short, min_frames=40))
    second = _second(stage, [_refine(8), _back("sum")])
    stages = [first_stage, ("second", WindowSearch(second))]
    if not is_plain:
        refine = scout = masks = None
        if n_sources is not None:
            scout = Pipeline([first_stage, ("second", second)], memory=memory)
            refine = Pipeline(_background(n_sources, stage), memory=memory)
            masks = Pipeline(_masks(n_sources, stage, ref_mic, random_state))
        sources = LoudestSources(
            n_sources,
            Pipeline(stages, memory=memory),
            refine,
            scout=scout,
            masks=masks,
            ref_mic=ref_mic,
            sample_rate=sample_rate,
            target=target,
        )
        stages = [("sources", sources)]
    stages.append(("cancel", Pipeline(_cancel(stage), memory=memory)))
    return whole([*first, *stages, *last])


def window_found(separator):
    """Return the window of the second stage that a fitted 'refined' pipeline chose."""
    return _search(separator, "refine_", "separator_").stage_["stft"].n_fft


def later_stages(separator, n_more, n_fft):
    """Return what refines outputs that are known: all from the second stage on.

    Parameters
    ----------
    separator : SoundPipeline
        Of `make_separator`.
    n_more : int
        How many more microphones there are than outputs.
    n_fft : int
        The window of the second stage.

    Returns
    -------
    stages : Pipeline
        From outputs and so many microphones, as `with_microphones` joins them, to
        outputs that sum to the same.
    """
    found = ("refine",) if n_more else ("separator",)
    second = clone(_search(separator, *found).stage).set_params(stft__n_fft=n_fft)
    return Pipeline([("second", second), ("cancel", clone(separator["cancel"]))])


def _search(separator, *parts):
    """Return the search for a window in the first of the parts that is there."""
    sources = separator.named_steps.get("sources")
    if sources is not None:
        separator = next(part for name in parts if (part := getattr(sources, name)))
    return separator["second"]


def _stage(sample_rate, memory, seconds, steps, *, is_half=False, min_frames=None):
    """Put steps of spectrograms between STFT and ISTFT; hops are a quarter or half."""
    n_fft = window_length(sample_rate, seconds)
    hop_length = n_fft // 2 if is_half else None
    stft = STFT(
        n_fft, hop_length=hop_length, sample_rate=sample_rate, min_frames=min_frames
    )
    return Pipeline([("stft", stft), *steps, ("istft", ISTFT())], memory=memory)


def _second(stage, steps):
    """Make a stage of long windows that ends with cancelling on short ones."""
    pipeline = stage(0.512, steps, min_frames=20)
    sort = "sort", SortFrequencies(LEAST_GAIN)
    pipeline.steps.append(("cancel", _cancel_short(stage, sort)))
    return pipeline


def _refine(max_iter, **params):
    return "refine", AuxIVA("cliques", max_iter=max_iter, **params)


def _back(ref_mic):
    return "projectionback", ProjectionBack(ref_mic)


def _background(n_sources, stage):
    """Stages that refine sources, the first channels, with microphones behind them."""

    def refine():
        params = {"n_sources": n_sources, "noise": 0.01, "init": "identity"}
        return [_refine(10, **params), _back(n_sources)]

    short = stage(0.256, [*refine(), ("sort", SortFrequencies())], min_frames=40)
    long = WindowSearch(_second(stage, refine()))

    microphones = FunctionTransformer(_without_first, kw_args={"n": n_sources})
    both = FeatureUnion([("sources", short), ("microphones", microphones)])
    return [("first", both), ("second", long)]


def _masks(n_sources, stage, ref_mic, random_state):
    """Stages for more sources than microphones; the latter go with the former."""
    params = {"ref_mic": ref_mic, "random_state": random_state}
    masks = stage(0.128, [("masks", MaskSeparator(n_sources, **params))])
    refine = stage(0.256, [("refine", FullRankRefine(n_sources, **params))])
    both = FeatureUnion([("sources", masks), ("microphones", "passthrough")])
    return [("first", both), ("second", refine)]


def _without_first(x, n):
    return x[:, n:]


def _cancel_short(stage, *sort):
    steps = [*sort, ("cancel", CrosstalkCanceller())]
    return stage(0.128, steps, is_half=True)


def _cancel(stage):
    long = CrosstalkCanceller(5, n_future=2, decay=0.6)
    return [("long", stage(0.256, [("cancel", long)])), ("short", _cancel_short(stage))]


def mask_pipeline(n_sources, sample_rate, ref_mic, random_state):
    """Make the pipeline of masks alone, for people who walk."""
    masks = MaskSeparator(n_sources, ref_mic=ref_mic, random_state=random_state)
    stage = _stage(sample_rate, None, 0.128, [("masks", masks)])
    steps = [*stage.steps, ("loudestfirst", LoudestFirst())]
    return SoundPipeline(steps, sample_rate=sample_rate, still=False)


def online_pipeline(separator, sample_rate, ref_mic=0):
    """Make the pipeline of an online separator, on windows near to 128 ms.

    These are a quarter of what whole recordings get: the latency is as long as they.
    """
    if "ref_mic" in separator.get_params():
        separator = clone(separator).set_params(ref_mic=ref_mic)
    stft = STFT(window_length(sample_rate, 0.128), sample_rate=sample_rate)
    return make_pipeline(stft, separator, ProjectionBack(ref_mic), ISTFT())
