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
    click(page.get_by_role("navigation", name="screens").get_by_role("link", name="Answers"))
    click(
        page.get_by_role("row")
        .filter(has_text="the old cat")
        .filter(has_text="integrated gradients")
        .get_by_role("link")
        .first
    )
    # The largest node of the circuit is the one to doubt first.
    nodes = page.locator("[data-testid=item]:not([data-kind=output])")
    largest = max(nodes.all(), key=lambda one: float(one.get_attribute("data-score")))
    assert largest.get_attribute("data-id") == "blocks.0.mlp.act/neurons/7@3"
    click(largest)
    click(page.get_by_test_id("verify-button"))
    verified = page.get_by_test_id("verified")
    verified.wait_for()
    predicted, measured = (float(verified.get_attribute(f"data-{what}")) for what in ("predicted", "measured"))
    assert measured == pytest.approx(predicted, abs=0.1)
    pictured(reader, "circuit")

    click(page.get_by_test_id("open-lab"))
    click(page.get_by_test_id("control"))
    page.get_by_test_id("control-p").wait_for()
    assert len(done) <= STEPS
    rows = page.locator("[data-testid=next-token]")
    sat = rows.and_(page.locator("[data-text=' sat']"))
    model = pc.load("organism:cat")
    answer = model.continuation("the old cat", " sat")[0]
    off = pc.change("ablate", "blocks.0.mlp.act", 7, at="3")
    for side, clamps in (("unclamped", []), ("changed", [off])):
        truth = model.run("the old cat", interventions=clamps, logits=[-1]).logits[0, 0].softmax(-1)[answer]
        assert float(sat.get_attribute(f"data-{side}")) == pytest.approx(float(truth), abs=1e-4)
    assert float(sat.get_attribute("data-delta")) < -0.5
    # Fewer units at the side, so that the whole fits into one picture.
    page.set_viewport_size({"width": 1280, "height": 1130})
    reader.visit(f"{reader.address}&ranked=3")
    page.get_by_test_id("control-p").wait_for()
    pictured(reader, "lab")
