"""The report in a real browser: it loads, sorts, plays and fits."""

# License: BSD-3-Clause

import base64

import numpy as np
import pytest
from run_folder import make_run

from skbss.benchmark.report import write_report
from skbss.cli import main
from skbss.datasets import load_cocktail_party, make_convolutive_mixture
from skbss.io import write_audio
from tests.browser import serve, show, wait

pytestmark = pytest.mark.browser

OVERFLOW = """
const width = document.documentElement.clientWidth;
return [...document.querySelectorAll("body *")].filter((element) =>
    !element.closest(".scroll > *, .unseen, .skip") &&
    element.getBoundingClientRect().right > width + 1
).map((element) => element.outerHTML.slice(0, 80));
"""
CONTRAST = """
const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
function paint(colors) {
  for (const color of colors) {
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
  }
  return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
}
function luminance(color) {
  const [r, g, b] = color.map((v) => v / 255).map((v) =>
      v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
const found = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
  if (!own || !element.checkVisibility() || element.matches("script, title")) continue;
  const layers = [];
  for (let e = element; e; e = e.parentElement)
    layers.unshift(getComputedStyle(e).backgroundColor);
  layers.unshift(getComputedStyle(document.documentElement).getPropertyValue("--page"));
  const style = getComputedStyle(element);
  const inside = element.namespaceURI.endsWith("svg");
  const front = luminance(paint([...layers, inside ? style.fill : style.color]));
  const back = luminance(paint(layers));
  const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
  if (ratio < 4.5) found.push([element.outerHTML.slice(0, 90), ratio]);
}
return [document.querySelectorAll("body *").length, found];
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    voices = load_cocktail_party()
    x, y = make_convolutive_mixture(16000, sample_rate=8000, random_state=0)
    broken = x.copy()
    broken[5] = np.inf  # all candidates fail, and the file is clipped there
    scenes = [
        ("voices", voices.mixture[:64000], voices.references[:64000], 16000),
        ("room<b>&amp;", x, y, 8000),
        ("broken", broken, y, 8000),
    ]
    folder = tmp_path_factory.mktemp("benchmark") / "run"
    make_run(folder, scenes)
    return folder


@pytest.fixture(scope="module")
def page(folder):
    return write_report(folder)


def column(browser, kind, number):
    """Return the text of a column of a table."""
    return browser.execute_script(
        "return [...document.querySelectorAll(`table.${arguments[0]} tbody tr`)]"
        ".map((row) => row.cells[arguments[1]].textContent)",
        kind,
        number,
    )


def header(browser, kind, name):
    """Return the button of a column, and the column's number."""
    heads = browser.find_elements("css selector", f"table.{kind} thead th")
    texts = [head.text.replace("\n", " ") for head in heads]
    number = next(k for k, text in enumerate(texts) if text.startswith(name))
    return heads[number], number


def test_page_asks_for_nothing(page, browser):
    """Served by a server that counts: a single request, and a silent console."""
    with serve(page.parent) as (address, requests):
        assert show(browser, f"{address}/index.html") == []
        names = browser.execute_script(
            "return performance.getEntriesByType('resource').map((e) => e.name)"
        )
    assert requests == ["/index.html"]
    assert [name for name in names if not name.startswith("data:")] == []


def test_pictures_are_pictures(page, browser):
    show(browser, page)
    sizes = browser.execute_script(
        "for (const d of document.querySelectorAll('details')) d.open = true;"
        "return Promise.all([...document.images].map((image) => image.decode()"
        ".then(() => [image.naturalWidth, image.naturalHeight])))"
    )
    assert len(sizes) == 11 + 11  # the recording that failed has none
    assert all(width > 30 and height > 30 for width, height in sizes)


def test_sorting_by_mouse(page, browser):
    show(browser, page)
    before = column(browser, "ranking", 1)
    head, number = header(browser, "ranking", "real-time factor")
    button = head.find_element("css selector", "button")
    button.click()
    assert head.get_attribute("aria-sort") == "ascending"
    values = [float(text) for text in column(browser, "ranking", number)[:-1]]
    assert values == sorted(values)
    assert column(browser, "ranking", 1)[-1] == before[-1]  # failed: always last
    button.click()
    assert head.get_attribute("aria-sort") == "descending"
    values = [float(text) for text in column(browser, "ranking", number)[:-1]]
    assert values == sorted(values, reverse=True)
    assert column(browser, "ranking", 1)[-1] == before[-1]
    head, _ = header(browser, "ranking", "#")
    head.find_element("css selector", "button").click()
    assert column(browser, "ranking", 1) == before
    sorted_now = browser.find_elements("css selector", ".ranking [aria-sort]")
    assert sorted_now == [head]


def test_sorting_by_keyboard(page, browser):
    """From the skip link by Tab to a header, and Enter."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    show(browser, page)
    for _ in range(60):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        element = browser.switch_to.active_element
        if element.text == "candidate":
            break
    assert element.tag_name == "button"
    outline = browser.execute_script(
        "return getComputedStyle(document.activeElement).outlineWidth"
    )
    assert outline == "3px"
    ActionChains(browser).send_keys(Keys.ENTER).perform()
    names = column(browser, "ranking", 1)
    assert names == sorted(names)
    ActionChains(browser).send_keys(Keys.SPACE).perform()
    assert column(browser, "ranking", 1) == sorted(names, reverse=True)


def test_skip_link(page, browser):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    show(browser, page)
    ActionChains(browser).send_keys(Keys.TAB).perform()
    link = browser.switch_to.active_element
    assert link.text == "Skip to the result"
    assert link.rect["x"] >= 0
    ActionChains(browser).send_keys(Keys.ENTER).perform()
    assert browser.switch_to.active_element.get_attribute("id") == "main"


def player(browser, number):
    """Return the state of a player of the recording that is open."""
    return browser.execute_script(
        "const a = document.querySelectorAll('details[open] audio')[arguments[0]];"
        "return [a.paused, a.currentTime, a.duration, a.error && a.error.message]",
        number,
    )


def open_voices(browser, page):
    show(browser, page)
    browser.execute_script(
        "for (const d of document.querySelectorAll('details'))"
        "d.open = d.querySelector('h3').textContent === 'voices'"
    )
    return browser.find_elements("css selector", "details[open] .play")


def test_players(page, browser):
    """Sound goes on, and another signal takes over where the first one was."""
    buttons = open_voices(browser, page)
    assert len(buttons) == 11
    buttons[0].click()
    wait(lambda: player(browser, 0)[1] > 0.5)
    assert player(browser, 0)[2:] == [pytest.approx(4.0), None]
    assert buttons[0].get_attribute("aria-pressed") == "true"
    buttons[3].click()
    wait(lambda: player(browser, 3)[1] > 0.8)
    paused, reached, *_ = player(browser, 0)
    assert paused
    start = browser.execute_script(
        "return document.querySelectorAll('details[open] audio')[3].played.start(0)"
    )
    assert start == pytest.approx(reached, abs=0.1)  # s, a few buffers of sound
    assert buttons[0].get_attribute("aria-pressed") == "false"
    browser.find_element("css selector", "details[open] .stop").click()
    assert player(browser, 3)[0]
    played = browser.execute_script(
        "return [...document.querySelectorAll('audio')].map((a) => a.played.length)"
    )
    assert sum(played) == 2


def test_click_on_a_spectrogram(page, browser):
    """Plays from there."""
    from selenium.webdriver.common.action_chains import ActionChains

    open_voices(browser, page)
    pictures = browser.find_elements("css selector", "details[open] .picture")
    width = pictures[4].rect["width"]
    ActionChains(browser).move_to_element_with_offset(
        pictures[4], int(0.25 * width), 0
    ).click().perform()
    wait(lambda: player(browser, 4)[1] > 3.0)
    text = browser.find_element("css selector", "details[open] output").text
    assert "source 1" in text


def test_slider_by_keyboard(page, browser):
    from selenium.webdriver.common.keys import Keys

    buttons = open_voices(browser, page)
    slider = browser.find_element("css selector", "details[open] input")
    slider.send_keys(Keys.END)
    assert slider.get_attribute("aria-valuetext") == "4.0 seconds"
    slider.send_keys(Keys.HOME)
    for _ in range(3):
        slider.send_keys(Keys.PAGE_UP)
    assert slider.get_attribute("aria-valuetext") == "1.2 seconds"
    buttons[1].send_keys(Keys.ENTER)
    wait(lambda: player(browser, 1)[1] > 1.3)


def test_files_beside_the_page(folder, browser):
    """Without audio in the page, players find the files of the run folder."""
    page = write_report(folder, folder / "linked", audio=False)
    open_voices(browser, page)[2].click()
    wait(lambda: player(browser, 2)[1] > 0.2)
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_of_separated_recordings(tmp_path, browser, scheme):
    """It asks for nothing, fits a phone, can be read, and all of it plays."""
    voices = load_cocktail_party()
    write_audio(tmp_path / "a.wav", voices.mixture[:32000], 16000)
    command = ["separate", tmp_path / "a.wav", "-o", tmp_path, "--method", "auxiva"]
    assert main([*map(str, command), "--report", str(tmp_path / "index.html")]) == 0
    with serve(tmp_path) as (address, requests):
        assert show(browser, f"{address}/index.html", width=390, scheme=scheme) == []
    assert requests == ["/index.html"]
    assert browser.execute_script(OVERFLOW) == []
    assert browser.execute_script(CONTRAST)[1] == []
    for k in range(3):
        audio = f"const a = document.querySelectorAll('audio')[{k}];"
        wait(lambda audio=audio: browser.execute_script(f"{audio} return a.duration"))
        browser.execute_script(f"{audio} a.play()")
        played = f"{audio} return a.currentTime"
        wait(lambda played=played: browser.execute_script(played) > 0.2)


@pytest.mark.parametrize("width", [1280, 768, 390, 360])
def test_nothing_is_wider_than_the_window(page, browser, width):
    show(browser, page, width=width)
    browser.execute_script(
        "for (const d of document.querySelectorAll('details')) d.open = true"
    )
    assert browser.execute_script(OVERFLOW) == []
    wide = "return document.documentElement.scrollWidth"
    assert browser.execute_script(wide) <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(page, browser, scheme):
    """Of all text at least 4.5 to 1, the limit of WCAG AA."""
    show(browser, page, scheme=scheme)
    n_elements, low = browser.execute_script(CONTRAST)
    assert n_elements > 300
    assert low == []


def test_print(page, browser):
    """Players stay away, everything is open, nothing is cut off."""
    show(browser, page)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    size = {"width": 700, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    try:
        shown = browser.execute_script(
            "return ['.play', '.transport', 'nav', 'audio'].filter((kind) =>"
            "[...document.querySelectorAll(kind)].some((e) => e.checkVisibility()))"
        )
        assert shown == []
        cut = browser.execute_script(
            "return [...document.querySelectorAll('.scroll')].filter((e) =>"
            "getComputedStyle(e).overflowX !== 'visible' ||"
            "e.scrollWidth > e.clientWidth).map((e) => "
            "[e.ariaLabel, e.scrollWidth, e.clientWidth])"
        )
        assert cut == []
        closed = browser.find_elements("css selector", "details:not([open])")
        assert closed == []
        browser.execute_script("dispatchEvent(new Event('afterprint'))")
        assert len(browser.find_elements("css selector", "details[open]")) == 1
        pdf = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
        assert base64.b64decode(pdf["data"]).startswith(b"%PDF")
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
