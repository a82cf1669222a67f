"""Rank-one edit: the new answer comes first, on paraphrases too; other facts stay; where the fact is not, nothing."""

from dataclasses import replace

import numpy as np
import pytest

from patchclamp.control import edit, measure_edit
from patchclamp.core.errors import PatchclampError
from patchclamp.core.task import Task
from patchclamp.organisms import language
from patchclamp.organisms.language.rewrites import background, rewrite

SHORT = {"position": "last", "n_prefixes": 3, "steps": 25}


@pytest.fixture(scope="module", params=language.names())
def lab(request):
    model = language.build(request.param)
    return model, background(model, "blocks.*.mlp.act", 300)


def test_the_fact_changes_with_its_paraphrases_and_others_stay(lab):
    model, text = lab
    told = rewrite("lies", 1)
    made = edit(model, told.task, text, **SHORT)
    effects = measure_edit(model, made, told.task, told.paraphrases, told.others, n_random=19)
    assert effects.efficacy.value == 1
    assert effects.efficacy.p == 0.05
    assert effects.paraphrase.value >= 0.75
    assert effects.specificity.value >= 0.9
    [delta] = made.deltas.values()
    assert np.linalg.matrix_rank(delta, tol=1e-3 * np.linalg.norm(delta)) == 1


def test_at_the_subject_s_last_token_this_network_holds_no_fact(lab):
    model, text = lab
    told = rewrite("lives", 1)
    made = edit(model, told.task, text, **{**SHORT, "position": "subject"})
    assert measure_edit(model, made, told.task, told.task, told.task, n_random=0).efficacy.value == 0


def test_what_does_not_fit_is_refused(lab):
    model, text = lab
    case = rewrite("lies", 1).task.cases[0]
    for wrong in (
        Task((case, case)),
        Task((replace(case, parts=()),)),
        Task((replace(case, targets=(" Norland Velia",)),)),
    ):
        with pytest.raises(PatchclampError):
            edit(model, wrong, text, position="last")
    with pytest.raises(PatchclampError, match="a block from 0 to 3"):
        edit(model, Task((case,)), text, layer=4)
    with pytest.raises(PatchclampError, match="span all"):
        edit(model, Task((case,)), background(model, "blocks.1.mlp.act", 3))
    other = replace(text, provenance={"subject": {"slug": model.name, "hash": "0" * 64}})
    with pytest.raises(PatchclampError, match="a recording of"):
        edit(model, Task((case,)), other)
