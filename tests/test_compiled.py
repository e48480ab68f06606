"""Without numba, or where it is switched off, everything works in numpy."""

# License: BSD-3-Clause

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from skbss import WPE, compiled
from tests import reference
from tests.processes import run_code

pytestmark = pytest.mark.skipif(
    compiled.kernels("dereverberation") is None,
    reason="no numba, or NUMBA_DISABLE_JIT",
)

WITHOUT_NUMBA = """
import sys
assert "numba" not in sys.modules
sys.modules["numba"] = None  # as if it weren't installed
import numpy as np
from skbss import WPE, compiled
assert compiled.kernels("dereverberation") is None
np.save("wpe.npy", WPE(taps=4).fit_transform(np.load("X.npy")))
"""


def test_it_works_without_numba(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X = reference.make_mixture(0, 3, 60, 33)
    np.save("X.npy", X)
    assert run_code(WITHOUT_NUMBA) == 0
    expected = WPE(taps=4).fit_transform(X)
    # Sums in another order, and least squares of correlated frames.
    atol = 1e-9 * abs(X).max()
    np.testing.assert_allclose(np.load("wpe.npy"), expected, atol=atol)


def test_numbas_own_switch_turns_the_kernels_off(monkeypatch):
    import numba

    compiled.kernels.cache_clear()
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    assert compiled.kernels("dereverberation") is None
    compiled.kernels.cache_clear()


CACHELESS = """
import numpy as np
from skbss import WPE, compiled
X = np.random.default_rng(0).normal(size=(2, 20, 9, 2))
WPE(taps=2).fit(X[0] + 1j * X[1])
print(compiled.kernels("dereverberation") is None)
"""


def run_where(tmp_path, **environment):
    """Run a separation from a copy of the package that can't be written to."""
    package = tmp_path / "skbss"
    shutil.copytree(Path(compiled.__file__).parents[1], package)
    for cached in package.rglob("__pycache__"):
        shutil.rmtree(cached)
    # Neither permissions nor users matter to a folder in place of which a file is.
    (package / "compiled" / "__pycache__").touch()
    environment = {
        "PYTHONPATH": str(tmp_path),
        "PYTHONDONTWRITEBYTECODE": "1",
    } | environment
    run = subprocess.run(
        [sys.executable, "-c", CACHELESS],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.strip()


def test_no_folder_to_cache_in_costs_time_only(tmp_path):
    (tmp_path / "file").touch()
    nowhere = str(tmp_path / "file" / "folder")
    found = run_where(tmp_path, HOME=nowhere, XDG_CACHE_HOME=nowhere)
    assert found == "True"


def test_cache_folder_that_cannot_be_written_costs_time_only(tmp_path):
    (tmp_path / "file").touch()
    nowhere = str(tmp_path / "file" / "folder")
    run_where(tmp_path, NUMBA_CACHE_DIR=nowhere, HOME=nowhere, XDG_CACHE_HOME=nowhere)


def test_kernels_use_nothing_of_other_files():
    """numba's cache wouldn't see that it changed."""
    loops = compiled.kernels("dereverberation")
    source = Path(loops.__file__).read_text()
    functions = [f for f in vars(loops).values() if hasattr(f, "py_func")]
    assert len(functions) > 3
    for function in functions:
        code = function.py_func.__code__
        assert code.co_filename == loops.__file__
        used = {
            name: vars(loops)[name] for name in code.co_names if name in vars(loops)
        }
        for name, value in used.items():
            if value is not np:
                assert f"\n{name} = " in source or f"def {name}(" in source
