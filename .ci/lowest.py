"""Print the lowest version of every dependency of the core, for ``make lowest``."""

# License: BSD-3-Clause

import tomllib
from pathlib import Path

project = Path(__file__).parents[1] / "pyproject.toml"
for requirement in tomllib.loads(project.read_text("utf-8"))["project"]["dependencies"]:
    print(requirement.replace(">=", "=="))
