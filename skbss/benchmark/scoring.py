"""The metrics that an experiment can name."""

# License: BSD-3-Clause

import numpy as np

from skbss.config import ConfigError, did_you_mean, import_attribute
from skbss.metrics import bss_eval, framewise_si_sdr, score_separation, si_sdr
from skbss.metrics._scores import METRICS
from skbss.plug_ins import find_plug_in

_TINY_SIGNALS = np.random.default_rng(0).standard_normal((1024, 2))


def find_metrics(names):
    """Return metrics by name.

    Parameters
    ----------
    names : list of str
        Names, or ``module:attribute`` of functions of (reference, estimate), both of
        shape (n_samples, n_sources) and in the same order, that return a score for
        each source.

    Returns
    -------
    metrics : dict of str to callable
        The functions that compute them: `score_separation` those of this package.

    Raises
    ------
    ConfigError
        If there is no such metric, or it needs a package that isn't installed.
    """
    metrics = {}
    for name in names:
        if ":" in str(name):
            metrics[name.rpartition(":")[2]] = import_attribute(name)
        elif name in METRICS:
            metrics[name] = score_separation
        elif (plug_in := find_plug_in("metrics", name)) is not None:
            metrics[name] = plug_in
        else:
            hint = did_you_mean(str(name), METRICS)
            raise ConfigError(f"Got unknown metric {name!r} in metrics.{hint}")
    if any(not name.startswith("si_") for name in _own(metrics)):
        try:
            bss_eval(_TINY_SIGNALS, _TINY_SIGNALS)
        except ImportError as error:
            raise ConfigError(f"Cannot compute metrics={names}: {error}") from error
    return metrics


def check_framewise(framewise):
    """Raise ConfigError if parameters of `framewise_si_sdr` cannot be used."""
    signals = _TINY_SIGNALS
    try:
        framewise_si_sdr(
            signals, signals, mixture=signals, **{"sample_rate": 256} | framewise
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(f"In runtime.framewise: {error}") from error


def assign(reference, estimate):
    """Return the order in which estimates match the references best by SI-SDR.

    Parameters
    ----------
    reference : ndarray of shape (n_samples, n_sources)
        The true sources.
    estimate : ndarray of shape (n_samples, n_estimates)
        The separated ones.

    Returns
    -------
    permutation : ndarray of shape (n_sources,)
        ``estimate[:, permutation]`` has the order of the references.
    """
    return si_sdr(reference, estimate, return_permutation=True)[1]


def score(scene, estimate, metrics, ref_mic):
    """Compute all metrics of a separated recording.

    Parameters
    ----------
    scene : dict
        With `references` and `mixture`.
    estimate : ndarray of shape (n_samples, n_sources)
        In the order of the references.
    metrics : dict of str to callable
        From `find_metrics`.
    ref_mic : int
        The microphone of the references.

    Returns
    -------
    scores : dict of str to ndarray of shape (n_sources,)
        Nan where undefined.
    """
    pair = scene["references"], estimate
    own = _own(metrics)
    options = {"mixture": scene["mixture"], "ref_mic": ref_mic, "permute": False}
    scores = score_separation(*pair, metrics=own, **options) if own else {}
    return {
        name: np.atleast_1d(scores[name] if name in own else metric(*pair))
        for name, metric in metrics.items()
    }


def _own(metrics):
    """Names of this package's metrics, which are computed together."""
    return [name for name in metrics if metrics[name] is score_separation]


def score_windows(scene, estimate, ref_mic, framewise):
    """Compute the SI-SDR and its improvement in successive windows.

    Parameters
    ----------
    scene, estimate, ref_mic
        As for `score`.
    framewise : dict
        Parameters of `framewise_si_sdr`.

    Returns
    -------
    arrays : dict of str to ndarray
        ``time`` of shape (n_windows,) in seconds, ``si_sdr`` and
        ``si_sdr_improvement`` of shape (n_windows, n_sources) in dB.
    """
    params = {"permute": False} | framewise
    return framewise_si_sdr(
        scene["references"],
        estimate,
        sample_rate=scene["sample_rate"],
        mixture=scene["mixture"],
        ref_mic=ref_mic,
        **params,
    )
