"""``skbss benchmark``: experiments over many recordings."""

# License: BSD-3-Clause

import math
import os
import sys
import time
from importlib import resources
from pathlib import Path

from skbss.benchmark import (
    OutputError,
    RunError,
    load_experiment,
    resume_experiment,
    run_experiment,
    summarize,
)
from skbss.commands.console import say, tell
from skbss.config import ConfigError
from skbss.datasets import SceneError

TELL_SECONDS = 10.0  # between lines of progress, where they don't replace each other


def run(args):
    """Run an action.

    Parameters
    ----------
    args : argparse.Namespace
        As ``skbss.cli`` parses them.

    Raises
    ------
    ConfigError
        If anything that was given cannot be used, or results cannot be written.
    """
    if args.action in ("run", "resume"):
        # An experiment can name modules that lie beside it, but they don't take the
        # place of installed ones.
        sys.path.append(os.getcwd())
    try:
        ACTIONS[args.action](args)
    except (RunError, SceneError, OutputError) as error:
        raise ConfigError(str(error)) from error


def _init(args):
    template = resources.files("skbss.benchmark") / "template.yaml"
    say(template.read_text("utf-8"), end="")


def _run(args):
    overrides = list(args.set)
    if args.n_jobs is not None:
        overrides.append(f"runtime.n_jobs={args.n_jobs}")
    experiment = load_experiment(args.file, overrides=overrides, grids=args.grid)
    folder = args.output or Path(f"{args.file.stem}_run")
    summary = run_experiment(
        experiment, folder, on_result=Teller(folder), retry_failed=args.retry_failed
    )
    print_summary(summary, folder)


def _resume(args):
    runtime = {"n_jobs": args.n_jobs, "scheduler": args.scheduler}
    summary = resume_experiment(
        args.folder,
        runtime={k: v for k, v in runtime.items() if v is not None},
        on_result=Teller(args.folder),
        retry_failed=args.retry_failed,
    )
    print_summary(summary, args.folder)


def _summarize(args):
    summary = summarize(args.folder, interval=args.interval)
    print_summary(summary, args.folder)


def _report(args):
    from skbss.benchmark.report import write_report

    page = write_report(args.folder, args.output, interval=args.interval)
    say(f"Wrote {page}")


ACTIONS = {
    "init": _init,
    "run": _run,
    "resume": _resume,
    "summarize": _summarize,
    "report": _report,
}


class Teller:
    """Tells progress, and every failure.

    Parameters
    ----------
    folder : Path
        Of the run.
    """

    def __init__(self, folder):
        self.folder = folder
        self._told = -math.inf

    def __call__(self, progress, row):
        """Tell of a task that is done, or of the beginning."""
        if row is None:
            before = f", {progress.n_done} done before" if progress.n_done else ""
            tell(f"{progress.n_total} tasks{before}, results in {self.folder}{os.sep}")
            return
        if row["status"] != "ok":
            error = row["error"]
            tell(
                f"{row['candidate']} failed on {row['recording']}: {error['type']}: "
                f"{error['message']}"
            )
        last = progress.n_done == progress.n_total
        now = time.monotonic()
        if sys.stderr.isatty() or last or now - self._told > TELL_SECONDS:
            what = f"{row['candidate']} on {row['recording']}"
            tell(f"{progress} {what}", transient=True)
            self._told = now


def print_summary(summary, folder):
    """Print the table of the candidates.

    Parameters
    ----------
    summary : list of dict
        As from `summarize`.
    folder : Path
        Of the run.
    """
    if not summary:
        say(f"There are no results in {folder} yet.")
        return
    metrics = [name for name in summary[0] if f"{name}_n" in summary[0]]
    rows = [["candidate", "recordings", "failed", *metrics, "RTF"]]
    for row in summary:
        scores = [_score(row, metric) for metric in metrics]
        factor = row["real_time_factor"]
        rows.append(
            [
                row["candidate"],
                str(row["n_recordings"]),
                str(row["n_failed"]),
                *scores,
                "" if math.isnan(factor) else f"{factor:.3f}",
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = (f"{c:>{w}}" for c, w in zip(rest, widths[1:], strict=True))
        say("  ".join([f"{first:<{widths[0]}}", *cells]))
    say(
        "Means over recordings in dB, ± half of the 95 % confidence interval; RTF is "
        "the median real-time factor."
    )
    say(f"Wrote {folder / 'summary.csv'}")


def _score(row, metric):
    mean, half = row[metric], (row[f"{metric}_high"] - row[f"{metric}_low"]) / 2
    if math.isnan(mean):
        return ""
    return f"{mean:.1f}" + ("" if math.isnan(half) else f" ± {half:.1f}")
