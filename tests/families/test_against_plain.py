"""Every family against transformers alone: states and patterns, clamps while it writes, padding, edges, answers."""

import numpy as np
import pytest
import torch

import patchclamp as pc
from every_family import FEW
from patchclamp.attribute.edge_patching import patch_edges
from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.core.intervention import Source, change
from patchclamp.core.metric import Metric
from patchclamp.core.stimulus import Stimulus
from patchclamp.core.task import Case, Task
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.cases import ReadCase, ReadTask
from patchclamp.subjects.contract.reference_hooks import max_abs_difference
from patchclamp.subjects.families.spec import family
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.residual_edges import edge_map
from replacing import with_edges_kept

ROWS = ([3, 14, 15, 9, 26, 5, 8], [35, 8, 9, 7], [7, 9, 3, 2, 11])
STEPS, END = 4, 60
WRITING = pytest.mark.parametrize("name", [name for name in FEW if family(name).causal])


@pytest.mark.parametrize("name", FEW)
def test_states_and_patterns_are_those_that_transformers_returns(name):
    plain, model = family(name).tiny(), LanguageModel(family(name).tiny())
    plain.config._attn_implementation = "eager"  # fused functions return no pattern
    with torch.no_grad():
        bare = plain(torch.tensor([ROWS[0]]), use_cache=False, output_hidden_states=True, output_attentions=True)
    r = model.run([ROWS[0]], record="*", logits=False, attention="tap").recording
    # Where modules write attention out, the tap computes it in an order of its own.
    apart = 2e-5 if model.engine.written_out else 0
    # Where no block attends, transformers' list begins behind the first block.
    stream = "resid_in" if "attn.q" in model.family.block else "resid_out"
    for i in range(model.n_layers):
        torch.testing.assert_close(r[f"blocks.{i}.{stream}"], bare.hidden_states[i][0], rtol=0, atol=apart)
    attending = [i for i in range(model.n_layers) if f"blocks.{i}.attn.pattern" in r.sites]
    given = [pattern for pattern in getattr(bare, "attentions", None) or () if pattern is not None]
    assert len(given) == len(attending)
    assert attending or 9 in model.family.excluded
    for i, pattern in zip(attending, given, strict=True):
        found = r[f"blocks.{i}.attn.pattern"].transpose(0, 1)  # (head, position, source)
        torch.testing.assert_close(found, pattern[0], rtol=0, atol=apart)


def clamps(model, *at_steps):
    """Change what the last block reads at a place of the prompt, and what its MLP writes at places of what follows."""
    last = f"blocks.{model.n_layers - 1}"
    on = [change("add", f"{last}.resid_in", (1, 2, 3), value=40.0, at=2)]
    write = [s.path for s in model.sites() if s.kind.endswith(".write")][-1]
    return on + [change("set", write, (4, 5, 6), value=-40.0, at=at) for at in at_steps]


@WRITING
def test_a_clamp_at_places_holds_as_in_a_loop_without_a_cache(models, name):
    model = models[name]
    written = model.generate(list(ROWS), interventions=clamps(model, f"+1:+{STEPS}"), max_new_tokens=STEPS)
    bare = model.generate(list(ROWS), max_new_tokens=STEPS)
    assert [w.ids.tolist() for w in written] != [b.ids.tolist() for b in bare]
    for row, found in zip(ROWS, written, strict=True):
        ids = list(row)
        for _ in range(STEPS):
            on = clamps(model, *range(len(row) + 1, len(ids)))
            token = int(model.run([ids], interventions=on).logits[0, -1].argmax())
            if token == END:
                break
            ids.append(token)
        assert found.ids.tolist() == ids[len(row) :]


@pytest.mark.parametrize("name", FEW)
def test_a_padded_batch_is_its_rows_alone(models, name):
    model = models[name]
    sites = [s.path for s in model.sites() if s.kind != "attn.pattern" and not s.ragged]
    alone = [model.run([row], record=sites) for row in ROWS]
    for padding in ("left", "right"):
        if padding == "left" and not model.family.pads_left:
            with pytest.raises(PatchclampError, match="reads padding like tokens"):
                model.run(list(ROWS), padding=padding)
            continue
        run = model.run(list(ROWS), record=sites, padding=padding)
        for i, (row, one) in enumerate(zip(ROWS, alone, strict=True)):
            gaps = {"logits": max_abs_difference(run.logits[i, : len(row)], one.logits[0], relative=True)}
            for path in sites:
                gaps[path] = max_abs_difference(run.recording.of(path, i), one.recording[path], relative=True)
            assert {path: gap for path, gap in gaps.items() if gap > 3e-5} == {}


def reason_without_edges(model):
    """Return why a model has no edges, None where it has."""
    try:
        edge_map(model)
    except CannotIntervene as refused:
        return refused.got
    return None


def asked(model, lengths=(4, 3)):
    """Make pairs that differ at the second token, each with a metric of its own."""
    draw = np.random.default_rng(0)
    clean = [draw.integers(1, 55, n) for n in lengths]
    other = [np.concatenate([x[:1], draw.integers(1, 55, 1), x[2:]]) for x in clean]
    metrics = tuple(Metric("logit_difference", (3 + i,), (9 + i, 20)) for i in range(len(lengths)))
    prompts = tuple(tuple(map(Stimulus.of, some)) for some in (clean, other))
    ends = [[float(model.measure([x], m)[0]) for x, m in zip(some, metrics, strict=True)] for some in prompts]
    pairs = tuple(Case(f"x{i}", f"y{i}", (" a",), (" b",)) for i in range(len(lengths)))
    return ReadTask(Task(pairs), tuple(map(ReadCase, *prompts, metrics)), np.array(ends[0]), np.array(ends[1]))


@pytest.mark.parametrize("name", FEW)
def test_all_edges_are_the_clean_run_none_the_corrupted_or_there_are_none_for_a_reason(models, name):
    model = models[name]
    if (why := reason_without_edges(model)) is not None:
        assert why.startswith(f"{model.name}, whose")
        return
    graph = edge_map(model)
    pairs = asked(model)
    some = np.random.default_rng(2).choice(len(graph), 4, replace=False)
    without = np.ones((len(some), len(graph)), dtype=bool)
    without[np.arange(len(some)), some] = False
    sets = np.concatenate([np.ones_like(without[:1]), ~np.ones_like(without[:1]), without])
    found = with_edges_kept(model, pairs, sets)
    np.testing.assert_allclose(found[0], pairs.m_clean, atol=3e-5)
    np.testing.assert_allclose(found[1], pairs.m_counterpart, atol=3e-5)
    exact = patch_edges(model, pairs).per_case
    assert exact.std() > 1e-3
    np.testing.assert_allclose(pairs.m_clean - found[2:], exact[:, some].T, atol=1e-4)


@WRITING
def test_an_answer_is_explained_and_what_was_measured_is_a_replacement(models, name):
    model = models[name]
    clean, other = "w3 w17 w8 w40", "w3 w20 w8 w41"
    found = pc.explain(model, clean, " w5", contrast=" w6", counterpart=other, top=2, edges=0)
    donor = model.run(other, record="*", logits=False).recording
    assert len(found.causes) == 2
    for cause in found.causes:
        key = UnitKey.parse(cause.key)
        patch = change("patch", key.site, key.index, basis=key.basis, at=key.position, source=Source(donor))
        m = float(model.measure(clean, found.case.metric, interventions=[patch])[0])
        assert cause.measured == pytest.approx(found.metric_clean - m, abs=1e-4)
    assert max(abs(cause.measured) for cause in found.causes) > 1e-3
