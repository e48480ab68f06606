"""Importing the package is fast, and nothing is imported before it is used."""

# License: BSD-3-Clause

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import skbss


def modules_after(code):
    """Modules that a fresh interpreter has loaded."""
    code = f"import sys, sklearn; before = set(sys.modules)\n{code}\n"
    code += "print(*sorted(set(sys.modules) - before), sep='\\n')"
    run = [sys.executable, "-c", code]
    result = subprocess.run(run, capture_output=True, text=True, check=True)
    return result.stdout.split()


def test_little_is_imported_before_it_is_used():
    alone = "import skbss; assert set(sys.modules) - before == {'skbss'}\n"
    everything = f"{alone}from skbss import {', '.join(skbss.__all__)}\n"
    everything += "import skbss.inspection, skbss.metrics, skbss.callbacks, skbss.cli"
    modules = modules_after(everything)
    assert "skbss.inspection._nmf" in modules
    assert not [name for name in modules if name.startswith("matplotlib")]


def test_names_are_there():
    for name in skbss.__all__:
        thing = getattr(skbss, name)
        assert thing.__name__ == name
        assert thing.__module__.startswith("skbss.")
        assert name in dir(skbss)
    assert skbss.metrics.si_sdr is not None
    assert skbss.__version__.split(".")[0].isdigit()


def test_editors_see_the_same_names():
    tree = ast.parse(Path(skbss.__file__).read_text("utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: imports.module for imports in block.body for alias in imports.names
    }
    assert sorted(seen) == sorted(skbss.__all__)
    for name, module in seen.items():
        assert getattr(skbss, name) is getattr(sys.modules[module], name)


def test_unknown_names():
    with pytest.raises(AttributeError, match="no attribute 'FastICA'"):
        _ = skbss.FastICA
    with pytest.raises(ImportError, match="cannot import name 'FastICA'"):
        from skbss import FastICA  # noqa: F401
