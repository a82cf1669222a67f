"""An atlas whose passes were computed elsewhere is the one of a single process."""

import pytest

import patchclamp as pc
from elsewhere import Elsewhere
from patchclamp.atlas.bake.base import bake_atlas
from patchclamp.engines import plan


@pytest.mark.parametrize("kind", ["text", "images"])
def test_an_atlas_is_the_one_of_one_process(organism, tmp_path, kind, monkeypatch):
    monkeypatch.setattr(plan, "LEAST_BATCHES", 2)
    text = tmp_path / "text.txt"
    text.write_text("\n".join(f"Mary gave a book to {name}. The park is old." for name in ["Tom", "Anna", "John"] * 40))
    name, corpus = {"text": ("language-gpt2", pc.Corpus(text, window=16)), "images": ("digits-vit", "digits:0:40")}[
        kind
    ]
    elsewhere, hashes = Elsewhere(), []
    for engine in (None, elsewhere):
        place = tmp_path / str(engine and engine.name)
        hashes.append(bake_atlas(organism(name), corpus, place, sites="blocks.1.mlp.act", batch_size=2, engine=engine))
    assert hashes[0] == hashes[1]
    assert elsewhere.pieces > 16, "the second pass was not computed elsewhere"
