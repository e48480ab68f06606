"""The page itself, and the files beside it."""

# License: BSD-3-Clause

from itertools import zip_longest
from numbers import Integral
from pathlib import Path

import numpy as np

from skbss.benchmark.output import replacing, write_csv
from skbss.benchmark.report.run import Run
from skbss.benchmark.report.sections import sections
from skbss.benchmark.report.words import FILTERS
from skbss.benchmark.results import RunError, read_results
from skbss.benchmark.table import (
    Interval,
    natural,
    number,
    summary_row,
    write_summary,
)
from skbss.pages.templates import templates
from skbss.sklearn_parts import Interval as Range
from skbss.sklearn_parts import StrOptions, validate_params

_NUMBER = [Range(Integral, 0, None, closed="left")]


@validate_params(
    {
        "folder": [str, Path],
        "output": [str, Path, None],
        "audio": ["boolean"],
        "max_recordings": _NUMBER,
        "max_candidates": _NUMBER,
        "max_size": _NUMBER,
        "interval": [StrOptions({"t", "bootstrap"})],
    },
    prefer_skip_nested_validation=True,
)
def write_report(
    folder: str | Path,
    output: str | Path | None = None,
    *,
    audio: bool = True,
    max_recordings: int = 6,
    max_candidates: int = 12,
    max_size: int = 40_000_000,
    interval: Interval = "t",
) -> Path:
    """Write a page in which one sees and hears the result of a run.

    The page is one file that needs no network: styles, pictures and audio are in it. It
    ranks the candidates with confidence intervals over recordings, draws score against
    time, over time and by recording, and plays mixture, references and outputs of some
    recordings side by side.

    Parameters
    ----------
    folder : str or Path
        The run folder. The run may still be going on.
    output : str or Path, default=None
        The folder of the report. None stands for ``report`` in the run folder.
    audio : bool, default=True
        Whether to put audio into the page. If not, the players take the files of the
        run folder, as long as it stays where it is.
    max_recordings : int, default=6
        How many recordings one can hear: the hardest, the easiest and evenly spaced
        ones between, by their mean score.
    max_candidates : int, default=12
        How many candidates one can hear: the best of each method, and then by rank.
    max_size : int, default=40_000_000
        Bytes of audio and spectrograms in the page, about 5 minutes of audio for each
        10 MB. The audio is FLAC if it fits, else MP3. What doesn't fit either is played
        from the files of the run folder.
    interval : {'t', 'bootstrap'}, default='t'
        How confidence intervals are found, as in `summarize`.

    Returns
    -------
    path : Path
        The page, ``index.html``. Beside it are ``ranking.csv`` (what ``summary.csv``
        was at that time), ``per_recording.csv`` and the folder ``figures`` with all
        charts (SVG) and spectrograms (PNG).

    Raises
    ------
    RunError
        If the run folder has no results.
    OutputError
        If the report cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from skbss.benchmark import make_experiment, run_experiment, write_report
    >>> dataset = {"name": "convolutive", "n_scenes": 1, "duration": 1.0}
    >>> methods = {"auxiva": {"grid": {"auxiva.max_iter": [1, 9]}}}
    >>> experiment = make_experiment({"dataset": dataset, "methods": methods})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = run_experiment(experiment, folder)
    ...     page = write_report(folder)
    ...     files = sorted(path.name for path in page.parent.iterdir())
    >>> files
    ['figures', 'index.html', 'per_recording.csv', 'ranking.csv']
    """
    folder = Path(folder)
    output = Path(output) if output is not None else folder / "report"
    rows = {(row["recording"], row["candidate"]): row for row in read_results(folder)}
    if not rows:
        raise RunError(f"Got {folder}, a run without any result yet.")
    run = Run(folder, rows, max_recordings, max_candidates, interval)
    write_summary(output / "ranking.csv", list(map(summary_row, run.ranking)))
    write_recordings(output / "per_recording.csv", run)
    files: dict[str, bytes] = {}  # by name of a figure
    environment = templates("skbss.benchmark.report")
    environment.filters |= FILTERS
    page = environment.get_template("page.html").render(
        run=run,
        ended=(folder / "summary.csv").exists(),
        config=_read(folder / "experiment.yaml"),
        script=_read(Path(__file__).parent / "page.js"),
        **sections(run, output, files, max_size, audio),
    )
    for name, data in files.items():
        with replacing(output / "figures" / name) as temporary:
            temporary.write_bytes(data)
    with replacing(output / "index.html") as temporary:
        # Names of files may be bytes that are no text.
        temporary.write_text(page, "utf-8", errors="backslashreplace")
    return output / "index.html"


def _read(path):
    return path.read_text("utf-8", errors="replace") if path.is_file() else ""


def write_recordings(path: Path, run: Run) -> None:
    """Write the score of every source, or the error."""
    metrics = run.table.metrics
    header = ["recording", "candidate", "method", "status", "source", *metrics]
    lines = []
    for row in sorted(run.rows.values(), key=lambda row: natural(row["recording"])):
        scores = row.get("scores") or {}
        columns = [np.atleast_1d(scores.get(metric, [])) for metric in metrics]
        start = [row["recording"], row["candidate"], row.get("method"), row["status"]]
        error = ": ".join(map(str, (row.get("error") or {}).values()))
        end = [number(row.get("real_time_factor")), error]
        for k, values in enumerate(zip_longest(*columns)):
            lines.append([*start, k, *map(number, values), *end])
        if not scores:
            lines.append([*start, "", *[np.nan] * len(metrics), *end])
    write_csv(path, [*header, "real_time_factor", "error"], lines)
