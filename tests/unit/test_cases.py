"""ReadTask as a model reads them: what is measured, what is skipped and why; and a site's whole value as one unit."""

import numpy as np
import pytest
import torch

import patchclamp as pc
from hand_made import circuit as circuit_of
from patchclamp.core.errors import PatchclampError
from patchclamp.core.metric import EachMetric, Metric
from patchclamp.core.task import Case, Task

SHORT = Case("w3 w17", "w3 w20", (" w7",), (" w11",))
LONG = Case("w3 w17 w8 w40 w1", "w3 w20 w8 w41 w1", (" w5", " w6"), (" w9",))


@pytest.fixture(scope="session")
def model(models):
    return models["llama"]


def test_both_ends_are_what_one_run_each_gives(model):
    found = model.read(Task((LONG, SHORT, LONG)), least=0.0)
    for i, pair in enumerate((LONG, SHORT, LONG)):
        ids = [[model.continuation(pair.shown, a)[0] for a in side] for side in (pair.targets, pair.contrasts)]
        for prompt, measured in ((pair.shown, found.m_clean), (pair.counterpart, found.m_counterpart)):
            z = model.run(prompt).logits[0, -1]
            assert measured[i] == pytest.approx(float(z[ids[0]].mean() - z[ids[1]].mean()), abs=1e-4)


def test_batches_hold_prompts_of_one_length_and_every_pair_once(model):
    found = model.read(Task((LONG, SHORT, LONG, SHORT, SHORT)), least=0.0)
    batches = list(found.batches_by_length(2))
    assert [len({len(found.clean[i]) for i in some}) for some in batches] == [1, 1, 1]
    assert sorted(np.concatenate(batches).tolist()) == [0, 1, 2, 3, 4]
    assert max(map(len, batches)) == 2


def test_what_cannot_be_compared_is_set_aside_with_its_reason(model):
    pairs = [
        SHORT,
        Case("w3 w17", "w3 w20 w4", (" w7",), (" w11",)),
        Case("w3 w17", "w3 w17", (" w7",), (" w11",)),
        Case("w3 w17", "w3 w20", (" w7 w8",), (" w7",)),
        Case("w3 w17", "w3 w20", (" w7 w8", " w5"), (" w7 w9",)),
    ]
    found = model.read(Task(tuple(pairs)))
    assert found.ids == [SHORT.id]
    assert found.count_skipped() == {
        "prompts of unequal length": 1,
        "a counterpart that is the same": 1,
        "a target that begins the contrast, or is begun by it": 1,
        "answers that begin with the same token": 1,
    }
    assert [(case.id, reason) for case, reason in found.task.skipped] == [
        (case.id, reason) for case, reason in zip(pairs[1:], found.count_skipped(), strict=True)
    ]


def test_nothing_left_is_told_with_the_reasons(model):
    with pytest.raises(PatchclampError, match="2 with prompts of unequal length"):
        model.read(Task(tuple([Case("w3", "w3 w20", (" w7",), (" w11",))] * 2)))


@pytest.mark.parametrize(
    "broken",
    [
        ("", "w3", (" w7",), (" w11",)),
        ("w3", "", (" w7",), (" w11",)),
        ("w3", "w4", (" w7", " w8"), (" w8",)),
        ("w3", "w4", ("",), (" w8",)),
    ],
)
def test_a_pair_that_asks_nothing_is_refused(broken):
    with pytest.raises(PatchclampError):
        Case(*broken)


def test_a_metric_per_row_is_each_metric_by_itself():
    z = torch.randn(3, 1, 9, generator=torch.Generator().manual_seed(0))
    metrics = (
        Metric("logit", (1,)),
        Metric("logit_difference", (2, 3), (4,)),
        Metric("probability_difference", (5,), (6, 7)),
    )
    found = EachMetric(metrics)(z)
    assert found.tolist() == [float(metric(z[i : i + 1])[0]) for i, metric in enumerate(metrics)]
    with pytest.raises(PatchclampError, match="3 rows"):
        EachMetric(metrics)(z[:2])
    with pytest.raises(PatchclampError, match="same positions"):
        EachMetric((Metric("logit", (1,)), Metric("logit", (1,), positions=(0,))))


def test_gradients_of_a_metric_per_row_are_those_of_each_prompt_alone(model):
    prompts, metrics = ["w3 w17 w8", "w9 w2 w8"], (Metric("logit", (7,)), Metric("logit_difference", (5,), (9,)))
    site = "blocks.1.mlp.act"
    both = model.differentiate(prompts, EachMetric(metrics), site).gradients
    for i, (prompt, metric) in enumerate(zip(prompts, metrics, strict=True)):
        alone = model.differentiate(prompt, metric, site).gradients[site]
        torch.testing.assert_close(both.of(site, i), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("operation", ["ablate", "scale"])
def test_a_whole_site_is_all_of_its_neurons(model, operation):
    value = {"scale": {"value": 0.5}}.get(operation, {})
    site = "blocks.1.mlp.write"
    whole = pc.change(operation, site, 0, basis="whole", at="1", **value)
    each = pc.change(operation, site, at="1", **value)
    assert torch.equal(*(model.run("w3 w17 w8", interventions=[c]).logits for c in (whole, each)))
    assert not torch.equal(*(model.run("w3 w17 w8", interventions=c).logits for c in ([whole], [])))
    with pytest.raises(PatchclampError, match="units from 0 to 0"):
        model.run("w3 w17 w8", interventions=[pc.change(operation, site, 1, basis="whole", **value)])


def test_a_circuit_takes_the_highest_first():
    circuit = circuit_of([f"a/heads/{i}" for i in range(4)], [0.5, -3.0, 2.0, 0.5])
    assert circuit.first(3).tolist() == [True, False, True, True]
    assert circuit.first(2, signed=False).tolist() == [False, True, True, False]
    assert circuit.first(0).sum() == 0
    with pytest.raises(PatchclampError, match="each of 2 keys"):
        circuit_of(["a/heads/0", "a/heads/1"], [1.0])
