"""The report of a run: right numbers, whole pages, whatever the run is like."""

# License: BSD-3-Clause

import base64
import csv
import io
import json
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from types import SimpleNamespace
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile as sf
from run_folder import make_run, write_rows
from scipy.stats import bootstrap, ttest_1samp, ttest_rel

from skbss.benchmark import RunError, read_results
from skbss.benchmark.report import write_report
from skbss.benchmark.report.listening import mean_curves
from skbss.benchmark.report.run import Run, spread_out
from skbss.benchmark.table import natural, rank, tabulate
from skbss.datasets import load_cocktail_party, make_convolutive_mixture
from skbss.pages.clips import Clip, picture, power

# One process makes the run that they report.
pytestmark = pytest.mark.xdist_group("report")

VOID = {"meta", "link", "img", "input", "br", "wbr", "hr"}


def make_scenes():
    """Real voices and synthetic ones, short enough for tests."""
    voices = load_cocktail_party()
    scenes = [("voices", voices.mixture[:32000], voices.references[:32000], 16000)]
    for seed in range(3):
        x, y = make_convolutive_mixture(
            12000, sample_rate=8000, rt60=0.05, random_state=seed
        )
        scenes.append((f"room{9 + seed}", x, y, 8000))  # 9, 10, 11
    return scenes


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark") / "run"
    make_run(folder, make_scenes())
    return folder


@pytest.fixture(scope="session")
def page(run):
    return write_report(run)


@pytest.fixture
def without_charts(monkeypatch):
    """Leave out what takes longest, where a test is of something else."""
    chart = {"wide": "<svg></svg>", "narrow": "<svg></svg>"}, "<svg></svg>"
    monkeypatch.setattr("skbss.benchmark.report.charts.draw", lambda *_: chart)


class Page(HTMLParser):
    """The elements of a page; a tag that is not closed is an error."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.stack = [], []
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        element = SimpleNamespace(tag=tag, attrs=dict(attrs), text="")
        self.elements.append(element)
        if tag not in VOID:
            self.stack.append(element)

    def handle_startendtag(self, tag, attrs):
        self.elements.append(SimpleNamespace(tag=tag, attrs=dict(attrs), text=""))

    def handle_endtag(self, tag):
        assert self.stack.pop().tag == tag

    def handle_data(self, data):
        for element in self.stack:
            element.text += data

    def all(self, tag, kind=""):
        return [
            e
            for e in self.elements
            if e.tag == tag and kind in e.attrs.get("class", "").split(" ") + [""]
        ]


def parse(path):
    return Page(path.read_text("utf-8"))


def read_csv(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def make_row(recording, candidate, scores, **more):
    """Return a row; `scores` is a list of the improvement of each source."""
    return {
        "recording": recording,
        "candidate": candidate,
        "method": candidate.split(",")[0],
        "params": {},
        "seed": 0,
        "status": "ok",
        "duration": 2.0,
        "scores": {"si_sdr_improvement": scores},
        "seconds": {"separation": 0.1, "total": 0.2},
        "real_time_factor": 0.05,
    } | more


def write_run(folder, rows, tail=""):
    folder.mkdir(parents=True)
    write_rows(folder, rows, tail)
    return folder


def test_ranking(run, page):
    """Means and intervals are those that scipy finds in the rows."""
    rows = [row for row in read_results(run) if row["status"] == "ok"]
    scores = {}
    for row in rows:
        mean = np.mean(row["scores"]["si_sdr_improvement"])
        scores.setdefault(row["candidate"], {})[row["recording"]] = mean
    order = sorted(scores, key=lambda name: -np.mean(list(scores[name].values())))
    table = read_csv(page.parent / "ranking.csv")
    assert [line["candidate"] for line in table[:4]] == order
    best = np.array(list(scores[order[0]].values()))
    for line in table[:4]:
        values = np.array(list(scores[line["candidate"]].values()))
        interval = ttest_1samp(values, 0).confidence_interval(0.95)
        got = [line[f"si_sdr_improvement{end}"] for end in ("", "_low", "_high")]
        np.testing.assert_allclose(
            np.array(got, float), [values.mean(), interval.low, interval.high]
        )
        assert float(line["worst"]) == values.min()
        assert tuple(line[f"n_{k}"] for k in ("recordings", "failed", "missing")) == (
            "4",
            "0",
            "0",
        )
        if line is not table[0]:
            difference = ttest_rel(values, best).confidence_interval(0.95)
            got = float(line["difference_low"]), float(line["difference_high"])
            np.testing.assert_allclose(got, [difference.low, difference.high])
    last = table[4]
    assert (last["candidate"], last["n_failed"]) == ("broken", "4")
    assert last["si_sdr_improvement"] == ""
    shown = parse(page).all("table", "ranking")[0].text
    assert f"{float(table[0]['si_sdr_improvement']):.1f}" in shown


@pytest.mark.usefixtures("without_charts")
def test_intervals_by_bootstrap(run, tmp_path):
    """Those that scipy finds for the means over recordings."""
    rows = [row for row in read_results(run) if row["candidate"] == "auxiva"]
    rows.sort(key=lambda row: natural(row["recording"]))
    values = [np.mean(row["scores"]["si_sdr_improvement"]) for row in rows]
    found = bootstrap((values,), np.mean, batch=100, rng=0).confidence_interval
    page = write_report(run, tmp_path / "report", interval="bootstrap")
    line = next(
        line
        for line in read_csv(page.parent / "ranking.csv")
        if line["candidate"] == "auxiva"
    )
    got = float(line["si_sdr_improvement_low"]), float(line["si_sdr_improvement_high"])
    np.testing.assert_allclose(got, (found.low, found.high))
    assert "by bootstrap over recordings" in page.read_text("utf-8")


def test_scores_of_every_source(run, page):
    table = read_csv(page.parent / "per_recording.csv")
    # In natural order: room9 before room10.
    names = list(dict.fromkeys(line["recording"] for line in table))
    assert names == ["room9", "room10", "room11", "voices"]
    expected = {
        (row["recording"], row["candidate"], str(k)): score
        for row in read_results(run)
        if row["status"] == "ok"
        for k, score in enumerate(row["scores"]["si_sdr"])
    }
    got = {
        (line["recording"], line["candidate"], line["source"]): float(line["si_sdr"])
        for line in table
        if line["status"] == "ok"
    }
    assert got == expected
    failed = [line for line in table if line["status"] == "failed"]
    assert len(failed) == 4
    assert "Got something bad" in failed[0]["error"]


def test_page_is_whole_and_alone(page):
    """Nothing is loaded, and no link is dead."""
    document = parse(page)
    anchors = {e.attrs["id"] for e in document.elements if "id" in e.attrs}
    for element in document.elements:
        for name in ("src", "href"):
            address = element.attrs.get(name, "data:")
            if address.startswith("#"):
                assert address[1:] in anchors
            elif element.tag == "a" and name in element.attrs:
                assert (page.parent / address).exists()
            else:
                assert address.startswith("data:")
    policy = document.all("meta")[2].attrs["content"]
    assert "default-src 'none'" in policy
    assert "file:" not in policy


def test_headings_are_in_order(page):
    levels = [
        int(e.tag[1]) for e in parse(page).elements if e.tag in ("h1", "h2", "h3")
    ]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert np.diff(levels).max() == 1


def test_everything_has_a_name(page):
    """Of images, tables, players and scrolled regions, for those who don't see them."""
    document = parse(page)
    assert all(e.attrs["alt"] for e in document.all("img"))
    assert all(e.attrs["aria-label"] for e in document.all("svg", "chart"))
    assert all(e.attrs["aria-label"] for e in document.all("div", "scroll"))
    assert all(e.text or e.attrs["aria-label"] for e in document.all("button"))
    assert len(document.all("caption")) == len(document.all("table"))
    assert document.all("html")[0].attrs["lang"] == "en"


def test_failures_are_told(page):
    text = parse(page).all("table", "failures")[0].text
    assert "ValueError" in text
    assert "Got something bad" in text
    assert "and 1 more" in text


def decode(address):
    head, data = address.split(",", 1)
    return head, base64.b64decode(data)


def test_audio_is_what_was_written(run, page):
    """Lossless, in the order mixture, references, candidates."""
    players = parse(page).all("audio")
    # 4 recordings, of each the mixture, 2 references and 2 outputs of 4 candidates.
    assert len(players) == 4 * (1 + 2 + 2 * 4)
    expected = [
        "mixture.wav",
        "reference_00.wav",
        "reference_01.wav",
        f"{read_csv(page.parent / 'ranking.csv')[0]['candidate']}/source_00.wav",
    ]
    for player, name in zip(players[:4], expected, strict=False):
        head, data = decode(player.attrs["src"])
        assert head == "data:audio/flac;base64"
        got, rate = sf.read(io.BytesIO(data), dtype="int16")
        written, _ = sf.read(
            run / "audio" / "room9" / name, dtype="int16", always_2d=True
        )
        assert rate == 8000
        np.testing.assert_array_equal(got, written[:, 0])


@pytest.mark.usefixtures("without_charts")
def test_audio_takes_less_room(run, tmp_path):
    """As MP3 where FLAC would not fit, and from files where that does not."""
    few = {"max_recordings": 2, "max_candidates": 2}
    whole = write_report(run, tmp_path / "whole", **few)
    size = whole.stat().st_size
    small = write_report(run, tmp_path / "small", max_size=int(0.7 * size), **few)
    players = parse(small).all("audio")
    assert {decode(p.attrs["src"])[0] for p in players} == {"data:audio/mpeg;base64"}
    got, rate = sf.read(io.BytesIO(decode(players[-7].attrs["src"])[1]))
    written, _ = sf.read(run / "audio" / "voices" / "mixture.wav")
    assert rate == 16000
    # MP3 adds silence in front, and keeps voices to some 15 dB.
    piece = written[8000:16000, 0]
    start = np.argmax(np.correlate(got, piece))
    assert abs(start - 8000) < 0.1 * rate
    assert np.corrcoef(got[start : start + 8000], piece)[0, 1] > 0.98
    for path in (
        write_report(run, tmp_path / "none", max_size=0, **few),
        write_report(run, tmp_path / "no_audio", audio=False, **few),
    ):
        players = parse(path).all("audio")
        assert len(players) == 14
        for player in players:
            assert (path.parent / unquote(player.attrs["src"])).is_file()
        assert path.stat().st_size < small.stat().st_size
        assert "14 signals are played from their files" in path.read_text("utf-8")


def test_figures_are_files(page):
    figures = page.parent / "figures"
    charts = sorted(figures.glob("*.svg"))
    names = ["score_against_time.svg", "score_over_time.svg", "scores.svg"]
    assert [path.name for path in charts] == names
    for path in figures.rglob("*.svg"):
        root = ElementTree.parse(path).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "nan" not in path.read_text("utf-8")
    pictures = list((figures / "voices").glob("*.png"))
    assert len(pictures) == 11
    assert (figures / "voices" / "framewise.svg").exists()


def test_power():
    """A tone is where it should be, and silence or a sample are no trouble."""
    rate = 16000
    tone = np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)
    tone[: rate // 2] = 0
    pixels = power(Clip(tone.astype(np.float32), rate))
    assert pixels.shape == (120, 61)
    assert abs(pixels[:, 45].argmax() - 120 * (1 - 1 / 8)) <= 1  # 1 of 8 kHz
    assert pixels[:, :29].max() == 0
    for n_samples in (1, 100):
        silence = power(Clip(np.zeros(n_samples, np.float32), rate))
        assert picture(silence, 0.0).startswith(b"\x89PNG")


@pytest.mark.usefixtures("without_charts")
def test_partial_run(run, tmp_path):
    """Unfinished, with a line that a dying process tore."""
    rows = read_results(run)
    folder = write_run(tmp_path / "part", rows[:12], json.dumps(rows[12])[:100])
    page = write_report(folder)
    summary = parse(page).all("section", "summary")[0].text
    assert "has not ended: 12 of at least 15 tasks are done" in summary
    missing = {
        r["candidate"]: r["n_missing"] for r in read_csv(page.parent / "ranking.csv")
    }
    assert sorted(missing.values()) == ["0", "0", "1", "1", "1"]


def test_no_result_yet(tmp_path):
    with pytest.raises(RunError, match="without any result"):
        write_report(write_run(tmp_path / "run", []))


def test_without_references(tmp_path):
    """Nothing is scored: times, and players of mixtures and outputs."""
    scenes = [(name, x, None, rate) for name, x, _, rate in make_scenes()[1:2]]
    make_run(tmp_path / "run", scenes)
    page = parse(write_report(tmp_path / "run"))
    assert "no scores" in page.all("section", "summary")[0].text
    assert len(page.all("audio")) == 1 + 2 * 4
    assert page.all("table", "heat") == []
    assert page.all("svg", "chart") == []
    assert len(page.all("table", "ranking")) == 1


def test_one_recording(run, tmp_path):
    """A mean without interval, and no claim of a difference."""
    rows = [row for row in read_results(run) if row["recording"] == "voices"]
    path = write_report(write_run(tmp_path / "one", rows))
    page = parse(path)
    summary = page.all("section", "summary")[0].text
    assert "on the only recording" in summary
    assert "interval" not in summary
    assert "larger than chance" not in summary
    assert "nan" not in page.all("main")[0].text
    assert all("nan" not in str(e.attrs) for e in page.elements if e.tag != "img")


def test_hostile_names(tmp_path):
    """Markup in names is text in the page."""
    bad = "<script>alert('x')</script>&amp;\"'$title${css}"
    rows = [make_row(bad, "a" + bad, [1.0, 2.0])]
    error = {"type": bad, "message": bad}
    rows += [make_row(bad, "b" + bad, [], status="failed", error=error)]
    folder = write_run(tmp_path / "bad", rows)
    (folder / "environment.json").write_text(json.dumps({bad: bad}), "utf-8")
    (folder / "experiment.yaml").write_text(bad, "utf-8")
    page = parse(write_report(folder))
    assert len(page.all("script")) == 1
    for kind in ("ranking", "heat", "failures"):
        assert bad in page.all("table", kind)[0].text
    assert page.all("pre")[0].text == bad
    assert page.all("dt")[1].text == bad


def test_undefined_scores(tmp_path):
    """Null counts nowhere; a recording without any score is not zero."""
    rows = [
        make_row("r1", "a", [4.0, None]),
        make_row("r1", "b", [1.0, 3.0]),
        make_row("r2", "a", [None, None]),
        make_row("r2", "b", [2.0, 4.0], real_time_factor=None),
        make_row("r3", "a", []),
        make_row("r3", "b", [2.0, 2.0]),
    ]
    page = write_report(write_run(tmp_path / "null", rows))
    a, b = read_csv(page.parent / "ranking.csv")
    assert (a["candidate"], a["si_sdr_improvement"]) == ("a", "4.0")
    assert a["si_sdr_improvement_n"] == "1"
    assert a["si_sdr_improvement_low"] == ""
    assert float(b["si_sdr_improvement"]) == pytest.approx(7 / 3)
    summary = parse(page).all("section", "summary")[0].text
    assert "lacks 2 recordings" in summary
    assert "Of those with all, b is best" in summary


@pytest.mark.usefixtures("without_charts")
def test_end(run, page, tmp_path):
    """Without summary.csv there may be recordings that nobody has begun with."""
    assert "not ended" not in parse(page).all("section", "summary")[0].text
    folder = write_run(tmp_path / "early", [make_row("r", "a", [1.0])])
    summary = parse(write_report(folder)).all("section", "summary")[0].text
    assert "has not ended: 1 of at least 1" in summary


@pytest.mark.usefixtures("without_charts")
def test_nothing_helps(tmp_path):
    """The best of candidates that all do harm is not praised."""
    rows = [make_row(r, c, [-2.0]) for r in "12" for c in "ab"]
    summary = parse(write_report(write_run(tmp_path / "bad", rows))).all("section")[0]
    assert "Nothing improves on the mixture. a is closest: \N{MINUS SIGN}2.0" in (
        summary.text
    )


@pytest.mark.usefixtures("without_charts")
def test_recordings_that_not_all_have(tmp_path):
    """A mean over easier recordings is no merit, and the page says so."""
    rows = [make_row("easy", "a", [20.0]), make_row("hard", "a", [0.0])]
    rows += [make_row("hard", "b", [3.0])]
    summary = parse(write_report(write_run(tmp_path / "part", rows))).all("section")[0]
    assert "a is best" in summary.text
    assert "On those that both have, b is 3.0 dB better" in summary.text


def test_mean_curve(tmp_path):
    """Over the longer half of the recordings, as long as all of them last."""
    folder, rows = tmp_path / "run", []
    for k, length in enumerate([4, 8, 8, 12]):
        path = f"framewise/r{k}.npz"
        row = make_row(f"r{k}", "a", [1.0], framewise=path)
        rows.append(row)
        (folder / "framewise").mkdir(parents=True, exist_ok=True)
        score = np.full((length, 2), float(k))
        score[1, 0] = np.nan
        time_ = np.arange(length) + 0.5
        np.savez(folder / path, time=time_, si_sdr_improvement=score)
    write_rows(folder, rows)
    run = Run(folder, {(row["recording"], "a"): row for row in rows}, 1, 1)
    ((name, _, times, mean),), end = mean_curves(run)
    assert (name, end) == ("a", 7.5)
    np.testing.assert_array_equal(times, np.arange(8) + 0.5)
    np.testing.assert_array_equal(mean, np.full(8, 2.0))  # of 1, 2 and 3


def test_nothing_but_failures(tmp_path):
    error = {"type": "MemoryError", "message": ""}
    rows = [make_row("r", name, [], status="failed", error=error) for name in "ab"]
    for row in rows:
        del row["scores"], row["duration"], row["real_time_factor"]
    summary = parse(write_report(write_run(tmp_path / "f", rows))).all("section")[0]
    assert "2 tasks of 2 failed" in summary.text


@pytest.mark.usefixtures("without_charts")
def test_lost_audio(run, tmp_path):
    """A file that is gone is told where its player would be."""
    rows = read_results(run)[:1]
    page = parse(write_report(write_run(tmp_path / "lost", rows)))
    assert page.all("audio") == []
    text = page.all("table", "signals")[0].text
    assert "Cannot read" in text
    assert "source_00.wav" in text


def test_large_run(tmp_path):
    """200 recordings, 20 candidates: a MB."""
    rng = np.random.default_rng(0)
    rows = [
        make_row(
            f"recording_{r:03d}",
            f"method{c % 4},n_basis={c}",
            (10 + c / 4 + 3 * rng.standard_normal(3)).tolist(),
            real_time_factor=0.05 * (1 + c),
        )
        for r in range(200)
        for c in range(20)
    ]
    folder = write_run(tmp_path / "large", rows)
    page = write_report(folder)
    assert page.stat().st_size < 1_000_000
    document = parse(page)
    heat = document.all("table", "heat")[0].text
    assert "recording_199" in heat
    assert "6 of 200 recordings" in document.all("main")[0].text
    ranking = read_csv(page.parent / "ranking.csv")
    assert ranking[0]["candidate"] in {f"method{c % 4},n_basis={c}" for c in (18, 19)}


def test_ties_and_order():
    """Equal scores keep their order, candidates without one come last."""
    rows = [make_row("r", name, [1.0]) for name in ("b", "a")]
    rows += [make_row("r", "none", [None]), make_row("r", "c", [2.0])]
    ranking = rank(tabulate(rows))
    assert [one.name for one in ranking] == ["c", "b", "a", "none"]
    assert ranking[0].difference.mean == 0
    assert ranking[1].difference.mean == -1


def test_last_row_counts():
    """A task that failed and was done again is one task."""
    error = {"type": "OSError", "message": "disk full"}
    rows = [make_row("r", "a", [], status="failed", error=error)]
    rows += [make_row("r", "a", [3.0])]
    table = tabulate(rows)
    assert not table.failed.any()
    assert table.scores["si_sdr_improvement"].tolist() == [[3.0]]


def test_natural_order():
    names = ["n10_a", "n2_b", "10", "n2_a", "a", "n2"]
    expected = ["10", "a", "n2", "n2_a", "n2_b", "n10_a"]
    assert sorted(names, key=natural) == expected


@pytest.mark.parametrize("n_recordings", [0, 1, 2, 3, 4, 6, 7, 9])
def test_spread_out(n_recordings):
    """As many as asked, all different, with the hardest and the easiest."""
    scores = {
        "r3": 5.0,
        "r1": 1.0,
        "r2": 9.0,
        "r5": None,
        "r4": 2.0,
        "r6": 3.0,
        "r7": 4.0,
    }
    table = tabulate([make_row(name, "a", [s]) for name, s in scores.items()])
    chosen = spread_out(table, n_recordings)
    assert len(set(chosen)) == len(chosen) == min(n_recordings, 7)
    assert chosen == sorted(chosen)
    if n_recordings >= 2:
        assert {"r1", "r2"} <= set(chosen) or n_recordings == 7
    if n_recordings < 7:
        assert "r5" not in chosen
