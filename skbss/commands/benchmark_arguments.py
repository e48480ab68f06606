"""The arguments of ``skbss benchmark``."""

# License: BSD-3-Clause

import argparse
from pathlib import Path

EPILOG = """\
actions:
  init       write an experiment to begin with, with comments
  run        run an experiment, or what is left of it
  resume     go on with a run that was interrupted
  summarize  print and write the means over the recordings, also amid a run
  report     write a page to look at and to listen to

overrides:
  --set NAME=VALUE sets a key of the file (dataset.limit=2, runtime.seed=1), or a
  parameter STEP.PARAMETER of the pipelines (ilrma.max_iter=20) in all methods that have
  it. --grid STEP.PARAMETER=VALUE,VALUE,... tries values in all methods that have it,
  methods.METHOD.STEP.PARAMETER=... in one.

examples:
  skbss benchmark init > experiment.yaml
  skbss benchmark run experiment.yaml -o run --n-jobs 4
  skbss benchmark run experiment.yaml -o try --set dataset.limit=2 \\
      --grid ilrma.n_basis=2,4
  skbss benchmark resume run
  skbss benchmark report run
"""


def add_benchmark(commands):
    """Add ``skbss benchmark`` to the subcommands.

    Parameters
    ----------
    commands : object
        What ``ArgumentParser.add_subparsers`` returned.
    """
    parser = commands.add_parser(
        "benchmark",
        help="compare methods and parameters over many recordings",
        description="Compare methods and parameters over many recordings.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name, text):
        return actions.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}."
        ).add_argument

    action("init", "print an experiment to begin with")
    add = action("run", "run an experiment, or what is left of it")
    add("file", metavar="FILE", type=Path, help="the experiment, in YAML")
    add(
        "-o",
        "--output",
        metavar="FOLDER",
        type=Path,
        help="default: FILE_run",
    )
    add("--set", metavar="NAME=VALUE", action="append", default=[], help="set a value")
    add(
        "--grid",
        metavar="NAME=VALUES",
        action="append",
        default=[],
        help="try values of a parameter, separated by commas",
    )
    _add_runtime(add)
    add = action("resume", "go on with a run that was interrupted")
    _add_folder(add)
    _add_runtime(add)
    add("--scheduler", metavar="ADDRESS", help="of the Dask cluster, if it has moved")
    add = action("summarize", "print and write means over the recordings")
    _add_folder(add)
    _add_interval(add)
    add = action("report", "write a page to look at and to listen to")
    _add_folder(add)
    _add_interval(add)
    add("-o", "--output", metavar="OUT", type=Path, help="default: FOLDER/report")


def _add_folder(add):
    add("folder", metavar="FOLDER", type=Path, help="the folder of the run")


def _add_interval(add):
    add(
        "--interval",
        choices=("t", "bootstrap"),
        default="t",
        help="how confidence intervals are found (default: %(default)s)",
    )


def _add_runtime(add):
    add("--n-jobs", metavar="N", type=int, help="processes, -1 for all processors")
    add("--retry-failed", action="store_true", help="do failed tasks again")
