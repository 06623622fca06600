"""The report in a browser: it loads nothing, sorts by keyboard, fits a phone, and keeps to a reader's colours and motion."""

from __future__ import annotations

import base64
import math
import re

import made_pictures
import made_results
import pytest

from eval.report import figures, headline, html_page, write_tables
from eval.scoring.results import Config

PEOPLE, SHOTS, METHODS = ["p00", "p01"], (1, 8, 32), ("copy", "ff", "ft")


def quality(column, method, t):
    good = {"copy": 2, "ft": 1, "ff": 0}[method]
    return 0.5 + 0.1 * good + 0.02 * math.log2(t) if column == "ssim" else 1.0 - 0.3 * good


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """index.html of a small benchmark; X2Face was never run."""
    root = tmp_path_factory.mktemp("report")
    results = made_results.results(root, quality, methods=METHODS, shots=SHOTS, seconds={"ft": 9.0, "ff": 0.02})
    results.methods.append("x2face")
    for j, method in enumerate(METHODS):
        for t in SHOTS:
            made_pictures.images(root / "results" / "sample" / method / str(t) / "images", PEOPLE, 40 + 60 * j + t)
        log = root / "models" / "sample" / method / "log" / "plots" / "metrics"
        log.mkdir(parents=True)
        (log / "l_cnt.tsv").write_text("step\tl_cnt\n10\t3.0\n20\t2.0\n")
    out = root / "report"
    (out / "figures").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        made_pictures.real(patch, PEOPLE)
        compared = write_tables.compare(results, None)
        drawn = figures.draw(results, compared, out / "figures", Config(people=2, rows=2))
        answers = {dataset: headline.answers(found) for dataset, found in compared.items()}
        html_page.write(out, results, write_tables.made(results, compared), drawn, answers)
    return out / "index.html"


@pytest.fixture
def opened(browser, report):
    """Opens the report as a reader with these habits has it; what the console said or was asked for fails the test."""
    said = []

    def open_(unfolded=True, **habits):
        shown = browser.new_context(**habits).new_page()
        shown.on("console", lambda message: said.append(message.text))
        shown.on("pageerror", lambda error: said.append(str(error)))
        shown.on("request", lambda request: request.url.startswith(("data:", report.as_uri())) or said.append(request.url))
        shown.goto(report.as_uri())
        if unfolded and habits.get("java_script_enabled", True):
            shown.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        return shown

    yield open_
    assert said == []


def until(shown, expression, arg=None):
    """Waits for what the page does a moment later; its policy lets no browser wait inside it."""
    for _ in range(200):
        if shown.evaluate(expression, arg):
            return
        shown.wait_for_timeout(25)
    raise AssertionError(f"never came true: {expression}")


def column(shown, name):
    """(the button in the head of Table 1's column, what the page says of its order, the numbers below it; None: a dash)."""
    table = shown.locator("section[aria-labelledby=quality] table")
    head = table.locator("th[data-column]").filter(has_text=re.compile(f"^{name}$"))
    at = int(head.get_attribute("data-column"))
    cells = table.evaluate("(table, at) => [...table.tBodies[0].rows].map((row) => row.cells[at].dataset.value ?? null)", at)
    return head.locator("button"), head.get_attribute("aria-sort"), [None if cell is None else float(cell) for cell in cells]


def test_the_report_opens_from_disk_without_a_word_on_the_console_and_without_a_request(opened):
    shown = opened()
    assert shown.title() == "Few-shot talking heads: benchmark report" and shown.locator("h1").count() == 1
    assert shown.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0 && image.alt)")


def test_the_browser_refuses_what_the_page_would_fetch_or_run_against_its_policy(browser, report):
    shown = browser.new_page()
    shown.goto(report.as_uri())
    assert shown.evaluate("fetch('data:,x').then(() => 'fetched', () => 'refused')") == "refused"
    shown.evaluate("document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = true'}))")
    assert shown.evaluate("window.ran") is None
    shown.close()


def test_the_answer_stands_on_the_first_screen_of_a_laptop(opened):
    shown = opened(viewport={"width": 1280, "height": 800})
    assert "Use FT at every T; where a person must be ready at once, FF." in shown.locator(".headline").inner_text()
    assert shown.locator(".card .sure").all_inner_texts() == ["clear"] * 3
    box = shown.locator(".card").last.bounding_box()
    assert box["y"] + box["height"] < 800


def test_a_table_is_sorted_by_keyboard_and_rows_without_a_number_stay_last(opened):
    shown = opened()
    button, order, before = column(shown, "SSIM ↑")
    assert order == "none" and None in before and before != sorted(x for x in before if x is not None)
    button.focus()
    for key, due, reverse in (("Enter", "ascending", False), ("Space", "descending", True)):
        shown.keyboard.press(key)
        _, order, cells = column(shown, "SSIM ↑")
        numbers = [x for x in cells if x is not None]
        assert order == due and numbers == sorted(numbers, reverse=reverse)
        assert cells == numbers + [None] * 3 and sorted(numbers) == sorted(x for x in before if x is not None)
        assert shown.locator("#said").inner_text() == f"Sorted by SSIM ↑, {due}."
        assert button.evaluate("(button) => button === document.activeElement")
    shown.keyboard.press("Enter")
    assert column(shown, "SSIM ↑")[1:] == ("none", before)


def test_tab_leads_from_one_head_to_the_next_and_a_mouse_sorts_too(opened):
    shown = opened()
    column(shown, "T")[0].focus()
    shown.keyboard.press("Tab")
    assert shown.evaluate("document.activeElement.textContent").startswith("SSIM")
    assert shown.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    column(shown, "T")[0].click()
    column(shown, "SSIM ↑")[0].click()
    assert [column(shown, name)[1] for name in ("T", "SSIM ↑")] == ["none", "ascending"]
    assert column(shown, "T")[2] != sorted(column(shown, "T")[2], key=lambda t: t or 0)


@pytest.mark.parametrize("width", [320, 360, 800, 1280])
def test_nothing_but_a_tables_own_frame_scrolls_sideways(opened, width):
    shown = opened(viewport={"width": width, "height": 740})
    assert shown.evaluate("document.documentElement.scrollWidth") == width
    shown.evaluate("scrollTo(500, 0)")
    assert shown.evaluate("scrollX") == 0


LUMINANCE = """() => {
  const light = (colour) => {
    const linear = (x) => x / 255 <= .03928 ? x / 255 / 12.92 : ((x / 255 + .055) / 1.055) ** 2.4;
    const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map(Number).map(linear);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const under = (node) => { for (; node; node = node.parentElement) {
    const colour = getComputedStyle(node).backgroundColor; if (!/, 0\\)$/.test(colour)) return light(colour); } return 1; };
  const low = [];
  for (const node of document.querySelectorAll("main *, nav *")) {
    const words = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!words || node.closest("svg, .unseen, script") || !node.getClientRects().length) continue;
    const [a, b] = [light(getComputedStyle(node).color), under(node)].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) low.push(node.outerHTML.slice(0, 120));
  }
  return {paper: under(document.body), low, ink: light(getComputedStyle(document.body).color),
          plot: light(getComputedStyle(document.querySelector("svg text")).fill)};
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_and_its_plots_follow_the_readers_colours_with_enough_contrast(opened, scheme):
    found = opened(color_scheme=scheme).evaluate(LUMINANCE)
    assert found["low"] == []
    assert (found["paper"] > found["ink"]) == (scheme == "light") and found["plot"] == pytest.approx(found["ink"], abs=1e-6)


def test_loops_move_stop_and_go_on_together(opened):
    shown = opened()
    loops = shown.locator("picture.loop img")
    assert loops.count() == len(PEOPLE)
    moving = [loop.evaluate("(image) => image.currentSrc") for loop in loops.all()]
    assert all(b"ANIM" in base64.b64decode(src.partition(",")[2])[:64] for src in moving)
    button = shown.locator("button.pause").last
    button.focus()
    shown.keyboard.press("Enter")
    assert button.inner_text() == "Play the loops"
    stills = shown.locator("picture.loop source").evaluate_all("(all) => all.map((one) => one.srcset)")
    assert not set(stills) & set(moving)
    showing = "(due) => [...document.querySelectorAll('picture.loop img')].every((one, j) => one.currentSrc === due[j])"
    until(shown, showing, stills)
    button.click()
    until(shown, showing, moving)


def test_who_wants_less_motion_sees_stills_with_and_without_javascript_and_may_play_them(opened):
    still = "(image) => image.currentSrc === image.parentElement.querySelector('source').srcset"
    shown = opened(reduced_motion="reduce")
    assert shown.locator("picture.loop img").first.evaluate(still)
    assert shown.locator(".pause").first.inner_text() == "Play the loops"
    bare = opened(reduced_motion="reduce", java_script_enabled=False)
    assert bare.locator("picture.loop").count() == len(PEOPLE) and not bare.locator("button.pause").first.is_visible()
    media = bare.locator("picture.loop source").first.get_attribute("media")
    assert media == "(prefers-reduced-motion: reduce)"


def test_without_javascript_the_tables_are_there_in_the_order_of_the_report(opened):
    bare = opened(java_script_enabled=False)
    rows = bare.locator("section[aria-labelledby=quality] tbody tr")
    assert rows.count() == 4 * len(SHOTS) and rows.first.locator("th").inner_text() == "COPY"
    assert bare.locator("th button").count() == 0


def test_every_link_leads_somewhere_and_a_person_that_is_folded_opens(opened):
    shown = opened(unfolded=False)
    assert shown.evaluate("[...document.querySelectorAll('a')].filter((one) => !document.querySelector(one.hash)).length") == 0
    last = shown.locator("details.person").last
    assert not last.evaluate("(one) => one.open")
    shown.locator(".jump a").last.click()
    until(shown, "[...document.querySelectorAll('details.person')].at(-1).open")
    assert shown.locator("main#main, nav").count() == 2 and shown.locator("a.skip").get_attribute("href") == "#main"
