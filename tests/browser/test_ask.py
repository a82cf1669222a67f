"""Ask explains an answer on the page: the planted circuit is found, and its address asks the same again."""

import json
import re
from urllib.parse import urlencode

import httpx
import pytest

import patchclamp as pc
from patchclamp.organisms.planted.cat import truth

QUESTION = {"prompt": "the old cat", "target": " sat", "contrast": " ran"}
HOSTILE = "<img src=x onerror=\"document.title='taken'\">"
PAIRS = "\n".join(
    json.dumps({"clean": f"the {word} cat", "corrupted": f"the {word} dog", "answer": " sat", "wrong": " ran"})
    for word in ("old", "young")
)


def ask(**question):
    return "/ask?" + urlencode(question)


@pytest.fixture
def asking(lab_opened):
    return lab_opened()


def explained(reader):
    """Wait for an explanation, and return its attributes."""
    found = reader.page.get_by_test_id("explained")
    found.wait_for()
    reader.settle()
    return {name: found.get_attribute(f"data-{name}") for name in ("id", "grade", "measured", "p")}


def test_from_a_prompt_to_the_planted_units_by_clicks(asking, lab_server):
    asking.visit("/ask")
    page = asking.page
    page.get_by_test_id("prompt").fill("the old cat")
    row = page.locator("[data-testid=likely-token]")
    row.first.wait_for()
    asking.settle()
    assert asking.all("[data-testid=tokens] .chip", "data-text") == ["<bos>", " the", " old", " cat"]
    model = pc.load("organism:cat")
    p = model.run("the old cat", logits=(-1,)).logits[0, 0].double().softmax(-1)
    sat = row.and_(page.locator("[data-text=' sat']"))
    assert float(sat.get_attribute("data-probability")) == pytest.approx(float(p.max()), abs=1e-6)
    assert page.get_by_test_id("why").is_disabled()
    assert "p = 0.01" in page.get_by_test_id("cost").inner_text()
    sat.click()
    row.and_(page.locator("[data-text=' ran']")).click()
    page.get_by_test_id("why").click()
    found = explained(asking)
    assert found["grade"] == "holds"
    by_hand = pc.explain(model, "the old cat", " sat", contrast=" ran")
    assert float(found["measured"]) == pytest.approx(by_hand.measured, abs=1e-4)
    assert page.get_by_test_id("verdict").inner_text() == by_hand.sentence
    causes = page.get_by_test_id("cause")
    assert asking.all("[data-testid=cause]", "data-key")[0] == "blocks.0.mlp.act/neurons/7@3"
    assert "Block 0 · MLP neuron 7" in causes.first.inner_text()
    # The circuit is a page like any other, and its edges are the planted ones.
    page.get_by_test_id("open-circuit").click()
    page.wait_for_url(f"**/graphs/{found['id']}*")
    asking.settle()
    graph = httpx.get(f"{lab_server}/api/graphs/{found['id']}").json()
    assert graph["graph"]["kept"] is False
    planted = truth(model)
    neurons = {node.key for node in planted.nodes if node.kind == "neuron"}
    large = {node["key"] for node in graph["nodes"] if node["kind"] == "neuron" and abs(node["score"]) > 1}
    assert large == neurons
    wanted = {(edge.source, edge.target) for edge in planted.edges if edge.source in neurons or edge.target in neurons}
    edges = {(e["source"], e["target"]) for e in graph["edges"] if abs(e["weight"]) > 1}
    assert {edge for edge in edges if neurons & set(edge)} == wanted


def test_the_page_the_command_and_python_name_the_same_causes(asking, capsys):
    from patchclamp.cli import main

    asking.visit(ask(**QUESTION))
    explained(asking)
    page = asking.page
    by_hand = pc.explain(pc.load("organism:cat"), "the old cat", " sat", contrast=" ran")
    keys = [cause.key for cause in by_hand.causes]
    assert asking.all("[data-testid=cause]", "data-node") == keys
    assert "1 cause, by integrated gradients" in page.get_by_test_id("causes").inner_text()
    measured = [float(x) for x in asking.all("[data-testid=cause]", "data-measured")]
    assert measured == pytest.approx([cause.measured for cause in by_hand.causes], abs=1e-4)
    assert main(["explain", "organism:cat", "the old cat", "--target", " sat", "--contrast", " ran", "--json"]) == 0
    assert [cause["key"] for cause in json.loads(capsys.readouterr().out)["causes"]] == keys


def test_an_answer_without_a_rival_says_what_one_logit_is(asking):
    asking.visit(ask(prompt="the old cat", target=" sat"))
    explained(asking)
    assert "m is one logit" in asking.page.get_by_test_id("cautions").inner_text()
    asking.visit(ask(**QUESTION))
    explained(asking)
    assert asking.page.get_by_test_id("cautions").count() == 0


@pytest.mark.parametrize("screen", ["ask", "lab", "heat"])
def test_nothing_starts_blank_and_one_click_begins(asking, lab_server, screen):
    explained_prompts = {row["prompt"] for row in httpx.get(f"{lab_server}/api/graphs").json()["rows"]}
    asking.visit(f"/{screen}")
    page = asking.page
    page.get_by_test_id("begin").wait_for()
    starts = page.get_by_test_id("begin-with")
    texts = starts.locator("q").all_inner_texts()
    assert explained_prompts & set(texts)
    others = [text for text in texts if text not in explained_prompts]
    begin = httpx.get(f"{lab_server}/api/atlas").json()["begin"]
    examples = ["".join(one["row"]["example"]["tokens"]) for one in begin if one["row"]["example"]]
    assert others
    assert all(any(text in example for example in examples) for text in others)
    starts.filter(has_text=others[0]).first.click()
    page.wait_for_url(re.compile("(prompt|text)="))
    asking.settle()
    assert page.locator("textarea").first.input_value() == others[0]


def test_a_text_that_ends_inside_of_a_word_begins_nothing(asking, lab_server):
    about = httpx.get(f"{lab_server}/api/atlas").json()
    one = next(one for one in about["begin"] if one["row"]["example"])

    def line(tokens, mark):
        example = {"tokens": tokens, "acts": [0.0] * len(tokens), "bytes": [], "mark": mark, "value": 1.0}
        return {**one, "row": {**one["row"], "example": example}}

    lines = [line(["<bos>", " a", " gar", "den"], 2), line(["ter", " a", " gar", "den", "."], 3)]
    asking.page.route("**/api/atlas", lambda route: route.fulfill(json={**about, "begin": lines}))
    asking.visit("/ask")
    asking.page.get_by_test_id("begin").wait_for()
    explained_prompts = {row["prompt"] for row in httpx.get(f"{lab_server}/api/graphs").json()["rows"]}
    texts = asking.page.get_by_test_id("begin-with").locator("q").all_inner_texts()
    assert [text for text in texts if text not in explained_prompts] == ["a garden"]


def test_answers_without_any_lead_to_ask_or_name_the_command(lab_opened, opened):
    for open_one, links in ((lab_opened, 1), (opened, 0)):
        reader = open_one()
        reader.page.route(
            "**/api/graphs",
            lambda route: route.fulfill(
                json={"rows": [], "total": 0, "source": {"run": "", "command": "", "python": ""}}
            ),
        )
        reader.visit("/graphs")
        said = reader.page.get_by_test_id("nothing")
        said.wait_for()
        assert "patchclamp explain organism:cat PROMPT" in said.inner_text().replace("MODEL", "organism:cat")
        assert said.get_by_test_id("to-ask").count() == links


def test_a_link_asks_the_same_again(asking, lab_opened):
    asking.visit(ask(**QUESTION))
    found = explained(asking)
    assert asking.page.get_by_test_id("prompt").input_value() == "the old cat"
    assert asking.all("[data-role=answer]", "data-text") == [" sat"]
    assert asking.all("[data-role=against]", "data-text") == [" ran"]
    other = lab_opened()
    other.visit(asking.address)
    assert explained(other) == found
    # Another choice does not ask by itself, and what is shown says that it is of the question before.
    other.page.locator("[data-testid=likely-token][data-text=' ran']").click()
    other.page.wait_for_url(lambda url: "contrast" not in url)
    assert "question before" in other.page.get_by_test_id("explained").inner_text()


def test_where_the_model_says_something_else_the_page_says_so(asking):
    asking.visit(ask(prompt="the old cat", target=" ran", contrast=" sat"))
    explained(asking)
    said = asking.page.get_by_test_id("cautions").inner_text()
    assert "would rather say ' sat'" in said
    assert "%" not in asking.page.get_by_test_id("verdict").inner_text()


def test_all_causes_at_once_and_the_other_prompts_values_turn_the_answer(asking):
    asking.visit(ask(**QUESTION, counterpart="the old dog"))
    explained(asking)
    page = asking.page
    page.get_by_test_id("clamp-other").click()
    page.wait_for_url(re.compile("/lab[?]"))
    asking.settle()
    likely = page.locator("[data-testid=next-token]")
    assert likely.first.get_attribute("data-text") == " ran"
    assert page.get_by_test_id("difference").inner_text() == "They differ from the first token on."
    # The random sets are measured without being asked for.
    page.get_by_test_id("control-result").wait_for()
    asking.settle()
    assert float(page.get_by_test_id("control-result").get_attribute("data-p")) < 0.05
    page.go_back()
    explained(asking)
    page.get_by_test_id("clamp-zero").click()
    page.wait_for_url("**ablate*")
    asking.settle()
    assert likely.first.get_attribute("data-text") == " ran"


def test_a_random_unit_is_no_evidence(asking, cat):
    asking.visit("/lab?" + urlencode({"text": "the old cat", "clamp": "blocks.0.mlp.act/neurons/12 ablate"}))
    asking.page.get_by_test_id("control").click()
    asking.page.get_by_test_id("control-result").wait_for()
    asking.settle()
    assert asking.page.get_by_test_id("verdict").inner_text().startswith("No evidence")


def test_progress_is_told_and_stop_stops(asking):
    page = asking.page
    # The answer is held, as that of a larger model would be.
    page.route("**/api/lab/explain", lambda route: None)
    asking.visit(ask(prompt="the old cat"))
    page.locator("[data-testid=likely-token][data-text=' sat']").click()
    page.get_by_test_id("why").click()
    page.get_by_test_id("meter").wait_for()
    with page.expect_event("requestfailed", lambda request: request.url.endswith("/api/lab/explain")) as stopped:
        page.get_by_test_id("stop").click()
    page.get_by_test_id("meter").wait_for(state="detached")
    assert stopped.value.failure == "net::ERR_ABORTED"


def test_what_cannot_be_explained_is_said_in_three_parts(asking):
    asking.visit(ask(prompt="the old cat", target=" sat", contrast=" sat"))
    said = asking.page.get_by_test_id("failure")
    said.wait_for()
    assert "what to do" in said.inner_text()
    asking.faults[:] = [fault for fault in asking.faults if "400" not in fault]


def test_pairs_say_their_cost_first_and_their_circuit_holds_the_planted_neuron(asking):
    asking.visit("/ask?over=pairs")
    page = asking.page
    assert page.get_by_test_id("find").is_disabled()
    page.get_by_test_id("pairs-text").fill(PAIRS)
    page.get_by_test_id("pairs-level").select_option("neuron")
    read = page.get_by_test_id("pairs-read")
    read.wait_for()
    assert read.get_attribute("data-pairs") == "2"
    assert "rows of forward passes" in page.get_by_test_id("pairs-cost").inner_text()
    page.get_by_test_id("find").click()
    explained(asking)
    assert asking.all("[data-testid=cause]", "data-key")[0] == "blocks.0.mlp.act/neurons/7"
    page.get_by_test_id("open-circuit").click()
    page.wait_for_url("**/graphs/asked-*")
    asking.settle()


def test_hostile_text_appears_as_text(asking):
    asking.visit(ask(prompt=f"the {HOSTILE} old cat", target=" sat", contrast=" ran"))
    explained(asking)
    assert asking.page.locator("#page img, #page script").count() == 0
    assert asking.page.title() != "taken"


@pytest.mark.parametrize("width", [1280, 400])
def test_everything_has_a_name_a_place_and_contrast(lab_opened, width):
    reader = lab_opened(viewport={"width": width, "height": 800})
    for address in (ask(**QUESTION, counterpart="the old dog"), "/ask?over=pairs", "/ask"):
        reader.visit(address)
        if "target" in address:
            explained(reader)
        for check in ("nameless", "overlaps", "unreadable", "beyond"):
            assert reader.check(check) == [], (address, check)
        reader.page.emulate_media(color_scheme="dark")
        assert reader.check("unreadable") == []
        reader.page.emulate_media(color_scheme="light")


def test_without_a_model_it_says_how_to_have_one(reader):
    reader.visit("/ask")
    assert "--model organism:cat" in reader.page.get_by_test_id("attach").inner_text()
