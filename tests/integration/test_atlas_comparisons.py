"""Comparisons as layers of an atlas: what they hold is what was compared; what is damaged is left out and said so."""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import asdict, replace

import numpy as np
import pytest

import patchclamp as pc
from patchclamp.atlas.read.reader import NotFound
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.similarity import Similarity

HOSTILE = "<img src=x onerror=alert(1)>\u202e"


@pytest.fixture
def atlas(seeded_atlas, tmp_path):
    return shutil.copytree(seeded_atlas, tmp_path / "a.atlas")


@pytest.fixture(scope="module")
def compared(seeded_atlas):
    cat = pc.load("organism:cat")
    text = pc.Corpus(seeded_atlas.parent / "story.txt", window=64, max_tokens=600)
    return pc.compare_models(cat, [pc.clamp("blocks.0.mlp.act/neurons/7=0")], text, n_random=2)


def test_a_layer_holds_what_was_compared(atlas, compared):
    id = pc.atlas.write_comparison(atlas, compared)
    assert pc.atlas.write_comparison(atlas, compared) == id
    opened = pc.atlas.open(atlas)
    assert [row.id for row in opened.comparisons().rows] == [id]
    page = opened.comparison(id)
    assert page.comparison.sentence == compared.sentence
    assert np.array(page.layers.value) == pytest.approx(compared.similarity, abs=1e-4)
    assert page.layers.rows[0] == "Block 0 · residual stream after"
    assert page.moved[0].unit.unit == "cat/blocks.0.mlp.act/neurons/7"
    assert page.moved[0].max_second == 0
    assert page.pairs.total == compared.n_live
    assert page.random == pytest.approx(compared.random, rel=1e-3)
    for row, column in ((0, 0), (0, 1)):
        pairs = opened.pairs(id, row, column).rows
        expected = compared.pairs(f"blocks.{row}.mlp.act", f"blocks.{column}.mlp.act")
        assert [pair.r for pair in pairs] == pytest.approx([r for *_, r, _ in expected], rel=1e-3)
        assert {pair.second.key.split("/")[0] for pair in pairs} == {f"blocks.{column}.mlp.act"}
    assert pairs[0].first.unit is not None
    assert pairs[0].second.unit is None, "the steered network's units are no units of this atlas"
    layer = next(row for row in opened.page().layers if row.id == id)
    assert (layer.kind, layer.rows) == ("comparison", compared.n_tokens)
    with pytest.raises(NotFound):
        opened.pairs(id, 0, 9)
    with pytest.raises(NotFound):
        opened.comparison("comparison-0000000000000000")


def test_a_comparison_of_recordings_is_kept_with_its_matrices(atlas):
    matrix = np.random.default_rng(0).standard_normal((60, 60))
    similarity = Similarity((HOSTILE, "b"), Estimate(0.5, None, 60, "Spearman r"), first=matrix, second=matrix.T)
    id = pc.atlas.write_comparison(atlas, similarity)
    opened = pc.atlas.open(atlas)
    page = opened.comparison(id)
    assert page.comparison.first == HOSTILE
    assert np.array(page.matrices[0].value) == pytest.approx(matrix[:48, :48], rel=1e-3, abs=1e-6)
    assert "first 48 of 60 conditions" in page.notice
    assert page.layers is None
    with pytest.raises(NotFound):
        opened.pairs(id, 0, 0)


def test_a_similarity_is_kept_whole(tmp_path):
    rivals = {"cosine": Estimate(0.1, None, 3, "cosine")}
    made = Similarity(("a", "b"), Estimate(0.5, None, 3, "r"), first=np.eye(3), labels=("x", "y"), rivals=rivals)
    made.save(tmp_path / "kept")
    again = Similarity.load(tmp_path / "kept")
    assert again.to_json() == made.to_json()
    assert again.second is None


def test_a_comparison_of_other_models_is_refused(atlas, compared):
    with pytest.raises(PatchclampError, match="of other weights"):
        pc.atlas.write_comparison(atlas, replace(compared, hashes=("0" * 64, "1" * 64)))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE arrays SET dtype = '|O' WHERE name = 'partner'",
        "UPDATE arrays SET shape = '[1, 2]' WHERE name = 'moved'",
        "DELETE FROM arrays",
        "UPDATE about SET value = '{}' WHERE name = 'comparison'",
        "UPDATE about SET value = '\"else\"' WHERE name = 'of'",
    ],
)
def test_a_damaged_layer_is_left_out_and_said_so(atlas, compared, change):
    from patchclamp.atlas.store.layers import name_layer

    id = pc.atlas.write_comparison(atlas, compared)
    file = atlas / "layers" / f"{id}.sqlite"
    with closing(sqlite3.connect(file)) as db, db:
        db.execute(change)
    other = name_layer(atlas, "comparison", file, None)
    opened = pc.atlas.open(atlas)
    assert opened.comparisons().total == 0
    assert any(other in note for note in opened.page().notes)
    assert opened.graphs().total > 0


def test_a_page_is_small(atlas, compared):
    import json

    page = pc.atlas.open(atlas).comparisons()
    assert page.total == 0
    id = pc.atlas.write_comparison(atlas, compared)
    assert len(json.dumps(asdict(pc.atlas.open(atlas).comparison(id)))) < 50_000
