"""Parameters from YAML and from the command line."""

# License: BSD-3-Clause

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbss import BlockBatch, make_separator
from skbss.config import (
    ConfigError,
    configure,
    did_you_mean,
    flatten,
    load_yaml,
    parse_override,
    save_yaml,
    set_params,
)


@pytest.fixture
def pipe():
    return make_pipeline(StandardScaler(), PCA())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", 4),
        ("1e-4", 1e-4),
        ("1E4", 1e4),
        (".5e+2", 50.0),
        ("-2.e3", -2000.0),
        ("1.0e-4", 1e-4),
        ("0.5", 0.5),
        (".inf", np.inf),
        ("null", None),
        ("true", True),
        ("auxiva", "auxiva"),
        ("e4", "e4"),
        ("1e", "1e"),
        ("'1e-4'", "1e-4"),
        ("[2, 1e-1]", [2, 0.1]),
        ("a=b", "a=b"),
    ],
)
def test_parse_override(text, value):
    name, parsed = parse_override(f"ilrma.tol={text}")
    assert name == "ilrma.tol"
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize("text", ["ilrma.tol", "=4", "ilrma.tol=", "", "a=[1", "a={"])
def test_parse_override_refuses(text):
    with pytest.raises(ConfigError, match=r"Got|Cannot") as caught:
        parse_override(text)
    assert "\n" not in str(caught.value)


def test_round_trip(tmp_path):
    config = {
        "ilrma": {"n_basis": np.int64(4), "tol": np.float32(0.5), "init": "auxiva"},
        "stft": {"n_fft": 4096, "window": None},
        "list": [1e-10, True, "1e-4", "ü"],
    }
    save_yaml(tmp_path / "a.yaml", config)
    loaded = load_yaml(tmp_path / "a.yaml")
    assert loaded == config
    assert list(loaded) == list(config)
    assert type(loaded["ilrma"]["n_basis"]) is int


@given(value=st.floats(allow_nan=False) | st.integers() | st.booleans() | st.text())
@example("\x85")
@example("a\u2028 \u2029b")
@settings(max_examples=50)
def test_scalars_survive(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "scalar.yaml"
    save_yaml(path, {"value": value})
    loaded = load_yaml(path)["value"]
    assert loaded == value
    assert type(loaded) is type(value)


def test_empty_file(tmp_path):
    (tmp_path / "a.yaml").write_text("# nothing yet\n")
    assert load_yaml(tmp_path / "a.yaml") == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", "as YAML: .* line 1"),
        (b"a:\n  b: 1\n c: 2\n", "as YAML: .* line 3"),
        (b"\xff\xfe\x00", "as YAML"),
        (b"- 1\n- 2\n", "got a list, expected a mapping"),
        (b"just text", "got a str, expected a mapping"),
        (b"!!python/object/apply:os.getcwd []", "as YAML"),
    ],
)
def test_bad_files(tmp_path, content, message):
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        load_yaml(tmp_path / "a.yaml")
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError, match=r"a\.yaml: No such file or directory\."):
        load_yaml(tmp_path / "a.yaml")


def test_flatten():
    nested = {"a": {"b": {"c": 1}, "d": 2}, "e.f": {"g": 3}, "h": [4], "a.d": 5}
    assert flatten(nested) == {"a.b.c": 1, "a.d": 5, "e.f.g": 3, "h": [4]}
    assert flatten({"a": {}}) == {}


def test_set_params(pipe):
    config = {"pca": {"n_components": 2}, "standardscaler.with_std": False}
    assert set_params(pipe, config) is pipe
    assert pipe.named_steps["pca"].n_components == 2
    assert pipe.named_steps["standardscaler"].with_std is False
    search = GridSearchCV(pipe, {})
    set_params(search, {"estimator.pca.tol": 0.1, "cv": 3})
    assert (pipe.named_steps["pca"].tol, search.cv) == (0.1, 3)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("pca.n_component", "Did you mean 'pca.n_components'?"),
        ("pac.n_components", "Did you mean 'pca.n_components'?"),
        ("n_components", "Did you mean 'pca.n_components'?"),
        ("copy", "Did you mean 'pca.copy' or 'standardscaler.copy'?"),
        # A step is no value, nor is the list of them.
        ("pca", "Expected one of pca.copy, pca.iterated_power,"),
        ("steps", "Expected one of memory, pca.copy,"),
    ],
)
def test_set_params_suggests(pipe, name, hint):
    before = pipe.get_params()
    with pytest.raises(ConfigError) as caught:
        set_params(pipe, {"pca.n_components": 1, name: 2})
    assert str(caught.value).startswith(f"Got unknown parameter {name!r}. {hint}")
    # All names are checked before any is set.
    assert pipe.get_params() == before


def test_did_you_mean():
    assert did_you_mean("irlma", ["auxiva", "ilrma"]) == " Did you mean 'ilrma'?"
    assert did_you_mean("xyz", ["ilrma", "auxiva"]) == " Expected one of auxiva, ilrma."


def test_a_name_that_comes_twice(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("ilrma: {n_basis: 2}\nilrma: {n_basis: 4}\n")
    with pytest.raises(ConfigError, match=r"found 'ilrma' twice.* line 2"):
        load_yaml(path)


def test_values_of_nested_estimators_are_checked():
    pipeline = make_pipeline(BlockBatch(make_separator("ilrma")))
    configure(pipeline, {"blockbatch.estimator.ilrma.n_basis": 3})
    assert pipeline[0].estimator["ilrma"].n_basis == 3
    with pytest.raises(ConfigError, match="'n_basis' parameter of ILRMA"):
        configure(pipeline, {"blockbatch.estimator.ilrma.n_basis": 0})
