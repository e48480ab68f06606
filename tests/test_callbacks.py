"""Callbacks of scikit-learn around every iteration, alone and inside others."""

# License: BSD-3-Clause

import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline

from skbss import (
    ILRMA,
    ISTFT,
    STFT,
    AuxIVA,
    EachRecording,
    OnlineAuxIVA,
    OnlineILRMA,
    OnlineISNMF,
    ProjectionBack,
    read_jsonl,
)
from skbss.callbacks import FitTask, JsonlLogger
from skbss.metrics import si_sdr, si_sdr_improvement_scorer, si_sdr_scorer
from tests.conftest import make_recording

SEPARATORS = [
    AuxIVA(max_iter=4),
    AuxIVA("cliques", max_iter=4),
    ILRMA(max_iter=3, init_iter=2, random_state=0),
    ILRMA(max_iter=3, init="identity", update="me", random_state=0),
    OnlineAuxIVA(),
    OnlineILRMA(random_state=0),
    OnlineISNMF(random_state=0),
]


def ids(separator):
    return type(separator).__name__


class Recorder:
    """Keeps what the hooks are called with, or asks to stop after some tasks."""

    max_propagation_depth = None

    def __init__(self, stop_after=np.inf):
        self.stop_after = stop_after
        self.begun, self.ended, self.fitted = [], [], []
        self.n_setups = self.n_teardowns = 0

    def setup(self, estimator, context):
        self.n_setups += 1

    def teardown(self, estimator, context):
        self.n_teardowns += 1

    def on_fit_task_begin(self, estimator, context):
        self.begun.append(context)

    def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
        self.ended.append(context)
        self.fitted.append(fitted_estimator)
        return len(self.ended) >= self.stop_after


def input_of(separator, record):
    """The recording, or the one microphone that IS-NMF takes."""
    return record.data[:, :, :1] if isinstance(separator, OnlineISNMF) else record.data


def learned(separator):
    """Fitted attributes, those behind properties too."""
    return {
        name: np.asarray(getattr(separator, name))
        for name in dir(separator)
        if name.endswith("_") and not name.startswith("_")
    }


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


@pytest.mark.parametrize("method", ["fit", "fit_transform"])
@pytest.mark.parametrize("separator", SEPARATORS, ids=ids)
def test_every_task_begins_and_ends(separator, method, record):
    X = input_of(separator, record)
    recorder = Recorder()
    watched = clone(separator).set_callbacks(recorder)
    getattr(watched, method)(X)
    assert (recorder.n_setups, recorder.n_teardowns) == (1, 1)
    assert set(recorder.begun) == set(recorder.ended)
    assert len(recorder.begun) == len(recorder.ended)
    root = recorder.begun[0]
    assert root is recorder.ended[-1]
    # No more tasks than announced, or the bar would never be full.
    assert len(root._children_map) == root.max_subtasks
    # Nothing is left that would be pickled or compared.
    assert not {"_callback_fit_ctx", "_skl_callbacks_to_teardown"} & set(vars(watched))


@pytest.mark.parametrize("separator", SEPARATORS, ids=ids)
def test_callbacks_do_not_change_a_bit(separator, record):
    X = input_of(separator, record)
    plain = clone(separator)
    watched = clone(separator).set_callbacks(Recorder())
    np.testing.assert_array_equal(plain.fit_transform(X), watched.fit_transform(X))
    assert_same(learned(plain), learned(watched))


@pytest.mark.parametrize("separator", SEPARATORS[:4], ids=ids)
def test_fitted_estimators_are_those_of_fewer_iterations(separator, record):
    recorder = Recorder()
    clone(separator).set_callbacks(recorder).fit(record)
    by_name = {}
    for context, fitted in zip(recorder.ended, recorder.fitted, strict=True):
        by_name.setdefault(context.task_name, []).append(fitted)
    assert len(by_name["iteration"]) == separator.max_iter
    for k, fitted in enumerate(by_name["iteration"], 1):
        shorter = clone(separator).set_params(max_iter=k).fit(record)
        assert_same(learned(shorter), learned(fitted))
        np.testing.assert_array_equal(
            shorter.transform(record), fitted.transform(record)
        )
    for k, fitted in enumerate(by_name.get("auxiva-iteration", ()), 1):
        start = AuxIVA(max_iter=k).fit(record)
        assert_same(learned(start), learned(fitted))


def test_fitted_online_estimators_are_those_of_fewer_frames(record):
    recorder = Recorder()
    OnlineAuxIVA().set_callbacks(recorder).fit(record.data)
    assert [c.task_name for c in recorder.ended] == ["frames", "frames", "fit"]
    first = recorder.fitted[0]
    state = OnlineAuxIVA().fit(record.data[:64]).get_state()
    assert_same(state, first.get_state())


@pytest.mark.parametrize(
    ("separator", "n_iter"),
    [(AuxIVA(max_iter=9, tol=1e-9), 2), (ILRMA(max_iter=9, init="identity"), 2)],
    ids=ids,
)
def test_a_callback_stops_the_iterations(separator, n_iter, record):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it was stopped, not out of iterations
        stopped = clone(separator).set_params(random_state=0)
        stopped.set_callbacks(Recorder(stop_after=n_iter)).fit(record)
    shorter = clone(separator).set_params(max_iter=n_iter, tol=0, random_state=0)
    assert_same(learned(shorter.fit(record)), learned(stopped))


def test_stopping_the_start_goes_on_with_ilrma(record):
    stopped = ILRMA(max_iter=3, init_iter=9, random_state=0)
    stopped.set_callbacks(Recorder(stop_after=2)).fit(record)
    shorter = ILRMA(max_iter=1, init_iter=2, random_state=0).fit(record)
    assert_same(learned(shorter), learned(stopped))


@pytest.mark.parametrize("separator", SEPARATORS[4:], ids=ids)
def test_all_frames_are_separated_whatever_a_callback_asks_for(separator, record):
    X = input_of(separator, record)
    Y = clone(separator).set_callbacks(Recorder(stop_after=1)).fit_transform(X)
    np.testing.assert_array_equal(Y, clone(separator).fit_transform(X))


def test_callbacks_are_torn_down_when_fitting_fails(record):
    recorder = Recorder()
    separator = AuxIVA().set_callbacks(recorder)
    with pytest.raises(ValueError, match="dimension"):
        separator.fit(record.data[0])
    assert recorder.n_teardowns == 1
    assert not hasattr(separator, "_callback_fit_ctx")
    separator.fit(record)
    assert recorder.n_teardowns == 2


def test_nothing_is_in_the_way_without_callbacks():
    separator = AuxIVA()
    task = FitTask(separator, None, None, 3)
    iterations, parts = iter([1, 2, 3]), range(3)
    assert task.iterations(iterations, None) is iterations
    assert task.parts(parts, None, "frames") is parts


def test_streaming_calls_no_callbacks(record):
    recorder = Recorder()
    separator = OnlineAuxIVA().set_callbacks(recorder)
    separator.partial_fit_transform(record.data[:20])
    separator.partial_fit(record.data[20:40])
    assert recorder.begun == []


def pipeline(separator):
    return make_pipeline(STFT(128), separator, ProjectionBack(), ISTFT())


def bars(capsys):
    """Lines of the last picture that rich has drawn of the progress bars."""
    return [line.rstrip() for line in capsys.readouterr().out.splitlines() if line]


@pytest.fixture
def wide(monkeypatch):
    """A terminal on which no description is cut off."""
    pytest.importorskip("rich")
    monkeypatch.setenv("COLUMNS", "150")


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("separator", SEPARATORS, ids=ids)
def test_progress_bar(separator, record, capsys):
    X = input_of(separator, record)
    clone(separator).set_callbacks(ProgressBar()).fit(X)
    lines = bars(capsys)
    assert lines[0].startswith(f"{type(separator).__name__} - fit ")
    assert all("100%" in line for line in lines)
    assert len(lines) == 1


@pytest.mark.usefixtures("wide")
def test_progress_bar_in_a_pipeline(recording, capsys):
    pipe = pipeline(ILRMA(max_iter=3, init_iter=2)).set_callbacks(ProgressBar())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no step lacks callbacks
        pipe.fit_transform(recording[0])
    lines = bars(capsys)
    names = ["STFT", "ILRMA", "ProjectionBack", "ISTFT"]
    assert [name in line for name, line in zip(names, lines[1:], strict=True)] == (
        [True] * 4
    )
    assert all("100%" in line for line in lines)


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_progress_bar_in_a_search(recording, capsys, n_jobs):
    x, y = recording
    pipe = pipeline(AuxIVA(max_iter=2))
    search = GridSearchCV(
        pipe, {"auxiva__sort_iter": [0, 2]}, scoring=si_sdr_scorer, cv=KFold(2)
    )
    search.set_params(n_jobs=n_jobs).set_callbacks(ProgressBar(None))
    search.fit(x, y)
    lines = bars(capsys)
    assert lines[0].startswith("GridSearchCV - fit")
    assert sum("| AuxIVA - fit" in line for line in lines) == 2 * 2 + 1
    assert all("100%" in line for line in lines)


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_progress_bar_over_recordings(recording, capsys, n_jobs):
    x, _ = recording
    each = EachRecording(pipeline(AuxIVA(max_iter=2)), n_jobs=n_jobs)
    expected = each.fit_transform([x, x[:3000]])
    separated = each.set_callbacks(ProgressBar()).fit_transform([x, x[:3000]])
    lines = bars(capsys)
    assert lines[0].startswith("EachRecording - fit")
    assert sum("recording | Pipeline" in line for line in lines) == 2
    assert all("100%" in line for line in lines)
    for first, second in zip(expected, separated, strict=True):
        np.testing.assert_array_equal(first, second)


def test_scoring_monitor_sees_separation_converge():
    x, y = make_recording(n_samples=24_000)
    monitor = ScoringMonitor(scoring={"si_sdr": si_sdr_scorer})
    pipe = pipeline(ILRMA(max_iter=12, init_iter=12, random_state=0))
    pipe[1].set_callbacks(monitor)
    separated = pipe.fit(x, y).transform(x)
    rows = monitor.get_logs().data
    names = [row["task_name"] for row in rows]
    # The step as a whole comes first.
    assert names[1:] == ["auxiva-iteration"] * 12 + ["iteration"] * 12
    scores = [row["si_sdr"] for row in rows[1:]]
    # What is scored is what the pipeline gives.
    assert scores[-1] == pytest.approx(si_sdr(y, separated).mean(), abs=1e-9)
    shorter = pipeline(AuxIVA(max_iter=2)).fit_transform(x)
    assert scores[1] == pytest.approx(si_sdr(y, shorter).mean(), abs=1e-9)
    assert scores[-1] > scores[0] + 3  # in dB: heard at once


def test_scoring_monitor_in_a_search(recording):
    x, y = recording
    monitor = ScoringMonitor(scoring={"si_sdr": si_sdr_scorer})
    pipe = pipeline(AuxIVA(max_iter=3).set_callbacks(monitor))
    grid = {"stft__n_fft": [64, 128]}
    search = GridSearchCV(
        pipe, grid, scoring=si_sdr_scorer, cv=KFold(2), n_jobs=2, refit=False
    )
    search.fit(x, y)
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "iteration"]
    fits = {row["parent_task_id_path"] for row in rows}
    assert len(fits) == 4
    assert len(rows) == 4 * 3


def test_improvement_of_a_separator_alone(record, recording):
    x, y = recording
    separator = AuxIVA(max_iter=3).fit(record)
    pipe = pipeline(AuxIVA(max_iter=3)).fit(x)
    for scorer in (si_sdr_scorer, si_sdr_improvement_scorer):
        # The mixture went to the spectrogram and back, which rounds.
        assert scorer(separator, record, y) == pytest.approx(
            scorer(pipe, x, y), abs=1e-9
        )


def test_logger_alone(record, tmp_path):
    path = tmp_path / "log.jsonl"
    separator = ILRMA(max_iter=3, init_iter=2).set_callbacks(JsonlLogger(path))
    separator.fit(record)
    log = read_jsonl(path)
    assert [line["task"] for line in log] == ["auxiva-iteration"] * 2 + (
        ["iteration"] * 3
    )
    assert [line["iteration"] for line in log] == [1, 2, 3, 4, 5]
    assert [line["objective"] for line in log[2:]] == separator.objective_.tolist()
    assert all(0 < line["seconds"] < 60 for line in log)
    assert {line["path"] for line in log} == {"fit 0"}
    separator.fit(record)  # what is there is kept
    again = read_jsonl(path)
    assert again[:5] == log
    assert len({line["run"] for line in again}) == 2


def test_logger_of_online_separators_has_no_objective(record, tmp_path):
    path = tmp_path / "log.jsonl"
    OnlineAuxIVA().set_callbacks(JsonlLogger(path)).fit(record)
    log = read_jsonl(path)
    assert [(line["task"], line["objective"]) for line in log] == [("frames", None)] * 2


def test_logger_with_scores_in_a_pipeline(recording, tmp_path):
    x, y = recording
    path = tmp_path / "log.jsonl"
    scoring = {"si_sdr": si_sdr_scorer, "si_sdri": si_sdr_improvement_scorer}
    pipe = pipeline(AuxIVA(max_iter=4))
    pipe.set_callbacks(JsonlLogger(path, scoring=scoring)).fit(x, y)
    log = read_jsonl(path)
    assert [line["path"] for line in log] == ["fit 0/fit-transform-auxiva 1"] * 4
    final = si_sdr(y, pipe.transform(x)).mean()
    assert log[-1]["si_sdr"] == pytest.approx(final, abs=1e-9)
    gains = [line["si_sdri"] - line["si_sdr"] for line in log]
    assert gains == pytest.approx([gains[0]] * 4, abs=1e-9)  # the mixture stays
    pipe.fit_transform(x)  # without references there is nothing to score
    assert "si_sdr" not in read_jsonl(path)[-1]


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_logger_in_a_search(recording, tmp_path, n_jobs):
    x, y = recording
    path = tmp_path / "log.jsonl"
    grid = {"auxiva__max_iter": [2, 3]}
    search = GridSearchCV(
        pipeline(AuxIVA()), grid, scoring=si_sdr_scorer, cv=KFold(2), n_jobs=n_jobs
    )
    search.set_callbacks(JsonlLogger(path, scoring=si_sdr_scorer)).fit(x, y)
    log = read_jsonl(path)
    assert len({line["run"] for line in log}) == 1
    lengths = {}
    for line in log:
        lengths.setdefault(line["path"], []).append(line["iteration"])
    inside = "fit 0/search 0/candidate-split-evaluation {}/fit-transform-auxiva 1"
    for k, n_iter in enumerate([2, 2, 3, 3]):
        assert lengths.pop(inside.format(k)) == list(range(1, n_iter + 1))
    (refit,) = lengths.values()
    assert len(refit) == search.best_params_["auxiva__max_iter"]
    assert all(np.isfinite(line["score"]) for line in log)


def test_logger_of_what_is_inside_each_recording(recording, tmp_path):
    x, y = recording
    path = tmp_path / "log.jsonl"
    pipe = pipeline(AuxIVA(max_iter=2)).set_callbacks(JsonlLogger(path))
    search = GridSearchCV(
        EachRecording(pipe),
        {"estimator__stft__n_fft": [64, 128]},
        scoring=si_sdr_scorer,
        cv=2,
        refit=False,
        n_jobs=2,
    )
    search.fit([x, x[:3000]], [y, y[:3000]])
    assert len(read_jsonl(path)) == 2 * 2 * 2


def test_logger_says_at_once_that_it_cannot_write(record, tmp_path):
    separator = AuxIVA().set_callbacks(JsonlLogger(tmp_path / "missing" / "log.jsonl"))
    with pytest.raises(FileNotFoundError):
        separator.fit(record)
    assert not hasattr(separator, "demixing_")


def test_logger_survives_pickling(record, tmp_path):
    path = tmp_path / "log.jsonl"
    separator = AuxIVA(max_iter=2).set_callbacks(JsonlLogger(path))
    pickle.loads(pickle.dumps(separator)).fit(record)
    assert len(read_jsonl(path)) == 2
