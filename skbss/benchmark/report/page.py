"""The page itself, and the files beside it."""

# License: BSD-3-Clause

import json
from html import escape
from numbers import Integral
from pathlib import Path
from string import Template
from types import SimpleNamespace

from sklearn.utils._param_validation import Interval, validate_params

from skbss.benchmark.output import replacing
from skbss.benchmark.report import sections
from skbss.benchmark.report.charts import N_COLORS, color
from skbss.benchmark.report.csv_files import write_ranking, write_recordings
from skbss.benchmark.report.ranking import rank, spread_out, tabulate
from skbss.benchmark.report.summary import facts, sentences
from skbss.benchmark.results import RunError, read_results

_N_CURVES = 7  # more lines than that cannot be told apart
_NUMBER = [Interval(Integral, 0, None, closed="left")]


@validate_params(
    {
        "folder": [str, Path],
        "output": [str, Path, None],
        "audio": ["boolean"],
        "max_recordings": _NUMBER,
        "max_candidates": _NUMBER,
        "max_size": _NUMBER,
    },
    prefer_skip_nested_validation=True,
)
def write_report(
    folder,
    output=None,
    *,
    audio=True,
    max_recordings=6,
    max_candidates=12,
    max_size=40_000_000,
):
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

    Returns
    -------
    path : Path
        The page, ``index.html``. Beside it are ``ranking.csv``, ``per_recording.csv``
        and the folder ``figures`` with all charts (SVG) and spectrograms (PNG).

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
    >>> experiment = make_experiment(
    ...     {
    ...         "dataset": {"name": "convolutive", "n_scenes": 1, "duration": 1.0},
    ...         "methods": {"auxiva": {"grid": {"auxiva.max_iter": [1, 9]}}},
    ...         "stft": {"n_fft": 512},
    ...     }
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = run_experiment(experiment, folder)
    ...     page = write_report(folder)
    ...     files = sorted(path.name for path in page.parent.iterdir())
    >>> files
    ['figures', 'index.html', 'per_recording.csv', 'ranking.csv']
    """
    folder = Path(folder)
    output = Path(output) if output is not None else folder / "report"
    rows = read_results(folder)
    if not rows:
        raise RunError(f"Got {folder}, a run without any result yet.")
    table = tabulate(rows)
    metric = next(iter(table.metrics), None)
    ranking = rank(table, metric)
    chosen = spread_out(table, metric, max_recordings)
    run = SimpleNamespace(
        folder=folder,
        output=output,
        environment=_read_json(folder / "environment.json"),
        table=table,
        metric=metric,
        ranking=ranking,
        colors=choose_colors(table, ranking),
        shown=choose_candidates(ranking, max_candidates),
        drawn=choose_candidates(ranking, _N_CURVES),
        anchors={name: f"recording-{k}" for k, name in enumerate(chosen)},
        figures={},  # name of a file to its content
    )
    write_ranking(output / "ranking.csv", table, ranking)
    write_recordings(output / "per_recording.csv", table)
    listening, linked = sections.listening_section(run, max_size, audio)
    parts = [
        sections.ranking_section(run),
        *sections.score_sections(run),
        listening,
        *sections.other_sections(run),
    ]
    for name, data in run.figures.items():
        with replacing(output / "figures" / name) as temporary:
            temporary.write_bytes(data)
    with replacing(output / "index.html") as temporary:
        temporary.write_text(_page(run, parts, linked), "utf-8")
    return output / "index.html"


def choose_colors(table, ranking):
    """Return a CSS class for each candidate.

    A color each if there are enough, else one for each method, whose candidates differ
    by the dashes of their lines, the best one's being solid.
    """
    if len(ranking) <= N_COLORS:
        return {name: color(k) for k, name in enumerate(table.candidates)}
    methods = list(dict.fromkeys(table.methods))
    count = dict.fromkeys(methods, 0)
    colors = {}
    for one in ranking:
        dashes = count[one.method] % 4
        colors[one.name] = f"{color(methods.index(one.method))} d{dashes}"
        count[one.method] += 1
    return colors


def choose_candidates(ranking, n_candidates):
    """Return the best of each method and then the best of all, in their order."""
    first = {}
    for one in ranking:
        first.setdefault(one.method, one)
    best = list(first.values())
    chosen = (best + [one for one in ranking if one not in best])[:n_candidates]
    return [one for one in ranking if one in chosen]


def _read_json(path):
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _page(run, parts, linked):
    contents = "".join(
        f'<a href="#{anchor}">{anchor.title()}</a>' for anchor, _, _ in parts
    )
    body = "\n".join(
        f'<section><h2 id="{anchor}">{title}</h2>\n{html}</section>'
        for anchor, title, html in parts
    )
    version = run.environment.get("skbss", "")
    return Template(sections.resource("page.html")).substitute(
        title=escape(f"Benchmark {run.folder.resolve().name}"),
        facts=escape(facts(run.table, run.environment)),
        contents=contents,
        css=sections.resource("chart.css") + sections.resource("page.css"),
        media=" file: 'self'" if linked else "",
        summary=sentences(
            run.table,
            run.ranking,
            run.metric,
            ended=(run.folder / "summary.csv").exists(),
        ),
        sections=body,
        footer=f"Written by skbss {escape(str(version))}.",
        script=sections.resource("page.js"),
    )
