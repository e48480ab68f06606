"""Experiments: many methods on many recordings, from a YAML file to a report."""

# License: BSD-3-Clause

from skbss.benchmark.experiment import Experiment, load_experiment, make_experiment
from skbss.benchmark.output import OutputError
from skbss.benchmark.report import write_report
from skbss.benchmark.results import RunError, read_results
from skbss.benchmark.runner import resume_experiment, run_experiment
from skbss.benchmark.table import cv_results, summarize
from skbss.methods import make_method, register_method

__all__ = [
    "Experiment",
    "OutputError",
    "RunError",
    "cv_results",
    "load_experiment",
    "make_experiment",
    "make_method",
    "read_results",
    "register_method",
    "resume_experiment",
    "run_experiment",
    "summarize",
    "write_report",
]
