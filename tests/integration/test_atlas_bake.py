"""What a bake writes: statistics, histograms, examples and panels against plain recounts of the same forward passes."""

import sqlite3
from collections import Counter

import numpy as np
import pytest
import torch

import patchclamp as pc
from patchclamp.atlas import Asked
from patchclamp.atlas.bake.concept_labels import clustered_auroc
from patchclamp.atlas.bake.second_pass import STRIP
from patchclamp.atlas.bake.weight_panels import read_directions
from patchclamp.atlas.read.reader import Reading
from patchclamp.atlas.store.sqlite_files import BASE, content_hash, write_database
from patchclamp.core.stats import auroc
from patchclamp.subjects.corpora import read_corpus
from patchclamp.subjects.families.spec import family
from patchclamp.subjects.language import LanguageModel

SITES = ("blocks.0.mlp.act", "blocks.1.mlp.act")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    words = np.random.default_rng(0).integers(0, 56, size=900)
    path = tmp_path_factory.mktemp("text") / "words.txt"
    path.write_text(" ".join(f"w{i}" for i in words))
    return path


@pytest.fixture(scope="session")
def model(models):
    return models["llama"]


@pytest.fixture(scope="module")
def folder(model, text, tmp_path_factory):
    out = tmp_path_factory.mktemp("atlas") / "tiny.atlas"
    pc.atlas.bake_atlas(model, pc.Corpus(text, window=60), out, batch_size=3)
    return out


@pytest.fixture(scope="module")
def atlas(folder):
    return pc.atlas.open(folder)


@pytest.fixture(scope="module")
def truth(model, text):
    """Every stimulus with the values of both sites, one stimulus per forward pass."""
    stimuli = [s for batch in read_corpus(model, pc.Corpus(text, window=60)) for s in batch]
    runs = [model.run(s, record=SITES, logits=False).recording for s in stimuli]
    return [(s, {site: np.asarray(r[site]) for site in SITES}) for s, r in zip(stimuli, runs, strict=True)]


def units(n=40):
    draw = np.random.default_rng(1)
    return [(SITES[i % 2], int(draw.integers(0, 48))) for i in range(n)]


def test_statistics_and_histograms_are_a_recount(atlas, truth):
    for site, unit in units():
        page = atlas.unit(f"{site}/neurons/{unit}")
        values = np.concatenate([x[site][s.counted, unit] for s, x in truth])
        assert page.statistics.counted == len(values)
        assert page.statistics.maximum == pytest.approx(values.max(), rel=1e-4)
        assert page.statistics.minimum == pytest.approx(values.min(), rel=1e-4)
        assert page.statistics.mean == pytest.approx(values.mean(), abs=1e-4)
        assert page.statistics.deviation == pytest.approx(values.std(), rel=1e-3)
        edges = page.histogram.edges
        assert np.abs(np.histogram(values, edges)[0] - page.histogram.tokens).sum() <= 2  # rounding at an edge
        assert sum(page.histogram.tokens) == len(values)
        highest = []
        for s, x in truth:
            along = np.where(s.counted, x[site][:, unit], -np.inf)
            pieces = [along[i : i + STRIP].max() for i in range(0, len(along), STRIP)]
            highest += [high for high in pieces if np.isfinite(high)]
        assert np.abs(np.histogram(highest, edges)[0] - page.histogram.pieces).sum() <= 2
        assert sum(page.histogram.pieces) == len(highest)


@pytest.mark.parametrize("kind", ["top", "lowest", "range", "quantile", "random", "interval"])
def test_examples_show_what_the_model_does_there(atlas, truth, kind):
    for site, unit in units(20):
        page = atlas.unit(f"{site}/neurons/{unit}")
        ends = {"low": page.histogram.edges[0], "high": page.histogram.edges[-1]} if kind == "interval" else {}
        found = atlas.examples(page.key, kind, limit=50, **ends)
        assert found.examples
        assert len(found.examples) == next(c.n for c in page.examples if c.kind == kind)
        for one in found.examples:
            stimulus, values = truth[one.stimulus]
            start = one.position - one.mark
            shown = slice(start, start + len(one.ids))
            assert one.ids == stimulus.ids[shown].tolist()
            np.testing.assert_allclose(one.acts, values[site][shown, unit], rtol=2e-3, atol=2e-4)
            assert one.value == pytest.approx(values[site][one.position, unit], rel=1e-4, abs=1e-5)
            assert one.special == np.flatnonzero(~stimulus.counted[shown]).tolist()
            assert (one.before, one.after) == (start > 0, shown.stop < len(stimulus))
            if kind in ("top", "interval"):
                assert one.value >= np.delete(one.acts, one.special).max() - 1e-2 * abs(one.value) - 1e-3


def test_lowest_examples_are_the_lowest_of_all_windows(atlas, truth):
    for site, unit in units(20):
        found = atlas.examples(f"{site}/neurons/{unit}", "lowest", limit=50).examples
        lows = sorted(x[site][s.counted, unit].min() for s, x in truth)
        assert [one.value for one in found] == pytest.approx([low for low in lows if low < 0][:8], abs=1e-5)


def test_examples_across_the_range_are_spread_over_its_activations(atlas):
    for site, unit in units(20):
        page = atlas.unit(f"{site}/neurons/{unit}")
        low, high = page.statistics.minimum, page.statistics.maximum
        found = atlas.examples(page.key, "range", limit=50).examples
        values = [one.value for one in found]
        steps = [min(int((value - low) / (high - low) * 10), 9) for value in values]
        assert values == sorted(values)
        assert len(set(steps)) == len(steps)
        assert (steps[0], steps[-1]) == (0, 9)
        # Every interval that any window has its peak in is there.
        peaks = atlas.examples(page.key, "interval", low=low, high=high, limit=50).examples
        assert {min(int((one.value - low) / (high - low) * 10), 9) for one in peaks} <= set(steps)


def test_exemplars_are_the_examples_with_their_whole_stimuli(atlas, truth):
    for site, unit in units(12):
        found = atlas.exemplars(f"{site}/neurons/{unit}")
        assert (found.site.path, found.basis, found.units.tolist()) == (site, "neurons", [unit])
        for kind in ("top", "quantile", "random"):
            some = found.of_kinds(kind)
            examples = atlas.examples(f"{site}/neurons/{unit}", kind, limit=50).examples
            assert len(some) == len(examples)
            for row, (one, example) in enumerate(zip(some, examples, strict=True)):
                assert (one.value, one.stimulus, one.position) == (example.value, example.stimulus, example.position)
                assert one.ids == tuple(truth[one.stimulus][0].ids.tolist())
                start, near = one.position - example.mark, 1e-2 * abs(one.value)  # acts are shown rounded
                along = np.delete(np.array(example.acts), example.special) if one.value > 0 else np.zeros(0)
                n_marks = int(some.mask(row).sum())
                assert some.mask(row)[one.position]
                assert not some.mask(row)[[start + at for at in example.special if at != example.mark]].any()
                least, most = (int((along >= 0.5 * one.value + e).sum()) for e in (near, -near))
                assert max(least, 1) <= n_marks <= max(most, 1)
        training, test = found.split(seed=1)
        assert not {one.ids for one in training} & {one.ids for one in test}


def test_an_interval_gives_pieces_whose_maximum_lies_in_it(atlas):
    for site, unit in units(20):
        page = atlas.unit(f"{site}/neurons/{unit}")
        edges, pieces = page.histogram.edges, page.histogram.pieces
        for i, n in enumerate(pieces):
            found = atlas.examples(page.key, "interval", low=edges[i], high=edges[i + 1])
            assert found.total == n
            assert len(found.examples) == min(n, 2)
            last = i == len(pieces) - 1
            assert all(edges[i] <= e.value < edges[i + 1] or (last and e.value == edges[-1]) for e in found.examples)
        whole = atlas.examples(page.key, "interval", low=edges[2], high=edges[9], limit=50)
        assert whole.total == sum(pieces[2:9])


def test_what_units_write_and_read_is_what_the_weights_say(atlas, model):
    module = model.module
    for site, unit in units(10):
        layer = int(site.split(".")[1])
        block = module.model.layers[layer]
        write = block.mlp.down_proj.weight[:, unit].detach()
        logits = module.lm_head(module.model.norm(write[None]))[0].detach()
        logits = logits - logits.mean()
        page = atlas.unit(f"{site}/neurons/{unit}")
        best = logits.sort(descending=True)
        assert [t.id for t in page.promotes[:5]] == best.indices[:5].tolist()
        assert [t.weight for t in page.promotes[:5]] == pytest.approx(best.values[:5].tolist(), rel=1e-3)
        assert [t.id for t in page.suppresses[:5]] == best.indices.flip(0)[:5].tolist()
        read = block.mlp.gate_proj.weight[unit].detach() * block.post_attention_layernorm.weight.detach()
        drive = module.model.embed_tokens.weight.detach() @ read
        assert page.excited_by[0].id == int(drive.argmax())
        assert page.inhibited_by[0].id == int(drive.argmin())
        if layer == 1:
            earlier = read @ module.model.layers[0].mlp.down_proj.weight.detach()
            assert page.driven_by[0].key.endswith(f"blocks.0.mlp.act/neurons/{int(earlier.argmax())}")
            assert page.driven_by[0].value == pytest.approx(float(earlier.max()), rel=1e-3)
        else:
            assert page.driven_by == []


def test_a_fused_projection_is_read_at_the_gate_alone():
    model = LanguageModel(family("phi3").tiny())
    block = model.module.model.layers[1]
    read = read_directions(model, [model.site("blocks.1.mlp.act")]).read["blocks.1.mlp.act"](slice(None))
    gate = block.mlp.gate_up_proj.weight.chunk(2)[0] * block.post_attention_layernorm.weight
    torch.testing.assert_close(read, gate.detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "norm", [torch.nn.Identity(), torch.nn.LayerNorm(32, elementwise_affine=False), torch.nn.Tanh()]
)
def test_what_a_neuron_reads_through_another_norm_is_said_or_left_out(norm):
    module = family("gpt2").tiny()
    module.transformer.h[0].ln_2 = norm
    found = read_directions(LanguageModel(module), [LanguageModel(module).site("blocks.0.mlp.act")])
    read, expected = found.read["blocks.0.mlp.act"], module.transformer.h[0].mlp.c_fc.weight.detach().T
    if isinstance(norm, torch.nn.Tanh):
        assert read is None
        assert "no norm of a known kind" in found.reasons["blocks.0.mlp.act"]["driven_by"]
        return
    read = read(slice(None))
    centred = expected - expected.mean(1, keepdim=True) if isinstance(norm, torch.nn.LayerNorm) else expected
    torch.testing.assert_close(read, centred, atol=1e-5, rtol=1e-5)


def test_neighbours_are_the_nearest(atlas, model):
    writes = torch.cat([b.mlp.down_proj.weight.detach().T for b in model.module.model.layers])
    cosine = torch.nn.functional.normalize(writes, dim=1) @ torch.nn.functional.normalize(writes, dim=1).T
    cosine.fill_diagonal_(-2)
    for unit in (0, 17, 60, 130):
        page = atlas.unit(str(atlas.reading.key(unit)))
        near = [atlas.reading.index_of(n.key) for n in page.similar]
        assert near == cosine[unit].argsort(descending=True)[: len(near)].tolist()
        assert unit not in near
        assert page.key not in [n.key for n in page.together]
        assert [n.value for n in page.together] == sorted((n.value for n in page.together), reverse=True)


def test_the_text_alone_decides_the_hash(model, text, folder, tmp_path):
    again = pc.atlas.bake_atlas(model, pc.Corpus(text, window=60), tmp_path / "other name", batch_size=3)
    assert again == pc.atlas.open(folder).page().base
    other = pc.atlas.bake_atlas(model, pc.Corpus(text, window=60, max_tokens=300), tmp_path / "shorter", batch_size=3)
    assert other != again


def test_what_never_changes_has_no_histogram(seeded_atlas):
    page = pc.atlas.open(seeded_atlas).unit("blocks.0.mlp.act/neurons/0")
    assert page.silent
    assert page.histogram is None
    assert page.statistics.maximum == 0.0
    assert page.fires_on == []


def test_values_that_are_not_finite_become_none(tiny_language_model, text, tmp_path):
    broken = tiny_language_model("llama")
    with torch.no_grad():
        broken.module.model.layers[1].mlp.gate_proj.weight[5] = torch.nan
    pc.atlas.bake_atlas(broken, pc.Corpus(text, window=60, max_tokens=200), tmp_path / "nan.atlas")
    atlas = pc.atlas.open(tmp_path / "nan.atlas")
    page = atlas.unit("blocks.1.mlp.act/neurons/5")
    assert page.histogram is None
    assert page.statistics.mean is None
    assert atlas.examples(page.key, "top").examples == []
    assert atlas.unit("blocks.1.mlp.act/neurons/6").histogram is not None


def test_labels_become_concepts(tmp_path):
    from patchclamp.organisms import language

    model = language.build("language-gpt2")
    documents = language.text(120, seed=5, model=model)
    import json

    lines = [
        json.dumps({
            "text": d.stimulus.text,
            "tokens": [model.tokenizer.token(int(i)) for i in d.stimulus.ids],
            "concepts": [sorted(c) for c in d.concepts],
        })
        for d in documents
    ]  # fmt: skip
    path = tmp_path / "labelled.jsonl"
    path.write_text("\n".join(lines) + "\n")
    pc.atlas.bake_atlas(model, pc.Corpus(path, max_tokens=2000), tmp_path / "l.atlas", sites="blocks.0.mlp.act")
    atlas = pc.atlas.open(tmp_path / "l.atlas")
    assert atlas.page().corpus.labelled == sum(int(d.stimulus.counted.sum()) for d in documents)
    # Every document stands alone, in the very tokens that carry the labels.
    assert (atlas.page().corpus.stimuli, atlas.page().corpus.counted) == (len(documents), atlas.page().corpus.labelled)
    best = atlas.find(Asked(sort="concept")).rows[0]
    assert best.auroc > 0.9
    # An independent recount of that unit and concept, on the same half of the documents.
    odd = documents[1::2]
    scores, labels = [], []
    for d in odd:
        values = np.asarray(model.run(d.stimulus, record=best.site, logits=False).recording[best.site])[:, best.index]
        scores.append(values[d.stimulus.counted])
        labels.append(d.where(best.concept)[d.stimulus.counted])
    assert best.auroc == pytest.approx(auroc(np.concatenate(scores), np.concatenate(labels)), abs=1e-3)
    clear = atlas.unit(best.key).concepts[0].auroc
    assert clear.low <= clear.value == best.auroc <= clear.high
    found = atlas.find(Asked(concept=best.concept))
    assert best.key in [row.key for row in found.rows]
    assert all(row.concept == best.concept for row in found.rows)
    # What units clearly detect comes first, the best first; then tokens at their peaks, then what they promote.
    word = best.concept.split("_")[0]
    searched = atlas.find(Asked(words=word, sort="relevance"), limit=200).rows
    order = ("concept", "peak", "promotes", "weak")
    tiers = [order.index(row.matched[0].of) for row in searched if row.maximum > 0]
    assert tiers == sorted(tiers)
    assert tiers.count(0) >= 2
    named = [
        max(c.auroc.value for c in atlas.unit(row.key).concepts if f"_{word}" in f"_{c.concept}")
        for row in searched[: tiers.count(0)]
    ]
    assert named == pytest.approx(sorted(named, reverse=True), abs=0.02)


def test_the_interval_of_an_auroc_is_that_of_resampled_documents():
    draw = np.random.default_rng(0)
    cluster = np.repeat(np.arange(60), 20)
    labels = draw.random(1200) < 0.3
    scores = draw.normal(size=1200) + 0.8 * labels + 0.7 * draw.normal(size=60)[cluster]
    area = clustered_auroc(scores, labels, cluster)
    assert area.n == labels.sum()
    assert area.value == pytest.approx(auroc(scores, labels))
    rows = [np.flatnonzero(cluster == c) for c in range(60)]
    resampled = []
    for _ in range(400):
        pick = np.concatenate([rows[c] for c in draw.integers(0, 60, size=60)])
        resampled.append(auroc(scores[pick], labels[pick]))
    assert (area.high - area.low) / (2 * 1.96) == pytest.approx(np.std(resampled), rel=0.15)


def test_equal_rows_in_other_files_hash_alike(tmp_path):
    script = "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT, c REAL, d BLOB) STRICT;"
    rows = [(1, "x", 0.5, b"1"), (2, None, -0.0, b""), (3, "ü", 1e300, None)]
    hashes = Counter()
    for name, order in (("one", rows), ("two", rows[::-1])):
        with write_database(tmp_path / name, script) as db:
            db.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", order)
        with sqlite3.connect(tmp_path / name) as db:
            hashes[content_hash(db, ("t",))] += 1
    assert list(hashes.values()) == [2]
    with write_database(tmp_path / "three", script) as db:
        db.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", [(1, "x", 0.5, b"1"), (2, "", -0.0, b""), rows[2]])
    with sqlite3.connect(tmp_path / "three") as db:
        assert content_hash(db, ("t",)) not in hashes


def test_the_base_is_read_only(folder):
    reading = Reading(folder)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reading.db.execute("DELETE FROM units")
    assert (folder / BASE).stat().st_mode & 0o222 == 0


def test_a_perfect_area_of_few_documents_keeps_a_wide_interval():
    cluster = np.repeat(np.arange(6), 2)
    labels = np.tile([True, False], 6)
    found = clustered_auroc(np.where(labels, 1.0, 0.0), labels, cluster)
    assert (found.value, found.high) == (1.0, 1.0)
    # Six of six agree: Clopper and Pearson's lower bound at 95 %.
    assert found.low == pytest.approx(0.025 ** (1 / 6))
    turned = clustered_auroc(np.where(labels, 0.0, 1.0), labels, cluster)
    assert (turned.value, turned.low, turned.high) == (0.0, 0.0, pytest.approx(1 - 0.025 ** (1 / 6)))
