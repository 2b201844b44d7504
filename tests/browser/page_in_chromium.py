"""Pages in a headless Chromium, as a reader meets them. `make test-page` runs this; `make test` does not.

The pages are those in the environment variable PAGES (separated by spaces), CHROMIUM is the browser, and AXE is the
file of axe-core.
"""

import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

PAGES = [Path(page).resolve() for page in os.environ["PAGES"].split()]
AXE = Path(os.environ["AXE"]).read_text(encoding="utf-8")
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
# What must not be there: the success criteria of WCAG 2.2 at level AA, and axe's own good practice.
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ["CHROMIUM"], args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=PAGES, ids=lambda path: path.parent.name)
def opened(chromium, request):
    """Opens the page from the disk; any message on the console or request beyond the file fails the test at its end."""
    contexts, messages = [], []

    def open_page(viewport=DESKTOP, scheme="light"):
        context = chromium.new_context(viewport=viewport, color_scheme=scheme, offline=True)
        context.set_default_timeout(5000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: messages.append(f"console {message.type}: {message.text}"))
        page.on("pageerror", lambda error: messages.append(f"error: {error}"))
        page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else messages.append(r.url))
        page.goto(request.param.as_uri())
        drawn(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert messages == []


def drawn(page):
    """Waits until every picture that is on the page is drawn."""
    page.wait_for_selector("canvas:not([data-drawn])", state="detached")


ROW = "tr:not(.facts-row, .apart)"


def values(body, column, row=f"{ROW}:not(.member)"):
    """Numbers of a column (1-based) in a part of the leaderboard, top to bottom; None for gaps."""
    texts = body.locator(f"{row} > :nth-child({column})").all_text_contents()
    return [None if text.startswith("—") else float(re.match(r"[−\d.]+", text)[0].replace("−", "-")) for text in texts]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing(opened, viewport, scheme):
    page = opened(viewport, scheme)
    page.locator("#board .method").first.click()
    page.evaluate("document.querySelectorAll('details').forEach((details) => (details.open = true))")
    assert violations(page) == []
    if page.locator("#tiles").count():
        page.locator("#tiles button").first.click()
        drawn(page)
        assert violations(page) == []


def violations(page):
    page.evaluate(AXE)
    page.wait_for_timeout(300)  # transitions of colours
    found = page.evaluate("rules => axe.run(document, rules)", RULES)["violations"]
    return [
        f"{rule['id']}: {node['html'][:160]} {node['failureSummary']}" for rule in found for node in rule["nodes"][:3]
    ]


def test_every_column_sorts_both_ways_and_says_so(opened):
    page = opened()
    for view in ("", page.locator("#board-metric option").nth(1).get_attribute("value")):
        page.select_option("#board-metric", view)
        heads = page.locator("#board thead th")
        for place in range(heads.count()):
            head, seen = heads.nth(place), {}
            for _ in range(2):
                head.get_by_role("button").click()
                direction = head.get_attribute("aria-sort")
                assert direction in page.locator("#board-status").inner_text()
                assert page.locator("#board [aria-sort=ascending], #board [aria-sort=descending]").count() == 1
                assert page.evaluate("document.activeElement.closest('th')?.cellIndex") == place
                seen[direction] = page.locator(f"#board tbody {ROW} .method").all_inner_texts()
            assert set(seen) == {"ascending", "descending"}
            assert sorted(seen["ascending"]) == sorted(seen["descending"])


def test_numbers_are_in_order_and_gaps_come_last(opened):
    page = opened()
    for column in range(3, page.locator("#board thead th").count() + 1):
        button = page.locator(f"#board thead th:nth-child({column}) button")
        for _ in range(2):
            button.click()
            descending = page.locator(f"#board thead th:nth-child({column})").get_attribute("aria-sort") == "descending"
            for body in page.locator("#board tbody").all():  # what is ranked, and controls
                found = values(body, column)
                present = [value for value in found if value is not None]
                assert present == sorted(present, reverse=descending)
                assert found == present + [None] * (len(found) - len(present))


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_what_failed_is_at_the_top_and_in_the_row_and_fits_the_screen(opened, viewport):
    page = opened(viewport)
    lacking = page.evaluate("data.methods.filter((m) => m.facts.some(([title]) => title === 'Missing')).length")
    assert bool(lacking) == bool(page.locator(".title .alarm", has_text="Incomplete").count())
    for alarm in page.locator(".title .alarm").all():
        assert alarm.evaluate("alarm => alarm.scrollWidth <= alarm.clientWidth")
    if lacking:
        page.locator("#board-unfold").click()
        assert page.locator("#board .reason", has_text="failed: ").count()
        for reason in page.locator("#board .reason span").all():
            box = reason.bounding_box()
            assert box["x"] + box["width"] <= viewport["width"]


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_families_unfold_by_keyboard_and_are_found_by_text_and_kind(opened, viewport):
    page = opened(viewport)
    rows, folds = page.locator(f"#board tbody {ROW}"), page.locator("#board .fold")
    everything = page.evaluate("data.methods.length")
    folded = rows.count()
    if folds.count():
        assert folded < everything
        folds.first.focus()
        page.keyboard.press("Enter")
        assert folds.first.get_attribute("aria-expanded") == "true" and rows.count() > folded
        assert page.evaluate("document.activeElement.className") == "fold"
        page.keyboard.press("Enter")
        assert rows.count() == folded
        page.locator("#board-unfold").click()
        assert rows.count() == everything
        page.locator("#board-unfold").click()
        assert rows.count() == folded
    controls = page.evaluate("data.methods.filter((method) => method.kind === 'control').length")
    page.select_option("#board-kind", "control")
    assert rows.count() == controls and page.locator("#board .kind:not(.control)").count() == 0
    page.select_option("#board-kind", "")
    title = page.evaluate("data.methods[0].title")
    page.fill("#board-text", title)
    assert title in page.locator("#board tbody").first.inner_text()
    assert f"{rows.count()} of {everything} methods" in page.locator("#board-status").inner_text()
    page.fill("#board-text", "no such method")
    assert rows.count() == 0
    page.fill("#board-text", "")
    assert rows.count() == folded


def test_without_javascript_all_methods_and_budgets_are_there(chromium, opened):
    page = opened()
    titles, budgets = page.evaluate("[data.methods.map((method) => method.title), data.budgets.length]")
    context = chromium.new_context(java_script_enabled=False, offline=True)
    plain = context.new_page()
    plain.goto(page.url)
    assert plain.locator("#board").is_hidden() and plain.locator("#board-controls").is_hidden()
    tables = plain.locator("#leaderboard noscript table, #leaderboard details table")
    assert tables.count() == budgets
    assert [text.strip() for text in tables.last.locator("tbody th").all_text_contents()] == titles
    context.close()


def test_budget_and_scale_change_the_numbers(opened):
    page = opened()
    body, budgets = page.locator("#board"), page.locator("input[name=board-budget]")
    normalised = page.locator("input[name=board-scale][value=normalised]")
    raw = body.inner_text()
    if normalised.is_enabled():
        normalised.check()
        assert body.inner_text() != raw
        page.locator("input[name=board-scale][value=raw]").check()
        assert body.inner_text() == raw
    budgets.first.check()
    assert budgets.count() == 1 or body.inner_text() != raw


def test_disclosures_open_by_keyboard(opened):
    page = opened()
    button = page.locator("#board .method").first
    facts = page.locator(f"#{button.get_attribute('aria-controls')}")
    button.focus()
    assert facts.is_hidden() and button.get_attribute("aria-expanded") == "false"
    page.keyboard.press("Enter")
    assert facts.is_visible() and "Kind" in facts.inner_text()
    assert page.evaluate("document.activeElement.getAttribute('aria-expanded')") == "true"
    page.keyboard.press("Space")
    assert facts.is_hidden()


def test_the_first_key_leads_past_the_header_and_focus_is_seen(opened):
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    inside = "document.getElementById('main').contains(document.activeElement)"
    assert page.evaluate(inside)
    outline = (
        "getComputedStyle(document.querySelector('input:focus-visible + span') ?? document.activeElement).outlineStyle"
    )
    assert page.evaluate(outline) == "solid"


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_nothing_is_wider_than_the_screen(opened, viewport):
    page = opened(viewport)
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


def test_a_phone_shows_one_metric_at_first(opened):
    assert opened(PHONE).locator("#board-metric").input_value() != ""


def test_the_theme_follows_the_system_until_it_is_chosen(opened):
    page = opened(scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark, button = page.evaluate(ground), page.locator("#theme")
    assert button.inner_text() == "Theme: auto"
    button.click()
    assert button.inner_text() == "Theme: light" and page.evaluate(ground) != dark
    button.click()
    assert button.inner_text() == "Theme: dark" and page.evaluate(ground) == dark


def test_charts_hide_a_method(opened):
    page = opened()
    for legend in page.locator(".legend").all():
        button = legend.get_by_role("button").first
        name = button.get_attribute("data-toggle")
        lines = legend.locator(f"xpath=..//*[@data-method='{name}']")
        assert lines.count()
        button.click()
        assert button.get_attribute("aria-pressed") == "false"
        assert not any(line.is_visible() for line in lines.all())
        button.click()
        assert button.get_attribute("aria-pressed") == "true" and lines.first.is_visible()


def test_images_load(opened):
    page = opened()
    assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    for canvas in page.locator("canvas").all()[:40]:
        shown = canvas.evaluate(
            "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v, i) => i % 4 === 3 && v)"
        )
        assert shown


@pytest.mark.parametrize("opened", [page for page in PAGES if 'id="tiles"' in page.read_text()], indirect=True)
def test_pictures_are_compared_by_keyboard(opened):
    page = opened()
    tiles = page.locator("#tiles button")
    scores = [float(text.split()[-2]) for text in page.locator("#tiles .under").all_inner_texts() if "—" not in text]
    assert scores == sorted(scores, reverse=True)
    tiles.first.focus()
    page.keyboard.press("Enter")
    first = page.locator("#image-title").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.locator("#image-title").inner_text() != first
    named = page.locator("#image canvas").all()
    assert len(named) > 1 and all(canvas.get_attribute("aria-label") for canvas in named)
    page.keyboard.press("Escape")
    assert page.locator("#image").is_hidden()
    assert page.evaluate("document.activeElement === document.querySelectorAll('#tiles button')[1]")
    page.select_option("#browser-order", "worst")
    worst = [float(text.split()[-2]) for text in page.locator("#tiles .under").all_inner_texts() if "—" not in text]
    assert worst == sorted(scores)
    shown = page.locator("#tiles").inner_text()
    page.locator("input[name=browser-subject]").last.check()
    assert page.locator("input[name=browser-subject]").count() == 1 or page.locator("#tiles").inner_text() != shown
