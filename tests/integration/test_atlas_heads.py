"""Attention heads in an atlas: statistics, shares, pairs, patterns and weights against plain recounts of the model."""

import copy
import json
import random
from collections import Counter
from dataclasses import asdict

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

import patchclamp as pc
from oracles import heads as oracle
from patchclamp.atlas.bake import attention_pass, read_text
from patchclamp.atlas.bake.base import units_of
from patchclamp.atlas.lab import Lab
from patchclamp.atlas.lab.clamps import shown_values, unit_values
from patchclamp.atlas.serve.app import make_app
from patchclamp.core.basis import Basis
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.errors import PatchclampError
from patchclamp.record.heads import is_heads
from patchclamp.subjects.corpora import read_corpus

THINGS = ("lamp", "book", "cup", "key", "ring")
COPYING = "blocks.1.attn.z/heads/2"
FAMILIES = {"llama": oracle.llama_head, "gpt2": oracle.gpt2_head}


@pytest.fixture(scope="module")
def copying(tmp_path_factory, organism):
    """The atlas of a planted copying head."""
    folder, draw = tmp_path_factory.mktemp("copying"), random.Random(0)
    text = folder / "things.txt"
    lines = (f"the box holds a {thing}, so Ada takes the {thing}.\n" for thing in draw.choices(THINGS, k=60))
    text.write_text("".join(lines))
    pc.atlas.bake_atlas(organism("copy-gpt2"), pc.Corpus(text, window=32), folder / "a", name="organism:copy-gpt2")
    return pc.atlas.open(folder / "a")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    words = np.random.default_rng(0).integers(0, 56, size=500)
    path = tmp_path_factory.mktemp("text") / "words.txt"
    path.write_text(" ".join(f"w{i}" for i in words))
    return path


@pytest.fixture(scope="module", params=list(FAMILIES))
def baked(request, tiny_language_model, text, tmp_path_factory):
    """A family's tiny model, its atlas, and every stimulus with its patterns."""
    model, out = tiny_language_model(request.param), tmp_path_factory.mktemp("heads") / "a"
    pc.atlas.bake_atlas(model, pc.Corpus(text, window=60), out, batch_size=3)
    stimuli = [s for batch in read_corpus(model, pc.Corpus(text, window=60)) for s in batch]
    return model, pc.atlas.open(out), [(s, oracle.patterns(model, s)) for s in stimuli]


def heads_of(atlas):
    return [f"{one.site}/heads/{i}" for one in atlas.page().sites if one.basis == "heads" for i in range(one.units)]


def place(key):
    return int(key.split(".")[1]), int(key.rsplit("/", 1)[1])


def test_the_planted_head_copies_and_its_neighbours_do_not(copying):
    page = copying.unit(COPYING)
    real = [pair for pair in page.head.attends if pair.weight > 0.1]
    assert {pair.source.text.strip() for pair in real} == set(THINGS)
    assert {pair.target.text for pair in real} == {" the"}
    promoted = {one.source.text.strip(): one.promoted[0].text.strip() for one in page.head.writes}
    assert promoted == {thing: thing for thing in THINGS}
    assert page.head.copies == pytest.approx(len(THINGS) / page.head.tried, abs=1e-4)
    assert {pair.target.text for pair in page.head.matches} == {" the"}
    assert page.head.matches[0].source.text.strip() in THINGS
    pattern = copying.attention(page.key, "top", 0)
    row = pattern.heads[0].rows[pattern.mark]
    assert pattern.tokens[pattern.mark] == " the"
    assert pattern.tokens[int(np.argmax(row))].strip() in THINGS
    assert max(row) == pytest.approx(1.0, abs=1e-2)
    decoy = copying.unit("blocks.0.attn.z/heads/0").head
    assert decoy.copies == 0
    assert decoy.shares.previous > 0.9


def test_statistics_and_examples_are_the_norm_of_z(baked):
    model, atlas, shown = baked
    for key in heads_of(atlas):
        layer, head = place(key)
        site = f"blocks.{layer}.attn.z"
        norms = []
        for stimulus, _ in shown:
            z = model.run(stimulus, record=site, logits=False).recording[site]
            norms.append(np.linalg.norm(np.asarray(z).reshape(len(stimulus), -1, 8)[:, head], axis=-1))
        counted = np.concatenate([x[s.counted] for x, (s, _) in zip(norms, shown, strict=True)])
        page = atlas.unit(key)
        known = page.statistics
        found = (known.mean, known.deviation, known.minimum, known.maximum)
        assert found == pytest.approx((counted.mean(), counted.std(), counted.min(), counted.max()), rel=1e-3)
        for example in atlas.examples(key, "top").examples:
            start = example.position - example.mark
            along = norms[example.stimulus][start : start + len(example.ids)]
            np.testing.assert_allclose(example.acts, along, rtol=2e-3)
            assert example.value == pytest.approx(along[example.mark], rel=1e-4)
    # The lab shows the same number for the same token.
    z = model.run(shown[0][0], record=site, logits=False).recording[site]
    assert shown_values(unit_values(model, site, "heads", z)[:, head]) == pytest.approx(norms[0].tolist(), rel=1e-4)


def test_shares_and_pairs_are_those_of_the_whole_patterns(baked):
    _, atlas, shown = baked
    for key in heads_of(atlas):
        shares, pairs, n = oracle.shares_and_pairs(shown, *place(key))
        head = atlas.unit(key).head
        assert head.shares.targets == n
        for name, share in shares.items():
            assert getattr(head.shares, name) == pytest.approx(share, abs=2e-4)
        assert head.shares.others == pytest.approx(1 - sum(shares.values()), abs=5e-4)
        sums = sorted((sum(weights) for weights in pairs.values()), reverse=True)
        assert [pair.weight * pair.n for pair in head.attends] == pytest.approx(sums[: len(head.attends)], rel=2e-3)
        for pair in head.attends:
            weights = pairs[pair.source.id, pair.target.id]
            assert (pair.n, pair.weight) == (len(weights), pytest.approx(np.mean(weights), rel=1e-3))


def test_a_long_text_is_measured_at_every_nth_stimulus(baked, text, tmp_path, monkeypatch):
    model, _, shown = baked
    monkeypatch.setattr(read_text, "MOST_MEASURED", 200)
    pc.atlas.bake_atlas(model, pc.Corpus(text, window=60), tmp_path / "a", sites="blocks.1.attn.z/heads")
    atlas = pc.atlas.open(tmp_path / "a")
    every = -(-sum(len(s) for s, _ in shown) // 200)
    assert every > 1
    for key in heads_of(atlas):
        shares, _, n = oracle.shares_and_pairs(shown[::every], *place(key))
        known = atlas.unit(key).head.shares
        assert (known.targets, known.first) == (n, pytest.approx(shares["first"], abs=2e-4))


def test_patterns_of_examples_are_the_models_own(baked):
    _, atlas, shown = baked
    for key in heads_of(atlas):
        layer, head = place(key)
        kept = atlas.unit(key).head.patterns
        assert kept["top"] == [0, 1, 2, 3, 4, 5]
        for kind, ranks in kept.items():
            examples = atlas.examples(key, kind).examples
            for rank in ranks:
                page = atlas.attention(key, kind, rank)
                whole = shown[examples[rank].stimulus][1][layer][head].numpy()
                inside = slice(page.start, page.start + len(page.ids))
                assert (page.ids, page.mark) == (examples[rank].ids, examples[rank].mark)
                [found] = page.heads
                for i, row in enumerate(found.rows):
                    expected = whole[inside, inside][i]
                    np.testing.assert_allclose(row, expected[: len(row)], atol=1e-3)
                    assert len(row) == i + 1
                    first = whole[page.start + i, 0] if page.start else 0.0
                    assert found.first[i] == pytest.approx(first, abs=1e-3)
                    assert sum(row) + found.first[i] + found.elsewhere[i] == pytest.approx(1, abs=1e-2)
    assert any(atlas.attention(key, "top", r).start for key in heads_of(atlas) for r in range(6))


def test_tokens_through_the_weights_are_plain_products(baked):
    model, atlas, shown = baked
    counts = Counter(int(i) for s, _ in shown for i in s.ids[s.counted])
    tried = torch.tensor([i for i in counts if i not in model.special_answers])
    for key in heads_of(atlas):
        parts = FAMILIES[model.family.name](model.module, *place(key))
        logits, head = oracle.written_logits(model.module, parts), atlas.unit(key).head
        assert head.tried == len(tried)
        loudest = tried[logits[tried].amax(1).argsort(descending=True)]
        assert [one.source.id for one in head.writes] == loudest[: len(head.writes)].tolist()
        for one in head.writes:
            best = logits[one.source.id].topk(3)
            assert [token.id for token in one.promoted] == best.indices.tolist()
            assert [token.weight for token in one.promoted] == pytest.approx(best.values.tolist(), rel=2e-3)
        own = logits[tried, tried]
        assert head.copies == pytest.approx(float((own >= logits[tried].amax(1)).float().mean()), abs=1e-4)
        assert head.erases == pytest.approx(float((own <= logits[tried].amin(1)).float().mean()), abs=1e-4)
        match = oracle.matched(model.module, parts)[tried][:, tried]
        match = match - match.mean(1, keepdim=True)
        best = match.max(1)
        assert [p.weight for p in head.matches] == pytest.approx(
            best.values.sort(descending=True).values[:12].tolist(), rel=2e-3
        )
        where = {int(tried[i]): int(tried[best.indices[i]]) for i in range(len(tried))}
        assert all(where[pair.target.id] == pair.source.id for pair in head.matches)


def test_units_through_queries_and_keys_are_plain_products(baked):
    model, atlas, _ = baked
    for key in heads_of(atlas):
        layer, head = place(key)
        page = atlas.unit(key)
        expected = {"query_reads": {}, "key_reads": {}}
        parts = FAMILIES[model.family.name](model.module, layer, head)
        for earlier in range(layer):
            site = f"blocks.{earlier}.mlp.act"
            directions = model.write_directions(site, slice(None))
            for name, read in oracle.read_units(model.module, parts, directions).items():
                usual = read.square().mean().sqrt()
                expected[name] |= {f"{site}/neurons/{i}": float(x / usual) for i, x in enumerate(read)}
            path = f"blocks.{earlier}.attn.z"
            directions = model.write_directions(path, slice(None))
            for name, read in oracle.read_units(model.module, parts, directions).items():
                lengths = directions.norm(dim=1).square().reshape(4, -1)
                strength = ((read.square().reshape(4, -1) * lengths).sum(1) / lengths.sum(1)).sqrt()
                usual = strength.square().mean().sqrt()
                expected[name] |= {f"{path}/heads/{i}": float(x / usual) for i, x in enumerate(strength)}
        for name, known in expected.items():
            found = getattr(page.head, name)
            best = sorted(known.values(), reverse=True)[:8]
            assert [unit.value for unit in found] == pytest.approx(best, rel=2e-3)
            for unit in found:
                assert known[unit.key.partition("/")[2]] == pytest.approx(unit.value, rel=2e-3)
        if layer == 0:
            assert "no unit of an earlier block" in page.not_known["key_reads"]


@pytest.fixture(scope="module")
def planted(tiny_language_model, text, tmp_path_factory):
    """A head whose keys read what one neuron and one feature write; another neuron writes more, and elsewhere."""
    model, draw = copy.deepcopy(tiny_language_model("gpt2")), torch.Generator().manual_seed(5)
    first, second = model.module.transformer.h[0], model.module.transformer.h[1]
    width, size = model.module.config.n_embd, model.module.config.n_embd // model.module.config.n_head
    read, aside = (x - x.mean() for x in torch.randn(2, width, generator=draw))
    with torch.no_grad():
        first.mlp.c_proj.weight[11], first.mlp.c_proj.weight[12] = 0.01 * read, 50 * aside
        keys = second.attn.c_attn.weight[:, width + 2 * size : width + 3 * size]
        keys.copy_(torch.outer(read / second.ln_1.weight, torch.randn(size, generator=draw)))
    out = tmp_path_factory.mktemp("planted") / "a"
    pc.atlas.bake_atlas(model, pc.Corpus(text, window=60, max_tokens=200), out)
    decoder = torch.randn(6, width, generator=draw)
    decoder[4] = read
    basis = Basis("wide", "directions", decoder=decoder.numpy(), encoder=decoder.numpy(), activation="relu")
    pc.atlas.add_basis(
        out, model, Dictionary({"blocks.0.resid_out": basis}, {"slug": "tiny-gpt2", "hash": model.hash}, "planted")
    )
    return pc.atlas.open(out)


def test_keys_read_the_planted_neuron_and_feature_and_not_the_decoy(planted):
    page = planted.unit("blocks.1.attn.z/heads/2")
    keys = [unit.key.partition("/")[2] for unit in page.head.key_reads]
    assert keys[:2] == ["blocks.0.mlp.act/neurons/11", "blocks.0.resid_out/wide/4"]
    assert "blocks.0.mlp.act/neurons/12" not in keys
    assert page.head.key_reads[0].value > 3
    other = planted.unit("blocks.1.attn.z/heads/1").head
    assert other.key_reads[0].key.partition("/")[2] != "blocks.0.mlp.act/neurons/11"
    assert len(json.dumps(asdict(page))) < 20_000


def test_keys_of_an_induction_head_read_the_head_that_marks_the_word_before(organism, tmp_path):
    text = tmp_path / "names.txt"
    text.write_text("Ada Lane met Tom Reed. Later Ada Lane saw Tom Reed.\n" * 8)
    pc.atlas.bake_atlas(organism("induction-gpt2"), text, tmp_path / "a", name="organism:induction-gpt2")
    head = pc.atlas.open(tmp_path / "a").unit("blocks.1.attn.z/heads/2").head
    assert head.key_reads[0].key == "induction-gpt2/blocks.0.attn.z/heads/1"
    assert [unit.key for unit in head.query_reads] == [], "its queries read the word itself, which no unit writes"


def test_a_norm_of_queries_and_keys_is_given_as_the_reason(tiny_language_model, text, tmp_path):
    model = tiny_language_model("qwen3")
    pc.atlas.bake_atlas(model, pc.Corpus(text, window=60, max_tokens=120), tmp_path / "a")
    page = pc.atlas.open(tmp_path / "a").unit("blocks.1.attn.z/heads/1")
    assert page.head.key_reads == []
    assert "no linear map" in page.not_known["key_reads"]


def test_heads_that_look_both_ways_have_a_next_token(tiny_language_model, text):
    model = tiny_language_model("bert")
    sites = units_of(model, "blocks.0.attn.z/heads")[1]
    batches = read_corpus(model, pc.Corpus(text, window=30, max_tokens=90), batch_size=2)
    text = read_text.read_text(batches, set(), lambda *_: None, lambda _: None)
    measured = attention_pass.measure_attention(model, text, sites, {})
    shown = [(s, oracle.patterns(model, s)) for batch in batches for s in batch]
    [block] = measured.values()
    for head in range(sites[0].width):
        shares, pairs, _ = oracle.shares_and_pairs(shown, 0, head, causal=False)
        assert block.shares[head] == pytest.approx(list(shares.values()), abs=1e-4)
        assert shares["next"] > 0
        first = block.pairs[head]
        sums = sorted((sum(weights) for weights in pairs.values()), reverse=True)
        assert (first.weight * first.n)[0] == pytest.approx(sums[0], rel=1e-3)


def test_patterns_of_sites_name_heads(models):
    model = models["llama"]
    assert [s.path for s in units_of(model, "blocks.*.attn.z/heads")[1] if not is_heads(s)] == []
    assert [s.path for s in units_of(model, "blocks.1.attn.z")[1]] == ["blocks.1.attn.z"]
    both = units_of(model, "blocks.0.attn.z/heads,blocks.0.mlp.act/neurons")[1]
    assert [s.path for s in both] == ["blocks.0.mlp.act", "blocks.0.attn.z/heads"]
    with pytest.raises(PatchclampError) as refusal:
        units_of(model, "blocks.0.mlp.act/heads")
    assert "blocks.0.attn.z/heads" in refusal.value.remedy


def test_coordinates_and_heads_of_one_site_stand_side_by_side(models, text, tmp_path):
    sites = "blocks.0.attn.z,blocks.0.attn.z/heads"
    pc.atlas.bake_atlas(models["llama"], pc.Corpus(text, max_tokens=120), tmp_path / "a", sites=sites)
    atlas = pc.atlas.open(tmp_path / "a")
    assert [(one.site, one.basis, one.units) for one in atlas.page().sites] == [
        ("blocks.0.attn.z", "neurons", 32),
        ("blocks.0.attn.z", "heads", 4),
    ]
    assert atlas.unit("blocks.0.attn.z/neurons/3").head is None
    assert atlas.unit("blocks.0.attn.z/neurons/3").promotes
    assert atlas.unit("blocks.0.attn.z/heads/3").head is not None


@pytest.fixture(scope="module")
def lab(baked):
    model, atlas, _ = baked
    return TestClient(make_app(lambda: atlas.reading, Lab(model, atlas.reading)))


def test_the_lab_gives_the_pattern_of_any_text(lab, baked):
    model = baked[0]
    words = "w1 w2 w3 w2 w5"
    whole = oracle.patterns(model, model.tokenize(words))
    found = lab.get("/api/lab/attention", params={"text": words, "layer": 1}).json()
    assert [one["head"] for one in found["heads"]] == [0, 1, 2, 3]
    for one in found["heads"]:
        for i, row in enumerate(one["rows"]):
            np.testing.assert_allclose(row, whole[1][one["head"], i, : i + 1], atol=1e-4)
    alone = lab.get("/api/lab/attention", params={"text": words, "layer": 1, "head": 2}).json()
    assert alone["heads"] == [found["heads"][2]]
    missing = lab.get("/api/lab/attention", params={"text": words, "layer": 9})
    assert (missing.status_code, "block 9" in missing.text) == (404, True)
    assert lab.get("/api/lab/attention", params={"text": words, "layer": 0, "head": 4}).status_code == 404


def test_more_weights_than_an_answer_holds_are_refused(lab, monkeypatch):
    monkeypatch.setattr("patchclamp.atlas.lab.attention.MOST_WEIGHTS", 100)
    refused = lab.get("/api/lab/attention", params={"text": "w1 w2 w3 w4 w5", "layer": 0})
    assert refused.status_code == 400
    assert "one head" in refused.json()["error"]["remedy"]
    assert lab.get("/api/lab/attention", params={"text": "w1 w2 w3 w4 w5", "layer": 0, "head": 0}).status_code == 200


def test_the_lab_ranks_heads_beside_neurons(lab, baked):
    model, atlas, _ = baked
    words = "w1 w2 w3 w2 w5"
    norms = {}
    for layer in range(3):
        site = f"blocks.{layer}.attn.z"
        z = np.asarray(model.run(words, record=site, logits=False).recording[site])[3].reshape(4, -1)
        norms |= {f"{atlas.reading.slug}/{site}/heads/{h}": float(np.linalg.norm(z[h])) for h in range(4)}
    by_value = lab.get("/api/lab/rank", params={"text": words, "position": 3, "limit": 100}).json()
    shown = {one["key"]: one["value"] for one in by_value["units"] if "/heads/" in one["key"]}
    assert shown
    assert shown == pytest.approx({key: norms[key] for key in shown}, rel=1e-4)
    asked = {"text": words, "position": 3, "by": "effect", "target": 5, "limit": 100}
    by_effect = lab.get("/api/lab/rank", params=asked).json()
    assert by_effect["total"] == by_value["total"] == atlas.page().n_units
    ranked = {one["key"]: one["effect"] for one in by_effect["units"] if "/heads/" in one["key"]}
    assert ranked
    metric = pc.Metric("logit", (5,), positions=(len(model.tokenize(words)) - 1,))
    scores = pc.attribute_nodes(model, words, metric, method="relp", levels=["head"])
    for key, effect in ranked.items():
        layer, head = place(key.partition("/")[2])
        assert effect == pytest.approx(scores.matrix(f"blocks.{layer}.attn.z", "heads")[3, head], rel=1e-3, abs=1e-6)


def test_what_is_not_there_is_said(copying):
    client = TestClient(make_app(lambda: copying.reading))
    units = f"/api/units/copy-gpt2/{COPYING}"
    assert client.get(units).status_code == 200
    assert client.get(f"{units}/attention", params={"kind": "top", "rank": 5}).status_code == 200
    for unit, query in (
        (units, {"kind": "top", "rank": 9}),
        (units, {"kind": "counter"}),
        ("/api/units/blocks.0.mlp.act/neurons/1", {}),
    ):
        answer = client.get(f"{unit}/attention", params=query)
        assert answer.status_code == 404
        assert "attention head" in answer.json()["error"]["expected"]


def test_find_lists_heads_by_their_words(copying):
    found = copying.find(pc.atlas.Asked(site="blocks.1.attn.z/heads"))
    assert [row.key for row in found.rows] == [f"copy-gpt2/blocks.1.attn.z/heads/{i}" for i in range(4)]
    assert copying.find(pc.atlas.Asked(words=COPYING)).rows[0].index == 2
    # Its top examples stand at ' the'.
    assert f"copy-gpt2/{COPYING}" in [row.key for row in copying.find(pc.atlas.Asked(fires_on="the")).rows]
