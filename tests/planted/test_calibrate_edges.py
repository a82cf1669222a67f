"""Planted edges: exact patching finds all and nothing else; a pair that backs itself up shows only when both go."""

import numpy as np
import pytest

from patchclamp import organisms
from patchclamp.calibrate import ablate_pair, calibrate_edges
from patchclamp.calibrate.planted_edges import BESIDE, cases_of, fold_strengths, planted_folds, reader_of, writer_of
from patchclamp.core.errors import PatchclampError
from patchclamp.subjects.residual_edges import edge_map


@pytest.fixture(scope="module", params=["copy-llama", "induction-gpt2", "facts-llama", "saturated-gpt2", "decoy-gpt2"])
def table(request):
    return {f.method: f for f in calibrate_edges([request.param])}


def test_exact_edges_reach_precision_and_recall_of_one(table):
    exact = table["activation_patching"]
    assert exact.found == exact.true == exact.worst == table["oracle"].found
    assert exact.true >= 2
    assert table["random"].found < 0.25 * exact.true
    assert all(table[method].found <= exact.true for method in ("eap_ig", "eap", "relp"))


def test_a_flat_softmax_hides_edges_from_a_gradient_and_not_from_its_path():
    table = {f.method: f for f in calibrate_edges(["saturated-gpt2"], methods=["eap_ig", "eap"])}
    assert table["eap"].found < table["eap"].true == table["eap_ig"].found


def test_alone_neither_of_a_pair_matters_and_together_they_are_everything():
    told = ablate_pair("backup-gpt2")
    assert told["alone"] == pytest.approx([0.0, 0.0], abs=1e-3)
    assert told["together"] == pytest.approx(organisms.card("backup-gpt2")["logit_difference"], abs=0.05)
    assert ablate_pair("copy-gpt2") is None


def test_edges_fold_as_coarse_as_whole_mlps_and_shared_keys():
    graph = edge_map(organisms.build("copy-llama"))
    assert (graph.n_heads, graph.n_kv_heads) == (4, 2)
    assert planted_folds("copy-llama", graph) == [
        ("input", "blocks.1.attn/1"), ("blocks.1.attn.z/heads/2", "output")
    ]  # fmt: skip
    known = {(writer_of(u), reader_of(v, graph)) for u, v in graph.parts}
    for name in organisms.planted.names():
        graph = edge_map(organisms.build(name))
        known = {(writer_of(u), reader_of(v, graph)) for u, v in graph.parts}
        assert set(planted_folds(name, graph)) <= known, name
    assert set(BESIDE) <= set(organisms.planted.CIRCUITS)


def test_strength_is_the_largest_of_what_folds_together():
    scores = np.array([[1.0, -4.0, 0.5], [2.0, 3.0, 0.0]])
    folds = [("a", "b"), ("a", "b"), ("a", "c")]
    assert fold_strengths(scores, folds, [("a", "b"), ("a", "c")]).tolist() == [4.0, 0.5]


def test_every_word_in_turn_is_made_unknown():
    model = organisms.build("copy-gpt2")
    cases = cases_of(model, "copy-gpt2")
    assert len(cases) == len(cases.clean[0])
    assert cases.m_clean == pytest.approx(np.full(len(cases), 7.9893), abs=1e-3)
    for place, other in list(enumerate(cases.counterpart))[1:]:
        assert np.flatnonzero(other.ids != cases.clean[0].ids).tolist() == [place]


@pytest.mark.parametrize(
    ("names", "methods"),
    [(["unicorn"], ["activation_patching"]), (["cat"], ["integrated_gradients"]), (["language-gpt2"], None)],
)
def test_unknown_names_are_refused(names, methods):
    with pytest.raises(PatchclampError):
        calibrate_edges(names, **({} if methods is None else {"methods": methods}))
