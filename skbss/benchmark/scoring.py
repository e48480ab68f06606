"""The metrics that an experiment can name."""

# License: BSD-3-Clause

from collections.abc import Callable

import numpy as np

from skbss.config import ConfigError, did_you_mean, import_attribute
from skbss.metrics import bss_eval, framewise_si_sdr, score_separation, si_sdr
from skbss.metrics.scores import METRICS
from skbss.plug_ins import find_plug_in

_TINY_SIGNALS = np.random.default_rng(0).standard_normal((1024, 2))


def find_metrics(names: list[str]) -> dict[str, Callable]:
    """Return metrics by name: `score_separation` for those of this package.

    Others are plug-ins, or ``module:attribute`` of functions of (reference, estimate),
    both of shape (n_samples, n_sources) and in the same order, that return a score for
    each source. Raises ConfigError if there is no such metric, or if it needs a package
    that isn't installed.
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


def check_framewise(framewise: dict) -> None:
    """Raise ConfigError if parameters of `framewise_si_sdr` cannot be used."""
    signals = _TINY_SIGNALS
    try:
        framewise_si_sdr(
            signals, signals, mixture=signals, **{"sample_rate": 256} | framewise
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(f"In runtime.framewise: {error}") from error


def assign(reference: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """Return the numbers of the estimates that match the references best by SI-SDR."""
    return si_sdr(reference, estimate, return_permutation=True)[1]


def score(
    scene: dict, estimate: np.ndarray, metrics: dict[str, Callable], ref_mic: int
) -> dict[str, np.ndarray]:
    """Compute all metrics of estimates in the order of the references.

    Each has a score of every source, nan where it is undefined.
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


def score_windows(
    scene: dict, estimate: np.ndarray, ref_mic: int, framewise: dict | bool
) -> dict[str, np.ndarray]:
    """Compute what `framewise_si_sdr` does, in windows as `framewise` says."""
    return framewise_si_sdr(
        scene["references"],
        estimate,
        sample_rate=scene["sample_rate"],
        mixture=scene["mixture"],
        ref_mic=ref_mic,
        **{"permute": False} | (framewise if isinstance(framewise, dict) else {}),
    )
