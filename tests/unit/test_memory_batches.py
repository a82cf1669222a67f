"""Where memory runs out, batches are halved and the result is the same; what is needed is known beforehand."""

import pytest
import torch

from patchclamp.attribute import attribute_nodes
from patchclamp.core.errors import PatchclampError
from patchclamp.core.metric import Metric
from patchclamp.loaders import load
from patchclamp.recipes import explain
from patchclamp.recipes import receipts as receipts_module
from patchclamp.recipes.explanation_cost import cost_of_explanation
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.memory import run_in_batches
from patchclamp.subjects.pass_memory import count_backward_bytes, count_forward_bytes

PROMPT = "the old cat"
MESSAGES = ["CUDA out of memory. Tried to allocate 2 GiB", "[enforce fail at alloc_cpu.cpp:121] can't allocate memory"]


@pytest.fixture
def cat():
    return load("organism:cat")


def limit(monkeypatch, most, message=MESSAGES[0]):
    """Let no pass of the model have more rows; return the rows of the passes that there were."""
    rows, forward = [], LanguageModel._forward

    def run(self, batch, *given, **options):
        if len(batch.stimuli) > most:
            raise RuntimeError(message)
        rows.append(len(batch.stimuli))
        return forward(self, batch, *given, **options)

    monkeypatch.setattr(LanguageModel, "_forward", run)
    return rows


@pytest.mark.parametrize("message", MESSAGES)
def test_an_explanation_goes_on_with_smaller_batches_where_memory_runs_out(monkeypatch, cat, message):
    expected = explain(cat, PROMPT, " sat", contrast=" ran", n_controls=20)
    rows = limit(monkeypatch, 3, message)
    found = explain(cat, PROMPT, " sat", contrast=" ran", n_controls=20)
    # Ten points of a path in one batch: halved to five and to two, and no row is done twice.
    assert max(rows) <= 3
    assert rows[2:7] == [2, 2, 2, 2, 2]
    assert [c.key for c in found.causes] == [c.key for c in expected.causes]
    assert [c.predicted for c in found.causes] == pytest.approx([c.predicted for c in expected.causes], rel=1e-5)
    assert found.receipts.randoms.measured == pytest.approx(expected.receipts.randoms.measured, abs=1e-4)
    assert found.receipts.kept.measured == pytest.approx(expected.receipts.kept.measured, abs=1e-4)


def test_rows_run_together_as_many_as_the_batch_size_says(monkeypatch, cat):
    m = Metric("logit", cat.continuation("the", " sat"))
    whole = attribute_nodes(cat, PROMPT, m)
    rows = limit(monkeypatch, 4)
    apart = attribute_nodes(cat, PROMPT, m, batch_size=4)
    assert rows[1:4] == [4, 4, 2]
    assert apart.values == pytest.approx(whole.values, abs=1e-6)


def test_a_row_that_does_not_fit_is_refused_in_words(monkeypatch, cat):
    m = Metric("logit", cat.continuation("the", " sat"))
    differentiate = LanguageModel.differentiate

    def run(self, *given, **options):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(LanguageModel, "differentiate", run)
    with pytest.raises(PatchclampError, match="memory for one row of a forward pass; got CUDA out of memory"):
        attribute_nodes(cat, PROMPT, m)
    monkeypatch.setattr(LanguageModel, "differentiate", differentiate)


def test_other_errors_are_not_tried_again():
    tried = []

    def run(first, end):
        tried.append((first, end))
        raise RuntimeError("shapes do not go together")

    with pytest.raises(RuntimeError, match="shapes"):
        list(run_in_batches(8, 4, run))
    assert tried == [(0, 4)]


@pytest.mark.parametrize("method", ["integrated_gradients", "attribution_patching"])
def test_stated_rows_are_those_that_run(monkeypatch, tiny_language_model, method):
    model = tiny_language_model("gpt2")
    differentiate, backward, measured = LanguageModel.differentiate, [], []
    measure = receipts_module.measure_sets

    def count(self, stimuli, *given, **options):
        backward.append(len(stimuli))
        return differentiate(self, stimuli, *given, **options)

    monkeypatch.setattr(LanguageModel, "differentiate", count)
    monkeypatch.setattr(
        receipts_module, "measure_sets", lambda *a, **k: measured.append(measure(*a, **k)) or measured[-1]
    )
    found = explain(model, "w3 w9 w4", " w5", contrast=" w7", method=method, top=5, n_controls=30, edges=0)
    cost = cost_of_explanation(model, len(found.tokens), method=method, top=5, n_controls=30)
    n_stated = 1 if method == "attribution_patching" else 10 * 2 * model.n_layers
    # The strongest direct logit attributions are chosen by one more.
    assert sum(backward) == n_stated + 1
    assert cost.scoring.startswith(f"{n_stated:,} ")
    assert len(found.causes) == 5
    assert len(found.opposing) == 5
    assert measured[0].size == cost.receipts


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_memory_that_is_stated_is_what_the_backward_pass_keeps(tiny_language_model, name):
    model = tiny_language_model(name)
    [shown] = model.stimuli([[1, 2, 3, 4, 5, 6, 7, 8] * 4])
    held: dict[int, int] = {}
    own = {p.untyped_storage().data_ptr() for p in model.module.parameters()}

    def pack(x):
        at = x.untyped_storage().data_ptr()
        held.update({} if at in own else {at: x.untyped_storage().nbytes()})
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        batch = model.batch([shown])
        _kept_alive = model.trace(batch, Metric("logit", (3,)), ["embed"])
    stated = count_backward_bytes(model, len(shown))
    assert stated == pytest.approx(sum(held.values()), rel=0.2)
    assert count_backward_bytes(model, len(shown), model.n_layers - 1) < stated / 2
    assert 0 < count_forward_bytes(model, len(shown)) < stated
