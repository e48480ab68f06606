"""The built pages in a browser: sizes, equations, sound, nothing from elsewhere."""

# License: BSD-3-Clause

import re
from pathlib import Path

import pytest

from tests.browser import serve, show, wait

pytestmark = pytest.mark.browser

DOC = Path(__file__).parents[1] / "doc"
SITE = DOC / "_build" / "html"
GALLERY = "auto_examples"
GUIDE = sorted(f"{path.stem}.html" for path in DOC.glob("*.rst"))
PAGES = [
    *(*GUIDE, "search.html", "_modules/skbss/compose.html"),
    *("generated/skbss.ILRMA.html", "generated/skbss.metrics.si_sdr.html"),
    *("generated/skbss.benchmark.register_method.html", f"{GALLERY}/index.html"),
    *(f"{GALLERY}/{name}.html" for name in ("01_separate_a_recording",)),
    *(f"{GALLERY}/{name}.html" for name in ("05_stream_blocks",)),
]
# What sticks out of the window, unless something that scrolls or hides holds it.
OVERFLOW = """
const width = document.documentElement.clientWidth;
function held(element) {
  for (let e = element.parentElement; e; e = e.parentElement)
    if (getComputedStyle(e).overflowX !== "visible" &&
        e.getBoundingClientRect().right <= width + 1) return true;
  return false;
}
return [...document.querySelectorAll("main *, footer *")].filter((element) =>
    element.checkVisibility() && element.getBoundingClientRect().width > 0 &&
    element.getBoundingClientRect().right > width + 1 && !held(element)
).map((element) => element.outerHTML.slice(0, 80));
"""
# Words that go on in the next line, without a hyphen; names in code may.
BROKEN = r"""
const found = [], range = document.createRange();
const main = document.querySelector("main");
const texts = document.createTreeWalker(main, NodeFilter.SHOW_TEXT);
for (let text; (text = texts.nextNode()); ) {
  if (text.parentElement.closest("pre, code, script, style, mjx-container")) continue;
  for (const word of text.data.matchAll(/[^\s\p{P}\p{S}]+/gu)) {
    range.setStart(text, word.index);
    range.setEnd(text, word.index + word[0].length);
    const tops = [...range.getClientRects()].map((line) => Math.round(line.top));
    if (new Set(tops).size > 1) found.push(word[0]);
  }
}
return found;
"""
EQUATIONS = """
const all = [...document.querySelectorAll(".math mjx-container")];
return [document.querySelectorAll(".math").length,
        all.filter((e) => e.getBoundingClientRect().width > 3).length,
        document.querySelectorAll("mjx-merror").length];
"""
LOADED = "return performance.getEntriesByType('resource').map((e) => e.name)"
PLAYER = """
const audio = document.querySelectorAll("audio")[arguments[0]];
return [audio.currentTime, audio.duration, audio.error && audio.error.message];
"""


@pytest.fixture(scope="module")
def site():
    """Address of the served pages, and what was asked for."""
    assert (SITE / "index.html").is_file(), f"There is no {SITE}: run `make doc` first."
    with serve(SITE) as served:
        yield served


def with_players():
    """The front page, and pages of the gallery that have players."""
    pages = sorted(SITE.glob(f"{GALLERY}/*.html"))
    pages = [f"{GALLERY}/{p.name}" for p in pages if "<audio" in p.read_text("utf-8")]
    return ["index.html", *pages]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("page", PAGES)
def test_pages_fit_and_work(site, browser, page, width):
    """Nothing sticks out, no script fails, nothing comes from another place."""
    address, _ = site
    said = show(browser, f"{address}/{page}", width=width)
    assert [line for line in said if line["level"] == "SEVERE"] == []
    wait(lambda: browser.execute_script("return document.readyState") == "complete")
    assert browser.execute_script(OVERFLOW) == []
    wide = "return document.documentElement.scrollWidth"
    assert browser.execute_script(wide) <= width
    loaded = browser.execute_script(LOADED)
    assert any(name.endswith("skbss.css") or "skbss.css?" in name for name in loaded)
    assert [n for n in loaded if not n.startswith((address, "data:"))] == []


@pytest.mark.parametrize("page", GUIDE)
def test_words_stay_whole_on_phones(site, browser, page):
    address, _ = site
    show(browser, f"{address}/{page}", width=390)
    assert browser.execute_script(BROKEN) == []


@pytest.mark.parametrize("page", ["models.html", "generated/skbss.ILRMA.html"])
def test_equations_are_set(site, browser, page):
    """By scripts and fonts that are among the pages."""
    address, requests = site
    show(browser, f"{address}/{page}")
    n_equations = len(re.findall('class="math ', (SITE / page).read_text("utf-8")))
    assert n_equations > 1
    expected = [n_equations, n_equations, 0]
    wait(lambda: browser.execute_script(EQUATIONS) == expected)
    fonts = "return [...document.fonts].filter((f) => f.status === 'loaded')"
    families = browser.execute_script(f"{fonts}.map((f) => f.family)")
    assert any(family.startswith("MJX") for family in families)
    assert any("MathJax_Math-Italic.woff" in path for path in requests)


def test_players(site, browser):
    """All of the gallery play."""
    address, _ = site
    pages = with_players()
    assert len(pages) >= 3
    for page in pages:
        show(browser, f"{address}/{page}")
        n_players = len(browser.find_elements("css selector", "audio"))
        assert n_players >= 2
        for k in range(n_players):
            browser.execute_script(
                "document.querySelectorAll('audio')[arguments[0]].play()", k
            )
            wait(lambda k=k: browser.execute_script(PLAYER, k)[0] > 0.3)
            _, duration, error = browser.execute_script(PLAYER, k)
            assert duration == pytest.approx(7.9, abs=0.1)  # s, the bundled recording
            assert error is None
            browser.execute_script(
                "document.querySelectorAll('audio')[arguments[0]].pause()", k
            )


def test_every_example_has_its_picture(site, browser):
    address, _ = site
    show(browser, f"{address}/{GALLERY}/index.html")
    pictures = browser.execute_script(
        "return [...document.querySelectorAll('.sphx-glr-thumbcontainer img')]"
        ".map((image) => [image.src, image.naturalWidth])"
    )
    names = {Path(source).name for source, _ in pictures}
    assert len(names) == len(list((DOC.parent / "examples").glob("*.py")))
    assert all(width > 100 for _, width in pictures)
    contents = {(SITE / "_images" / name).read_bytes() for name in names}
    assert len(contents) == len(names)  # the same one stands for a missing picture


def test_search(site, browser):
    address, _ = site
    show(browser, f"{address}/search.html?q=projection+back")
    results = "return [...document.querySelectorAll('#search-results li a')].map("
    results += "(a) => a.textContent)"
    wait(lambda: len(browser.execute_script(results)) > 3)
    assert "ProjectionBack" in " ".join(browser.execute_script(results))
