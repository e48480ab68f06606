"""``python -m skbss.benchmark`` is ``skbss benchmark``."""

# License: BSD-3-Clause

import sys

from skbss.cli import main

if __name__ == "__main__":
    sys.exit(main(["benchmark", *sys.argv[1:]]))
