"""Exact edges find the edges that were planted, and say by which of query, key and value a head reads."""

import numpy as np
import pytest

from patchclamp.attribute.edge_patching import patch_edges
from patchclamp.attribute.edges import attribute_edges
from patchclamp.core.edge_map import EdgeMap
from patchclamp.core.task import Case, Task
from patchclamp.organisms import build, card, truth
from patchclamp.subjects.cases import ReadTask
from patchclamp.subjects.residual_edges import edge_map

EMBED, FINAL = "embed/whole/0", "final/whole/0"
PLANTED = {
    # The token that is copied is what the head's value reads.
    "copy": {(EMBED, "blocks.1.attn.v/heads/2"), ("blocks.1.attn.z/heads/2", FINAL)},
    # A head notes who came before; another finds the place by that, its key.
    "induction": {
        (EMBED, "blocks.0.attn.v/heads/1"),
        ("blocks.0.attn.z/heads/1", "blocks.1.attn.k/heads/2"),
        ("blocks.1.attn.z/heads/2", FINAL),
    },
    "facts": {
        (EMBED, "blocks.0.mlp.pre/whole/0"),
        ("blocks.0.mlp.write/whole/0", "blocks.1.attn.v/heads/0"),
        ("blocks.1.attn.z/heads/0", FINAL),
    },
    # That a name came before, a neuron marks; the marked place tells its name to the query that moves the other one.
    "mover": {
        (EMBED, "blocks.0.attn.q/heads/1"),
        ("blocks.0.attn.z/heads/1", "blocks.0.mlp.pre/whole/0"),
        ("blocks.0.mlp.write/whole/0", "blocks.1.attn.k/heads/2"),
        (EMBED, "blocks.1.attn.v/heads/2"),
        ("blocks.1.attn.z/heads/2", "blocks.2.attn.q/heads/1"),
        (EMBED, "blocks.2.attn.k/heads/1"),
        ("blocks.2.attn.z/heads/1", FINAL),
    },
}


def asked(name: str) -> tuple[object, ReadTask]:
    """Return an organism and its card's question as a pair."""
    model, about = build(name), card(name)
    pair = Case(about["prompt"], truth(name).about["corrupt"], (about["target"],), (about["contrast"],))
    return model, model.read(Task((pair,)))


def shared(parts: set[tuple[str, str]], edges: EdgeMap) -> set[tuple[str, str]]:
    """Name the key-value head that a head reads by where several share one."""
    group = edges.n_heads // edges.n_kv_heads
    found = set()
    for writer, reader in parts:
        path, head = reader.rsplit("/", 1)
        found.add((writer, f"{path}/{int(head) // group}" if path.endswith(("k/heads", "v/heads")) else reader))
    return found


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("circuit", PLANTED)
def test_exact_edges_are_the_planted_ones_and_no_others(circuit: str, kind: str):
    model, pairs = asked(f"{circuit}-{kind}")
    found = patch_edges(model, pairs)
    large = np.abs(found.values) > 0.1 * np.abs(found.values).max()
    assert {found.parts[i] for i in np.flatnonzero(large)} == shared(PLANTED[circuit], edge_map(model))


def test_attribution_reads_the_edges_of_a_circuit_without_saturation():
    model, pairs = asked("copy-llama")
    found = attribute_edges(model, pairs, method="eap_ig")
    assert {found.parts[i] for i in np.argsort(-found.values)[:2]} == shared(PLANTED["copy"], edge_map(model))
