"""The lab: what it answers is what Python gives; whoever leaves is forgotten; nobody hears another's answer."""

import json
import shlex
import subprocess
import sys
import threading
import time

import httpx
import numpy as np
import pytest
import uvicorn

import patchclamp as pc
from lab_bench import Bench, heard, only
from patchclamp.atlas.lab import MOST_RUNS, Lab, messages
from patchclamp.atlas.lab.job_queue import FairLock, QueueFull, Worker
from patchclamp.atlas.lab.random_controls import compare
from patchclamp.atlas.lab.verify import verify
from patchclamp.attribute import attribute_nodes
from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.core.graph import Edge, Graph
from patchclamp.core.metric import Metric

CAT = "cat/blocks.0.mlp.act/neurons/7"
DECOY = "cat/blocks.0.mlp.act/neurons/3"
TEXT = "the old cat"
PATIENCE_S = 60


def clamp(key=CAT, mode="set", value=0.0, at=""):
    return {"key": key, "mode": mode, "value": value, "at": at}


@pytest.fixture(scope="module")
def bench(seeded_atlas, cat):
    return Bench(seeded_atlas, cat)


@pytest.fixture(scope="module")
def world(tmp_path_factory, organism):
    """The trained organism beside an atlas of one of its sites."""
    folder = tmp_path_factory.mktemp("world")
    model = organism("language-gpt2")
    from patchclamp.organisms import language

    text = folder / "text.txt"
    text.write_text("\n".join(d.stimulus.text for d in language.text(8, seed=1)) + "\n")
    pc.atlas.bake_atlas(
        model,
        pc.Corpus(text, max_tokens=200),
        folder / "world.atlas",
        sites="blocks.1.mlp.act",
        name="organism:language-gpt2",
    )
    return Bench(folder / "world.atlas", model)


# -- without a model --------------------------------------------------------------------------------------------------


def test_without_a_model_the_remedy_can_be_typed(seeded_atlas):
    bare = Bench(seeded_atlas, None)
    answer = bare.get("/api/lab")
    assert answer.status_code == 200
    assert "etag" not in answer.headers
    page = answer.json()
    assert page["attached"] is False
    assert shlex.split(page["remedy"]) == [
        "patchclamp", "atlas", "serve", str(seeded_atlas.resolve()), "--model", "organism:cat"
    ]  # fmt: skip
    refused = [bare.get("/api/lab/tokens", text="cat"), bare.get("/api/lab/rank", text="cat", position=0),
               bare.post("/api/lab/run", text="cat"), bare.post("/api/lab/verify", graph="g", nodes=["n"]),
               bare.get("/api/lab/runs/none")]  # fmt: skip
    assert [(r.status_code, sorted(r.json()["error"])) for r in refused] == [(404, ["expected", "got", "remedy"])] * 5


def test_another_models_atlas_is_refused(world, seeded_atlas):
    with pytest.raises(PatchclampError, match=r"an atlas of language-gpt2 \(\w{12}\); got one of "):
        Lab(world.model, pc.atlas.open(seeded_atlas).reading)


# -- answered at once -------------------------------------------------------------------------------------------------


def test_the_page_and_the_tokens_are_the_models(bench, cat):
    page = bench.get("/api/lab").json()
    assert (page["attached"], page["model"], page["context"]) == (True, "organism:cat", cat.context)
    cut = bench.get("/api/lab/tokens", text=TEXT).json()
    assert cut["ids"] == cat.tokenize(TEXT).ids.tolist()
    assert (cut["tokens"], cut["special"]) == (["<bos>", " the", " old", " cat"], [0])


def test_ranks_are_of_the_recording_and_of_the_attribution(bench, cat):
    found = bench.get("/api/lab/rank", text=TEXT, position=3, limit=40).json()
    recording = cat.run(TEXT, record=["blocks.0.mlp.act", "blocks.1.mlp.act"], logits=False).recording
    values = {unit["key"]: unit["value"] for unit in found["units"]}
    for site in ("blocks.0.mlp.act", "blocks.1.mlp.act"):
        for i, x in enumerate(np.asarray(recording[site])[3]):
            assert values[f"cat/{site}/neurons/{i}"] == pytest.approx(float(x), rel=1e-5)
    assert [u["value"] for u in found["units"]] == sorted(values.values(), reverse=True)
    assert found["total"] == len(values) == 40
    first = next(unit for unit in found["units"] if unit["key"] == CAT)
    assert first["maximum"] == 3.0
    assert first["label"].startswith('fires on " cat"')

    sat, ran = (cat.continuation("the", word)[0] for word in (" sat", " ran"))
    by = {"text": TEXT, "position": 3, "by": "effect", "target": sat, "contrast": ran, "limit": 5}
    found = bench.get("/api/lab/rank", **by).json()
    expected = attribute_nodes(cat, TEXT, Metric("logit_difference", (sat,), (ran,)), method="relp")
    assert found["units"][0]["key"] == CAT
    for unit in found["units"]:
        assert unit["effect"] == pytest.approx(expected.score(pc.UnitKey.parse(f"{unit['key']}@3")), rel=1e-5)
    assert found["metric"] == pytest.approx(expected.metric_clean, rel=1e-5)
    assert "RelP" in found["method"]
    one = bench.get("/api/lab/rank", text=TEXT, position=3, site="blocks.1.mlp.act").json()
    assert one["total"] == 16


def test_where_relp_is_not_derived_the_answer_says_what_took_its_place(bench, monkeypatch):
    def without_rules(*args, method, **options):
        if method == "relp":
            raise CannotIntervene(expected="rules", got="none", remedy="Use atp.")
        return attribute_nodes(*args, method=method, **options)

    monkeypatch.setattr("patchclamp.atlas.lab.unit_ranking.attribute_nodes", without_rules)
    found = bench.get("/api/lab/rank", text=TEXT, position=3, by="effect").json()
    assert found["method"] == "attribution patching"
    assert found["units"]


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"position": 4}, 400),
        ({"position": 3, "site": "blocks.9.mlp.act"}, 404),
        ({"position": 3, "by": "effect", "target": 10**6}, 400),
        ({"position": 3, "by": "effect", "target": 5, "contrast": 5}, 400),
        ({"position": 3, "text": "cat " * 500}, 400),
    ],
)
def test_ranks_that_cannot_be(bench, params, status):
    answer = bench.get("/api/lab/rank", **({"text": TEXT} | params))
    assert answer.status_code == status
    assert all(answer.json()["error"].values())


# -- runs -------------------------------------------------------------------------------------------------------------


def same_as_python(bench, text, asked, changes, now=None):
    """Compare a run with the Python API: the table to the bit, the continuation to the token."""
    model = bench.model
    events = bench.run(text, **asked)
    table = only(events, "table")
    place = (len(model.tokenize(text)) - 1,)
    bare, changed = (
        model.run(text, interventions=on, logits=place).logits[0, 0].double()
        for on in ([], changes if now is None else now)
    )
    p, q = bare.softmax(-1), changed.softmax(-1)
    for row in table["rows"]:
        i = row["id"]
        assert (row["unclamped"], row["changed"]) == (float(p[i]), float(q[i]))
        assert (row["unclamped_logit"], row["changed_logit"]) == (float(bare[i]), float(changed[i]))
    top = asked.get("top", 10)
    wanted = {*p.topk(top).indices.tolist(), *q.topk(top).indices.tolist()}
    assert {row["id"] for row in table["rows"]} == wanted
    assert [row["changed"] for row in table["rows"]] == sorted((float(q[i]) for i in wanted), reverse=True)
    assert table["divergence"] == pytest.approx(float((p * (p / q).log()).sum()), abs=1e-9)
    n = asked.get("new_tokens", 0)
    if n:
        steps = [data for name, data in events if name == "step"]
        for side, on in (("unclamped", []), ("changed", changes)):
            told = [step[side]["id"] for step in steps if step[side] is not None]
            assert told == model.generate(text, interventions=on, max_new_tokens=n)[0].ids.tolist()
    return events


@pytest.mark.parametrize(
    ("clamps", "changes"),
    [
        ([clamp()], [pc.change("set", "blocks.0.mlp.act", 7, value=0.0)]),
        ([clamp(at="3")], [pc.change("set", "blocks.0.mlp.act", 7, value=0.0, at=3)]),
        ([clamp(value=2.5, mode="add", at="1:3")], [pc.change("add", "blocks.0.mlp.act", 7, value=2.5, at="1:3")]),
        ([clamp(mode="scale", value=-1)], [pc.change("scale", "blocks.0.mlp.act", 7, value=-1.0)]),
        ([clamp(mode="ablate", value=None, at="-1")], [pc.change("ablate", "blocks.0.mlp.act", 7, at=-1)]),
        (
            [clamp("blocks.0.attn.z/heads/0", "scale", 0), clamp(DECOY, "set", 9, "0:2")],
            [
                pc.change("scale", "blocks.0.attn.z", 0, value=0.0, basis="heads"),
                pc.change("set", "blocks.0.mlp.act", 3, value=9.0, at="0:2"),
            ],
        ),
    ],
)
def test_a_run_is_what_python_gives(bench, clamps, changes):
    events = same_as_python(bench, TEXT, {"clamps": clamps, "new_tokens": 4, "top": 5}, changes)
    assert [name for name, _ in events][:2] == ["queued", "table"]
    assert events[-1][0] == "finished"


def test_a_run_of_a_trained_model_is_what_python_gives(world):
    text = "anna has a red ball . tom has"
    asked = {"clamps": [clamp("blocks.1.mlp.act/neurons/5", "set", 6.0)], "new_tokens": 12, "top": 7}
    same_as_python(world, text, asked, [pc.change("set", "blocks.1.mlp.act", 5, value=6.0)])


def test_what_waits_for_generated_tokens_leaves_the_next_token_alone(bench):
    late = pc.change("set", "blocks.0.mlp.act", 5, value=8.0, at="+1:")
    asked = {"clamps": [clamp("blocks.0.mlp.act/neurons/5", "set", 8.0, "+1:")], "new_tokens": 4}
    table = only(same_as_python(bench, TEXT, asked, [late], now=[]), "table")
    assert table["neutral"] is True
    [told] = table["clamps"]
    assert told["before"] == told["after"]
    assert told["outside"] is True, "8 is beyond what the atlas saw, wherever it is set"
    both = pc.change("set", "blocks.0.mlp.act", 7, value=0.0, at="3,+0:")
    now = pc.change("set", "blocks.0.mlp.act", 7, value=0.0, at="3")
    same_as_python(bench, TEXT, {"clamps": [clamp(at="3,+0:")], "new_tokens": 4}, [both], now=[now])


def test_sliders_at_neutral_give_the_baseline_itself(bench):
    neutral = [clamp(value=None), clamp(mode="add", value=0), clamp(mode="scale", value=1)]
    bare, moved = bench.run(new_tokens=3), bench.run(clamps=neutral, new_tokens=3, controls=20)
    table = only(moved, "table")
    assert table["rows"] == only(bare, "table")["rows"]
    assert (table["neutral"], table["divergence"], table["clamps"]) == (True, 0.0, [])
    assert all(row["changed"] == row["unclamped"] and row["delta"] == 0 for row in table["rows"])
    assert all(step["unclamped"] == step["changed"] for name, step in moved if name == "step")
    assert "control" not in [name for name, _ in moved], "where nothing is clamped there is nothing to compare"


def test_a_clamp_says_what_it_did_along_the_prompt(bench):
    [told] = only(bench.run(clamps=[clamp(value=5, at="2")]), "table")["clamps"]
    assert told["key"] == CAT
    assert told["before"] == pytest.approx([0, 0, 0, 3], abs=1e-5)
    assert told["after"] == pytest.approx([0, 0, 5, 3], abs=1e-5)
    assert told["outside"] is True
    [inside] = only(bench.run(clamps=[clamp(value=3, at="2")]), "table")["clamps"]
    assert inside["outside"] is False


def test_what_was_found_once_is_not_computed_again(bench, monkeypatch):
    bench.run(clamps=[clamp(value=1.25)], new_tokens=3)
    seen = []
    run, steps = type(bench.model).run, type(bench.model).steps
    monkeypatch.setattr(type(bench.model), "run", lambda *a, **k: seen.append("run") or run(*a, **k))
    monkeypatch.setattr(type(bench.model), "steps", lambda *a, **k: seen.append("steps") or steps(*a, **k))
    bench.run(clamps=[clamp(value=1.5)], new_tokens=3)
    assert seen == ["run", "steps"], "a dragged slider costs the changed side alone"


def test_the_export_gives_the_same_numbers(bench, tmp_path):
    clamps = [
        clamp(value=0.1, at="3,+0:"),
        clamp("blocks.0.attn.z/heads/0", "scale", 0.5),
        clamp(DECOY, "ablate", None),
    ]
    events = bench.run(clamps=clamps, new_tokens=4, controls=20, seed=3)
    said = {}
    exec(compile(only(events, "finished")["python"], "export", "exec"), said)
    rows = {row["id"]: (row["unclamped"], row["changed"]) for row in only(events, "table")["rows"]}
    assert said["table"] == rows
    control = only(events, "control")
    assert said["control"].randoms == pytest.approx(control["randoms"], abs=1e-5)
    assert said["control"].measured == pytest.approx(control["measured"], abs=1e-5)
    steps = [data for name, data in events if name == "step"]
    ids = {side: [s[side]["id"] for s in steps if s[side]] for side in ("unclamped", "changed")}
    assert (said["without"].ids.tolist(), said["clamped"].ids.tolist()) == (ids["unclamped"], ids["changed"])

    words = shlex.split(only(events, "finished")["command"])
    assert words[0] == "patchclamp"
    command = [sys.executable, "-m", *words, "--json"]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert (told["unclamped"]["ids"], told["clamped"]["ids"]) == (ids["unclamped"], ids["changed"])


def test_a_prompt_that_looks_like_an_option_is_exported_as_a_prompt(bench):
    words = shlex.split(only(bench.run("--help the cat"), "finished")["command"])
    from patchclamp.cli import build_parser

    options = build_parser().parse_args(words[1:])
    assert (options.model, options.prompt, options.max_new_tokens) == ("organism:cat", "--help the cat", 1)


def test_a_run_is_kept_under_the_name_of_its_question(bench):
    events = bench.run(clamps=[clamp(value=0.75)], new_tokens=2)
    id = only(events, "finished")["id"]
    kept = bench.get(f"/api/lab/runs/{id}").json()
    assert (kept["table"], kept["finished"]) == (only(events, "table"), only(events, "finished"))
    assert len(kept["steps"]) == 2
    assert kept["asked"]["clamps"][0]["value"] == 0.75
    assert only(bench.run(clamps=[clamp(value=0.75)], new_tokens=2), "finished")["id"] == id
    assert only(bench.run(clamps=[clamp(value=0.5)], new_tokens=2), "finished")["id"] != id
    assert bench.get("/api/lab/runs/none").status_code == 404


def test_the_oldest_runs_are_forgotten(bench):
    lab = Lab(bench.model, bench.atlas.reading)
    asked = messages.RunAsked("a")
    for i in range(MOST_RUNS + 1):
        lab.keep(messages.LabRun(str(i), asked, None, [], None, messages.Finished(str(i), 0.0, "", "")))
    lab.keep(messages.LabRun("200", asked, None, [], None, None))
    assert lab.find_run("200").finished is not None, "a whole run is not replaced by a broken one"
    assert lab.find_run("1").id == "1"
    with pytest.raises(PatchclampError, match="last 200"):
        lab.find_run("0")


def test_numbers_that_are_none_are_none(bench):
    events = bench.run(clamps=[clamp("blocks.1.mlp.act/neurons/0", "set", 3e38), clamp(mode="scale", value=1e38)])
    assert events[-1][0] == "finished"
    assert all(row["unclamped"] is not None for row in only(events, "table")["rows"])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"text": ""}, 400),
        ({"text": "x" * 4001}, 400),
        ({"text": "cat " * 300}, 400),
        ({"text": TEXT, "new_tokens": 101}, 400),
        ({"text": "cat " * 250, "new_tokens": 10}, 400),
        ({"text": TEXT, "clamps": [clamp()] * 33}, 400),
        ({"text": TEXT, "controls": 201}, 400),
        ({"text": TEXT, "target": 10**6}, 400),
        ({"text": TEXT, "top": "5"}, 400),
        ({"text": TEXT, "top": True}, 400),
        ({"text": TEXT, "clamp": []}, 400),
        ({"text": TEXT, "clamps": [clamp() | {"more": 1}]}, 400),
        ({"text": TEXT, "clamps": [clamp(mode="patch")]}, 400),
        ({"text": TEXT, "clamps": [clamp(at="5:3")]}, 400),
        ({"text": TEXT, "clamps": [clamp(f"{CAT}@3")]}, 400),
        ({"text": TEXT, "clamps": [clamp("blocks.0.attn.pattern/heads/0")]}, 400),
        ({"text": TEXT, "clamps": [clamp("dog/blocks.0.mlp.act/neurons/7")]}, 404),
        ({"text": TEXT, "clamps": [clamp("blocks.0.mlp.act/neurons/400")]}, 404),
        ({"text": TEXT, "clamps": [clamp("blocks.0.mlp.act/features/1")]}, 404),
        ({"text": TEXT, "clamps": [clamp("module.transformer.out/neurons/1")]}, 404),
        ({"text": TEXT, "clamps": [clamp("<img src=x>")]}, 404),
        ([1], 400),
    ],
)
def test_what_cannot_be_run_is_told_in_three_parts(bench, body, status):
    answer = bench.request(("POST", "/api/lab/run", {"json": body}))[0]
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"expected", "got", "remedy"}
    assert all(error.values())


@pytest.mark.parametrize(
    "raw",
    [b"{", b"\xff\xfe", b"[" * 50_000, b'{"text": "a", "seed": ' + b"9" * 5000 + b"}", b'{"text": "\\ud800"}',
     b'{"text": "a", "clamps": [{"key": "a/b/1", "value": NaN}]}', b'{"text": "a", "clamps": [{"key": "a/b/1", '
     b'"value": 1e999}]}', b"null", b""],
)  # fmt: skip
def test_bodies_that_are_no_question_are_told_too(bench, raw):
    how = {"content": raw, "headers": {"content-type": "application/json"}}
    answer = bench.request(("POST", "/api/lab/run", how))[0]
    assert answer.status_code == 400
    assert all(answer.json()["error"].values())


def test_trouble_that_shows_late_ends_the_stream_in_three_parts(bench):
    name, data = bench.run(clamps=[clamp(at="40")])[-1]
    assert name == "refused"
    assert set(data["error"]) == {"expected", "got", "remedy"}


# -- control ----------------------------------------------------------------------------------------------------------


def test_the_planted_unit_beats_random_ones_and_the_decoy_does_not(bench, cat):
    planted, decoy = (
        only(bench.run(clamps=[clamp(key)], controls=40), "control") for key in (CAT, "blocks.0.mlp.act/neurons/11")
    )
    assert planted["target"]["text"] == " sat"
    assert planted["measured"] == pytest.approx(-4.0, abs=0.01)
    assert all(abs(x) < 0.1 for x in planted["randoms"])
    assert planted["mean"]["low"] <= planted["mean"]["value"] <= planted["mean"]["high"]
    assert abs(decoy["measured"]) < 0.01
    assert decoy["p"] > planted["p"]
    # Two blocks of sixteen neurons have too few like ones for more than weak evidence, and the verdict says so.
    assert (planted["grade"], decoy["grade"]) == ("weak", "no evidence")
    # Fifteen other neurons of its block, and sixteen of the other one.
    assert "only 31 different random sets exist, and none does as much (p = 0.031)" in planted["sentence"]
    assert "99 different random sets" in planted["rule"]
    again = only(bench.run(clamps=[clamp(CAT)], controls=40), "control")
    assert again == planted
    p = cat.run(TEXT, logits=(3,)).logits[0, 0].log_softmax(-1)
    q = cat.run(TEXT, logits=(3,), interventions=[pc.change("set", "blocks.0.mlp.act", 7, value=0.0)]).logits[0, 0]
    id = planted["target"]["id"]
    assert planted["measured"] == pytest.approx(float(q.log_softmax(-1)[id] - p[id]), abs=1e-5)


def test_random_sets_are_other_units_of_the_site_that_the_change_moves_as_far(world):
    from patchclamp.atlas.lab.clamps import movement, unit_values
    from patchclamp.atlas.lab.random_controls import _draw_clamps

    model, site = world.model, "blocks.1.mlp.act"
    changes = [
        pc.change("set", site, 5, value=2.0, at="1:4"),
        pc.change("scale", site, 9, value=3.0),
        pc.change("add", site, 5, value=1.0, at="5"),
    ]
    recording = model.run("anna has a red ball .", record=site, logits=False).recording
    sets, loudest, controls = _draw_clamps(model, recording, changes, 30, 0, [(site, "neurons")])
    values = unit_values(model, site, "neurons", recording[site])
    moved = {5: movement(model, values, [changes[0], changes[2]]), 9: movement(model, values, [changes[1]])}
    x = np.asarray(recording[site].double())
    by_hand = np.sqrt(((2.0 - x[1:4]) ** 2).sum(0) + 1.0)
    assert moved[5] == pytest.approx(by_hand)
    for drawn in sets:
        units = [change.units[0] for change in drawn]
        # The clamps of one unit stay together on its stand-in.
        assert units[0] == units[1] != units[2]
        assert not {5, 9} & set(units)
        assert [(c.operation, c.value) for c in drawn] == [("set", 2.0), ("add", 1.0), ("scale", 3.0)]
        for own, other in ((5, units[0]), (9, units[2])):
            decile = np.argsort(np.argsort(moved[own], kind="stable")) * 10 // len(moved[own])
            assert decile[own] == decile[other]
    assert controls.outside == 0
    largest = [i for i in np.argsort(-np.abs(x).max(0)).tolist() if i not in (5, 9)]
    assert [change.units[0] for change in loudest] == [largest[0], largest[0], largest[1]]
    assert len({tuple(c.units[0] for c in drawn) for drawn in sets}) == 30


def test_a_set_that_is_drawn_twice_is_one_control():
    cat = pc.load("organism:cat")
    off = pc.change("ablate", "blocks.0.mlp.act", 7)
    found = compare(cat, "the old cat", [off], target=cat.continuation("the old cat", " sat")[0], n_sets=60)
    # Two layers of sixteen neurons: no more than 31 sets of one are different.
    assert len(found.randoms) == 31
    assert found.drawn == "same kind and position, any layer"
    strong = sum(abs(x) >= abs(found.measured) for x in found.randoms)
    assert found.p == pytest.approx((1 + strong) / (1 + len(found.randoms)))
    assert found.mean.value == pytest.approx(np.mean(found.randoms))


def test_where_nothing_is_left_to_compare_with_the_stream_says_so(bench):
    events = bench.run(clamps=[clamp(f"blocks.{i // 16}.mlp.act/neurons/{i % 16}") for i in range(17)], controls=20)
    assert "table" in [name for name, _ in events]
    assert events[-1][0] == "refused"
    assert "as many other units" in events[-1][1]["error"]["expected"]


@pytest.mark.parametrize(
    ("keys", "different", "words"),
    [
        (["blocks.0.mlp.act/neurons/7"], 31, "Only 31 different random sets exist: p cannot fall below 0.031."),
        (["blocks.0.mlp.act/neurons/7", "blocks.1.mlp.act/neurons/7"], 99, "99 random sets: p can fall to 0.01."),
        (["blocks.1.attn.z/heads/1"], 7, "Only 7 different random sets exist: p cannot fall below 0.12."),
    ],
)
def test_the_least_p_is_told_before_anything_is_measured(bench, keys, different, words):
    clamps = [clamp(key) for key in keys]
    found = bench.post("/api/lab/sets", clamps=clamps).json()
    assert (found["different"], found["sentence"]) == (different, words)
    assert len(only(bench.run(clamps=clamps, controls=99), "control")["randoms"]) == different


def test_values_of_another_prompt_are_what_python_puts_in(bench, cat):
    other = cat.run("the old dog", record=["blocks.0.mlp.act", "blocks.0.attn.z"], logits=False).recording
    clamps = [clamp(CAT, "patch", None, "3"), clamp("blocks.0.attn.z/heads/1", "patch", None)]
    changes = [
        pc.change("patch", "blocks.0.mlp.act", 7, source=other, at=3),
        pc.change("patch", "blocks.0.attn.z", 1, source=other, at="0:4", basis="heads"),
    ]
    asked = {"clamps": clamps, "other": "the old dog", "new_tokens": 2, "controls": 20}
    events = same_as_python(bench, TEXT, asked, changes)
    [neuron, _] = only(events, "table")["clamps"]
    assert neuron["after"][3] == pytest.approx(float(other["blocks.0.mlp.act"][3, 7]), abs=1e-5)
    assert only(events, "finished")["command"] == "", "no option takes another prompt"
    said = {}
    exec(compile(only(events, "finished")["python"], "export", "exec"), said)
    assert said["control"].randoms == pytest.approx(only(events, "control")["randoms"], abs=1e-5)


@pytest.mark.parametrize(
    ("other", "at"),
    [("", ""), ("the dog", ""), ("the very old dog", ""), ("the old dog", "+0:"), ("the old dog", "9x")],
)
def test_values_of_a_prompt_that_does_not_go_with_this_one_are_refused(bench, other, at):
    answer = bench.post("/api/lab/run", text=TEXT, other=other, clamps=[clamp(CAT, "patch", None, at)])
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"expected", "got", "remedy"}


def test_sets_beside_several_heads_are_heads_of_any_block(world):
    text = "anna has a red ball . tom has"
    clamps = [clamp(f"blocks.{b}.attn.z/heads/{h}", "ablate", None, "5") for b, h in ((0, 1), (0, 2), (0, 3), (3, 0))]
    told = only(world.run(text, clamps=clamps, controls=99), "control")
    assert len(told["randoms"]) == 99
    assert told["p"] == pytest.approx((1 + sum(abs(x) >= abs(told["measured"]) for x in told["randoms"])) / 100)
    found = compare(
        world.model,
        text,
        [
            pc.change("ablate", f"blocks.{b}.attn.z", h, basis="heads", at=5)
            for b, h in ((0, 1), (0, 2), (0, 3), (3, 0))
        ],
        target=told["target"]["id"],
    )
    assert found.measured == pytest.approx(told["measured"], abs=1e-5)
    assert found.randoms == pytest.approx(told["randoms"], abs=1e-5)


def test_a_unit_is_checked_before_it_is_clamped(bench):
    told = bench.get("/api/lab/unit", key="cat/blocks.0.mlp.act/neurons/7").json()
    assert told == {"key": "blocks.0.mlp.act/neurons/7", "name": "Block 0 · MLP neuron 7"}
    for key in ("blocks.0.mlp.act/neurons/16", "layer2neuron242", "blocks.0.mlp.act/neurons/7@3", "<b>"):
        answer = bench.get("/api/lab/unit", key=key)
        assert answer.status_code in (400, 404)
        assert set(answer.json()["error"]) == {"expected", "got", "remedy"}


# -- verify -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def answer(bench):
    graphs = {layer.id: layer.graph for layer in bench.atlas.reading.layers if layer.graph}
    [id] = [
        id
        for id, one in graphs.items()
        if (one.about["prompt"], one.about["method"]) == ("the old cat", "integrated_gradients")
    ]
    return id, graphs[id]


def test_the_causes_replaced_together_do_what_explain_measured(bench, answer):
    id, graph = answer
    causes = [node for node in graph.nodes if node.kind in ("neuron", "head") and node.score > 0]
    events = heard(bench.post("/api/lab/verify", graph=id, nodes=[node.key for node in causes]))
    found = only(events, "verified")
    assert found["measured"] == pytest.approx(graph.measures["measured"], abs=1e-4)
    assert (found["predicted"] is None) == (len(causes) > 1)  # scores of units in series do not add up
    assert found["metric_clean"] == pytest.approx(graph.measures["metric_clean"], abs=1e-4)
    assert found["mean"]["value"] == pytest.approx(graph.measures["control_mean"], abs=1e-4)
    assert found["p"] == pytest.approx(graph.measures["p"])
    assert (found["nodes"], found["baseline"]) == (len(causes), "zero")
    assert found["different"] == len(found["randoms"]) == 99
    assert "progressed" in [name for name, _ in events]
    said = {}
    exec(compile(only(events, "finished")["python"], "export", "exec"), said)
    assert said["found"].randoms == pytest.approx(found["randoms"], abs=1e-5)
    [single] = [node for node in causes if node.key.endswith(f"{CAT}@3")]
    found = only(heard(bench.post("/api/lab/verify", graph=id, nodes=[single.key] * 3)), "verified")
    assert (found["nodes"], found["measured"]) == (1, pytest.approx(single.measures["measured"], abs=1e-4))
    assert found["predicted"] == pytest.approx(single.score, abs=1e-4)
    told = bench.post("/api/lab/sets", graph=id, nodes=[single.key]).json()
    assert (told["different"], told["floor"]) == (len(found["randoms"]), 0.01)
    assert bench.post("/api/lab/sets", graph="none", nodes=[single.key]).status_code == 404
    assert bench.post("/api/lab/sets").status_code == 400
    none = bench.post("/api/lab/sets", clamps=[clamp(CAT, "set", None)]).json()
    assert (none["different"], none["floor"]) == (0, 1.0)


def test_edges_are_verified_one_by_one(bench, answer):
    id, graph = answer
    edges = [edge for edge in graph.edges if edge.measured is not None]
    assert {(edge.source, edge.target) for edge in edges} >= {("input@3", f"{CAT}@3"), (f"{CAT}@3", "output")}
    asked = [{"source": e.source, "target": e.target, "slot": e.slot} for e in edges]
    found = only(heard(bench.post("/api/lab/verify", graph=id, edges=asked)), "edgesverified")
    assert [e["predicted"] for e in found["edges"]] == pytest.approx([e.weight for e in edges], abs=1e-4)
    assert [e["measured"] for e in found["edges"]] == pytest.approx([e.measured for e in edges], abs=1e-4)
    [error] = [e for e in graph.edges if e.source.startswith("error")][:1]
    for strange in (error, Edge("input@1", f"{CAT}@3", 0.0)):
        asked = [{"source": strange.source, "target": strange.target}]
        name, data = heard(bench.post("/api/lab/verify", graph=id, edges=asked))[-1]
        assert name == "refused"
        assert "edges of this answer" in data["error"]["expected"]
    for both in ({}, {"nodes": [f"{CAT}@3"], "edges": asked}):
        assert bench.post("/api/lab/verify", graph=id, **both).status_code == 400


def test_what_cannot_be_verified(bench, answer, cat):
    id, graph = answer
    assert bench.post("/api/lab/verify", graph="none", nodes=["a"]).status_code == 404
    for nodes in (["output"], [f"{CAT}@2"], ["<b>"]):
        name, data = heard(bench.post("/api/lab/verify", graph=id, nodes=nodes))[-1]
        assert name == "refused"
        assert "with their places" in data["error"]["expected"]
    for about, words in (
        ({"baseline": "mean"}, "zero or a corrupted"),
        ({"baseline": None}, "zero or a corrupted"),
        ({"prompt": None}, "prompt"),
    ):
        other = Graph(graph.subject, graph.metric, graph.nodes, graph.edges, graph.measures, {**graph.about, **about})
        with pytest.raises(PatchclampError, match=words):
            verify(cat, other, [f"{CAT}@3"])
    broken = Graph(graph.subject, {"kind": "logit", "more": 1}, graph.nodes, (), graph.measures, graph.about)
    with pytest.raises(PatchclampError, match="metric"):
        verify(cat, broken, [f"{CAT}@3"])


def test_a_corrupted_prompt_stands_in_as_it_did_in_explain(cat):
    found = pc.explain(cat, TEXT, " sat", contrast=" ran", counterpart="the old dog", top=2)
    graph = found.graph()
    told = verify(cat, graph, [cause.key for cause in found.causes])
    assert told.baseline == "corrupted"
    assert told.measured == pytest.approx(found.measured, abs=1e-4)
    assert told.randoms == pytest.approx(found.receipts.randoms.measured, abs=1e-4)


# -- the worker -------------------------------------------------------------------------------------------------------


def until(true, what):
    """Wait for something that another thread brings about."""
    ends = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < ends, what
        time.sleep(0.005)


def test_turns_are_given_in_the_order_asked():
    turns, order, threads = FairLock(), [], []

    def take(i):
        with turns:
            order.append(i)

    with turns:
        for i in range(5):
            threads.append(threading.Thread(target=take, args=[i]))
            threads[-1].start()
            until(lambda i=i: len(turns._waiting) == i + 1, "in the queue")
    for thread in threads:
        thread.join()
    assert order == list(range(5))
    with turns:
        assert turns._held


def test_a_queued_run_is_dropped_a_running_one_stops_at_its_next_turn_and_places_are_told():
    turns = FairLock()
    worker, heard_by, steps = Worker(turns), {}, []

    def asked(name):
        heard_by[name] = []

        def work(job):
            for step in range(3):
                with job.turn():
                    steps.append((name, step))

        return worker.submit(work, heard_by[name].append)

    with turns:  # the first waits for its turn
        first = asked("a")
        until(lambda: worker._running is first, "the first runs")
        second, third = asked("b"), asked("c")
        assert [event.ahead for event in heard_by["c"]] == [2]
        worker.drop(second)
        assert [event.ahead for event in heard_by["c"]] == [2, 1]
        worker.drop(first)
    until(lambda: not worker.busy, "the worker is free")
    assert steps == [("c", 0), ("c", 1), ("c", 2)]
    assert heard_by["a"][-1] is None, "the way back is closed"
    assert [getattr(event, "ahead", None) for event in heard_by["c"]] == [2, 1, 0, None]
    assert third.ahead == 0


def test_a_full_queue_and_a_run_that_takes_too_long_are_refused_and_the_worker_lives():
    turns = FairLock()
    worker, heard = Worker(turns, most=2, longest_s=0.0), []

    def work(job):
        time.sleep(0.001)
        with job.turn():
            raise AssertionError("its time was over")

    def broken(job):
        raise MemoryError("no room")

    gate = threading.Event()
    worker.submit(lambda job: gate.wait(PATIENCE_S), heard.append)
    until(lambda: worker._running is not None, "the first runs")
    worker.submit(work, heard.append)
    worker.submit(broken, heard.append)
    with pytest.raises(QueueFull, match="at most 2 runs"):
        worker.submit(work, heard.append)
    gate.set()
    until(lambda: not worker.busy, "all are done")
    refused = [event.error for event in heard if hasattr(event, "error")]
    assert "within 0 s" in refused[0].expected
    assert "MemoryError" in refused[1].got


def test_a_full_queue_answers_503_in_three_parts(seeded_atlas, cat):
    own = Bench(seeded_atlas, cat)
    own.lab.worker.most = 0
    answer = own.post("/api/lab/run", text=TEXT)
    assert answer.status_code == 503
    assert "runs that wait" in answer.json()["error"]["expected"]
    own.lab.turns._waiting.extend(threading.Lock() for _ in range(16))
    answer = own.get("/api/lab/rank", text=TEXT, position=1)
    assert answer.status_code == 503
    assert "wait for the model" in answer.json()["error"]["expected"]


def test_many_at_once_get_their_own_answers(bench, cat):
    values = np.linspace(0, 3, 12).tolist()
    asked = [("POST", "/api/lab/run", {"json": {"text": TEXT, "clamps": [clamp(value=v)]}}) for v in values]
    tries = [("GET", f"/api/units/{CAT}/trial", {"params": {"text": TEXT}}) for _ in range(4)]
    answers = bench.request(*asked, *tries)
    for value, answer in zip(values, answers, strict=False):
        table = only(heard(answer), "table")
        change = pc.change("set", "blocks.0.mlp.act", 7, value=value)
        expected = cat.run(TEXT, interventions=[change], logits=(3,)).logits[0, 0].double().softmax(-1)
        assert {row["id"]: row["changed"] for row in table["rows"]} == {
            row["id"]: float(expected[row["id"]]) for row in table["rows"]
        }
    for answer in answers[len(values) :]:
        assert answer.json()["acts"] == pytest.approx([0, 0, 0, 3], abs=1e-5)


# -- a real server ----------------------------------------------------------------------------------------------------


@pytest.fixture
def served(bench):
    config = uvicorn.Config(bench.app, port=0, log_level="error", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started, "the server listens")
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def test_who_leaves_is_forgotten_and_the_next_waits_for_no_more_than_a_forward(bench, served):
    long = {"text": TEXT, "clamps": [clamp()], "new_tokens": 100, "controls": 200}
    worker, lab = bench.lab.worker, bench.lab
    asked = messages.RunAsked(**(long | {"clamps": [messages.ClampAsked(**one) for one in long["clamps"]]}))
    with httpx.Client(base_url=served, timeout=PATIENCE_S) as client:
        with lab.turns:  # nothing computes meanwhile
            with client.stream("POST", "/api/lab/run", json=long) as running:
                events = running.iter_raw()  # held: an iterator that is thrown away closes the connection
                next(events)
                until(lambda: worker._running is not None, "it runs")
                job = worker._running
            until(job._left.is_set, "it was told that nobody listens")
        until(lambda: not worker.busy, "the worker is free at once")
        assert lab.find_run(lab.id_of(asked)).finished is None, "it was broken off"
        told = client.post("/api/lab/run", json={"text": TEXT, "clamps": [clamp()]})
        assert told.text.rstrip().split("\n\n")[-1].startswith("event: finished")
