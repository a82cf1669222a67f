"""Explaining from the page: what it answers is what Python gives; whoever leaves stops it; what is remembered opens."""

import json
import threading

import httpx
import numpy as np
import pytest

import patchclamp as pc
from lab_bench import Bench, heard, only
from patchclamp.atlas.lab import explain_messages as explaining
from patchclamp.atlas.lab.asked_graphs import MOST_GRAPHS, AskedGraphs
from patchclamp.atlas.lab.explain_job import prepare_explanation
from patchclamp.atlas.lab.job_queue import FairLock, Job
from patchclamp.organisms.planted.cat import truth

HOSTILE = "<img src=x onerror=alert(1)>"
ASKED = {"prompt": "the old cat", "target": " sat", "contrast": " ran", "top": 4}
PAIRS = "\n".join(
    json.dumps({"clean": f"the {word} cat", "corrupted": f"the {word} dog", "answer": " sat", "wrong": " ran"})
    for word in ("old", "young", "big")
)


@pytest.fixture(scope="module")
def bench(seeded_atlas, cat):
    return Bench(seeded_atlas, cat)


@pytest.fixture(scope="module")
def events(bench):
    return heard(bench.post("/api/lab/explain", **ASKED))


@pytest.fixture(scope="module")
def explained(events):
    return only(events, "explained")


@pytest.fixture(scope="module")
def by_hand(cat):
    return pc.explain(cat, ASKED["prompt"], " sat", contrast=" ran", top=4)


# -- one answer -------------------------------------------------------------------------------------------------------


def test_an_explanation_is_what_python_gives(events, explained, by_hand):
    names = [name for name, _ in events]
    assert names[0] == "queued"
    assert names[-2:] == ["explained", "finished"]
    row = explained["graph"]
    assert row["measured_together"] == pytest.approx(by_hand.measured, abs=1e-4)
    assert row["p"] == pytest.approx(by_hand.receipts.receipt.p)
    assert (row["grade"], row["sentence"]) == (by_hand.verdict, by_hand.sentence)
    assert row["cautions"] == list(by_hand.cautions)
    told = [(one["key"], one["predicted"], one["measured"], one["token"]) for one in explained["causes"]]
    assert told == [
        (c.key, pytest.approx(c.predicted, rel=1e-4), pytest.approx(c.measured, rel=1e-4), c.token)
        for c in by_hand.causes
    ]
    assert explained["causes"][0]["name"] == "Block 0 · MLP neuron 7"


def test_progress_never_falls_back_and_says_how_long_it_takes(events):
    shares = [data["share"] for name, data in events if name == "progressed"]
    assert shares == sorted(shares)
    assert 0 < shares[0] <= shares[-1] <= 1
    assert all(data["left"] >= 0 for name, data in events if name == "progressed")


def test_the_planted_units_are_found_and_hold(explained, cat):
    planted = {node.key for node in truth(cat).nodes if node.kind == "neuron" and node.score > 0}
    found = {one["key"] for one in explained["causes"] if one["measured"] > 1}
    assert found == planted
    assert explained["graph"]["grade"] == "holds"


def test_what_was_explained_once_is_remembered_and_opens_like_any_other(bench, explained):
    again = heard(bench.post("/api/lab/explain", **ASKED))
    assert [name for name, _ in again] == ["queued", "explained", "finished"], "nothing is computed again"
    id = explained["graph"]["id"]
    assert id == only(again, "explained")["graph"]["id"] == only(again, "finished")["id"]
    page = bench.get(f"/api/graphs/{id}").json()
    assert page["graph"] == explained["graph"]
    assert page["graph"]["kept"] is False
    assert {one["key"] for one in explained["causes"]} <= {node["key"] for node in page["nodes"]}
    listed = bench.get("/api/graphs").json()["rows"]
    assert [row["id"] for row in listed if not row["kept"]] == [id]
    assert len(listed) > 1


def test_pages_are_asked_for_anew_once_an_answer_was_explained(seeded_atlas, cat):
    own = Bench(seeded_atlas, cat)
    before = own.get("/api/graphs").headers["etag"]
    heard(own.post("/api/lab/explain", **(ASKED | {"top": 1})))
    answer = own.request(("GET", "/api/graphs", {"headers": {"if-none-match": before}}))[0]
    assert answer.status_code == 200
    assert answer.headers["etag"] != before


def test_remembered_answers_can_be_verified_and_made_again(bench, explained):
    id, key = explained["graph"]["id"], explained["causes"][0]["key"]
    events = heard(bench.post("/api/lab/verify", graph=id, nodes=[key]))
    found = only(events, "verified")
    assert found["measured"] == pytest.approx(explained["causes"][0]["measured"], abs=1e-4)
    said = {}
    exec(compile(only(events, "finished")["python"], "export", "exec"), said)
    assert said["found"].measured == pytest.approx(found["measured"], abs=1e-5)


def test_a_random_unit_is_no_evidence(bench, cat):
    planted = {f"{node.key.rpartition('@')[0]}" for node in truth(cat).nodes if node.kind == "neuron"}
    others = [f"cat/blocks.0.mlp.act/neurons/{i}" for i in np.random.default_rng(0).permutation(16)]
    drawn = next(key for key in others if key not in planted)
    events = bench.run(ASKED["prompt"], clamps=[{"key": drawn, "mode": "ablate"}], controls=99)
    assert only(events, "control")["grade"] == "no evidence"
    planted_events = bench.run(
        ASKED["prompt"], clamps=[{"key": "cat/blocks.0.mlp.act/neurons/7", "mode": "ablate"}], controls=99
    )
    assert only(planted_events, "control")["grade"] != "no evidence"


def test_what_is_forgotten_says_what_to_press(bench):
    answer = bench.get("/api/graphs/asked-0000000000000000")
    assert answer.status_code == 404
    assert "Why?" in answer.json()["error"]["remedy"]
    bare = bench.get("/api/graphs/graph-0000000000000000").json()["error"]
    assert bare["remedy"].startswith("It has graph-")


def test_only_the_last_answers_are_remembered(bench, explained):
    from dataclasses import replace

    kept, one = AskedGraphs(most=2), bench.lab.asked.find(explained["graph"]["id"])
    for i in range(3):
        kept.keep(replace(one, id=f"asked-{i}"))
    assert [own.id for own in kept.all] == ["asked-2", "asked-1"]
    assert kept.get("asked-0") is None
    assert bench.lab.asked.most == MOST_GRAPHS


def test_where_the_model_says_something_else_the_answer_says_so(bench):
    events = heard(bench.post("/api/lab/explain", **(ASKED | {"target": " ran", "contrast": None})))
    [caution] = [one for one in only(events, "explained")["graph"]["cautions"] if "rather say" in one]
    assert "' sat'" in caution


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"contrast": " sat"}, "contrast"),
        ({"counterpart": "the dog"}, "tokens"),
        ({"counterpart": "the old cat"}, "same tokens"),
        ({"target": f" {HOSTILE}"}, "vocabulary"),
        ({"prompt": "cat " * 500}, "tokens"),
        ({"top": 21}, "top"),
        ({"top": True}, "top"),
        ({"controls": 5}, "controls"),
        ({"prompt": ""}, "prompt"),
        ({"more": 1}, "more"),
        ({"target": "x" * 201}, "target"),
    ],
)
def test_what_cannot_be_explained_is_refused_before_any_work(bench, change, words):
    answer = bench.post("/api/lab/explain", **(ASKED | change))
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert words in " ".join(error.values())


def test_a_hostile_prompt_is_explained_as_text(bench):
    events = heard(bench.post("/api/lab/explain", **(ASKED | {"prompt": f"the {HOSTILE} old cat"})))
    assert only(events, "explained")["graph"]["prompt"].startswith("the ")
    assert HOSTILE in only(events, "finished")["command"]


def test_whoever_leaves_stops_the_replacements(bench):
    told = []
    asked = explaining.ExplainAsked(**(ASKED | {"top": 3}))
    work = prepare_explanation(bench.lab, bench.atlas.reading, asked)

    def hear(event):
        told.append(event)
        if type(event).__name__ == "Progressed" and event.share > 0.5:  # the scores are done, replacements have begun
            job.leave()

    job = Job(work, hear, bench.lab.turns, 60)
    job.run()
    assert told[-1] is None
    assert not any(type(event).__name__ in ("Explained", "Finished", "Refused") for event in told)
    assert not bench.lab.turns._held
    assert not bench.lab.words._held
    assert bench.lab.asked.get("asked-" + bench.lab.id_of(asked)) is None


def test_others_have_the_model_between_two_passes_of_a_long_answer():
    turns, order = FairLock(), []
    begun = threading.Event()

    def other():
        begun.set()
        with turns:
            order.append("other")

    def work(job):
        with job.long_turn() as give_way:
            order.append("first pass")
            thread = threading.Thread(target=other)
            thread.start()
            begun.wait(10)
            while not turns._waiting:
                pass
            give_way()
            order.append("second pass")
        thread.join()

    Job(work, lambda event: None, turns, 60).run()
    assert order == ["first pass", "other", "second pass"]


# -- what is shown before ----------------------------------------------------------------------------------------------


def test_next_tokens_are_the_models_and_the_cost_is_told(bench, cat):
    found = bench.get("/api/lab/next", text="the old cat").json()
    probabilities = cat.run("the old cat", logits=(-1,)).logits[0, 0].double().softmax(-1)
    assert found["cut"]["tokens"] == ["<bos>", " the", " old", " cat"]
    assert [row["probability"] for row in found["rows"]] == pytest.approx(
        probabilities.topk(len(found["rows"])).values.tolist()
    )
    assert found["rows"][0]["token"]["text"] == " sat"
    # Two blocks of sixteen neurons and four heads at four tokens.
    assert found["cost"]["units"] == 2 * (16 + 4) * 4
    assert (found["cost"]["sets"], found["cost"]["least_p"]) == (99, 0.01)


# -- pairs ------------------------------------------------------------------------------------------------------------


def test_pairs_say_what_they_take_and_their_circuit_is_what_python_gives(bench, cat, tmp_path):
    read = bench.post("/api/lab/pairs", pairs=PAIRS, level="neuron").json()
    assert (read["pairs"], read["aside"], read["reversed"]) == (3, [], 0)
    assert read["parts"] == 2 * (16 + 4)
    assert read["forward"] > 0
    assert 0 < read["seconds"] < read["most_seconds"]
    events = heard(bench.post("/api/lab/circuit", pairs=PAIRS, level="neuron"))
    assert "progressed" in [name for name, _ in events]
    told = only(events, "explained")
    (tmp_path / "pairs.jsonl").write_text(PAIRS)
    found = pc.find_circuit(cat, pc.read_task(tmp_path / "pairs.jsonl"), level="neuron")
    receipt = found.provenance.extra["receipt"]
    assert [one["key"].partition("/")[2] for one in told["causes"]] == receipt["parts"]
    assert told["graph"]["measured_together"] == pytest.approx(receipt["measured"], abs=1e-4)
    assert told["graph"]["grade"] == receipt["verdict"]
    page = bench.get(f"/api/graphs/{told['graph']['id']}").json()
    assert page["about"]["n_pairs"] == 3


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ("nothing", "column"),
        (f'{{"clean": "{HOSTILE}"}}', "corrupted"),
        ("{" * 2000, "JSON object"),
        ("\n".join([PAIRS.split("\n")[0]] * 65), "64 pairs"),
        ("x" * 60_001, "pairs"),
        ('{"clean": "the old cat", "corrupted": "the dog", "answer": " sat", "wrong": " ran"}', "corrupted prompt"),
    ],
)
def test_pairs_that_cannot_be_read_are_refused(bench, pairs, words):
    answer = bench.post("/api/lab/pairs", pairs=pairs)
    assert answer.status_code == 400
    assert words in " ".join(answer.json()["error"].values())
    begun = bench.post("/api/lab/circuit", pairs=pairs)
    error = begun.json()["error"] if begun.status_code == 400 else only(heard(begun), "refused")["error"]
    assert words in " ".join(error.values())


def test_without_a_model_nothing_is_explained(seeded_atlas):
    bare = Bench(seeded_atlas, None)
    refused = [
        bare.post("/api/lab/explain", **ASKED),
        bare.post("/api/lab/pairs", pairs=PAIRS),
        bare.post("/api/lab/circuit", pairs=PAIRS),
        bare.get("/api/lab/next", text="the"),
        bare.get("/api/graphs/asked-0000000000000000"),
    ]
    assert {answer.status_code for answer in refused} == {404}
    assert isinstance(refused[0], httpx.Response)


def test_the_first_page_asks_the_best_answer_that_the_atlas_keeps(seeded_atlas):
    from dataclasses import replace
    from urllib.parse import parse_qs, urlsplit

    from patchclamp.atlas.serve.start import start_address

    reading = pc.atlas.open(seeded_atlas).reading
    found = urlsplit(start_address("http://127.0.0.1:1/?token=abc#write=def", reading))
    assert (found.path, found.fragment) == ("/ask", "write=def")
    asked = parse_qs(found.query)
    grades = {
        layer.graph.about["prompt"]: layer.graph.about.get("grade")
        for layer in reading.layers
        if layer.graph and layer.graph.about.get("grade")
    }
    best = min(grades.values(), key=["holds", "weak", "no evidence"].index)
    assert grades[asked["prompt"][0]] == best
    assert asked["token"] == ["abc"]
    reading.layers = [replace(layer, graph=None) for layer in reading.layers]
    assert start_address("http://127.0.0.1:1/", reading) == ""
