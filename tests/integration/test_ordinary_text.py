"""Ordinary text: a file's, or what a model writes by itself, recorded in memory."""

import numpy as np
import pytest

import patchclamp as pc
from patchclamp.core.errors import PatchclampError

SITE = "blocks.0.mlp.act"


def test_a_models_own_text_is_recorded_as_it_is_shown():
    model = pc.load("organism:language-llama")
    seen = []
    text = pc.open_text(model, SITE, 300, seed=1, progress=lambda done, total: seen.append((done, total)))
    assert text.counted.sum() >= 300
    assert seen[-1] == (300, 300)
    assert len({one.text for one in text.stimuli}) > 10
    for i in (0, len(text.stimuli) - 1):
        again = model.run(text.stimuli[i].text, record=SITE, logits=False).recording.to_numpy()
        np.testing.assert_allclose(text.of(SITE, i), again[SITE], rtol=1e-4, atol=1e-5)
    same, other = (pc.open_text(model, SITE, 300, seed=seed) for seed in (1, 2))
    assert text.hash == same.hash != other.hash


def test_a_file_is_cut_and_recorded(tmp_path):
    model = pc.load("organism:cat")
    (tmp_path / "text.txt").write_text("the old cat sat on the mat. " * 40)
    text = pc.open_text(model, SITE, 60, source=tmp_path / "text.txt")
    assert 60 <= text.counted.sum() < 200
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(PatchclampError):
        pc.open_text(model, SITE, 60, source=tmp_path / "empty.txt")
