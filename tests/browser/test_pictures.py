"""Pages of an atlas of images: places on pictures with their numbers, on Home, Find, the unit's page and in the lab."""

import io
import re

import httpx
import numpy as np
import pytest
import torch

import patchclamp as pc
from patchclamp.attribute import attribute_nodes

pytest.importorskip("sklearn", reason="needs scikit-learn, whose digits are shown")

N, SITE = 60, "blocks.1.conv1.act"  # as baked in conftest.py
KEY = f"digits-cnn/{SITE}/channels/8"
TITLE = "integrated gradients"
EXAMPLE = "[data-testid=example]"
SCREENS = (
    *("/", "/units", f"/units/{KEY}?map=on", "/lab", "/graphs", "/runs"),
    *("/ask", "/ask?picture=17&target=7&contrast=4"),
)


@pytest.fixture
def reader(opened_pictures):
    return opened_pictures()


@pytest.fixture(scope="module")
def values():
    """The channel's values ``(picture, place)``, each picture by itself."""
    model = pc.load("organism:digits-cnn")
    runs = [model.run(f"digits:{i}", record=SITE, logits=False).recording[SITE][:, 8] for i in range(N)]
    return torch.stack(runs).numpy()


def test_the_units_page_shows_the_pictures_with_the_highest_values_and_their_places(reader, values):
    reader.visit(f"/units/{KEY}")
    page = reader.page
    cards = page.locator(f"[data-testid=pictures-top] {EXAMPLE}")
    order = np.argsort(-values.max(1), kind="stable")[:8]
    shown = [(int(c.get_attribute("data-picture")), int(c.get_attribute("data-position"))) for c in cards.all()]
    assert shown == [(int(i), int(values[i].argmax())) for i in order]
    acts = [float(act) for act in reader.all(f"[data-testid=pictures-top] {EXAMPLE}", "data-act")]
    assert acts == pytest.approx(values[order].max(1).tolist(), abs=1e-4)
    assert float(page.get_by_test_id("maximum").get_attribute("data-value")) == pytest.approx(values.max(), abs=1e-4)
    # The file is drawn, and the frame lies where the address of the place says.
    assert cards.first.locator("img").evaluate("img => img.complete && img.naturalWidth") == 32
    frame, drawn = cards.first.get_by_test_id("box").bounding_box(), cards.first.locator("img").bounding_box()
    left, top, _, bottom = map(float, cards.first.get_by_test_id("box").get_attribute("data-box").split())
    assert (frame["x"] - drawn["x"]) / drawn["width"] == pytest.approx(left, abs=0.02)
    assert frame["height"] / drawn["height"] == pytest.approx(bottom - top, abs=0.02)
    assert page.locator(".evidence").get_by_test_id("heat").count() == 0


def test_values_lie_over_the_pictures_on_demand(reader, values):
    reader.visit(f"/units/{KEY}")
    reader.page.get_by_test_id("map-on").click()
    reader.page.wait_for_url("**map=on")
    reader.settle()
    card = reader.page.locator(f"[data-testid=pictures-top] {EXAMPLE}").first
    shown = [float(x) for x in card.get_by_test_id("heat").get_attribute("data-values").split()]
    picture = int(card.get_attribute("data-picture"))
    np.testing.assert_allclose(shown, values[picture], rtol=6e-3, atol=1e-3)
    cells = card.locator("svg.heat g rect")
    assert cells.count() == (np.abs(values[picture]) >= 0.02 * values.max()).sum()
    opacities = [float(x) for x in cells.evaluate_all("all => all.map(c => c.getAttribute('opacity'))")]
    assert max(opacities) == pytest.approx(0.1 + 0.75 * values[picture].max() / values.max(), abs=0.01)


def test_an_interval_of_the_histogram_chooses_pictures_from_there(reader, picture_server):
    histogram = httpx.get(f"{picture_server}/api/units/{KEY}").json()["histogram"]
    reader.visit(f"/units/{KEY}")
    reader.page.get_by_label("highest activation of the examples").focus()
    reader.page.keyboard.press("Home")
    reader.page.wait_for_url("**high=*")
    reader.settle()
    acts = [float(act) for act in reader.all(EXAMPLE, "data-act")]
    assert acts
    assert all(histogram["edges"][0] <= act < histogram["edges"][1] for act in acts)
    assert (
        f"{histogram['tokens'][0]:,} of {sum(histogram['tokens']):,} places"
        in reader.page.get_by_test_id("chosen").inner_text()
    )


def test_find_and_home_show_pictures_and_nothing_of_texts(reader):
    reader.visit("/units")
    rows, thumbs = reader.page.get_by_test_id("unit"), reader.page.get_by_test_id("thumb")
    assert rows.count() == thumbs.count() > 0
    thumbs.first.scroll_into_view_if_needed()
    thumbs.first.evaluate("img => img.decode()")
    assert thumbs.first.evaluate("img => img.naturalWidth") == 96
    assert reader.page.get_by_test_id("by-text").count() == 0
    reader.visit("/")
    assert reader.page.get_by_test_id("pictures").get_attribute("data-value") == str(N)
    assert reader.page.get_by_test_id("begin").get_by_test_id("thumb").count() > 0
    words = reader.page.locator("#page").inner_text()
    assert f"{N} pictures" in words
    assert not re.search(r"\btokens?\b|\bprompt\b|\bwindows\b", words)


def test_the_lab_clamps_a_channel_on_a_picture(reader):
    model = pc.load("organism:digits-cnn")
    from patchclamp.core.intervention import clamp

    bare = model.run("digits:17").logits[0].softmax(-1)
    off = model.run("digits:17", interventions=[clamp(f"{SITE}/channels/8=0")]).logits[0].softmax(-1)
    reader.visit("/lab?picture=17")
    page = reader.page
    assert [x for x in reader.all("[data-testid=class]", "data-after") if x] == []
    page.get_by_test_id("add-key").fill(f"{SITE}/channels/8")
    page.get_by_role("button", name="add").click()
    page.wait_for_selector("[data-testid=class]:not([data-after=''])")
    reader.settle()
    for row in page.get_by_test_id("class").all():
        index = int(row.get_attribute("data-index"))
        assert float(row.get_attribute("data-before")) == pytest.approx(float(bare[index]), abs=1e-4)
        assert float(row.get_attribute("data-after")) == pytest.approx(float(off[index]), abs=1e-4)
    page.get_by_test_id("random-sets").click()
    control = page.get_by_test_id("control")
    control.wait_for()
    measured = float(off.log()[7] - bare.log()[7])
    assert float(control.get_attribute("data-measured")) == pytest.approx(measured, abs=1e-3)
    assert 0 < float(control.get_attribute("data-p")) <= 1
    page.get_by_role("button", name="remove").click()
    page.wait_for_selector("[data-testid=class]:not([data-after=''])", state="detached")


def test_another_picture_is_tried_on_the_units_page(reader, values):
    reader.visit(f"/units/{KEY}?picture=5")
    said = reader.page.get_by_test_id("on-picture")
    assert float(said.get_attribute("data-value")) == pytest.approx(values[5].max(), abs=1e-4)
    reader.page.locator(".film [data-picture='9']").click()
    reader.page.wait_for_url("**picture=9")
    reader.settle()
    assert float(said.get_attribute("data-value")) == pytest.approx(values[9].max(), abs=1e-4)
    reader.page.get_by_test_id("trial").get_by_role("slider").press("Home")
    reader.page.wait_for_url("**value=0*")
    reader.settle()
    assert all(reader.all("[data-testid=class]", "data-after"))


def test_an_explained_answer_about_a_picture_opens(reader):
    reader.visit("/graphs")
    reader.page.get_by_role("link", name=re.compile("digits:17")).first.click()
    reader.page.wait_for_url("**/graphs/graph-*")
    reader.settle()
    assert "digits:17" in reader.page.locator("h1").inner_text()
    assert reader.page.get_by_test_id("failure").count() == 0
    # The lab opens on the picture that the answer is about, with its causes clamped.
    reader.page.get_by_role("link", name=re.compile("causes to zero")).click()
    reader.page.wait_for_url(re.compile("/lab[?]"))
    reader.page.wait_for_selector("[data-testid=class]:not([data-after=''])")
    reader.settle()
    assert reader.page.get_by_test_id("picture-number").input_value() == "17"
    assert reader.page.get_by_test_id("clamp").count() == 3


def read_box(model, position):
    """Return the box of pixels at which a change is seen at a place of the site: every pixel is tried by itself."""
    noise = np.random.default_rng(0).random((1, 32, 32), dtype=np.float32)
    changed = np.repeat(noise[None], 32 * 32, 0)
    changed[np.arange(32 * 32), 0, np.arange(32 * 32) // 32, np.arange(32 * 32) % 32] += 1.0
    places = [model.run(list(x), record=SITE, logits=False).recording[SITE] for x in (noise[None], changed)]
    at = [x.reshape(-1, 64, x.shape[-1])[:, position].numpy() for x in places]
    seen = (at[1] != at[0]).any(1).reshape(32, 32)
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    return [x / 32 for x in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)]


def test_a_nodes_place_is_marked_on_the_picture_and_moves_with_hover_and_keys(reader, picture_server):
    [row] = httpx.get(f"{picture_server}/api/graphs").json()["rows"]
    model = pc.load("organism:digits-cnn")
    found = pc.explain(model, "digits:17", "7", contrast="4", top=3, n_controls=20)
    chosen = next(cause.key for cause in found.causes if f"/{SITE}/" in cause.key)
    reader.visit(f"/graphs/{row['id']}?keep=1&select={chosen.partition('/')[2]}")
    page, shown = reader.page, reader.page.get_by_test_id("answer-picture")
    assert shown.locator("img").evaluate("img => img.complete && img.naturalWidth") == 32
    heat = [float(x) for x in shown.get_by_test_id("heat").get_attribute("data-values").split()]
    np.testing.assert_allclose(heat, found.heat.together().ravel(), rtol=2e-3, atol=1e-4)
    assert sum(heat) == pytest.approx(found.total, abs=0.01)
    # The channel's place is where most of it lies, and the frame is what that place reads.
    case = model.read_case("digits:17", ("7",), ("4",))
    by_place = attribute_nodes(
        model, case.clean, case.metric, method="integrated_gradients", levels=[f"{SITE}/neurons"]
    )
    channel = int(re.search(r"channels/(\d+)", chosen)[1])
    place = int(np.abs(by_place.values[by_place.units.grid(SITE, "neurons")][:, channel]).argmax())
    assert int(shown.get_attribute("data-position")) == place
    box = [float(x) for x in shown.get_by_test_id("box").get_attribute("data-box").split()]
    # On noise a path to the outermost pixels may be shut.
    assert box == pytest.approx(read_box(model, place), abs=2 / 32)
    others = [cause.key.partition("/")[2] for cause in found.causes if cause.key != chosen]
    places = {key.partition("/")[2]: str(at.position) for key, at in found.heat.places.items()}
    page.locator(f"[data-testid=item][data-id='{others[0]}']").hover()
    assert shown.get_attribute("data-position") == places[others[0]]
    page.mouse.move(0, 0)
    assert shown.get_attribute("data-position") == str(place)
    page.locator(f"[data-testid=item][data-id='{others[1]}']").focus()
    assert shown.get_attribute("data-position") == places[others[1]]
    page.get_by_test_id("heat-over").click()
    assert shown.get_by_test_id("heat").count() == 0


def explained(reader):
    reader.page.get_by_test_id("explained").wait_for()
    reader.settle()
    return reader.page.get_by_test_id("explained")


def check_explained(reader, by_hand):
    """Compare what Ask shows with an explanation in Python."""
    page, shown = reader.page, explained(reader)
    assert page.get_by_test_id("verdict").inner_text() == by_hand.sentence
    assert float(shown.get_attribute("data-measured")) == pytest.approx(by_hand.measured, abs=1e-3)
    keys = [cause.key for cause in by_hand.causes]
    assert reader.all("[data-testid=cause]", "data-node") == keys[:8]
    assert f"{len(keys)} causes, the first 8 of them, by {TITLE}" in page.get_by_test_id("causes").inner_text()
    page.get_by_test_id("all-causes").click()
    assert reader.all("[data-testid=cause]", "data-node") == keys
    measured = [float(x) for x in reader.all("[data-testid=cause]", "data-measured")]
    assert measured == pytest.approx([cause.measured for cause in by_hand.causes], abs=1e-3)


def test_a_kept_picture_is_explained_as_python_explains_it(reader):
    model = pc.load("organism:digits-cnn")
    p = model.run("digits:17").logits[0].double().softmax(-1)
    reader.visit("/ask")
    page = reader.page
    page.locator(".film [data-picture='17']").click()
    page.wait_for_url("**picture=17")
    reader.settle()
    rows = page.get_by_test_id("likely-token")
    assert int(rows.first.get_attribute("data-text")) == int(p.argmax())
    for row in rows.all():
        assert float(row.get_attribute("data-probability")) == pytest.approx(
            float(p[int(row.get_attribute("data-text"))]), abs=1e-6
        )
    assert page.get_by_test_id("why").is_disabled()
    rows.and_(page.locator("[data-text='7']")).click()
    rows.and_(page.locator("[data-text='4']")).click()
    page.wait_for_url("**target=7&contrast=4")
    page.get_by_test_id("why").click()
    by_hand = pc.explain(model, "digits:17", "7", contrast="4")
    check_explained(reader, by_hand)
    shown = page.get_by_test_id("answer-picture")
    heat = [float(x) for x in shown.get_by_test_id("heat").get_attribute("data-values").split()]
    np.testing.assert_allclose(heat, by_hand.heat.together().ravel(), rtol=2e-3, atol=1e-3)
    places = {key: str(at.position) for key, at in by_hand.heat.places.items()}
    page.mouse.move(0, 0)
    assert shown.get_attribute("data-position") == places[by_hand.causes[0].key]
    page.get_by_test_id("cause").nth(2).hover()
    assert shown.get_attribute("data-position") == places[by_hand.causes[2].key]
    page.get_by_test_id("open-circuit").click()
    page.wait_for_url("**/graphs/asked-*")
    reader.settle()
    assert page.get_by_test_id("answer-picture").get_by_test_id("heat").count() == 1
    # Its nodes can be verified, as those of any answer.
    page.locator("[data-testid=item][data-kind=channel]").first.press("Enter")
    page.get_by_test_id("verify-button").click()
    page.get_by_test_id("verified").wait_for()


def pngs(pixels):
    from PIL import Image

    held = io.BytesIO()
    Image.fromarray(pixels).save(held, format="PNG")
    return held.getvalue()


def npy(array, **how):
    held = io.BytesIO()
    np.save(held, array, **how)
    return held.getvalue()


def test_an_uploaded_picture_is_explained_as_the_command_line_explains_its_file(reader, tmp_path):
    from patchclamp.subjects.images import picture

    pixels = np.rot90(picture("digits:3").pixels).copy()
    file = tmp_path / "turned.npy"
    file.write_bytes(npy(pixels[None]))
    reader.visit("/ask")
    page = reader.page
    page.get_by_test_id("upload").set_input_files(str(file))
    page.wait_for_url("**picture=upload-*")
    reader.settle()
    model = pc.load("organism:digits-cnn")
    best = int(model.run(str(file)).logits[0].argmax())
    row = page.get_by_test_id("likely-token").first
    assert int(row.get_attribute("data-text")) == best
    row.click()
    page.get_by_test_id("why").click()
    check_explained(reader, pc.explain(model, str(file), str(best)))
    assert "turned.npy:0" in page.get_by_test_id("answer-picture").locator("img").get_attribute("alt")
    page.get_by_test_id("clamp-zero").click()
    page.wait_for_url("**/lab?**picture=upload-**")
    reader.settle()
    assert "turned.npy:0" in page.locator("figcaption").inner_text()


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("words.txt", b"hello", "ends in"),
        ("broken.png", b"\x89PNG\r\n\x1a\nnothing", "Pillow"),
        ("pickled.npy", npy(np.array([{"a": 1}], dtype=object), allow_pickle=True), "whole numbers"),
        ("two.npy", npy(np.zeros((2, 8, 8), dtype=np.uint8)), "one picture"),
        ("empty.png", b"", "at most"),
        ("wide.png", pngs(np.zeros((4001, 4001), dtype=np.uint8)), "16,000,000 pixels"),
    ],
    ids=["words", "broken", "pickled", "two", "empty", "wide"],
)
def test_what_is_no_picture_is_refused_in_three_parts(reader, name, data, said):
    reader.visit("/ask")
    reader.page.get_by_test_id("upload").set_input_files({"name": name, "mimeType": "image/png", "buffer": data})
    failure = reader.page.get_by_test_id("failure")
    failure.wait_for()
    words = failure.inner_text()
    assert said in words
    assert all(part in words for part in ("expected", "got", "what to do"))
    assert "/tmp" not in words
    assert "upload-" not in reader.address
    reader.faults[:] = [fault for fault in reader.faults if "400" not in fault]


def test_the_bar_has_what_works_on_pictures(reader):
    for screen in ("/", "/graphs"):
        reader.visit(screen)
        bar = reader.page.get_by_role("navigation", name="screens").get_by_role("link").all_inner_texts()
        assert {"Ask", "Lab", "Find"} <= set(bar)
        assert "Layers" not in bar


@pytest.mark.parametrize("width", [1280, 400])
def test_every_screen_is_whole_in_both_themes(opened_pictures, width):
    reader = opened_pictures(viewport={"width": width, "height": 900})
    for screen in SCREENS:
        reader.visit(screen)
        for theme in ("light", "dark"):
            reader.page.emulate_media(color_scheme=theme)
            for check in ("beyond", "overlaps", "unreadable", "nameless"):
                assert reader.check(check) == [], (screen, theme)


def test_a_hostile_name_is_shown_as_text(reader):
    hostile = "<img src=x onerror=\"document.title='taken'\">"

    def answer(route):
        real = route.fetch()
        route.fulfill(response=real, body=real.text().replace("digits:", hostile.replace('"', '\\"')))

    reader.page.route(re.compile(r"/api/units/.*/pictures|/api/pictures\?"), answer)
    reader.visit(f"/units/{KEY}")
    assert hostile in reader.page.locator("#page").inner_text()
    assert reader.page.title() != "taken"
    assert reader.page.locator("img[src=x]").count() == 0
