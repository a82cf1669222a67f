"""In every family, the whole residual stream of one run put into another makes all the difference, at any block."""

import numpy as np
import pytest

from every_family import EVERY
from patchclamp.attribute.patching import patch_sites
from patchclamp.core.metric import EachMetric, Metric
from patchclamp.core.stimulus import Stimulus
from patchclamp.core.task import Case, Task
from patchclamp.subjects.cases import ReadCase, ReadTask

METRICS = (Metric("logit_difference", (11,), (12,)),) * 2


def shown(*rows):
    return tuple(Stimulus.of(np.array(row)) for row in rows)


@EVERY
@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_the_whole_stream_makes_all_the_difference(models, name, direction):
    model = models[name]
    clean, corrupted = shown([2, 3, 4, 5, 6], [2, 9, 4, 5, 6]), shown([2, 7, 4, 8, 6], [2, 3, 11, 5, 6])
    ends = [model.measure(prompts, EachMetric(METRICS)).double().numpy() for prompts in (clean, corrupted)]
    pair = Case("x", "x′", ("a",), ("b",))
    pairs = ReadTask(Task((pair, pair)), tuple(map(ReadCase, clean, corrupted, METRICS)), *ends)
    found = patch_sites(model, pairs, "resid", positions="all", direction=direction)
    assert found.per_case.shape == (2, model.n_layers + 1)
    np.testing.assert_allclose(found.per_case, 1.0, atol=2e-3)
