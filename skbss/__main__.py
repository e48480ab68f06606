"""``python -m skbss`` is the ``skbss`` command."""

# License: BSD-3-Clause

import sys

from skbss.cli import main

if __name__ == "__main__":
    sys.exit(main())
