"""Without numba, or where it is switched off, everything works in numpy."""

# License: BSD-3-Clause

import subprocess
import sys

import numpy as np
import pytest

from skbss import AuxIVA, OnlineAuxIVA, compiled
from tests import reference

pytestmark = pytest.mark.skipif(
    compiled.kernels("batch") is None,
    reason="no numba, or NUMBA_DISABLE_JIT",
)

WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = None  # as if it weren't installed
import numpy as np
from skbss import AuxIVA, OnlineAuxIVA, compiled
assert compiled.kernels("batch") is None
X = np.load("X.npy")
np.save("batch.npy", AuxIVA(max_iter=5).fit_transform(X))
np.save("online.npy", OnlineAuxIVA(inner_iter=2).fit_transform(X))
"""


def test_separators_work_without_numba(tmp_path):
    X = reference.make_mixture(0, 3, 60, 33)
    np.save(tmp_path / "X.npy", X)
    subprocess.run([sys.executable, "-c", WITHOUT_NUMBA], cwd=tmp_path, check=True)
    expected = {
        "batch": AuxIVA(max_iter=5).fit_transform(X),
        "online": OnlineAuxIVA(inner_iter=2).fit_transform(X),
    }
    for name, Y in expected.items():
        # Rounding grows from frame to frame while few of them are known.
        atol = 1e-6 * abs(Y).max()
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), Y, atol=atol)


def test_numbas_own_switch_turns_the_kernels_off(monkeypatch):
    import numba

    compiled.kernels.cache_clear()
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    assert compiled.kernels("batch") is None
    compiled.kernels.cache_clear()
