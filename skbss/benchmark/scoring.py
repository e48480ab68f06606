"""The metrics that an experiment can name."""

# License: BSD-3-Clause

from collections.abc import Callable

import numpy as np

from skbss.config import ConfigError
from skbss.metrics import bss_eval, framewise_si_sdr, score_separation, si_sdr
from skbss.metrics.scores import METRICS
from skbss.plug_ins import find

_TINY_SIGNALS = np.random.default_rng(0).standard_normal((1024, 2))


def find_metrics(names: list[str]) -> dict[str, Callable]:
    """Return metrics by name: `score_separation` for those of this package.

    Others are plug-ins, or ``module:attribute`` of functions of (reference, estimate),
    both of shape (n_samples, n_sources) and in the same order, that return a score for
    each source. Raises ConfigError if there is no such metric, or if it needs a package
    that isn't installed.
    """
    own = dict.fromkeys(METRICS, score_separation)
    metrics = {
        str(name).rpartition(":")[2]: find(name, own, "metric") for name in names
    }
    if any(not name.startswith("si_") for name in _own(metrics)):
        try:
            bss_eval(_TINY_SIGNALS, _TINY_SIGNALS)
        except ImportError as error:
            raise ConfigError(f"Cannot compute metrics={names}: {error}") from error
    return metrics


def check_framewise(framewise: dict) -> None:
    """Raise ConfigError if parameters of `framewise_si_sdr` cannot be used."""
    signals = _TINY_SIGNALS
    scene = {"references": signals, "mixture": signals, "sample_rate": 256}
    try:
        _score_windows(scene, signals, 0, framewise)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"In runtime.framewise: {error}") from error


def score(
    scene: dict,
    estimate: np.ndarray,
    metrics: dict[str, Callable],
    ref_mic: int,
    framewise: dict | bool,
) -> tuple[np.ndarray, dict[str, list], dict[str, np.ndarray] | None]:
    """Score estimates of all references of a scene.

    Returned are the numbers of the estimates that match the references best by SI-SDR;
    by metric a score of every source, nan where it is undefined; and what
    `framewise_si_sdr` returns, if windows are asked for.
    """
    references = scene["references"]
    _, permutation = si_sdr(references, estimate, return_permutation=True)
    estimate = estimate[:, permutation]
    own = _own(metrics)
    options = {"mixture": scene["mixture"], "ref_mic": ref_mic, "permute": False}
    found = (
        score_separation(references, estimate, metrics=own, **options) if own else {}
    )
    scores = {
        name: found[name] if name in own else metric(references, estimate)
        for name, metric in metrics.items()
    }
    scores = {name: np.atleast_1d(values).tolist() for name, values in scores.items()}
    windows = None
    if framewise is not False:
        windows = _score_windows(scene, estimate, ref_mic, framewise)
    return permutation, scores, windows


def _own(metrics):
    """Names of this package's metrics, which are computed together."""
    return [name for name in metrics if metrics[name] is score_separation]


def _score_windows(scene, estimate, ref_mic, framewise):
    return framewise_si_sdr(
        scene["references"],
        estimate,
        sample_rate=scene["sample_rate"],
        mixture=scene["mixture"],
        ref_mic=ref_mic,
        **{"permute": False} | (framewise if isinstance(framewise, dict) else {}),
    )
