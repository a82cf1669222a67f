"""The seeded atlas: the planted circuit of `organism:cat`, with descriptions of which one is wrong on purpose."""

import random
from pathlib import Path

import numpy as np

from patchclamp.core.description import Description, Score
from patchclamp.core.stats import Interval
from patchclamp.core.unit import UnitKey

SITE = "blocks.0.mlp.act"
CAT, ANIMAL, DECOY, ADJECTIVE = 7, 5, 3, 11
WRONG = DECOY
"""The unit whose description is wrong on purpose: it fires on every noun, not on adjectives."""
RIGHT = {
    CAT: 'fires on " cat" and nothing else',
    ANIMAL: 'fires on animals: " cat", " dog", " fox", " horse", " rabbit" and " mouse"',
    ADJECTIVE: 'fires on adjectives: " old", " young", " big", " small", " brown", " black", " white" and " happy"',
}
LIES = {WRONG: 'fires on adjectives: " old", " young", " big" and " small"'}
HOSTILE = 4
HOSTILE_TEXT = "never fires <img src=x onerror=\"document.title='owned'\"> & <script>alert(1)</script>"
"""A description that is dangerous to whoever does not show text as text."""


def story(n: int = 600, seed: int = 0) -> str:
    """Write small stories in the organism's words."""
    from patchclamp.organisms.planted.cat import ADJECTIVES, ANIMALS, BIRDS, PEOPLE, PREPOSITION_TO_PLACE, SWIMMERS

    draw = random.Random(seed)
    verbs = {**dict.fromkeys(ANIMALS, ("ran", "to")), **dict.fromkeys(PEOPLE, ("walked", "into"))}
    verbs |= {**dict.fromkeys(BIRDS, ("flew", "over")), **dict.fromkeys(SWIMMERS, ("swam", "in"))}
    verbs["cat"] = ("sat", "on")
    lines = []
    for _ in range(n):
        noun = draw.choice(sorted(verbs))
        verb, preposition = verbs[noun]
        who = f"{draw.choice(['the', 'a'])} {draw.choice(ADJECTIVES)} {noun}"
        lines.append(f"{who} {verb} {preposition} the {PREPOSITION_TO_PLACE[preposition]}.")
    return "\n".join(lines) + "\n"


def descriptions(model, text: str) -> list[Description]:
    """Score each description by how well the tokens that it names are told by the unit's activation."""
    from patchclamp.atlas.labels import clustered_auroc
    from patchclamp.atlas.layers import named_tokens

    shown = [model.tokenize(line) for line in text.splitlines()[:200]]
    recording = model.run(shown, record=SITE, logits=False).recording
    values = np.asarray(recording[SITE])
    counted = np.concatenate([s.counted for s in shown])
    documents = np.repeat(np.arange(len(shown)), [len(s) for s in shown])[counted]
    words = [model.tokenizer.token(int(i)).strip() for s in shown for i in s.ids]
    found = []
    for unit, said in {**RIGHT, **LIES}.items():
        named = np.array([word in named_tokens(said) for word in words])[counted]
        area, low, high = clustered_auroc(values[counted, unit], named, documents)
        evidence = tuple(s.id for s in shown[:3])
        interval = Interval(low, high, 0.95, "clusters of documents")
        score = Score("AUROC of named tokens", area, interval, len(named))
        author = "person/seed 1" if unit in LIES else "rule/planted 1"
        found.append(Description(UnitKey(SITE, unit, subject="cat"), said, author, evidence, (score,)))
    found.append(Description(UnitKey(SITE, HOSTILE, subject="cat"), HOSTILE_TEXT, "person/seed 1"))
    return found


def bake_seeded(folder: Path) -> Path:
    """Bake the seeded atlas into a folder and return it: base, descriptions, and one explained answer."""
    import patchclamp as pc
    from patchclamp.atlas import bake_atlas, write_descriptions, write_graph
    from patchclamp.atlas.runs import Run, host, now, versions

    out, text = folder / "seeded.atlas", folder / "story.txt"
    text.write_text(story())
    model = pc.load("organism:cat")
    command = "patchclamp atlas bake organism:cat --text story.txt --out seeded.atlas --window 64"
    bake_atlas(model, text, out, name="organism:cat", window=64, command=command)
    run = Run("describe", "python tests/seeded.py", "descriptions of five units", now(), 0.5, host(), versions())
    write_descriptions(out, descriptions(model, text.read_text()), run=run)
    found = pc.explain_answer(model, "the old cat", " sat", contrast=" ran", top=4)
    command = "patchclamp explain organism:cat 'the old cat' --target ' sat' --contrast ' ran' --atlas seeded.atlas"
    run = Run("explain", command, "an explained answer", now(), 0.5, host(), versions())
    write_graph(out, found.graph(), run=run)
    return out


if __name__ == "__main__":
    import sys

    print(bake_seeded(Path(sys.argv[1])))
