"""The seeded atlas: the planted circuit of `organism:cat`, with descriptions of which one is wrong on purpose."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np

from patchclamp.core.description import Description
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
    from patchclamp.atlas.bake.concept_labels import clustered_auroc
    from patchclamp.atlas.store.counter_examples import tokens_named

    shown = [model.tokenize(line) for line in text.splitlines()[:200]]
    recording = model.run(shown, record=SITE, logits=False).recording
    values = np.asarray(recording[SITE])
    counted = np.concatenate([s.counted for s in shown])
    documents = np.repeat(np.arange(len(shown)), [len(s) for s in shown])[counted]
    words = [model.tokenizer.token(int(i)).strip() for s in shown for i in s.ids]
    found = []
    for unit, said in {**RIGHT, **LIES}.items():
        named = np.array([word in tokens_named(said) for word in words])[counted]
        area = clustered_auroc(values[counted, unit], named, documents)
        evidence = tuple(s.id for s in shown[:3])
        score = replace(area, n=len(named), unit="AUROC of named tokens")
        author = "person/seed 1" if unit in LIES else "rule/planted 1"
        found.append(Description(UnitKey(SITE, unit, subject="cat"), said, author, evidence, (score,)))
    found.append(Description(UnitKey(SITE, HOSTILE, subject="cat"), HOSTILE_TEXT, "person/seed 1"))
    return found


PLANTED = "planted"
"""The method of the graph that has edges between units: the circuit as it was planted, and what is small beside it."""


def planted_circuit(model):
    """Return the planted circuit with what else a graph can hold: a decoy, a head, an error, units at other tokens."""
    from dataclasses import replace

    from patchclamp.core.graph import Edge, Node
    from patchclamp.organisms.planted.cat import truth

    graph = truth(model)
    head, cat = "cat/blocks.0.attn.z/heads/0@3", f"cat/{SITE}/neurons/{CAT}@3"
    animal, decoy = f"cat/{SITE}/neurons/{ANIMAL}@3", f"cat/{SITE}/neurons/{DECOY}@3"
    adjective, again = f"cat/{SITE}/neurons/{ADJECTIVE}@2", f"cat/{SITE}/neurons/{ADJECTIVE}@3"
    error = "cat/blocks.1.mlp.write/error/0@3"
    more = (
        Node("input@1", "input", 0.0), Node("input@2", "input", 0.0), Node(error, "error", 0.01),
        Node(head, "head", -0.019, {"activation": 1.0}), Node(decoy, "neuron", -0.022, {"activation": 9.0}),
        Node(adjective, "neuron", 0.004, {"activation": 4.0}), Node(again, "neuron", -0.002, {"activation": 0.0}),
    )  # fmt: skip
    edges = (
        Edge("input@2", head, 0.011), Edge("input@1", head, -0.03), Edge(head, cat, 0.021), Edge(head, animal, -0.04),
        Edge(head, error, 0.01), Edge(error, "output", 0.01), Edge("input@3", decoy, -0.022),
        Edge(decoy, "output", -0.022), Edge("input@2", adjective, 0.004), Edge(adjective, head, 0.004),
    )  # fmt: skip
    about = {
        "prompt": "the old cat", "target": " sat", "contrast": " ran", "corrupt": None, "method": PLANTED,
        "baseline": "zero", "seed": 0, "tokens": ["<bos>", " the", " old", " cat"], "layers": 2,
    }  # fmt: skip
    measures = {"metric_clean": graph.measures["metric"], **graph.measures}
    return replace(graph, nodes=(*graph.nodes, *more), edges=(*graph.edges, *edges), measures=measures, about=about)


def bake_seeded(folder: Path) -> Path:
    """Bake the seeded atlas into a folder and return it.

    It has base, descriptions, two explained answers, and the planted circuit as a graph with edges between units.
    """
    import patchclamp as pc
    from patchclamp.atlas import bake_atlas, write_descriptions, write_graph
    from patchclamp.atlas.store.provenance import Run, host, now, versions

    out, text = folder / "seeded.atlas", folder / "story.txt"
    text.write_text(story())
    model = pc.load("organism:cat")
    command = "patchclamp atlas bake organism:cat --inputs story.txt --out seeded.atlas --window 64"
    bake_atlas(model, pc.Corpus(text, window=64), out, name="organism:cat", command=command)
    run = Run("describe", "python tests/seeded.py", "descriptions of five units", now(), 0.5, host(), versions())
    write_descriptions(out, descriptions(model, text.read_text()), run=run)
    for prompt, target, contrast, top in (("the old cat", " sat", " ran", 4), ("the young dog", " ran", " sat", 3)):
        found = pc.explain(model, prompt, target, contrast=contrast, top=top)
        command = f"patchclamp explain organism:cat '{prompt}' --target '{target}' --contrast '{contrast}' --top {top}"
        command += " --atlas seeded.atlas"
        run = Run("explain", command, "an explained answer", now(), 0.5, host(), versions())
        write_graph(out, found.graph(), run=run)
    run = Run("explain", "python tests/seeded.py", "the planted circuit", now(), 0.5, host(), versions())
    write_graph(out, planted_circuit(model), run=run)
    return out


if __name__ == "__main__":
    import sys

    print(bake_seeded(Path(sys.argv[1])))
