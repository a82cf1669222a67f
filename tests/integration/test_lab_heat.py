"""Heat maps of the lab: each cell is what the rig gives for that block and token; what cannot be drawn is refused."""

import numpy as np
import pytest

import patchclamp as pc
from lab_bench import Bench, heard, only
from patchclamp.atlas.lab import explain_job, heat, heat_messages
from patchclamp.atlas.lab.job_queue import Job
from patchclamp.attribute import attribute_nodes
from patchclamp.attribute.patching import patch_sites
from patchclamp.core.metric import Metric
from patchclamp.core.unit import UnitKey

TEXT, OTHER = "the old cat", "the old dog"
CLAMP = {"key": "blocks.0.mlp.act/neurons/7", "mode": "ablate"}


@pytest.fixture(scope="module")
def bench(seeded_atlas, cat):
    return Bench(seeded_atlas, cat)


def ids_of(cat, *words):
    return [cat.continuation(TEXT, word)[0] for word in words]


def read(bench, path, **asked):
    answer = bench.post(path, text=TEXT, **asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def patched(bench, **asked):
    return heard(bench.post("/api/lab/patching", text=TEXT, of="patching", **asked))


def refusal(answer):
    assert answer.status_code in (400, 404), answer.text
    error = answer.json()["error"]
    assert all(error[part] for part in ("expected", "got", "remedy"))
    return error


def test_the_lens_is_that_of_python_without_clamps_and_with_them(bench, cat):
    [sat] = ids_of(cat, " sat")
    page = read(bench, "/api/lab/lens", target=sat, clamps=[CLAMP])
    off = pc.change("ablate", "blocks.0.mlp.act", 7)
    for rows, on in ((page["rows"], []), (page["changed"], [off])):
        lens = cat.logit_lens(TEXT, target=sat, interventions=on)
        assert [row["key"] for row in rows] == [f"{site}/whole/0" for site in lens.sites]
        assert np.array([row["probabilities"] for row in rows]) == pytest.approx(lens.probabilities, rel=1e-5)
        assert [row["ids"] for row in rows] == lens.ids.tolist()
        assert [row["ranks"] for row in rows] == lens.ranks.tolist()
        own = cat.run(TEXT, interventions=on).logits[0].double().softmax(-1)[:, sat]
        assert rows[-1]["target_probabilities"] == pytest.approx(own.tolist(), rel=1e-5)
    named = {one["id"]: one["text"] for one in page["words"]}
    assert {id for row in page["rows"] + page["changed"] for cell in row["ids"] for id in cell} == named.keys()
    assert page["target"]["text"] == " sat"
    # The planted neuron carries the answer: it is likeliest, and without the neuron it is not.
    assert (page["rows"][-1]["ranks"][-1], page["changed"][-1]["ranks"][-1] > 1) == (1, True)
    assert read(bench, "/api/lab/lens")["changed"] == []


def test_a_lens_under_values_of_another_prompt_ends_in_its_answer(bench, cat):
    place = {"key": "blocks.0.resid_out/whole/0", "mode": "patch", "at": "3"}
    page = read(bench, "/api/lab/lens", other=OTHER, clamps=[place])
    there = cat.logit_lens(OTHER)
    assert page["changed"][1]["ids"][3] == there.ids[1, 3].tolist()
    assert page["changed"][1]["probabilities"][3] == pytest.approx(there.probabilities[1, 3], rel=1e-5)
    assert page["changed"][1]["probabilities"][2] == page["rows"][1]["probabilities"][2]
    assert page["changed"][1]["probabilities"][3] != page["rows"][1]["probabilities"][3]


@pytest.mark.parametrize(("part", "site"), [("resid", "resid_out"), ("attn", "attn.write"), ("mlp", "mlp.write")])
def test_activation_is_the_norm_at_every_block_and_token(bench, cat, part, site):
    page = read(bench, "/api/lab/heat", part=part)
    recording = cat.run(TEXT, record=f"blocks.*.{site}", logits=False).recording
    rows = [row for row in page["rows"] if row["keys"] != ["blocks.0.resid_in/whole/0"]]
    assert [row["keys"] for row in rows] == [[f"{path}/whole/0"] for path in recording.values]
    for row, values in zip(rows, recording.values.values(), strict=True):
        assert row["values"] == pytest.approx(values.double().norm(dim=1).tolist(), rel=1e-5)


def test_a_unit_and_a_site_are_drawn_by_their_own_values(bench, cat):
    values = cat.run(TEXT, record="blocks.0.mlp.act", logits=False).recording["blocks.0.mlp.act"].double().numpy()
    one = read(bench, "/api/lab/heat", unit=CLAMP["key"], clamps=[CLAMP])
    assert [row["keys"] for row in one["rows"]] == [[CLAMP["key"]]]
    assert one["rows"][0]["values"] == pytest.approx(values[:, 7].tolist(), rel=1e-5)
    assert one["rows"][0]["changed"] == [0.0] * 4
    site = read(bench, "/api/lab/heat", unit="blocks.0.mlp.act")
    sizes = [np.abs(values[:, int(row["short"])]).max() for row in site["rows"]]
    assert sizes == sorted(np.abs(values).max(0))[-len(sizes) :]
    assert site["total"] == values.shape[1]


def test_attribution_is_the_sum_of_the_scores(bench, cat):
    sat, ran = ids_of(cat, " sat", " ran")
    metric = Metric("logit_difference", (sat,), (ran,), positions=(3,))
    sums = {}
    for part, level, kind in (("mlp", "neuron", "mlp.act"), ("attn", "head", "attn.z")):
        scores = attribute_nodes(cat, TEXT, metric, method="relp", levels=[level])
        page = read(bench, "/api/lab/heat", of="attribution", part=part, target=sat, contrast=ran)
        sums[part] = np.array([row["values"] for row in page["rows"]])
        by_hand = np.zeros_like(sums[part])
        for key, score in zip(map(UnitKey.parse, scores.index), scores.values.tolist(), strict=True):
            by_hand[int(key.site.split(".")[1]), key.position] += score
        assert sums[part] == pytest.approx(by_hand, abs=1e-5)
        assert page["metric"] == pytest.approx(scores.metric_clean, rel=1e-5)
        assert {key.split("/")[0].split(".", 2)[2] for row in page["rows"] for key in row["keys"]} == {kind}
    whole = read(bench, "/api/lab/heat", of="attribution", part="all", target=sat, contrast=ran)
    assert np.array([row["values"] for row in whole["rows"]]) == pytest.approx(sums["mlp"] + sums["attn"], abs=1e-5)
    # The planted neuron of block 0 reads "cat" and writes " sat".
    assert np.unravel_index(sums["mlp"].argmax(), sums["mlp"].shape) == (0, 3)


@pytest.mark.parametrize("part", ["resid", "mlp"])
def test_patching_is_a_run_for_every_cell(bench, cat, part):
    events = patched(bench, other=OTHER, part=part)
    page = only(events, "heatpage")
    assert [name for name, _ in events][-2:] == ["heatpage", "finished"]
    assert (page["target"]["text"], page["contrast"]["text"]) == (" sat", " ran")
    sat, ran = ids_of(cat, " sat", " ran")

    def metric(text, on=()):
        logits = cat.run(text, interventions=list(on)).logits[0, -1].double()
        return float(logits[sat] - logits[ran])

    ends = metric(TEXT), metric(OTHER)
    assert (page["metric"], page["other_metric"]) == pytest.approx(ends, rel=1e-5)
    moved = 0
    for row in page["rows"]:
        [key] = row["keys"]
        site = key.split("/")[0]
        there = pc.Source(cat.run(OTHER, record=site, logits=False).recording)
        for position, value in enumerate(row["values"]):
            on = pc.change("patch", site, source=there, at=position)
            assert value == pytest.approx((ends[0] - metric(TEXT, [on])) / (ends[0] - ends[1]), abs=1e-5)
            moved += abs(value) > 0.5
    assert moved > 0
    cases = cat.read(pc.Task.of(TEXT, " sat", contrast=" ran", counterpart=OTHER))
    by_hand = patch_sites(cat, cases, [row["keys"][0].split("/")[0] for row in page["rows"]], direction="noise")
    assert [x for row in page["rows"] for x in row["values"]] == pytest.approx(by_hand.values.tolist(), abs=1e-5)


def test_patching_says_how_far_it_is_and_stops_once_nobody_waits(bench, cat, monkeypatch):
    monkeypatch.setattr(explain_job, "OFTEN_S", 0.0)
    monkeypatch.setattr(heat, "BATCH", 1)
    asked = heat_messages.HeatAsked(TEXT, "patching", other=OTHER)
    work = heat.prepare_patching(bench.lab, bench.atlas.reading, asked)
    heard_of, jobs = [], []

    def hear(event):
        heard_of.append(type(event).__name__)
        if event and heard_of.count("Progressed") == 2:
            jobs[0].leave()

    jobs.append(Job(work, hear, bench.lab.turns, 60.0))
    jobs[0].run()
    assert heard_of == ["Progressed", "Progressed", "NoneType"]


def test_what_a_cell_clamps_can_be_clamped_in_the_lab(bench, cat):
    for key in ("blocks.0.resid_out/whole/0", "blocks.1.attn.z/whole/0", "blocks.0.mlp.act/whole/0"):
        assert bench.get("/api/lab/unit", key=key).status_code == 200
        table = only(bench.run(clamps=[{"key": key, "mode": "patch", "at": "3"}], other=OTHER), "table")
        site = key.split("/")[0]
        both = [
            cat.run(text, record=site, logits=False).recording[site].double().norm(dim=1).tolist()
            for text in (TEXT, OTHER)
        ]
        [clamped] = table["clamps"]
        assert clamped["before"] == pytest.approx(both[0], rel=1e-5)
        assert clamped["after"] == pytest.approx([*both[0][:3], both[1][3]], rel=1e-5)
    answer = bench.run(clamps=[{"key": "blocks.0.resid_out/whole/0", "mode": "ablate", "at": "3"}], controls=20)
    assert [name for name, _ in answer][-1] in ("finished", "refused")


def test_refusals_say_what_to_do(bench, cat, monkeypatch):
    post = bench.post
    assert "another prompt" in refusal(post("/api/lab/patching", text=TEXT))["expected"]
    assert "the same" in refusal(post("/api/lab/patching", text=TEXT, other=TEXT))["got"]
    assert "4 tokens" in refusal(post("/api/lab/patching", text=TEXT, other="the cat"))["expected"]
    assert "below" in refusal(post("/api/lab/lens", text=TEXT, target=10**6))["expected"]
    assert "patching" in refusal(post("/api/lab/heat", text=TEXT, of="patching"))["remedy"]
    refusal(post("/api/lab/heat", text=TEXT, unit="blocks.9.mlp.act"))
    refusal(post("/api/lab/heat", text=TEXT, unit="a/b/c"))
    refusal(post("/api/lab/lens", text="", clamps=[]))
    refusal(post("/api/lab/lens", text=TEXT, more=1))
    same = only(patched(bench, other=OTHER, target=3, contrast=3), "refused")["error"]
    assert "both" in same["got"]
    monkeypatch.setattr(heat, "MOST_CELLS", 8)
    for path, asked in (
        ("lens", {}),
        ("heat", {}),
        ("heat", {"of": "attribution"}),
        ("patching", {"other": "the old dog sat"}),
    ):
        assert "at most 8 cells" in refusal(post(f"/api/lab/{path}", text="the old cat sat", **asked))["expected"]
