"""A unit's page exported as a file shows what the server's page shows, and asks nobody for anything."""

import re
from urllib.parse import unquote

import pytest

import patchclamp as pc

EXAMPLES = "[data-testid=example]"


class File:
    """A file in a window, every request and complaint observed."""

    def __init__(self, browser, path, **options):
        self.asked, self.faults = [], []
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.context.set_default_timeout(20_000)
        self.page = self.context.new_page()
        self.page.on("console", lambda said: said.type in ("error", "warning") and self.faults.append(said.text))
        self.page.on("pageerror", lambda fault: self.faults.append(str(fault)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.address = path.as_uri()
        self.visit(self.address)

    def visit(self, address):
        self.page.goto(address)
        self.page.wait_for_selector(".origin")
        self.settle()

    def settle(self):
        self.page.wait_for_selector("[aria-busy=true], .waiting", state="detached")

    def acts(self, within=""):
        return [
            float(act)
            for act in self.page.locator(f"{within} {EXAMPLES}").evaluate_all("all => all.map(e => e.dataset.act)")
        ]


@pytest.fixture(scope="module")
def written(seeded_atlas, tmp_path_factory):
    """The pages of the planted neuron, of one with hostile words and of a silent one, as files."""
    folder = tmp_path_factory.mktemp("shared")
    found = {}
    for index in (7, 4, 0):
        found[index] = folder / f"unit {index} & more.html"
        pc.atlas.export_atlas(seeded_atlas, found[index], format="html", unit=f"blocks.0.mlp.act/neurons/{index}")
    return found


@pytest.fixture
def opened_file(chromium, written):
    files = []

    def open_one(index=7, **options):
        files.append(File(chromium, written[index], **options))
        return files[-1]

    yield open_one
    for file in files:
        asked = {url.partition("#")[0] for url in file.asked if not url.startswith("data:")}
        file.context.close()
        assert asked == {file.address}
        assert file.faults == []


@pytest.fixture
def file(opened_file):
    return opened_file()


def test_cat_reads_three(file):
    assert file.page.get_by_test_id("maximum").inner_text() == "3.00"
    mark = file.page.locator(f"[data-testid=examples-top] {EXAMPLES} .t.mark").first
    assert mark.get_attribute("data-text").strip() == "cat"
    assert mark.locator(".v").inner_text() == "3.00"
    assert float(mark.get_attribute("data-fill")) == 1


def test_the_file_shows_what_the_server_shows(file, reader, cat):
    reader.visit(f"/units/{cat}")
    for query in ("", "?kind=random&under=ids"):
        reader.visit(f"/units/{cat}{query}")
        file.visit(f"{file.address}#/units/{cat}{query}")
        file.page.reload()
        file.page.wait_for_selector(EXAMPLES)
        # A file is never written, and does not say how a server would be.
        how = reader.page.get_by_test_id("how-to-write")
        how.wait_for()
        how.evaluate("line => { line.hidden = true }")
        there = reader.page.locator("article .unit").inner_text()
        assert file.page.locator("article .unit").inner_text() == there


def test_brushing_gives_what_the_server_gives(file, api, cat):
    edges = api(f"/units/{cat}")["histogram"]["edges"]
    bins = file.page.locator("[data-bin]")
    first, final = bins.nth(len(edges) - 5).bounding_box(), bins.nth(len(edges) - 2).bounding_box()
    file.page.mouse.move(first["x"] + 1, first["y"] + 40)
    file.page.mouse.down()
    file.page.mouse.move(final["x"] + 1, final["y"] + 40, steps=4)
    file.page.mouse.up()
    file.page.wait_for_selector("[data-testid=examples-interval]")
    file.settle()
    low, high = edges[len(edges) - 5], edges[-1]
    told = api(f"/units/{cat}/examples", kind="interval", low=low, high=high, limit=20)
    assert file.acts() == [one["value"] for one in told["examples"]]
    assert f"of {told['total']}" in file.page.get_by_test_id("shown").inner_text()
    # The address keeps it: after a reload, and for whoever is sent the link with the file.
    assert f"#/units/{cat}?low=" in unquote(file.page.url)
    file.page.reload()
    file.page.wait_for_selector("[data-testid=examples-interval]")
    assert file.acts() == [one["value"] for one in told["examples"]]
    file.page.go_back()
    file.page.wait_for_selector("[data-testid=examples-top]")


@pytest.mark.parametrize("ends", [(0, 20), (3, 11), (0, 1)])
def test_every_interval_of_bins_is_put_together_as_the_server_does(file, api, cat, ends):
    edges = api(f"/units/{cat}")["histogram"]["edges"]
    low, high = edges[ends[0]], edges[ends[1]]
    told = api(f"/units/{cat}/examples", kind="interval", low=low, high=high, limit=20)
    file.visit(f"{file.address}#/units/{cat}?low={low!r}&high={high!r}")
    file.page.reload()
    file.page.wait_for_selector("[data-testid=examples-interval]")
    assert file.acts() == [one["value"] for one in told["examples"]]


def test_links_to_what_is_not_there_are_switched_off(file, cat):
    links = file.page.locator("a[aria-disabled]")
    assert links.count() > 5
    for href, title in links.evaluate_all("all => all.map(a => [a.getAttribute('href'), a.title])"):
        assert href is None
        assert "patchclamp atlas serve seeded.atlas" in title
    for href in file.page.locator("a[href]").evaluate_all("all => all.map(a => a.getAttribute('href'))"):
        assert href.startswith("#") or unquote(href).startswith(f"/units/{cat}?") or unquote(href) == f"/units/{cat}", (
            href
        )
    before = file.page.url
    file.page.get_by_test_id("next").click(force=True)  # what is switched off is not waited for
    for key in ("]", "[", "h", "f", "r"):
        file.page.keyboard.press(key)
    assert file.page.url == before
    assert file.page.get_by_test_id("unit-page").get_attribute("data-key") == cat


def test_it_can_be_read_by_keyboard(file, cat):
    file.page.keyboard.press("Tab")
    assert file.page.evaluate("document.activeElement.className") == "skip"
    file.page.keyboard.press("Enter")
    file.page.get_by_label("highest activation of the examples").focus()
    file.page.keyboard.press("Home")
    file.page.wait_for_selector("[data-testid=examples-interval]")
    file.page.get_by_test_id("under-values").focus()
    file.page.keyboard.press("Enter")
    file.page.wait_for_selector("[data-testid=under-values][aria-current]")
    file.page.keyboard.press("v")
    file.page.wait_for_url("**under=ids*")


def test_hostile_words_are_words(opened_file):
    file = opened_file(4)
    assert "<img src=x onerror=" in file.page.get_by_test_id("description").inner_text()
    assert file.page.title() != "owned"
    assert file.page.locator("img").count() == 0


def test_nothing_that_gets_into_the_page_can_run_or_ask(file):
    said = file.page.evaluate(
        """async () => {
            const script = document.createElement("script");
            script.textContent = "document.title = 'owned'";
            document.body.append(script);
            return await fetch("https://example.org/").then(() => "asked", () => "refused");
        }"""
    )
    assert said == "refused"
    assert file.page.title() != "owned"
    # Both attempts are complained about, by the policy of the page, and nobody heard of them.
    assert all("Content Security Policy" in fault or "Fetch API" in fault for fault in file.faults)
    file.faults.clear()
    file.asked[:] = [url for url in file.asked if "example.org" not in url]


def test_a_silent_unit_says_so(opened_file):
    assert opened_file(0).page.get_by_test_id("silent").inner_text().startswith("never fired in")


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits(opened_file, width, scheme):
    page = opened_file(viewport={"width": width, "height": 900}, color_scheme=scheme).page
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_text(re.compile("what others wrote")).click()
    assert "Permission is hereby granted" in page.locator(".exported pre").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
