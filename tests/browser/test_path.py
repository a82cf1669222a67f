"""From Home to "this neuron made the answer, see": the path that the README describes, and its pictures.

``make pictures`` writes them to docs/pictures; without that they go to the test's own folder.
"""

import os
from pathlib import Path

import pytest

import patchclamp as pc

PICTURES = os.environ.get("PATCHCLAMP_PICTURES")
STEPS = 6
"""What a stranger does, clicks and moves all counted: in under a minute."""


@pytest.fixture
def pictured(tmp_path, request):
    """Take a picture of what a reader shows, by name."""
    folder = Path(PICTURES) if PICTURES else tmp_path
    folder.mkdir(parents=True, exist_ok=True)

    def take(reader, name):
        reader.page.mouse.move(0, 0)
        reader.page.screenshot(path=folder / f"{name}-{request.node.callspec.params['scheme']}.png")

    return take


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_from_home_to_the_neuron_that_made_the_answer(lab_opened, pictured, scheme):
    reader = lab_opened(color_scheme=scheme, viewport={"width": 1280, "height": 1000})
    page, done = reader.page, []

    def click(where):
        where.click()
        done.append(where)
        reader.settle()

    reader.visit("/")
    click(page.get_by_role("navigation", name="screens").get_by_role("link", name="Ask"))
    click(page.get_by_test_id("begin-with").filter(has_text="the old cat").first)
    # What was explained before is asked again at once, with its answers chosen.
    chosen = page.locator("[data-testid=likely-token]:not([data-role=''])")
    chosen.first.wait_for()
    assert reader.all("[data-testid=likely-token]:not([data-role=''])", "data-text") == [" sat", " ran"]
    found = page.get_by_test_id("explained")
    found.wait_for()
    assert found.get_attribute("data-grade") == "holds"
    assert reader.all("[data-testid=cause]", "data-key")[0] == "blocks.0.mlp.act/neurons/7@3"
    pictured(reader, "ask")
    circuit = page.get_by_test_id("open-circuit").get_attribute("href")

    click(page.get_by_test_id("clamp-zero"))
    control = page.get_by_test_id("control-result")
    control.wait_for()
    reader.settle()
    assert len(done) <= STEPS
    # The words change, and random units do not change them.
    assert float(control.get_attribute("data-p")) < 0.05
    sides = [reader.all(f"[data-testid=written-{side}] .w", "data-text")[0] for side in ("unclamped", "changed")]
    assert sides == [" sat", " ran"]
    sat = page.locator("[data-testid=next-token][data-text=' sat']")
    model = pc.load("organism:cat")
    answer = model.continuation("the old cat", " sat")[0]
    causes = pc.explain(model, "the old cat", " sat", contrast=" ran").causes
    keys = [pc.UnitKey.parse(cause.key) for cause in causes]
    off = [pc.change("ablate", key.site, key.index, at=key.position, basis=key.basis) for key in keys]
    for side, clamps in (("unclamped", []), ("changed", off)):
        truth = model.run("the old cat", interventions=clamps, logits=[-1]).logits[0, 0].softmax(-1)[answer]
        assert float(sat.get_attribute(f"data-{side}")) == pytest.approx(float(truth), abs=1e-4)
    # Fewer units at the side, so that the whole fits into one picture.
    page.set_viewport_size({"width": 1280, "height": 1130})
    reader.visit(f"{reader.address}&ranked=3")
    control.wait_for()
    pictured(reader, "lab")

    page.set_viewport_size({"width": 1280, "height": 1000})
    reader.visit(f"{circuit}?select=blocks.0.mlp.act/neurons/7@3")
    page.get_by_test_id("verify-button").click()
    verified = page.get_by_test_id("verified")
    verified.wait_for()
    predicted, measured = (float(verified.get_attribute(f"data-{what}")) for what in ("predicted", "measured"))
    assert measured == pytest.approx(predicted, abs=0.1)
    page.set_viewport_size({"width": 1280, "height": 1250})
    page.evaluate("scrollTo(0, 0)")
    pictured(reader, "circuit")
