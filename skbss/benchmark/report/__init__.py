"""The report of a run: a page in which one sees and hears the result."""

# License: BSD-3-Clause

from skbss.benchmark.report.page import write_report

__all__ = ["write_report"]
