"""Lab shows what Python computes, gives neutral back exactly, and a link gives the whole table again."""

import io
import re
from contextlib import redirect_stdout
from math import log
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

import patchclamp as pc

TOKEN = "[data-testid=next-token]"
NUMBERS = ("data-text", "data-unclamped", "data-changed", "data-delta")
HOSTILE = "<img src=x onerror=\"document.title='taken'\">"
DECOY, ANIMAL = 3, 5


def lab(text="the cat", clamps=(), **more):
    """Return an address of the lab."""
    return "/lab?" + urlencode([("text", text), *(("clamp", clamp) for clamp in clamps), *more.items()])


def chosen(address):
    """Return the parameters of an address, clamps as a list."""
    pairs = parse_qsl(urlsplit(address).query, keep_blank_values=True)
    return dict(pairs) | {"clamps": [value for name, value in pairs if name == "clamp"]}


def table(reader):
    """Return every number of the next-token table as the page holds it."""
    return [tuple(row.get_attribute(name) for name in NUMBERS) for row in reader.page.locator(TOKEN).all()]


def probability(reader, text, side="data-changed"):
    return float(reader.page.locator(f"{TOKEN}[data-text='{text}']").get_attribute(side))


def answered(reader, value):
    """Wait until the page has asked for a value of the only clamp, and the answer is drawn."""
    reader.page.wait_for_url(lambda url: any(f" set {value}" in c for c in chosen(url)["clamps"]))
    reader.settle()


@pytest.fixture
def bench(lab_opened):
    return lab_opened()


@pytest.fixture(scope="session")
def rig(organism):
    return organism("cat")


@pytest.fixture(scope="module")
def truth(rig):
    """P(next) of a text with clamps, from Python, by token text."""

    def ask(text, *changes):
        logits = rig.run(text, interventions=changes, logits=(-1,)).logits[0, 0].double()
        names = [rig.tokenizer.token(i) for i in range(len(logits))]
        return dict(zip(names, logits.softmax(-1).tolist(), strict=True))

    return ask


def test_a_clamp_changes_the_answer_to_what_python_gives(bench, truth, cat):
    bench.visit(lab())
    row = bench.page.locator(f"[data-testid=ranked][data-key='{cat}']")
    assert float(row.get_attribute("data-value")) == pytest.approx(3.0, abs=1e-5)
    row.get_by_role("button").click()
    slider = bench.page.get_by_role("slider")
    slider.wait_for()
    assert bench.page.evaluate("document.activeElement.type") == "range"
    bench.page.keyboard.press("Home")
    answered(bench, 0)
    expected = truth("the cat", pc.change("set", "blocks.0.mlp.act", 7, value=0.0))
    assert probability(bench, " sat") == pytest.approx(expected[" sat"], abs=1e-4)
    assert probability(bench, " ran") == pytest.approx(expected[" ran"], abs=1e-4)
    assert probability(bench, " sat", "data-unclamped") == pytest.approx(truth("the cat")[" sat"], abs=1e-4)
    assert expected[" sat"] < 0.05 < 0.9 < truth("the cat")[" sat"]
    # What is said is what is held: percent with a tenth, the sign of Δ as a shape.
    cells = bench.page.locator(f"{TOKEN}[data-text=' sat'] td").all_inner_texts()
    assert cells[1] == f"{100 * truth('the cat')[' sat']:.1f}"
    assert "▼" in cells[3]
    assert float(bench.page.get_by_test_id("result").get_attribute("data-divergence")) > 1
    # Along the prompt: 3 before, 0 after, at the cat.
    last = bench.page.locator("[data-testid=along] .t").last
    assert float(last.get_attribute("data-before")) == pytest.approx(3.0, abs=1e-5)
    assert float(last.get_attribute("data-after")) == 0.0
    assert last.locator(".v").inner_text() == "3.00 → 0"


def test_neutral_gives_the_baseline_back_exactly(bench, cat):
    bench.visit(lab())
    before = table(bench)
    assert bench.page.get_by_test_id("result").get_attribute("data-neutral") == "true"
    bench.visit(lab(clamps=[f"{cat} set 0"]))
    assert table(bench) != before
    bench.page.get_by_role("slider").dblclick()
    answered(bench, "neutral")
    assert table(bench) == before
    bench.page.get_by_role("slider").press("End")
    answered(bench, 3)
    bench.page.get_by_role("slider").press("Home")
    answered(bench, 0)
    assert table(bench) != before
    bench.page.get_by_role("slider").press("Delete")
    answered(bench, "neutral")
    assert table(bench) == before
    bench.page.get_by_label("as a number").fill("1.5")
    bench.page.get_by_label("as a number").press("Enter")
    answered(bench, 1.5)
    bench.page.get_by_role("button", name=re.compile("^neutral")).click()
    answered(bench, "neutral")
    assert table(bench) == before


def test_a_link_gives_everything_again(bench, lab_opened, cat):
    bench.visit(lab("the old cat"))
    page = bench.page
    page.locator(f"[data-testid=ranked][data-key='{cat}']").get_by_role("button").click()
    page.get_by_role("slider").press("Home")
    answered(bench, 0)
    page.get_by_test_id("at").select_option(label="only at token 3, ␣cat")
    page.get_by_test_id("new").select_option("25")
    page.locator("[data-testid=token][data-position='2']").click()
    page.get_by_test_id("ask-by").select_option("effect")
    page.wait_for_url("**by=effect*")
    bench.settle()
    asked = chosen(bench.address)
    assert asked["clamps"] == ["blocks.0.mlp.act/neurons/7@3 set 0"]
    assert (asked["text"], asked["new"], asked["token"]) == ("the old cat", "25", "2")
    other = lab_opened()
    other.visit(bench.address)
    assert table(other) == table(bench)
    for selector, name in (
        ("[data-testid=clamp]", "data-at"),
        ("[data-testid=ranked]", "data-effect"),
        ("[data-testid=along]", "data-after"),
        (".w", "data-text"),
        ("[data-testid=token][aria-checked=true]", "data-position"),
    ):
        assert other.all(selector, name) == bench.all(selector, name) != [], selector


def test_a_second_drag_stops_the_first_request(bench, truth, cat):
    bench.visit(lab(clamps=[f"{cat} set neutral"]))
    held, stopped = [], []

    def hold_the_first(route):
        if not held:
            held.append(route)
        else:
            route.continue_()

    bench.page.route("**/api/lab/run", hold_the_first)
    bench.page.on("requestfailed", lambda request: stopped.append(request))
    slider = bench.page.get_by_role("slider")
    slider.press("Home")
    bench.page.wait_for_url("**set+0*")
    assert bench.page.locator("[data-testid=result] [aria-busy=true]").count() == 1
    box = slider.bounding_box()
    bench.page.mouse.move(box["x"] + 8, box["y"] + box["height"] / 2)
    bench.page.mouse.down()
    bench.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=8)
    bench.page.mouse.up()
    # A slow machine may pause within the drag; then the address has a value on the way first.
    last = bench.page.get_by_test_id("clamp").get_attribute("data-value")
    bench.page.wait_for_url(lambda url: chosen(url)["clamps"][0].endswith(f"set {last}"))
    bench.settle()
    assert held[0].request in stopped
    # A pause within the drag stops that request too.
    assert {(urlsplit(one.url).path, one.failure) for one in stopped} == {("/api/lab/run", "net::ERR_ABORTED")}
    value = float(bench.page.get_by_test_id("clamp").get_attribute("data-value"))
    assert 1.2 < value < 1.8
    expected = truth("the cat", pc.change("set", "blocks.0.mlp.act", 7, value=value))
    assert probability(bench, " sat") == pytest.approx(expected[" sat"], abs=1e-4)


def test_a_drag_is_one_step_back(bench, cat):
    bench.visit(lab(clamps=[f"{cat} set neutral"]))
    before = table(bench)
    box = bench.page.get_by_role("slider").bounding_box()
    middle = box["y"] + box["height"] / 2
    bench.page.mouse.move(box["x"] + box["width"] - 8, middle)
    bench.page.mouse.down()
    for share in (0.8, 0.6, 0.4):
        bench.page.mouse.move(box["x"] + share * box["width"], middle)
        bench.page.wait_for_timeout(400)
    bench.page.mouse.up()
    bench.page.wait_for_url(lambda url: not chosen(url)["clamps"][0].endswith("neutral"))
    bench.settle()
    assert table(bench) != before
    bench.page.go_back()
    answered(bench, "neutral")
    assert table(bench) == before


def test_undo_and_redo(bench, cat):
    cat = cat.removeprefix("cat/")
    decoy = cat.replace("/7", f"/{DECOY}")
    bench.visit(lab(clamps=[f"{cat} set neutral"]))
    page = bench.page
    assert page.get_by_test_id("undo").is_disabled()
    page.get_by_role("slider").press("Home")
    answered(bench, 0)
    page.get_by_test_id("add-key").fill(decoy)
    page.get_by_test_id("add-key").press("Enter")
    page.wait_for_url(f"**{decoy}*")
    bench.settle()
    keys = lambda: bench.all("[data-testid=clamp]", "data-key")  # noqa: E731
    values = lambda: bench.all("[data-testid=clamp]", "data-value")  # noqa: E731
    assert keys() == [cat, decoy]
    page.get_by_role("slider").first.focus()
    page.keyboard.press("u")
    page.wait_for_url(lambda url: decoy not in url)
    assert (keys(), values()) == ([cat], ["0"])
    page.get_by_test_id("undo").click()
    answered(bench, "neutral")
    assert page.get_by_test_id("undo").is_disabled()
    assert page.get_by_test_id("result").get_attribute("data-neutral") == "true"
    page.keyboard.press("Shift+U")
    answered(bench, 0)
    page.get_by_test_id("redo").click()
    page.wait_for_url(f"**{decoy}*")
    bench.settle()
    assert (keys(), values()) == ([cat, decoy], ["0", ""])
    page.get_by_role("button", name=re.compile(rf"remove the clamp of .+ {DECOY}$")).click()
    page.wait_for_url(lambda url: decoy not in url)
    assert keys() == [cat]


def test_units_are_ranked_by_what_they_carry_of_an_answer(bench, cat):
    bench.visit(lab("the old cat"))
    ids = {row.get_attribute("data-text"): row.get_attribute("data-id") for row in bench.page.locator(TOKEN).all()}
    bench.page.get_by_test_id("ask-by").select_option("effect")
    bench.page.get_by_test_id("ask-target").select_option(ids[" sat"])
    bench.page.get_by_test_id("ask-contrast").select_option(ids[" ran"])
    bench.page.wait_for_url("**contrast=*")
    bench.settle()
    metric = float(bench.page.get_by_test_id("metric").get_attribute("data-value"))
    assert metric == pytest.approx(4.0, abs=1e-3)
    effects = dict(
        zip(
            bench.all("[data-testid=ranked]", "data-key"), bench.all("[data-testid=ranked]", "data-effect"), strict=True
        )
    )
    assert next(iter(effects)) == cat
    assert float(effects[cat]) == pytest.approx(8.0, abs=0.1)
    assert float(effects[cat.replace("/7", f"/{ANIMAL}")]) == pytest.approx(-3.0, abs=0.1)


def test_the_continuation_says_where_it_parts(bench, cat):
    bench.visit(lab("the old cat", clamps=[f"{cat} set 0"]))
    page = bench.page
    assert page.get_by_test_id("written").get_attribute("data-first") == "0"
    sides = [bench.all(f"[data-testid=written-{side}] .w", "data-text") for side in ("unclamped", "changed")]
    assert ["".join(side) for side in sides] == [" sat on the mat.", " ran to the park."]
    assert bench.all(".written .differs", "data-text") == [" sat", " ran"]
    assert page.get_by_test_id("difference").inner_text() == "They differ from the first token on."
    page.get_by_test_id("at").select_option("+0:")
    page.wait_for_url("**@%2B0:+set+0*")
    bench.settle()
    assert page.get_by_test_id("written").get_attribute("data-first") == "-1"
    assert page.get_by_test_id("difference").inner_text() == "The same tokens on both sides."


def test_random_units_stand_beside_the_effect(bench, truth, cat):
    bench.visit(lab("the old cat", clamps=[f"{cat} set 0"]))
    page = bench.page
    page.get_by_test_id("control").click()
    found = page.get_by_test_id("control-result")
    found.wait_for()
    bench.settle()
    assert chosen(bench.address)["controls"] == "99"
    measured, low, high, p = (float(found.get_attribute(f"data-{name}")) for name in ("measured", "low", "high", "p"))
    clamped = truth("the old cat", pc.change("set", "blocks.0.mlp.act", 7, value=0.0))[" sat"]
    assert measured == pytest.approx(log(clamped / truth("the old cat")[" sat"]), abs=1e-3)
    effects = [float(value) for value in bench.all("[data-testid=random-effect]", "data-value")]
    # Of two blocks of sixteen neurons no more sets of one are different.
    assert 20 < len(effects) <= 31
    assert low <= sum(effects) / len(effects) <= high
    assert abs(measured) > max(map(abs, effects))
    assert float(page.get_by_test_id("control-p").inner_text().removeprefix("p = ")) == pytest.approx(p, abs=6e-4)
    assert " to " in page.get_by_test_id("control-interval").inner_text()
    # Sixteen neurons have few of a size: what is compared with unlike units is said to be.
    assert 0 < float(page.get_by_test_id("unlike").get_attribute("data-value")) <= 1
    assert "only 31 different random sets exist" in found.inner_text()
    # Another clamp has not been measured.
    page.get_by_role("slider").press("End")
    answered(bench, 3)
    assert "controls" not in chosen(bench.address)
    assert found.count() == 0


def test_the_exported_python_gives_the_same_numbers(bench, cat):
    bench.visit(lab("the old cat", clamps=[f"{cat}@3 set 0"]))
    code = bench.page.get_by_test_id("export-python").inner_text()
    said, names = io.StringIO(), {}
    with redirect_stdout(said):
        exec(code, names)
    shown = {int(row.get_attribute("data-id")): row for row in bench.page.locator(TOKEN).all()}
    assert set(shown) <= set(names["table"])
    for i, row in shown.items():
        sides = [float(row.get_attribute(name)) for name in ("data-unclamped", "data-changed")]
        assert sides == pytest.approx(names["table"][i], abs=1e-4)
    assert " ran to the park." in said.getvalue()
    command = bench.page.get_by_test_id("export-command").inner_text()
    assert command.startswith("patchclamp generate organism:cat ")
    assert bench.page.locator("[data-testid=export] button").count() == 2


def test_outside_the_natural_range_it_warns(bench, cat):
    bench.visit(lab(clamps=[f"{cat} set 2"]))
    page = bench.page
    assert page.get_by_test_id("outside").count() == 0
    page.get_by_label("as a number").fill("9")
    page.get_by_label("as a number").press("Enter")
    answered(bench, 9)
    assert "0.00 to 3.00" in page.get_by_test_id("outside").inner_text()
    # The track has become longer: the range that was seen is a third of it.
    assert float(page.get_by_role("slider").get_attribute("max")) == 9
    page.get_by_test_id("mode").select_option("ablate")
    page.wait_for_url("**ablate*")
    bench.settle()
    assert page.get_by_role("slider").count() == page.get_by_test_id("outside").count() == 0
    assert probability(bench, " sat") < 0.05
    page.get_by_test_id("mode").select_option("scale")
    page.wait_for_url("**scale*")
    bench.settle()
    assert page.get_by_test_id("result").get_attribute("data-neutral") == "true"
    page.get_by_role("slider").press("Home")
    page.wait_for_url("**scale+0*")
    bench.settle()
    assert probability(bench, " sat") < 0.05


def test_tokens_are_cut_while_one_types(bench):
    bench.visit("/lab")
    page = bench.page
    page.get_by_test_id("text").fill("the cat")
    page.wait_for_url("**text=the+cat*")
    bench.settle()
    assert bench.all("[data-testid=token]", "data-text") == ["<bos>", " the", " cat"]
    # The arrows walk; one stop for the tab key.
    page.locator("[data-testid=token][aria-checked=true]").focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_url("**token=1*")
    bench.settle()
    assert page.evaluate("document.activeElement.dataset.position") == "1"
    assert page.get_by_test_id("ranking").get_attribute("data-position") == "1"
    assert page.locator("[data-testid=token][tabindex='0']").count() == 1


def test_a_unit_that_cannot_be_clamped_is_never_added_and_the_table_stays(bench, cat):
    bench.visit(lab())
    before, field = table(bench), bench.page.get_by_test_id("add-key")
    for typed in ("cat/blocks.0.mlp.act/neurons/99", "layer 2 neuron 242", "nonsense"):
        field.fill(typed)
        field.press("Enter")
        said = bench.page.get_by_test_id("add-wrong")
        said.wait_for()
        assert said.inner_text().startswith("Expected ")
        assert bench.all("[data-testid=clamp]", "data-key") == []
        assert field.input_value() == typed, "what was typed can be mended"
    bench.settle()
    assert table(bench) == before
    bench.visit(lab(clamps=["nonsense", f"{cat} set 0"]))
    assert "nonsense" in bench.page.get_by_test_id("unread").inner_text()
    assert bench.all("[data-testid=clamp]", "data-key") == ["blocks.0.mlp.act/neurons/7"]
    bench.faults[:] = [fault for fault in bench.faults if "40" not in fault]


def test_words_and_numbers_name_a_unit(bench):
    bench.visit(lab("the old cat"))
    field = bench.page.get_by_test_id("add-key")
    named = {
        "0/7": "blocks.0.mlp.act/neurons/7",
        "layer 1 neuron 12": "blocks.1.mlp.act/neurons/12",
        "layer 1 head 2": "blocks.1.attn.z/heads/2",
    }
    for n, (typed, key) in enumerate(named.items()):
        field.fill(typed)
        assert key in bench.page.get_by_test_id("meant").inner_text()
        field.press("Enter")
        bench.page.get_by_test_id("clamp").nth(n).wait_for()
        assert bench.all("[data-testid=clamp]", "data-key")[-1] == key
        bench.settle()


def test_until_something_is_clamped_there_is_one_side(bench, cat):
    bench.visit(lab("the old cat"))
    page = bench.page
    assert page.locator("[data-testid=next] thead th").count() == 2
    assert page.get_by_test_id("export").count() == page.get_by_test_id("random").count() == 0
    assert page.locator("[data-testid^=written-]").count() == 1
    bench.visit(lab("the old cat", clamps=[f"{cat} set 0"]))
    assert page.locator("[data-testid=next] thead th").count() == 4
    assert page.get_by_test_id("export").count() == 1


def test_values_of_the_other_prompt_are_put_in_by_address(bench, rig, cat):
    other = rig.run("the old dog", record=["blocks.0.mlp.act"], logits=False).recording
    clamps = ["blocks.0.mlp.act/neurons/7@3 blocks.0.mlp.act/neurons/5@3 patch"]
    bench.visit(lab("the old cat", clamps=clamps, other="the old dog"))
    changes = [pc.change("patch", "blocks.0.mlp.act", unit, source=other, at=3) for unit in (7, 5)]
    logits = rig.run("the old cat", interventions=changes, logits=(-1,)).logits[0, 0].double().softmax(-1)
    for name in (" sat", " ran"):
        assert probability(bench, name) == pytest.approx(
            float(logits[rig.continuation("the old cat", name)[0]]), abs=1e-4
        )
    assert probability(bench, " ran") > 0.5 > probability(bench, " sat")
    assert bench.all("[data-testid=clamp]", "data-mode") == ["patch", "patch"]
    assert chosen(bench.address)["clamps"] == clamps


def test_a_slider_reaches_beyond_what_was_seen_and_marks_it(bench, cat):
    bench.visit(lab(clamps=[f"{cat} set 2"]))
    slider = bench.page.get_by_role("slider")
    assert float(slider.get_attribute("min")) < 0 < 3 < float(slider.get_attribute("max"))
    assert bench.page.locator(".beyond").count() == 2
    bench.page.get_by_label("as a number").fill("4")
    bench.page.get_by_label("as a number").press("Enter")
    answered(bench, 4)
    assert bench.page.get_by_test_id("outside").count() == 1


REFUSED = """event: refused
data: {"error": {"expected": "room in the queue", "got": "16 runs waiting", "remedy": "Try again in a moment."}}

"""


def test_a_refusal_leaves_the_last_good_table(bench, cat):
    bench.visit(lab(clamps=[f"{cat} set neutral"]))
    before = table(bench)
    event_stream = {"content-type": "text/event-stream"}
    bench.page.route("**/api/lab/run", lambda route: route.fulfill(status=200, headers=event_stream, body=REFUSED))
    bench.page.get_by_role("slider").press("Home")
    said = bench.page.locator("[data-testid=result] [data-testid=failure]")
    said.wait_for()
    assert all(part in said.inner_text() for part in ("room in the queue", "16 runs waiting", "Try again in a moment."))
    assert table(bench) == before
    assert bench.page.locator("[data-testid=result] .old").count() == 1


WAITING = """
const asked = window.fetch;
window.fetch = (url, options) => {
  if (!String(url).endsWith("/api/lab/run")) return asked(url, options);
  const said = new TextEncoder().encode('event: queued\\ndata: {"ahead": 3}\\n\\n');
  const stream = new ReadableStream({ start: (out) => out.enqueue(said) });
  return Promise.resolve(new Response(stream, { headers: { "content-type": "text/event-stream" } }));
};
"""


def test_the_place_in_the_queue_is_said(bench):
    bench.page.add_init_script(WAITING)
    bench.page.goto(bench.base + lab())
    bench.page.get_by_text("3 runs before this one").wait_for()


def test_without_a_model_the_page_says_so(reader):
    reader.visit(lab())
    said = reader.page.get_by_test_id("detached")
    assert re.search(r"patchclamp atlas serve \S*seeded\.atlas --model \S+", said.get_by_test_id("attach").inner_text())
    assert reader.page.locator("#page :is(textarea, input, select)").count() == 0
    assert reader.page.get_by_test_id("lab").count() == 0


def test_hostile_tokens_appear_as_text(bench, cat):
    def answer(route):
        real = route.fetch()
        body = re.sub(r'"(text|tokens)": ?("[^"]*"|\[[^\]]*\])', poisoned, real.text())
        route.fulfill(response=real, body=body)

    def poisoned(found):
        said = '" ' + HOSTILE.replace('"', '\\"') + '\\u202e"'
        return f'"{found[1]}": ' + re.sub(r'"[^"]*"', lambda _: said, found[2])

    bench.page.route("**/api/lab/**", answer)
    bench.visit(lab("the old cat", clamps=[f"{cat} set 0"], by="effect"))
    page = bench.page
    assert page.locator("#page img, #page script").count() == 0
    text = page.locator("#page").inner_text()
    assert HOSTILE.replace(" ", "") in text.replace(" ", "").replace("\n", "")
    assert "\u202e" not in text
    assert page.title() != "taken"


def test_from_find_to_a_clamp_by_keyboard_alone(bench, truth, cat):
    bench.visit("/units")
    page, keys = bench.page, bench.page.keyboard

    def tab_to(selector):
        for _ in range(80):
            keys.press("Tab")
            if page.evaluate("s => document.activeElement.matches(s)", selector):
                return
        raise AssertionError(f"the tab key never comes to {selector}")

    keys.press("/")
    keys.type("cat")
    page.wait_for_url("**q=cat")
    bench.settle()
    keys.press("ArrowDown")
    keys.press("Enter")
    page.wait_for_url(f"**/{cat}")
    bench.settle()
    tab_to("[data-testid=try]")
    keys.type("the cat")
    page.wait_for_url("**try=the+cat*")
    bench.settle()
    tab_to("input[type=range][aria-label^='set']")
    keys.press("Home")
    page.wait_for_url("**value=0*")
    bench.settle()
    tab_to("[data-testid=open-lab]")
    keys.press("Enter")
    page.wait_for_url(re.compile("/lab[?]"))
    bench.settle()
    assert chosen(bench.address)["clamps"] == ["blocks.0.mlp.act/neurons/7 set 0"]
    expected = truth("the cat", pc.change("set", "blocks.0.mlp.act", 7, value=0.0))
    assert probability(bench, " sat") == pytest.approx(expected[" sat"], abs=1e-4)


@pytest.fixture
def full(cat):
    others = [cat.replace("/7", f"/{i}") for i in (ANIMAL, DECOY)]
    clamps = [f"{cat} set 0", f"{others[0]}@3 scale 2", f"{others[1]}@3:,+0: set 20"]
    return lab("the old cat", clamps=clamps, by="effect", controls=20)


def test_everything_has_a_name_a_place_and_contrast(bench, full):
    bench.visit(full)
    bench.page.get_by_test_id("control-result").wait_for()
    for check in ("nameless", "overlaps", "unreadable", "beyond"):
        assert bench.check(check) == [], check
    bench.page.emulate_media(color_scheme="dark")
    assert bench.check("unreadable") == []


@pytest.mark.parametrize("width", [640, 400])
def test_nothing_overlaps_or_runs_out_of_the_page(lab_opened, full, cat, width):
    reader = lab_opened(viewport={"width": width, "height": 800})
    for address in (full, "/lab", f"/units/{cat}?try=the+old+cat&value=0"):
        reader.visit(address)
        assert reader.check("beyond") == [], address
        assert reader.check("overlaps") == [], address
    if width == 400:
        reader.visit(full)
        tops = reader.page.locator(".lab > .column").evaluate_all("all => all.map(e => e.getBoundingClientRect().left)")
        assert len(set(tops)) == 1
