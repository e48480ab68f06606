"""The subcommands of ``skbss``, one a module with a function ``run(args)``."""

# License: BSD-3-Clause
