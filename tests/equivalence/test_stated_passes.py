"""Every long verb runs the rows of passes that it states, and no more where it says at most."""

import pytest

import patchclamp as pc
from patchclamp.attribute.pairs import attribute_pairs, cost_of
from patchclamp.attribute.patching import plan_patching
from patchclamp.compare.models import compare_models
from patchclamp.core.corpus import Corpus
from patchclamp.recipes.ablation_cost import count_edge_rows
from patchclamp.recipes.circuit import find_circuit, receipt_rows
from patchclamp.recipes.explanation_cost import cost_of_explanation
from patchclamp.record import record_corpus, survey_corpus
from patchclamp.subjects.corpora import read_corpus


@pytest.fixture
def cat():
    return pc.load("organism:cat")


class Rows(dict):
    """Rows that enter the last block, that enter its MLP, and of gradients that leave the block."""

    def since(self, run):
        """Return how many rows of passes a run adds, forward and backward."""
        before = dict(self)
        run()
        return self["forward"] - before["forward"], self["backward"] - before["backward"]

    def at_mlp(self, run):
        """Return how many rows a run adds where blocks run in pieces, forward and backward."""
        before = dict(self)
        run()
        return self["mlp"] - before["mlp"], self["backward"] - before["backward"]


@pytest.fixture
def counted(cat):
    rows = Rows(forward=0, mlp=0, backward=0)
    last = cat.module.get_submodule(cat.family.blocks)[-1]

    def enter(name):
        return lambda _module, args: rows.__setitem__(name, rows[name] + len(args[0]))

    def leave(_module, _args, out):
        stream = out[0] if isinstance(out, tuple) else out
        if stream.requires_grad:
            stream.register_hook(lambda slope: rows.__setitem__("backward", rows["backward"] + len(slope)))

    mlp = last.get_submodule(cat.family.block["mlp.act"].module)
    hooks = [last.register_forward_pre_hook(enter("forward")), last.register_forward_hook(leave)]
    hooks.append(mlp.register_forward_pre_hook(enter("mlp")))
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


def test_reading_a_text_shows_every_stimulus_as_often_as_it_is_stated(cat, counted, story, tmp_path):
    n = read_corpus(cat, story, batch_size=8).n_stimuli
    site = f"blocks.{cat.n_layers - 1}.resid_out"
    assert counted.since(lambda: record_corpus(cat, story, site, tmp_path / "r")) == (n, 0)
    assert counted.since(lambda: survey_corpus(cat, story, site, tmp_path / "s")) == (n, 0)
    # One model twice: each side is one pass, and the random changes have nothing to change.
    assert counted.since(lambda: compare_models(cat, cat, story, n_random=0)) == (2 * n, 0)


@pytest.mark.parametrize(
    ("method", "options"), [("topk", {"k": 2, "coder_batch": 64}), ("pca", {}), ("snmf", {"max_iter": 5})]
)
def test_a_decomposition_reads_the_text_as_often_as_it_states(cat, counted, story, method, options):
    heard = []
    site = f"blocks.{cat.n_layers - 1}.resid_out"
    made = lambda: pc.decompose(cat, story, site=site, method=method, n_features=4, state=heard.append, **options)  # noqa: E731
    forward, _ = counted.since(made)
    assert forward == heard[0].forward > 0


@pytest.mark.parametrize("method", ["activation_patching", "attribution_patching", "relp", "integrated_gradients"])
def test_scores_over_pairs_take_the_rows_that_are_stated(cat, counted, pairs, method):
    stated = cost_of(cat, pairs, level="neuron", method=method)
    found = counted.since(lambda: attribute_pairs(cat, pairs, level="neuron", method=method))
    assert found == (stated.forward, stated.backward)


def test_patching_takes_a_row_for_every_cell_that_differs(cat, counted, pairs):
    job = plan_patching(cat, pairs, ["resid", "neuron"])
    parts = []
    found, _ = counted.since(lambda: parts.extend(job.parts()))
    # Cells with equal values are not run; nor is a stream of the pair's own where no block begins anew.
    n_run = sum(int(run.sum()) for _, run in parts)
    assert n_run < job.n_cells
    assert job.forward - 3 * len(pairs) == job.n_cells
    assert found - n_run == 3 * len(pairs)


@pytest.mark.parametrize("level", ["node", "neuron"])
def test_a_circuit_of_units_takes_the_rows_that_are_stated(cat, counted, pairs, level):
    heard, found = [], []
    forward, _ = counted.since(lambda: found.append(find_circuit(cat, pairs, level=level, state=heard.append)))
    receipt = found[0].provenance.extra["receipt"]
    top, n_sets = len(receipt["parts"]), len(receipt["randoms"])
    assert forward - heard[0].forward <= receipt_rows(cat, pairs, level, top, n_sets)
    # Singles are measured where there are several; streams are recorded where a set begins behind the first block.
    assert forward - heard[0].forward >= len(pairs) * (2 + 1 + n_sets)


@pytest.mark.parametrize("method", ["activation_patching", "eap", "eap_ig"])
def test_a_circuit_of_edges_takes_the_rows_that_are_stated(cat, counted, pairs, method):
    heard, found = [], []
    how = {"level": "edge", "method": method, "top": 3, "n_controls": 20, "state": heard.append}
    forward, backward = counted.at_mlp(lambda: found.append(find_circuit(cat, pairs, **how)))
    receipt = found[0].provenance.extra["receipt"]
    n_sets = 1 + len(receipt["parts"]) * (len(receipt["parts"]) > 1) + len(receipt["randoms"])
    assert forward - heard[0].forward == count_edge_rows(cat, pairs, n_sets)
    assert backward == heard[0].backward


@pytest.mark.parametrize("method", ["attribution_patching", "integrated_gradients"])
def test_an_explanation_takes_the_backward_rows_that_are_stated(cat, counted, method):
    prompt = "the old cat"
    cost = cost_of_explanation(cat, 4, method=method)
    made = lambda: pc.explain(cat, prompt, " sat", contrast=" ran", method=method, edges=0)  # noqa: E731
    _, backward = counted.since(made)
    # One more backward pass chooses the strongest direct attributions, which are a rival.
    assert int(cost.scoring.split()[0]) + 1 == backward


def test_decoding_weights_runs_nothing(cat, counted):
    assert counted.since(lambda: pc.describe(cat, method="vocabulary")) == (0, 0)
