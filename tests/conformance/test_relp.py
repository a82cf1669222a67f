"""Relevance patching as a card: units and edges, one case and many, the paper's direction and ours."""

import numpy as np
import pytest

from patchclamp import organisms
from patchclamp.attribute.edges import attribute_edges
from patchclamp.attribute.rules import Gradient
from patchclamp.core.errors import PatchclampError
from patchclamp.core.keys import EdgeKey
from patchclamp.core.method_files import find_method
from patchclamp.core.task import Case, Task

RELP = find_method("relp", "attribute")


@pytest.fixture(scope="module")
def mover():
    return organisms.build("mover-gpt2")


@pytest.fixture(scope="module")
def task():
    card = organisms.card("mover-gpt2")
    names = [("Mary", "John"), ("Tom", "Mary"), ("John", "Tom")]
    text = "When {} and {} went to the store, {} gave a drink to"
    other = {"Mary": "Tom", "John": "Mary", "Tom": "John"}
    assert card["prompt"] == text.format("Mary", "John", "John")
    cases = [
        Case(text.format(a, b, b), text.format(a, b, other[b] if other[b] != a else a), (f" {a}",), (f" {b}",))
        for a, b in names
    ]
    return Task(tuple(cases))


def test_edges_are_those_of_edge_attribution_under_the_rules(mover, task):
    scores = RELP(mover, task, level="edge")
    found = attribute_edges(mover, mover.read(task), method=Gradient(("ln", "identity", "half")))
    np.testing.assert_allclose(scores.values, found.values)
    assert isinstance(scores.key(0), EdgeKey)
    source, target = found.parts[17]
    assert scores.score(f"{source}->{target}") == pytest.approx(float(found.values[17]))


def test_a_task_of_many_cases_is_the_mean_of_tasks_of_one(mover, task):
    whole = RELP(mover, task, level="neuron", by_position=True)
    singles = [RELP(mover, Task((case,)), level="neuron") for case in task.cases]
    np.testing.assert_allclose(whole.values, np.mean([one.values for one in singles], 0), atol=1e-6)
    assert whole.metric_clean == pytest.approx(np.mean([one.metric_clean for one in singles]), rel=1e-6)


def test_to_denoise_is_to_noise_with_both_prompts_exchanged(mover, task):
    swapped = Task(tuple(Case(c.counterpart, c.shown, c.targets, c.contrasts) for c in task.cases))
    there, back = RELP(mover, task, direction="denoise"), RELP(mover, swapped)
    np.testing.assert_allclose(there.values, -back.values, atol=1e-6)


def test_several_cases_without_counterparts_are_refused_before_work(mover, task):
    bare = Task(tuple(Case(c.shown, None, c.targets, c.contrasts) for c in task.cases))
    with pytest.raises(PatchclampError, match="a counterpart of every case"):
        RELP(mover, bare)
