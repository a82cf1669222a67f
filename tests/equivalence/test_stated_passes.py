"""Every long verb runs exactly the rows of forward passes that it states, or never more where it says at most."""

import pytest

import patchclamp as pc
from patchclamp.attribute.pairs import attribute_pairs, cost_of
from patchclamp.attribute.patching import plan_patching
from patchclamp.compare.models import compare_models
from patchclamp.core.corpus import Corpus
from patchclamp.recipes.circuit import find_circuit, receipt_rows
from patchclamp.record import record_corpus, survey_corpus
from patchclamp.subjects.corpora import read_corpus


@pytest.fixture
def cat():
    return pc.load("organism:cat")


@pytest.fixture
def counted(cat):
    """Count rows that reach the last block, and rows of gradients that leave it."""
    rows = {"forward": 0, "backward": 0}
    blocks = cat.module.get_submodule(cat.family.blocks)

    def enter(_module, args):
        rows["forward"] += len(args[0])

    def leave(_module, _args, out):
        stream = out[0] if isinstance(out, tuple) else out
        if stream.requires_grad:
            stream.register_hook(lambda slope: rows.__setitem__("backward", rows["backward"] + len(slope)))

    hooks = [blocks[-1].register_forward_pre_hook(enter), blocks[-1].register_forward_hook(leave)]
    yield rows
    for hook in hooks:
        hook.remove()


@pytest.fixture
def story(tmp_path):
    path = tmp_path / "story.txt"
    path.write_text("the old cat sat on the mat. the young dog ran to the park.\n" * 40)
    return Corpus(path, window=16)


@pytest.fixture
def pairs(cat):
    return cat.read(pc.open_task("planted", cat))


def since(rows, run):
    """Return how many rows a run adds."""
    before = dict(rows)
    run()
    return rows["forward"] - before["forward"], rows["backward"] - before["backward"]


def test_reading_a_text_shows_every_stimulus_as_often_as_it_is_stated(cat, counted, story, tmp_path):
    n = read_corpus(cat, story, batch_size=8).n_stimuli
    site = f"blocks.{cat.n_layers - 1}.resid_out"
    assert since(counted, lambda: record_corpus(cat, story, site, tmp_path / "r")) == (n, 0)
    assert since(counted, lambda: survey_corpus(cat, story, site, tmp_path / "s")) == (n, 0)
    # One model twice: each side is one pass, and the random changes have nothing to change.
    assert since(counted, lambda: compare_models(cat, cat, story, n_random=0)) == (2 * n, 0)


@pytest.mark.parametrize(
    ("method", "options"), [("topk", {"k": 2, "coder_batch": 64}), ("pca", {}), ("snmf", {"max_iter": 5})]
)
def test_a_decomposition_reads_the_text_as_often_as_it_states(cat, counted, story, method, options):
    heard = []
    site = f"blocks.{cat.n_layers - 1}.resid_out"
    made = lambda: pc.decompose(cat, story, site=site, method=method, n_features=4, state=heard.append, **options)  # noqa: E731
    forward, _ = since(counted, made)
    assert forward == heard[0].forward > 0


@pytest.mark.parametrize("method", ["activation_patching", "attribution_patching", "relp", "integrated_gradients"])
def test_scores_over_pairs_take_the_rows_that_are_stated(cat, counted, pairs, method):
    stated = cost_of(cat, pairs, level="neuron", method=method)
    found = since(counted, lambda: attribute_pairs(cat, pairs, level="neuron", method=method))
    assert found == (stated.forward, stated.backward)


def test_patching_and_circuits_never_take_more_than_they_state(cat, counted, pairs):
    job = plan_patching(cat, pairs, ["resid", "neuron"])
    assert 0 < since(counted, lambda: list(job.parts()))[0] <= job.forward
    stated = cost_of(cat, pairs, level="neuron")
    forward, _ = since(counted, lambda: find_circuit(cat, pairs, level="neuron"))
    assert stated.forward < forward <= stated.forward + receipt_rows(len(pairs), None, 99)
