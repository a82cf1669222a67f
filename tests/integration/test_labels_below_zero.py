"""A unit that is below zero promotes what it suppresses above: its label says so where its activation is known."""

import patchclamp as pc


def test_a_label_below_zero_names_what_the_unit_promotes_there(models, tmp_path):
    text = tmp_path / "words.txt"
    text.write_text(" ".join(f"w{i % 50}" for i in range(600)))
    site = "blocks.1.mlp.act"
    pc.atlas.bake_atlas(models["llama"], pc.Corpus(text, window=60), tmp_path / "a.atlas", sites=site)
    reading = pc.atlas.open(tmp_path / "a.atlas").reading
    for unit in range(8):
        key = f"{site}/neurons/{unit}"
        page = pc.atlas.open(tmp_path / "a.atlas").unit(key)
        lowest = page.suppresses[0].text.strip()
        assert lowest in reading.label(key, -1.0)
        assert reading.label(key, -1.0).startswith("below zero: promotes ")
        assert reading.label(key, 1.0) == reading.label(key)
