"""A task read by a model is what a plain reading gives, for one case and for many, in batches and alone."""

import numpy as np
import pytest

from oracles import reading as oracle
from patchclamp.core.errors import PatchclampError
from patchclamp.core.task import Case, Task

CASES = (
    Case("w3 w17 w8 w40", "w3 w20 w8 w41", (" w5",), (" w9",)),
    Case("w3 w17", "w3 w20", (" w7 w8",), (" w7 w9",)),
    Case("w1 w2 w3 w9", "w4 w2 w7 w9", (" w11 w12 w13",), (" w11 w12 w20",)),
    Case("w5 w6", "w5 w1", (" w20",), (" w21",)),
)


@pytest.fixture(params=["gpt2", "llama"])
def model(request, models):
    return models[request.param]


def test_m_is_read_where_the_answers_first_differ_on_both_prompts(model):
    cases = model.read(Task(CASES), least=0.0)
    assert [case.id for case in cases.task.cases] == [case.id for case in CASES]
    for i, case in enumerate(CASES):
        for prompt, shown, m in (
            (case.shown, cases.clean[i], cases.m_clean[i]),
            (case.counterpart, cases.counterpart[i], cases.m_counterpart[i]),
        ):
            ids, expected = oracle.read(model, prompt, case.targets[0], case.contrasts[0])
            assert shown.ids.tolist() == ids
            assert m == pytest.approx(expected, abs=1e-4)


def test_a_task_of_many_reads_every_case_as_a_task_of_one_does(model):
    many = model.read(Task(CASES), least=0.0)
    for i, case in enumerate(CASES):
        one = model.read(Task((case,)), least=0.0)
        assert (one.metrics[0], one.read[0].explained) == (many.metrics[i], many.read[i].explained)
        assert one.clean[0].ids.tolist() == many.clean[i].ids.tolist()
        assert one.m_clean[0] == pytest.approx(many.m_clean[i], abs=1e-5)
        assert one.m_counterpart[0] == pytest.approx(many.m_counterpart[i], abs=1e-5)


def test_a_target_alone_of_several_tokens_is_its_log_probability(model):
    cases = model.read(Task((Case("w3 w17", None, (" w7 w8 w9",)), Case("w3 w1", None, (" w4 w5",))), "logit"))
    for i, case in enumerate(cases.task.cases):
        ids, expected = oracle.read_alone(model, case.shown, case.targets[0])
        assert cases.clean[i].ids.tolist() == ids
        assert cases.m_clean[i] == pytest.approx(expected, abs=1e-4)
    assert np.isnan(cases.m_counterpart).all()
    with pytest.raises(PatchclampError, match="a counterpart of every case; got 2 of 2 without"):
        _ = cases.counterpart


def test_both_ends_exchanged_are_the_case_turned_round(model):
    turned = Task(tuple(Case(c.counterpart, c.shown, c.targets, c.contrasts) for c in CASES))
    exchanged, read = model.read(Task(CASES), least=0.0).exchange(), model.read(turned, least=0.0)
    assert [x.id for x in exchanged.clean] == [x.id for x in read.clean]
    np.testing.assert_allclose(exchanged.m_clean, read.m_clean, atol=1e-5)
    np.testing.assert_allclose(exchanged.m_counterpart, read.m_counterpart, atol=1e-5)


def test_skipped_cases_keep_their_reasons_through_a_file(model, tmp_path):
    few = (Case("w3", None, (" w5",), (" w9",)), Case("w3 w4 w5", "w3", (" w5",), (" w9",)))
    cases = model.read(Task((*few, *CASES)), least=0.0)
    assert cases.count_skipped() == {"no counterpart, as others have one": 1, "prompts of unequal length": 1}
    cases.task.save(tmp_path / "task.json")
    back = Task.load(tmp_path / "task.json")
    assert back.cases == CASES
    assert [(case, reason) for case, reason in back.skipped] == list(zip(few, cases.count_skipped(), strict=True))
    again = model.read(back, least=0.0)
    assert again.count_skipped() == cases.count_skipped()
    np.testing.assert_array_equal(again.m_clean, cases.m_clean)
