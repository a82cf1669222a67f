"""A model whose weights lie partly on the disk answers every verb as the whole one does."""

import json
import re

import pytest

import patchclamp as pc
from patchclamp.cli import main
from patchclamp.core.errors import PatchclampError
from patchclamp.subjects.placement import arrange_weights, refuse_device

pytest.importorskip("accelerate", reason="needs accelerate, which the dev tools install")

PROMPT = "When Mary and John went to the store, John gave a drink to"
SAID = ["--target", " Mary", "--contrast", " John"]
BOUND = "auto:cpu=2500KB"
"""Of 3.5 MB: embeddings and the first block lie in memory, the other blocks on the disk."""
PAIRS = f"clean,corrupted,answer,wrong\n{json.dumps(PROMPT)},{json.dumps(PROMPT.replace('John gave', 'Mary gave'))},"
PAIRS += '" Mary"," John"\n'
TEXT = "\n".join(json.dumps({"text": f"{a} gave a {b} to"}) for a in ("Mary", "Tom") for b in ("drink", "book")) + "\n"
VERBS = {
    "info": ["info", "MODEL"],
    "verify": ["verify", "MODEL"],
    "generate": ["generate", "MODEL", PROMPT, "--clamp", "blocks.0.mlp.act/neurons/9=0", "--max-new-tokens", "2"],
    "attribute": ["attribute", "MODEL", PROMPT, *SAID],
    "explain": ["explain", "MODEL", PROMPT, *SAID, "--top", "4", "--controls", "20"],
    "patch": ["patch", "MODEL", "--pairs", "pairs.csv", "--sites", "*.resid_out", "--out", "OUT/patch"],
    "circuit": ["circuit", "find", "MODEL", "--pairs", "pairs.csv", "--out", "OUT/circuit", "--controls", "20"],
    "record": ["record", "MODEL", "--inputs", "t.jsonl", "--sites", "*.resid_out", "--out", "OUT/record"],
    "survey": ["survey", "MODEL", "--inputs", "t.jsonl", "--sites", "*.mlp.act", "--out", "OUT/survey"],
    "describe": ["describe", "MODEL", "--method", "vocabulary", "--side", "read", "--top", "3"],
    "steer": ["steer", "fit", "MODEL", "--positive", "a.txt", "--negative", "b.txt", "--out", "OUT/v"],
    "bake": ["atlas", "bake", "MODEL", "--inputs", "t.jsonl", "--out", "OUT/a.atlas"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("shared-out")
    organism = pc.load("organism:mover-gpt2")
    organism.module.save_pretrained(place / "mover")
    organism.tokenizer.bare.save_pretrained(place / "mover")
    (place / "pairs.csv").write_text(PAIRS)
    (place / "t.jsonl").write_text(TEXT)
    (place / "a.txt").write_text("Mary gave a drink\n" * 4)
    (place / "b.txt").write_text("Tom gave a book\n" * 4)
    return place


def said(folder, monkeypatch, capsys, verb, device):
    monkeypatch.chdir(folder)
    kind = "memory" if device == "cpu" else "disk"
    words = [{"MODEL": "mover"}.get(word, word.replace("OUT/", f"{kind}/")) for word in VERBS[verb]]
    assert main([*words, "--device", device, "--json"]) == 0
    return re.sub(rf'"(seconds|duration_s)": [\d.e-]+|{kind}/|--device [\w:=]+', "", capsys.readouterr().out)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_says_the_same(folder, monkeypatch, capsys, verb):
    whole = said(folder, monkeypatch, capsys, verb, "cpu")
    assert said(folder, monkeypatch, capsys, verb, BOUND) == whole
    assert len(whole) > 40


def test_the_bound_leaves_blocks_on_the_disk(folder):
    model = pc.load(folder / "mover", device=BOUND)
    on_disk = {name for name, p in model.module.named_parameters() if p.is_meta}
    assert any(".h.2." in name for name in on_disk)
    assert not any(".wte." in name for name in on_disk)
    with pytest.raises(PatchclampError, match="not in memory"):
        model.reader("blocks.2.mlp.act")


@pytest.mark.parametrize("device", ["auto:", "auto:cpu", "auto:cpu=lots", "auto:cpu=1GiB,", "auto:gpu=1GiB"])
def test_a_bound_that_says_nothing_is_refused(device):
    with pytest.raises(PatchclampError, match="bounds such as"):
        refuse_device(device)


def test_bounds_are_those_of_accelerate():
    assert arrange_weights("auto:cuda:1=1.5GB,cpu=1KiB")["max_memory"] == {1: 1_500_000_000, "cpu": 1024}
