"""A run as the report shows it, and what is chosen to be shown."""

# License: BSD-3-Clause

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from skbss.benchmark.environment import read_environment
from skbss.benchmark.report.charts import COLORS
from skbss.benchmark.results import RunError
from skbss.benchmark.table import (
    Interval,
    Ranked,
    ScoreTable,
    mean_of_finite,
    rank,
    tabulate,
)
from skbss.config import ConfigError, load_yaml

_N_CURVES = 7  # more lines than that cannot be told apart


@dataclass(eq=False)
class Run:
    """What a run folder holds, and what of it is shown."""

    folder: Path
    rows: dict[tuple[str, str], dict]  # by recording and candidate
    max_recordings: int  # to hear
    max_candidates: int
    interval: Interval = "t"

    def __post_init__(self):
        self.table = tabulate(self.rows.values())
        self.metric = next(iter(self.table.metrics), None)
        self.ranking = rank(self.table, self.interval)
        self.shown = choose_candidates(self.ranking, self.max_candidates)
        self.drawn = choose_candidates(self.ranking, _N_CURVES)
        self.colors = choose_colors(self.table, self.ranking)
        chosen = spread_out(self.table, self.max_recordings)
        self.anchors = {name: f"recording-{k}" for k, name in enumerate(chosen)}

    @cached_property
    def environment(self) -> dict:
        """What environment.json has."""
        found = {"skbss": ""}
        with suppress(RunError):
            found |= read_environment(self.folder)
        return found

    @cached_property
    def title(self) -> str:
        """What the experiment is called, or else its folder."""
        name = None
        with suppress(ConfigError):
            name = load_yaml(self.folder / "experiment.yaml").get("name")
        return str(name or f"Benchmark {self.folder.resolve().name}")

    def find(self, path: str) -> Path | None:
        """Return where a file of the run is, or None if it isn't in its folder."""
        found = self.folder / path
        inside = found.resolve().is_relative_to(self.folder.resolve())
        return found if inside else None


def choose_colors(table: ScoreTable, ranking: list[Ranked]) -> dict[str, str]:
    """Return a CSS class for each candidate.

    A color each if there are enough, else one for each method, whose candidates differ
    by the dashes of their lines, the best one's being solid.
    """
    if len(ranking) <= len(COLORS):
        return {one["candidate"]: f"c{k}" for k, one in enumerate(table.candidates)}
    methods = list(dict.fromkeys(one["method"] for one in table.candidates))
    dashes: Counter = Counter()
    colors = {}
    for one in ranking:
        color = methods.index(one.method) % len(COLORS)
        colors[one.name] = f"c{color} d{dashes[one.method] % 4}"
        dashes[one.method] += 1
    return colors


def choose_candidates(ranking: list[Ranked], n_candidates: int) -> list[Ranked]:
    """Return the best of each method and then the best of all, in their order."""
    first = {one.method: one for one in reversed(ranking)}.values()
    chosen = sorted(ranking, key=lambda one: one not in first)[:n_candidates]
    return [one for one in ranking if one in chosen]


def spread_out(table: ScoreTable, n_recordings: int) -> list[str]:
    """Choose the hardest and the easiest recording, and evenly spaced ones between.

    By their mean over candidates; without scores the first. They keep their order.
    """
    n_recordings = min(n_recordings, len(table.recordings))
    if not table.scores:
        return table.recordings[:n_recordings]
    means = mean_of_finite(table.scores[table.metrics[0]], axis=1)
    order = np.argsort(means, kind="stable")  # nan, of those without a score, is last
    n_scored = np.isfinite(means).sum()
    at = np.linspace(0, max(n_scored, n_recordings) - 1, n_recordings)
    chosen = order[np.floor(at).astype(int)]
    return [table.recordings[i] for i in sorted(chosen)]
