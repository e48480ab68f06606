"""The methods that commands and experiments can name, and what users add to them."""

# License: BSD-3-Clause

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

import skbss
from skbss.blocks import BlockBatch
from skbss.blocks.walkers import separate_walkers
from skbss.compose import make_separator, mask_pipeline, online_pipeline
from skbss.live import OnlineSeparator
from skbss.plug_ins import check_name, find
from skbss.separators import OnlineAuxIVA, OnlineILRMA, OnlineISNMF
from skbss.sound_pipeline import SoundPipeline
from skbss.transforms import LoudestFirst

# Blocks in which people who move stay about where they are.
BLOCK_SECONDS, OVERLAP_SECONDS = 8.0, 2.0


@dataclass(frozen=True)
class Method:
    """A way to separate recordings.

    Parameters
    ----------
    factory : callable
        Returns a new estimator, as `register_method` says.
    summary : str
        What it does, in a line.
    is_online : bool, default=False
        Whether it can separate while a recording comes in.
    """

    factory: Callable
    summary: str
    is_online: bool = False


def _blocks(
    sample_rate,
    ref_mic,
    random_state,
    n_sources=None,
    denoise=False,
    dereverberate=False,
):
    estimator = make_separator(
        sample_rate=sample_rate,
        ref_mic=ref_mic,
        random_state=random_state,
        n_sources=n_sources,
        denoise=denoise,
        dereverberate=dereverberate,
    )
    return BlockBatch(estimator, sample_rate=sample_rate)


def _moving(method, sample_rate, ref_mic, random_state, n_sources=None):
    estimator = make_separator(
        method,
        sample_rate=sample_rate,
        ref_mic=ref_mic,
        random_state=random_state,
        n_sources=n_sources,
    )
    return BlockBatch(
        estimator,
        block=BLOCK_SECONDS,
        overlap=OVERLAP_SECONDS,
        refine=None,
        sample_rate=sample_rate,
    )


def _masks(sample_rate, ref_mic, random_state, n_mics, n_sources=None):
    return mask_pipeline(n_sources or n_mics, sample_rate, ref_mic, random_state)


def _walkers(sample_rate, ref_mic):
    where = {"sample_rate": sample_rate, "ref_mic": ref_mic}
    follow = FunctionTransformer(separate_walkers, kw_args=where)
    steps = [("walkers", follow), ("loudestfirst", LoudestFirst())]
    return SoundPipeline(steps, sample_rate=sample_rate, still=False)


def _online_separator(sample_rate, ref_mic, n_sources=None):
    separator = OnlineSeparator(sample_rate, n_sources, ref_mic=ref_mic)
    return make_pipeline(separator)


def _online_auxiva(sample_rate, ref_mic):
    return online_pipeline(OnlineAuxIVA(), sample_rate, ref_mic)


def _online_ilrma(sample_rate, ref_mic, random_state):
    separator = OnlineILRMA(random_state=random_state)
    return online_pipeline(separator, sample_rate, ref_mic)


def _online_isnmf(sample_rate, ref_mic, random_state, n_mics):
    # As many sources as the methods have that take all microphones.
    separator = OnlineISNMF(n_sources=n_mics, random_state=random_state)
    pipeline = online_pipeline(separator, sample_rate, ref_mic=0)
    take = FunctionTransformer(np.take, kw_args={"indices": [ref_mic], "axis": 1})
    return Pipeline([("microphone", take), *pipeline.steps])


_registry = {
    "refined": Method(
        partial(make_separator, "refined"),
        "AuxIVA, refined by cliques on two windows, crosstalk canceled; separates best",
    ),
    "ilrma": Method(
        partial(make_separator, "ilrma"),
        "ILRMA, sources of low rank, started by AuxIVA",
    ),
    "auxiva": Method(
        partial(make_separator, "auxiva"), "AuxIVA, the quickest of whole recordings"
    ),
    "masks": Method(
        _masks, "by direction in each coefficient: with artifacts, if one of them walks"
    ),
    "walkers": Method(
        _walkers, "two talkers, followed by direction and voice while both of them walk"
    ),
    "blocks": Method(
        _blocks, "refined, in blocks, by what the best minutes teach: for hours"
    ),
    "blockauxiva": Method(
        partial(_moving, "auxiva"), "auxiva in blocks of 8 s, for people who move"
    ),
    "blockilrma": Method(
        partial(_moving, "ilrma"), "ilrma in blocks of 8 s, for people who move"
    ),
    "onlineseparator": Method(
        _online_separator, "what runs live, with 128 ms of latency", is_online=True
    ),
    "onlineauxiva": Method(_online_auxiva, "AuxIVA, frame by frame", is_online=True),
    "onlineilrma": Method(_online_ilrma, "ILRMA, frame by frame", is_online=True),
    "onlineisnmf": Method(_online_isnmf, "one microphone, by its spectra"),
}

_OWN = frozenset(_registry)


def methods():
    """Return all methods by name.

    Returns
    -------
    methods : dict of str to Method
        Those of the package, and what `register_method` added.
    """
    return dict(_registry)


def register_method(
    name: str, factory: Callable, *, summary: str = "", is_online: bool = False
) -> None:
    """Add a method that experiments can name.

    Parameters
    ----------
    name : str
        Without a colon. Names of the package are refused; a name of one's own may be
        registered again, as when a notebook's cell runs twice, and is replaced.
    factory : callable
        Returns a new estimator, usually a Pipeline, that separates a recording by
        ``fit_transform``: from (n_samples, n_mics) to (n_samples, n_sources). Of the
        keyword arguments ``sample_rate`` (Hz), ``ref_mic``, ``random_state`` and
        ``n_mics`` (of the recording) it is passed those that it takes.
    summary : str, default=""
        What it does, in a line, for ``skbss separate --list-methods``.
    is_online : bool, default=False
        Whether the pipeline can separate while a recording comes in, as `Stream` needs.

    Raises
    ------
    ConfigError
        If the name is one of the package.
    TypeError
        If `factory` cannot be called.

    See Also
    --------
    make_method : The method again.

    Notes
    -----
    Worker processes get the factory itself, so that it may be a lambda. In an
    experiment that the command runs, name it ``module:attribute`` instead.

    Examples
    --------
    >>> from sklearn.decomposition import FastICA
    >>> from skbss.benchmark import make_method, register_method
    >>> register_method("ica", FastICA)
    >>> make_method("ica", random_state=0)
    Pipeline(steps=[('fastica', FastICA(random_state=0))])
    """
    check_name(name, _OWN, "method")
    if not callable(factory):
        raise TypeError(f"Got factory={factory!r}, expected something callable.")
    _registry[name] = Method(factory, summary, is_online)


def make_method(
    method: str | list[str],
    *,
    sample_rate: float = 16_000,
    ref_mic: int = 0,
    random_state: int | None = None,
    n_mics: int = 2,
) -> Pipeline:
    """Make the pipeline of a method.

    Parameters
    ----------
    method : str or list of str
        A registered name, ``module:attribute`` of a factory or of an estimator's class,
        or a list of such classes: the steps of a pipeline, where those of `skbss` need
        no module.
    sample_rate : float, default=16000
        In Hz.
    ref_mic : int, default=0
        The microphone whose scale the outputs take.
    random_state : int, default=None
        Seed of every step that takes one.
    n_mics : int, default=2
        Microphones of the recording.

    Returns
    -------
    pipeline : Pipeline
        From signals (n_samples, n_mics) to (n_samples, n_sources).

    Raises
    ------
    ConfigError
        If there is no such method.

    Examples
    --------
    >>> from skbss.benchmark import make_method
    >>> [name for name, _ in make_method("onlineisnmf").steps]
    ['microphone', 'stft', 'onlineisnmf', 'projectionback', 'istft']
    >>> steps = ["STFT", "sklearn.preprocessing:FunctionTransformer", "ISTFT"]
    >>> [name for name, _ in make_method(steps).steps]
    ['stft', 'functiontransformer', 'istft']
    """
    return build(
        find_method(method),
        sample_rate=sample_rate,
        ref_mic=ref_mic,
        random_state=random_state,
        n_mics=n_mics,
    )


def find_method(method):
    """Return the factories of the steps of a method.

    Parameters
    ----------
    method : str or list of str
        As for `make_method`.

    Returns
    -------
    factories : list of callable
        One for a pipeline or estimator, or those of the steps.

    Raises
    ------
    ConfigError
        If there is no such method.
    """
    if isinstance(method, str):
        factories = {name: known.factory for name, known in _registry.items()}
        return [find(method, factories, "method")]
    steps = {name: getattr(skbss, name) for name in skbss.__all__}
    return [find(step, steps, "step") for step in method]


def build(factories, *, random_state, **context):
    """Call the factories and return their pipeline.

    Parameters
    ----------
    factories : list of callable
        From `find_method`.
    random_state : int or None
        Set wherever a step has none of its own.
    **context : dict
        ``sample_rate``, ``ref_mic`` and ``n_mics``, as for `make_method`.

    Returns
    -------
    pipeline : Pipeline
        A new one.
    """
    context["random_state"] = random_state
    steps = [_call(factory, context) for factory in factories]
    single = len(steps) == 1 and isinstance(steps[0], Pipeline)
    # A factory may hand out the same object every time.
    pipeline = clone(steps[0] if single else make_pipeline(*steps))
    seeds = {
        name: random_state
        for name, value in pipeline.get_params().items()
        if name.split("__")[-1] == "random_state" and value is None
    }
    return pipeline.set_params(**seeds)


def _call(factory, context):
    """Call with those keyword arguments of the context that the factory takes."""
    parameters = inspect.signature(factory).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return factory(**context)
    return factory(**{name: context[name] for name in context if name in parameters})


def flat_steps(pipeline, joint="."):
    """Yield the steps of a pipeline and of the pipelines in it, with their names.

    Parameters
    ----------
    pipeline : Pipeline
        What is run.
    joint : str, default='.'
        What is between the names of a pipeline and of its step.

    Yields
    ------
    name : str
        The path to the step.
    step : estimator
        None that is left out by None or 'passthrough'.
    """
    for name, step in pipeline.steps:
        if isinstance(step, Pipeline):
            for inner, part in flat_steps(step, joint):
                yield f"{name}{joint}{inner}", part
        elif step is not None and step != "passthrough":
            yield name, step
