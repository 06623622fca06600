"""The study in a browser: by keyboard, on a phone, without script, and back."""

import made_study as made
import pytest

from eval.study.answers_db import Answers

TRIALS = 5


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("browser")
    study = made.study(root, made.data(root))
    server = made.Server(root, trials=TRIALS)
    yield root, study, server
    server.kill()


@pytest.fixture
def page(browser, world):
    """A fresh browser window that fails the test for any message on its console and any request to another host."""
    said, asked = [], []
    context = browser.new_context(viewport={"width": 1100, "height": 760})
    one = context.new_page()
    one.on("console", lambda message: said.append(message.text))
    one.on("pageerror", lambda error: said.append(str(error)))
    one.on("request", lambda request: asked.append(request.url))
    yield one
    assert said == [] and asked and all(url.startswith(world[2].url) for url in asked)
    assert context.cookies() == []


def begin(page, world):
    page.goto(world[2].url)
    for key in ("Tab", "Space", "Tab", "Enter"):
        page.keyboard.press(key)
    page.wait_for_url("**/r/*")


def answers(world):
    base = Answers(world[0] / "study" / "made" / "answers.sqlite", world[1].design, simulated=True)
    rows = base.rows()
    base.close()
    return [row for row in rows if row.rater == max(row.rater for row in rows)]


def answer(page, key):
    page.keyboard.press(key)
    with page.expect_navigation():
        page.keyboard.press("Enter")


def test_a_study_is_answered_by_keyboard_and_what_was_pressed_is_stored(page, world):
    begin(page, world)
    assert page.get_by_role("radio").count() == 3 and page.locator("input:checked").count() == 0
    assert [page.get_by_role("radio", name=f"Picture {k}").count() for k in (1, 2, 3)] == [1, 1, 1]
    sizes = page.evaluate("[...document.images].map(x => [x.naturalWidth, x.naturalHeight, x.width, x.height].join())")
    assert len(set(sizes)) == 1 and sizes[0].startswith(f"{made.SIZE},{made.SIZE},")
    for n, key in enumerate("31223", 1):
        assert page.get_by_text(f"Set {n} of {TRIALS}").is_visible()
        answer(page, key)
    assert "last set" in page.inner_text("main")
    assert [row.choice + 1 for row in answers(world)] == [3, 1, 2, 2, 3]
    assert all(row.ms is not None for row in answers(world))


def test_arrow_keys_choose_too(page, world):
    begin(page, world)
    for key in ("Tab", "Space", "ArrowRight"):
        page.keyboard.press(key)
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert [row.choice + 1 for row in answers(world)] == [2]


def test_going_back_shows_the_present_trial_and_changes_nothing(page, world):
    begin(page, world)
    answer(page, "1")
    answer(page, "2")
    page.go_back(wait_until="networkidle")
    assert "/r/" in page.url and page.get_by_text(f"Set 3 of {TRIALS}").is_visible()
    assert page.locator("form").get_attribute("action").endswith("/3")
    assert [row.choice + 1 for row in answers(world)] == [1, 2]


def test_a_rater_stops_and_goes_on_by_the_link_in_another_window(page, world, browser):
    begin(page, world)
    answer(page, "3")
    page.get_by_role("link", name="Stop here").click()
    link = page.get_by_role("link").get_attribute("href")
    other = browser.new_context().new_page()
    other.goto(world[2].url + link)
    assert other.get_by_text(f"Set 2 of {TRIALS}").is_visible()


@pytest.mark.parametrize("width, height", [(360, 640), (390, 844), (844, 390), (768, 1024), (1920, 1080)])
def test_a_set_is_on_the_screen_as_a_whole(browser, world, width, height):
    context = browser.new_context(viewport={"width": width, "height": height}, has_touch=True, is_mobile=width < 900)
    page = context.new_page()
    page.goto(world[2].url)
    page.get_by_role("checkbox").check()
    page.get_by_role("button", name="Begin").click()
    page.wait_for_url("**/r/*")
    for part in (page.locator("img").first, page.locator("img").last, page.get_by_role("button", name="Answer")):
        box = part.bounding_box()
        top = page.locator(".simulated").bounding_box()["height"]  # a real study has no such banner
        assert box["x"] >= 0 and box["x"] + box["width"] <= width and box["y"] + box["height"] - top <= height
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.get_by_role("button", name="Answer").bounding_box()["height"] >= 44


def test_behind_a_web_server_on_this_machine_the_study_has_the_outside_s_address(world):
    outside = {"X-Forwarded-Host": "study.example.org", "X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}

    def ask(way, path, form=None, origin="https://study.example.org"):
        browser.connection.request(way, path, made.urlencode(form) if form else None, outside | {
            "Origin": origin, "Content-Type": "application/x-www-form-urlencoded"})
        answer = browser.connection.getresponse()
        return answer.status, answer.headers, answer.read()

    browser = made.Browser(world[2].url)
    form = {"proof": made.fields(ask("GET", "/")[2])["proof"], "agreed": "yes"}
    assert ask("POST", "/start", form, world[2].url)[0] == 403
    status, headers, _ = ask("POST", "/start", form)
    assert status == 303
    assert b"https://study.example.org/r/" in ask("GET", headers["Location"] + "/stop")[2]


def test_the_study_works_without_script(browser, world):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(world[2].url)
    page.get_by_role("checkbox").check()
    page.get_by_role("button", name="Begin").click()
    for n in (1, 2):
        assert page.get_by_text(f"Set {n} of {TRIALS}").is_visible()
        page.get_by_role("radio", name="Picture 2").check(force=True)
        page.get_by_role("button", name="Answer").click()
    assert [row.choice + 1 for row in answers(world)] == [2, 2]
