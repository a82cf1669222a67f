"""Planted circuits: what cards and graphs say is what the engine measures, in both architectures."""

import json
import re
from dataclasses import replace
from functools import cache
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
import torch

from forks import run
from patchclamp import organisms
from patchclamp.core.errors import PatchclampError
from patchclamp.core.graph import Graph
from patchclamp.core.intervention import Source, change
from patchclamp.core.method_index import list_names
from patchclamp.core.metric import Metric
from patchclamp.core.stimulus import Stimulus
from patchclamp.core.unit import UnitKey
from patchclamp.organisms.planted import CIRCUITS, compiler
from patchclamp.organisms.planted.circuit_spec import CONTEXT, Match, Stream, make_resting_head
from patchclamp.organisms.planted.neurons import FACTS_OF, FIRST_CAPITAL, FIRST_LANGUAGE
from patchclamp.subjects.contract.verify import verify
from patchclamp.subjects.loading import load_language_model

NAMES = organisms.planted.names()
LAID = tuple(name for name in NAMES if name != "cat")
METHODS = set(list_names("attribute", "unit"))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Compute with one thread: on matrices this small a second one costs more than it brings."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def plain():
    """Return what this file measures as a script, every organism swept and verified.

    In a process of its own, without the tests' run-time type checks: they would cost several times what it does.
    """
    done = run(["-c", f"import runpy; runpy.run_path({__file__!r}, run_name='__main__')"])
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@cache
def model_of(name):
    return organisms.build(name)


@cache
def card_of(name):
    return organisms.card(name)


@cache
def truth_of(name):
    return organisms.truth(name)


def metric_of(name):
    model, card = model_of(name), card_of(name)
    target, contrast = (model.continuation(card["prompt"], card[role]) for role in ("target", "contrast"))
    return Metric("logit_difference", target, contrast)


def both(circuit):
    return pytest.mark.parametrize("name", [f"{circuit}-gpt2", f"{circuit}-llama"])


def without(key):
    return change("ablate", key.site, key.index, basis=key.basis, at=key.position)


def held(key, recording):
    return change("patch", key.site, key.index, basis=key.basis, at=key.position, source=Source(recording))


def measured(name, *interventions, prompt=None):
    model = model_of(name)
    shown = card_of(name)["prompt"] if prompt is None else prompt
    return model.measure(shown, metric_of(name), interventions=list(interventions)).item()


def said(model, prompts, **options):
    """Return the likeliest next word after each prompt."""
    likeliest = model.run(prompts, logits=[-1], **options).logits[:, 0].argmax(-1)
    return [model.tokenizer.token(i) for i in likeliest.tolist()]


def sizes(model, recording):
    """Return every node's size: |activation| of neurons, the length of z of heads, by key without subject."""
    found = {}
    for site in model.sites():
        if site.kind not in ("mlp.act", "attn.z"):
            continue
        neurons = site.kind == "mlp.act"
        units = recording[site.path].unflatten(1, (site.width if neurons else site.n_heads, -1)).norm(dim=-1)
        for (position, unit), size in np.ndenumerate(units.numpy()):
            basis = "neurons" if neurons else "heads"
            found[UnitKey(site.path, unit, basis, position=position)] = float(size)
    return found


@cache
def nodes_of(name):
    """Return every node that is not exactly 0, with its size; putting 0 in place of 0 changes nothing."""
    model = model_of(name)
    recording = model.run(card_of(name)["prompt"], record=["blocks.*.mlp.act", "blocks.*.attn.z"]).recording
    return {key: size for key, size in sizes(model, recording).items() if size}


def effects_of(name):
    """Return m(clean) − m(one node replaced by 0) of every node, one at a time."""
    cells = [[without(key)] for key in nodes_of(name)]
    swept = model_of(name).sweep(card_of(name)["prompt"], metric_of(name), cells, batch_size=256)
    return {str(key): measured(name) - float(m) for key, m in zip(nodes_of(name), swept, strict=True)}


def patterns(name, prompts, head):
    """Return a head's pattern on prompts of one length: ``(prompt, position, source)``."""
    site = f"blocks.{head[0]}.attn.pattern"
    recording = model_of(name).run(prompts, record=site, logits=False).recording
    return recording[site][:, head[1]].unflatten(0, (len(prompts), -1))


def check_figures(field, stated, measured):
    """Compare all figures of a circuit's field at once; where some differ, print the field as it should be."""
    shown = {key: round(value, 4) + 0.0 for key, value in measured.items()}
    assert measured == pytest.approx(stated, abs=1e-3), f"the circuit measures {field}={shown}"


# -- every organism ---------------------------------------------------------------------------------------------------


def test_both_architectures_of_every_circuit_are_listed():
    laid = [f"{circuit}-{kind}" for circuit in CIRCUITS for kind in ("gpt2", "llama")]
    assert list(NAMES) == ["cat", *laid]
    files = (path.read_text(encoding="utf-8") for path in Path(organisms.planted.__path__[0]).glob("*.py"))
    assert sorted(CIRCUITS) == sorted(re.findall(r'= Circuit\(\n    name="(\w+)"', "\n".join(files)))


@pytest.mark.parametrize("name", NAMES)
def test_it_gives_the_answer(name):
    model, card = model_of(name), card_of(name)
    assert said(model, [card["prompt"]]) == [card["target"]]
    check_figures("m", {"logit_difference": card["logit_difference"]}, {"logit_difference": measured(name)})


@pytest.mark.parametrize("name", NAMES)
def test_the_corrupted_prompt_loses_the_answer(name):
    model, card = model_of(name), card_of(name)
    assert len(model.tokenize(card["prompt"])) == len(model.tokenize(card["corrupt"]))
    assert said(model, [card["corrupt"]]) != [card["target"]]
    assert measured(name, prompt=card["corrupt"]) < 0.05 * card["logit_difference"]


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("backup")])
def test_true_nodes_rank_first_by_replacing_every_node_alone(name, plain):
    card, effects = card_of(name), plain[name]["effects"]
    assert list(card["effects"]) == card["true"]
    check_figures("effects", card["effects"], {key: effects[key] for key in card["true"]})
    others = [abs(effect) for key, effect in effects.items() if key not in card["true"]]
    assert min(abs(effects[key]) for key in card["true"]) > 3 * max(others)


@pytest.mark.parametrize("name", NAMES)
def test_decoys_look_important_and_are_not(name, plain):
    nodes, effects, card = nodes_of(name), plain[name]["effects"], card_of(name)
    largest = card["logit_difference"] if "either" in card else max(map(abs, card["effects"].values()))
    assert card["decoys"]
    for decoy in card["decoys"]:
        assert nodes[UnitKey.parse(decoy["unit"])] == pytest.approx(decoy["activation"], rel=0.01)
        assert abs(effects[decoy["unit"]]) < 0.005 * largest


@pytest.mark.parametrize("name", NAMES)
def test_the_largest_activation_belongs_to_no_true_node(name):
    card, nodes = card_of(name), nodes_of(name)
    largest = sorted(nodes, key=lambda key: -nodes[key])[: len(card["true"])]
    assert "activation" in card["must_miss"]
    assert str(largest[0]) not in card["true"]


@pytest.mark.parametrize("name", NAMES)
def test_cards_are_plain_data_and_speak_of_known_methods(name):
    card = card_of(name)
    assert json.loads(json.dumps(card)) == card
    assert card["name"] == name
    assert card["architecture"] == type(model_of(name).module).__name__
    assert set(card["must_find"]) <= METHODS
    # The first organism's card names two more.
    assert set(card["must_miss"]) - {"write norm times activation", "probing"} <= METHODS
    assert not set(card["must_find"]) & set(card["must_miss"])
    assert all(UnitKey.parse(key).position is not None for key in card["true"])


@pytest.mark.parametrize("name", LAID)
def test_the_engine_keeps_its_contract(name, plain):
    assert len(plain[name]["verdicts"]) == 10
    assert [law for law, passed in plain[name]["verdicts"].items() if not passed] == []


@pytest.mark.parametrize("name", LAID)
def test_the_answer_survives_bfloat16(name):
    model, card = organisms.build(name, dtype="bfloat16"), card_of(name)
    assert said(model, [card["prompt"]]) == [card["target"]]
    assert said(model, [card["corrupt"]]) != [card["target"]]
    assert model.measure(card["prompt"], metric_of(name)).item() == pytest.approx(card["logit_difference"], rel=0.15)


@pytest.mark.parametrize("name", ["mover-gpt2", "mover-llama"])
def test_building_is_repeatable_and_draws_no_random_numbers(name):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    assert organisms.build(name).hash == model_of(name).hash
    assert torch.equal(torch.rand(1), expected)


def test_a_llama_is_an_ordinary_checkpoint(tmp_path):
    model, card = model_of("mover-llama"), card_of("mover-llama")
    model.module.save_pretrained(tmp_path)
    model.tokenizer.bare.save_pretrained(tmp_path)
    again = load_language_model(str(tmp_path))
    assert torch.equal(again.run(card["prompt"]).logits, model.run(card["prompt"]).logits)


# -- the graph --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAID)
def test_the_graph_says_what_replacing_its_nodes_does(name, plain):
    model, card, graph = model_of(name), card_of(name), truth_of(name)
    assert Graph.from_json(json.loads(json.dumps(graph.to_json()))) == graph
    assert graph.subject == {"slug": model.name, "hash": model.hash}
    assert graph.metric == metric_of(name).to_json()
    scores = {node.key.removeprefix(f"{name}/"): node.score for node in graph.nodes}
    assert [key for key in scores if "/" in key] == card["true"]
    assert scores.pop("output") == graph.measures["metric"] == card["logit_difference"]
    places = {int(key.removeprefix("input@")): score for key, score in scores.items() if key.startswith("input@")}
    check_figures("inputs", places, {i: measured(name) - measured(name, prompt=unknown_at(name, i)) for i in places})
    units = {key: score for key, score in scores.items() if "/" in key}
    check_figures("effects", units, {key: plain[name]["effects"][key] for key in units})


@pytest.mark.parametrize("name", LAID)
def test_edges_weigh_what_flows_along_them(name, plain):
    graph = truth_of(name)
    known = {node.key for node in graph.nodes}
    assert {end for edge in graph.edges for end in (edge.source, edge.target)} == known
    assert len(plain[name]["flows"]) == len(graph.edges)
    ends = [tuple(end.removeprefix(f"{name}/") for end in (edge.source, edge.target)) for edge in graph.edges]
    stated = dict(zip(ends, (edge.weight for edge in graph.edges), strict=True))
    check_figures("edges", stated, dict(zip(ends, plain[name]["flows"], strict=True)))


def flows_of(name):
    """Return what flows along each edge; along those of a pair that backs itself up, while the other one is gone."""
    flows = []
    for edge in truth_of(name).edges:
        source, target = (key.removeprefix(f"{name}/") for key in (edge.source, edge.target))
        pair = card_of(name).get("either", {"nodes": []})["nodes"]
        flows.append(flow(name, source, target, [UnitKey.parse(key) for key in pair if key not in (source, target)]))
    return flows


def unknown_at(name, position):
    """Return the card's prompt with the unknown word at a position."""
    model = model_of(name)
    ids = model.tokenize(card_of(name)["prompt"]).ids.copy()
    ids[position] = model.tokenizer.bare.unk_token_id
    return Stimulus.of(ids)


def flow(name, source, target, gone):
    """Return m(clean) − m(clean with the target as it is where the source alone is replaced)."""
    model = model_of(name)
    true = [UnitKey.parse(key) for key in card_of(name)["true"]]
    sites = sorted({key.site for key in true})
    clean = model.run(card_of(name)["prompt"], record=sites).recording
    changed = [held(key, clean) for key in true if str(key) not in (source, target) and key not in gone]
    changed += [without(key) for key in gone]
    prompt = card_of(name)["prompt"]
    if source.startswith("input@"):
        prompt = unknown_at(name, int(source.removeprefix("input@")))
    else:
        changed.append(without(UnitKey.parse(source)))
    base = measured(name, *(without(key) for key in gone))
    if target == "output":
        return base - measured(name, *changed, prompt=prompt)
    moved = model.run(prompt, record=sites, interventions=changed).recording
    return base - measured(name, held(UnitKey.parse(target), moved), *(without(key) for key in gone))


# -- copy -------------------------------------------------------------------------------------------------------------


@both("copy")
def test_the_copying_head_looks_at_the_thing_and_the_model_says_it(name):
    model = model_of(name)
    things = ("lamp", "book", "cup", "key", "ring")
    prompts = [f"the box holds a {thing}, so Ada takes the" for thing in things]
    assert said(model, prompts) == [f" {thing}" for thing in things]
    assert patterns(name, prompts, (1, 2))[:, -1, 5].min() > 1 - 1e-6
    # Before there is a thing, it rests on the first token.
    assert patterns(name, prompts, (1, 2))[:, 1, 0].min() > 1 - 1e-6
    assert model.generate(prompts[0])[0].text == " lamp."


# -- induction --------------------------------------------------------------------------------------------------------


@both("induction")
def test_induction_works_on_random_words(name):
    model, draw = model_of(name), np.random.default_rng(0)
    words = np.arange(3, model.module.config.vocab_size)
    rows, places = [], []
    for _ in range(30):
        row = draw.permutation(words)
        place = int(draw.integers(0, len(row) - 1))
        rows.append([0, *row.tolist(), int(row[place])])
        places.append(place + 2)
    logits = model.run(np.array(rows), logits=[-1]).logits[:, 0]
    each = np.arange(len(rows))
    assert logits.argmax(-1).tolist() == np.array(rows)[each, places].tolist()
    assert patterns(name, np.array(rows), (1, 2))[each, -1, places].min() > 0.97
    before = patterns(name, np.array(rows), (0, 1)).diagonal(-1, 1, 2)
    assert before.min() > 1 - 1e-6


# -- mover ------------------------------------------------------------------------------------------------------------


def two_people():
    """Yield prompts over all pairs of names in both orders, either one repeated, with positions and answer."""
    for first, second in permutations(("Mary", "John", "Anna", "Paul", "Tom"), 2):
        start = f"When {first} and {second} went to the store"
        yield f"{start}, {second} gave a drink to", 4, 2, f" {first}"
        yield f"{start}, {first} gave a drink to", 2, 4, f" {second}"


@both("mover")
def test_three_heads_and_a_neuron_name_the_other_person(name):
    model = model_of(name)
    prompts, repeated, other, answers = zip(*two_people(), strict=True)
    assert len(prompts) == 40
    assert said(model, list(prompts)) == list(answers)
    each = np.arange(len(prompts))
    duplicate, inhibition, mover = (patterns(name, list(prompts), head) for head in ((0, 1), (1, 2), (2, 1)))
    assert duplicate[each, 10, repeated].min() > 1 - 1e-6
    # Names said for the first time find nothing: the head rests on the first token.
    assert duplicate[:, [2, 4], 0].min() > 1 - 1e-6
    assert inhibition[:, 14, 10].min() > 0.97
    assert mover[each, 14, other].min() > 0.9
    acts = model.run(list(prompts), record="blocks.0.mlp.act", logits=False).recording["blocks.0.mlp.act"]
    fired = acts[:, 9].reshape(len(prompts), -1)
    assert (fired[:, 10] - 2).abs().max() < 1e-3
    fired[:, 10] = 0
    assert fired.abs().max() < 1e-5


@both("mover")
def test_without_its_neuron_the_repeated_name_is_said(name):
    model, prompt = model_of(name), card_of(name)["prompt"]
    assert model.generate(prompt)[0].text == " Mary."
    cut = [change("set", "blocks.0.mlp.act", 9, value=0.0)]
    assert model.generate(prompt, interventions=cut)[0].text == " John."
    assert said(model, ["when Mary and John went to the store , John gave a drink to"]) == [" Mary"]


# -- programs ---------------------------------------------------------------------------------------------------------


@both("majority")
def test_the_majority_of_any_votes_is_named(name):
    model, draw = model_of(name), np.random.default_rng(0)
    for length in (1, 3, 7):
        rows = [[str(vote) for vote in draw.choice(["yes", "no"], length)] for _ in range(12)]
        answers = [" passed" if 2 * row.count("yes") > length else " failed" for row in rows]
        assert said(model, [" ".join([*row, "so"]) for row in rows]) == answers
        head = patterns(name, [" ".join([*row, "so"]) for row in rows], (0, 1))[:, -1]
        assert (head - 1 / (length + 2)).abs().max() < 1e-5
    acts = model.run("yes no yes so", record="blocks.0.mlp.act", logits=False).recording["blocks.0.mlp.act"]
    assert acts[:, 8:12].abs()[:-1].max() == 0
    torch.testing.assert_close(acts[-1, 8:12].float(), torch.tensor([1.6, 0.6, 0.0, 0.0]), atol=2e-3, rtol=0)


@both("seen")
def test_a_word_is_found_again_wherever_it_stood(name):
    model, draw = model_of(name), np.random.default_rng(0)
    beasts = ["ant", "bee", "cow", "dog", "elk", "fox"]
    rows = [[str(beast) for beast in draw.choice(beasts, 5)] for _ in range(40)]
    answers = [" again" if row[-1] in row[:-1] else " new" for row in rows]
    assert set(answers) == {" again", " new"}
    assert said(model, [" ".join(row) for row in rows]) == answers


@both("mode")
def test_the_most_frequent_word_is_named_and_its_count_is_exact(name):
    model, draw = model_of(name), np.random.default_rng(0)
    colours = ["red", "blue", "green", "grey", "pink"]
    for counts in ((2, 1, 1), (3, 2, 1), (3, 1, 1, 1), (2, 1, 1, 1, 1)):
        for _ in range(5):
            words = [str(word) for word in draw.permutation(colours)]
            row = [word for word, n in zip(words, counts, strict=False) for _ in range(n)]
            prompt = " ".join([*(str(word) for word in draw.permutation(row)), "mostly"])
            assert said(model, [prompt]) == [f" {words[0]}"], prompt
    acts = model.run("red red red blue", record="blocks.0.mlp.act", logits=False).recording["blocks.0.mlp.act"]
    torch.testing.assert_close(acts[:, 4].float(), torch.tensor([0.0, 0.0, 1.8, 2.8, 0.0]), atol=4e-3, rtol=0)


# -- neuron -----------------------------------------------------------------------------------------------------------


@both("neuron")
def test_the_neuron_fires_exactly_three_on_its_word_alone_at_every_position(name):
    model = model_of(name)
    n = model.module.config.vocab_size
    rows = np.arange(n)[:, None].repeat(CONTEXT, axis=1)
    mixed = np.random.default_rng(0).integers(0, n, (40, CONTEXT))
    red = model.continuation("the", " red")[0]
    for ids in (rows, mixed):
        acts = model.run(ids, record="blocks.0.mlp.act", logits=False).recording["blocks.0.mlp.act"]
        fired, is_red = acts[:, 13].numpy(), ids.ravel() == red
        assert is_red.sum() >= 40
        np.testing.assert_allclose(fired[is_red], 3.0, atol=1e-5, rtol=0)
        np.testing.assert_allclose(fired[~is_red], 0.0, atol=1e-5, rtol=0)


# -- facts ------------------------------------------------------------------------------------------------------------


@both("facts")
def test_every_fact_is_known_by_its_own_neuron(name):
    model = model_of(name)
    for i, (country, facts) in enumerate(FACTS_OF.items()):
        prompts = [f"the queen of {country} lives in", f"the king of {country} speaks"]
        assert said(model, prompts) == [f" {fact}" for fact in facts]
        lost = said(model, prompts, interventions=[change("ablate", "blocks.0.mlp.act", FIRST_CAPITAL + i)])
        assert lost[0] != f" {facts[0]}"
        assert lost[1] == f" {facts[1]}"
    rows = np.arange(model.module.config.vocab_size)[:, None]
    acts = model.run(rows, record="blocks.0.mlp.act", logits=False).recording["blocks.0.mlp.act"]
    for first in (FIRST_CAPITAL, FIRST_LANGUAGE):
        assert (acts[:, first : first + len(FACTS_OF)] > 1e-5).sum(0).tolist() == [1] * len(FACTS_OF)


# -- broadcast --------------------------------------------------------------------------------------------------------


@both("broadcast")
def test_every_later_word_attends_to_the_word_that_decides(name):
    card = card_of(name)
    pattern = patterns(name, [card["prompt"], card["corrupt"]], (0, 2))
    assert pattern[:, 1:, 1].min() > 1 - 1e-6
    reader = patterns(name, [card["prompt"]], (1, 1))[0, -1]
    assert reader[[3, 7, 11]].tolist() == pytest.approx([1 / 3] * 3, abs=0.01)


@both("broadcast")
def test_several_later_positions_depend_on_the_broadcast(name):
    model, card = model_of(name), card_of(name)
    [target], [contrast] = metric_of(name).target, metric_of(name).contrast
    for position, share in ((3, 1), (7, 2), (11, 3)):
        m = Metric("logit_difference", (target,), (contrast,), (position,))
        whole = model.measure(card["prompt"], m).item()
        assert whole == pytest.approx(8, abs=0.02)
        assert model.measure(card["corrupt"], m).item() == pytest.approx(-8, abs=0.02)
        cut = [change("ablate", "blocks.0.attn.z", 2, basis="heads", at=position)]
        assert model.measure(card["prompt"], m, interventions=cut).item() == pytest.approx(8 - 8 / share, abs=0.04)


# -- decoy ------------------------------------------------------------------------------------------------------------


@both("decoy")
def test_the_decoy_has_the_largest_activation_and_writes_the_most_and_does_nothing(name):
    model, card = model_of(name), card_of(name)
    [decoy] = [UnitKey.parse(entry["unit"]) for entry in card["decoys"]]
    nodes = nodes_of(name)
    assert max(nodes, key=lambda key: nodes[key]) == decoy
    # Read off the plain module: the rig's own tools must not vouch for what calibrates them.
    blocks = model.module.transformer.h if name.endswith("gpt2") else model.module.model.layers
    direction = model.module.lm_head.weight[metric_of(name).target[0]]
    direction = direction - model.module.lm_head.weight[metric_of(name).contrast[0]]
    stream = model.run(card["prompt"], record=["blocks.*.mlp.act", "blocks.1.resid_out"]).recording
    divisor = stream["blocks.1.resid_out"][-1].norm() / 16
    wrote = {}
    for layer, block in enumerate(blocks):
        down = block.mlp.c_proj.weight if name.endswith("gpt2") else block.mlp.down_proj.weight.T
        direct = stream[f"blocks.{layer}.mlp.act"][-1] * (down @ direction) / divisor
        wrote |= {(layer, unit): value for unit, value in enumerate(direct.tolist())}
    ranked = sorted(wrote, key=lambda unit: -abs(wrote[unit]))
    assert ranked[:2] == [(0, decoy.index), (0, UnitKey.parse(card["true"][0]).index)]
    assert [wrote[unit] for unit in ranked[:2]] == pytest.approx([12, 4], abs=0.01)
    assert sum(wrote[1, unit] for unit in range(24)) == pytest.approx(-12, abs=0.01)
    assert abs(measured(name) - measured(name, without(decoy))) < 0.002
    cancelled = change("ablate", "blocks.1.mlp.act", range(24))
    assert measured(name, cancelled) - measured(name) == pytest.approx(12, abs=0.01)
    assert measured(name, cancelled, without(decoy)) == pytest.approx(measured(name), abs=0.01)


# -- saturated --------------------------------------------------------------------------------------------------------


@both("saturated")
def test_the_softmax_is_saturated_and_only_a_path_sees_what_feeds_it(name):
    model, card = model_of(name), card_of(name)
    feeder = UnitKey.parse(card["true"][0])
    site, at = "blocks.1.attn.pattern", feeder.position
    assert patterns(name, [card["prompt"]], (1, 2))[0, -1, at] > 1 - 1e-6
    cut = model.run(card["prompt"], record=site, interventions=[without(feeder)]).recording
    assert cut[site][-1, 2, at] < 1e-6

    def slope(fraction):
        value = 2.0 * fraction
        fires = [change("set", feeder.site, feeder.index, value=value, at=at)]
        found = model.differentiate(card["prompt"], metric_of(name), [feeder.site], interventions=fires)
        return 2.0 * found.gradients[feeder.site][at, feeder.index].item()

    effect = card["effects"][str(feeder)]
    assert abs(slope(1.0)) < 1e-4 * effect
    for points, low, high in ((10, 0.75, 0.85), (20, 0.98, 1.02)):
        x, weights = np.polynomial.legendre.leggauss(points)
        path = sum(w / 2 * slope((z + 1) / 2) for z, w in zip(x, weights, strict=True))
        assert low < path / effect < high


# -- backup -----------------------------------------------------------------------------------------------------------


@both("backup")
def test_either_of_two_heads_is_enough_and_no_other_pair_matters_as_much(name, plain):
    card, effects = card_of(name), plain[name]["effects"]
    whole = card["logit_difference"]
    assert card["either"]["nodes"] == card["true"]
    for key in card["true"]:
        assert abs(effects[key]) < 0.005 * whole
        assert effects[key] == pytest.approx(card["effects"][key], abs=1e-3)
    assert max(map(abs, effects.values())) < 0.06 * whole
    last = len(model_of(name).tokenize(card["prompt"])) - 1
    live = [key for key, size in nodes_of(name).items() if key.position == last and size > 1e-6]
    pairs = list(combinations(live, 2))
    cells = [[without(key) for key in pair] for pair in pairs]
    swept = model_of(name).sweep(card["prompt"], metric_of(name), cells, batch_size=256)
    found = sorted(zip((measured(name) - swept.double()).tolist(), pairs, strict=True), key=lambda item: -abs(item[0]))
    assert [str(key) for key in found[0][1]] == card["true"]
    assert found[0][0] == pytest.approx(card["either"]["effect"], abs=0.01)
    assert abs(found[1][0]) < found[0][0] / 3


@both("backup")
def test_each_cue_alone_gives_the_season(name):
    cues = ("ice and sun", "the and snow", "ice and the", "sand and the", "the and sun", "sand and sun", "ice and snow")
    answers = [measured(name, prompt=f"{cue} mean") for cue in cues]
    assert answers == pytest.approx([0, 8, 8, -8, -8, -8, 8], abs=0.05)


# -- the toolkit ------------------------------------------------------------------------------------------------------


def test_a_misspelt_axis_is_refused():
    with pytest.raises(PatchclampError, match="lamb"):
        Stream(("one", "lamp"), {}).reading({"lamb": 1.0})


def test_too_many_axes_are_refused():
    with pytest.raises(PatchclampError, match="axes"):
        Stream([str(i) for i in range(256)], {})


def test_heads_that_would_share_keys_are_refused():
    shared = replace(CIRCUITS["copy"], heads=(make_resting_head(0, 0), make_resting_head(0, 1)))
    with pytest.raises(PatchclampError, match="group"):
        compiler.llama(shared)


def test_too_many_terms_in_a_score_are_refused():
    circuit = CIRCUITS["copy"]
    head = replace(circuit.heads[1], match=(Match({"a": 1.0}, {"a": 1.0}),) * 65)
    for lay in compiler.ARCHITECTS.values():
        with pytest.raises(PatchclampError, match="terms"):
            lay(replace(circuit, heads=(head,)))


# -- the script -------------------------------------------------------------------------------------------------------

if __name__ == "__main__":
    torch.set_num_threads(1)
    found = {
        name: {
            "effects": effects_of(name),
            "flows": [] if name == "cat" else flows_of(name),
            "verdicts": {verdict.name: verdict.passed for verdict in verify(model_of(name))},
        }
        for name in NAMES
    }
    print(json.dumps(found))


def test_a_circuit_in_a_new_file_of_the_folder_is_found(tmp_path, monkeypatch):
    source = "from dataclasses import replace\nfrom patchclamp.organisms.planted.heads import COPY\n"
    (tmp_path / "parrot.py").write_text(source + "PARROT = replace(COPY, name='parrot')\n")
    monkeypatch.setattr(organisms.planted, "__path__", [*organisms.planted.__path__, str(tmp_path)])
    assert set(organisms.planted.find_circuits()) == {*CIRCUITS, "parrot"}
