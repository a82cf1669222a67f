"""One case gives one receipt: what explain and circuit say of the same units is the same."""

import numpy as np
import pytest

from patchclamp.attribute.pairs import attribute_pairs
from patchclamp.core.task import Task
from patchclamp.core.unit import UnitKey
from patchclamp.loaders import load
from patchclamp.recipes import explain
from patchclamp.recipes.group_ablation import ablate_group

CASES = {
    "cat": ("the old cat", "the old dog", " sat", " ran", 1),
    "cat, several units": ("the old cat", "the old rabbit", " sat", " ran", 5),
}


@pytest.mark.parametrize("case", CASES)
def test_explain_and_circuit_give_one_receipt_of_one_case(case, monkeypatch):
    clean, corrupted, answer, wrong, top = CASES[case]
    model = load("organism:cat")
    drawn = caught(monkeypatch)
    task = Task.of(clean, answer, contrast=wrong, counterpart=corrupted)
    explained = explain(model, task, levels=["neuron", "head"], top=top)
    pairs = model.read(task)
    circuit = attribute_pairs(model, pairs, level="neuron", method="integrated_gradients", by_position=True)
    place = {part: i for i, part in enumerate(circuit.parts)}
    keys = [str(UnitKey.parse(cause.key)).split("/", 1)[1] for cause in explained.causes]
    found = ablate_group(model, circuit, pairs, [place[key] for key in keys]).receipt
    own = explained.receipts.receipt
    sets, again = drawn
    names = [[key.split("/", 1)[1] for key in one] for one in named(explained, sets, model)]
    assert names == [[circuit.parts[i] for i in one] for one in found.controls.sets]
    assert len(again.sets) == 99
    assert found.measured.value == pytest.approx(own.measured.value, abs=1e-5)
    assert np.array(found.controls.measured) == pytest.approx(np.array(own.controls.measured), abs=1e-5)
    assert found.predicted == pytest.approx(own.predicted, abs=1e-5)
    assert found.rivals == pytest.approx(own.rivals, abs=1e-5)
    for name in ("rule", "step", "outside", "idle", "size", "n_different", "seed"):
        assert getattr(found.controls, name) == getattr(own.controls, name)
    assert (found.verdict, found.reasons, found.p) == (own.verdict, own.reasons, own.p)


def caught(monkeypatch):
    """Return the controls that are drawn from here on, in order."""
    import patchclamp.recipes.group_ablation as together
    import patchclamp.recipes.receipts as receipts

    drawn = []
    for module in (receipts, together):
        draw = module.draw_controls
        monkeypatch.setattr(
            module, "draw_controls", lambda *a, draw=draw, **k: drawn.append(draw(*a, **k)) or drawn[-1]
        )
    return drawn


def named(explained, controls, model):
    """Return the keys of the sets that explain drew: sites in forward order, then positions, then units."""
    sites = [("blocks.0.attn.z", "heads", 4), ("blocks.0.mlp.act", "neurons", 16)]
    keys = [
        f"cat/{site}/{basis}/{unit}@{position}"
        for block in range(model.n_layers)
        for site, basis, n in ((s.replace("0", str(block), 1), b, n) for s, b, n in sites)
        for position in range(len(explained.tokens))
        for unit in range(n)
    ]
    return [[keys[i] for i in one] for one in controls.sets]
