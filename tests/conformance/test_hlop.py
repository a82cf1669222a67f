"""Tasks in subspaces are learnt one after another and kept; where there is no room left, nothing is learnt."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

import patchclamp as pc
from patchclamp.core.errors import PatchclampError
from patchclamp.core.training import Training
from patchclamp.organisms.learners import make


def layer(width: int = 100, n: int = 5):
    return pc.wrap(nn.Linear(width, n, bias=False).double(), torch.zeros(1, width, dtype=torch.float64), name="layer")


@pytest.fixture(scope="module")
def made():
    return make("learner-subspaces")


@pytest.fixture(scope="module")
def learnt(made) -> Training:
    return pc.learn(layer(), made.stream)


def test_tasks_are_kept_where_plain_training_forgets_them(made, learnt):
    # Figures of a like toy: 0.721 / -0.253 plainly, 0.884 / -0.011 with HLOP.
    plain = pc.learn(layer(), made.stream, rows=0)
    assert plain.acc.value == pytest.approx(made.plain[-1].mean(), abs=0.02)
    assert (plain.acc.value, plain.bwt.value) == pytest.approx((0.729, -0.250), abs=0.02)
    assert (learnt.acc.value, learnt.bwt.value) == pytest.approx((0.894, 0.0), abs=0.02)
    assert learnt.acc.value > plain.acc.value + 0.1
    assert abs(learnt.bwt.value) <= 0.03
    assert "rows" not in plain.curves


def test_rows_span_what_principal_components_span(made, learnt):
    for name, least in (("overlap", 0.98), ("orthonormality", -1)):
        assert all(value >= least for _, value in learnt.curves[name])
    assert [value for _, value in learnt.curves["rows"]] == [12, 24, 36, 48, 60]
    assert all(value < 1e-4 for _, value in learnt.curves["orthonormality"])
    # Weights move in the tasks' subspaces alone, and those of task 2 leave the answers to task 1 as they were.
    subject, first = layer(), pc.Stream(made.stream.stages[:2])
    pc.learn(subject, first)
    after_two = subject.module.weight.detach().numpy().copy()
    torch.manual_seed(0)
    subject.module.reset_parameters()
    start = subject.module.weight.detach().numpy()
    seen = np.concatenate([one.inputs for one in first])
    components = PCA(24).fit(seen).components_
    moved = after_two - start
    assert np.linalg.norm(moved - moved @ components.T @ components) < 1e-2 * np.linalg.norm(moved)


def test_nothing_is_learnt_where_no_room_is_left():
    full = pc.learn(layer(), make("learner-subspaces", variant="full").stream)
    diagonal = [full.accuracy[t + 1][t] for t in range(10)]
    assert [value for _, value in full.curves["rows"]] == [12, 24, 36, 48, 60, 72, 84, 96, 100, 100]
    assert min(diagonal[:4]) > 0.85
    assert max(diagonal[7:]) < 0.4  # of five classes
    assert abs(full.bwt.value) < 0.03
    shared = pc.learn(layer(), make("learner-subspaces", variant="shared").stream)
    assert shared.accuracy[1][0] > 0.9
    assert max(shared.accuracy[t + 1][t] for t in range(1, 5)) < 0.5


def test_layers_inside_a_network_are_projected_too(made):
    def net():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(100, 60), nn.ReLU(), nn.Linear(60, 5)).double()

    deep = pc.wrap(net(), torch.zeros(1, 100, dtype=torch.float64))
    stream = pc.Stream(made.stream.stages[:3])
    plain, kept = (pc.learn(deep, stream, rows=rows, passes=10) for rows in (0, 12))
    assert kept.bwt.value > plain.bwt.value + 0.03
    assert deep.module[0].weight.requires_grad


def test_weights_are_trained_in_place_and_only_those_of_linear_layers(made):
    torch.manual_seed(0)
    module = nn.Sequential(nn.LayerNorm(100), nn.Linear(100, 5)).double()
    subject = pc.wrap(module, torch.zeros(1, 100, dtype=torch.float64))
    before, weight = subject.hash, module[0].weight.detach().clone()
    start = module[1].weight.detach().clone()
    kept = pc.learn(subject, pc.Stream(made.stream.stages[:2]), start="kept")
    assert torch.equal(module[0].weight, weight)
    assert not torch.equal(module[1].weight, start)
    assert module[0].weight.requires_grad
    assert subject.hash != before
    assert kept.provenance.subject_hash == subject.hash


def test_accuracies_become_figures_and_come_back_from_json(learnt):
    accuracy = ((0.1, 0.2, 0.3), (0.9, 0.3, 0.3), (0.7, 0.8, 0.5), (0.6, 0.7, 1.0))
    told = Training(3, 3, 3, {}, accuracy=accuracy)
    assert told.acc.value == pytest.approx((0.6 + 0.7 + 1.0) / 3)
    assert told.bwt.value == pytest.approx(((0.6 - 0.9) + (0.7 - 0.8)) / 2)
    assert told.fwt.value == pytest.approx(((0.3 - 0.2) + (0.5 - 0.3)) / 2)
    assert told.learning.value == pytest.approx((0.9 + 0.8 + 1.0) / 3)
    assert Training.from_json(learnt.to_json()) == learnt
    assert learnt.to_json()["acc"]["value"] == learnt.acc.value
    assert Training(1, 1, 1, {}).acc is None
    with pytest.raises(pc.PatchclampError, match="a row of accuracy before any task"):
        Training(1, 1, 1, {}, accuracy=((0.1, 0.2), (0.3, 0.4)))


@pytest.mark.parametrize(
    ("attempt", "match"),
    [
        (lambda stream: pc.learn(layer(99), stream), "inputs that the network takes"),
        (lambda stream: pc.learn(layer(100, 4), stream), "stream's 5 classes"),
        (lambda stream: pc.learn(pc.wrap(nn.ReLU(), torch.zeros(1, 100)), stream), "linear layers"),
        (lambda stream: pc.learn(object(), stream), "trained in place"),
        (lambda stream: pc.Stream(stream.stages[:1]), "at least two tasks"),
        (lambda stream: pc.Stage("one", np.zeros((2, 3)), np.array([0]), np.zeros((1, 3)), np.array([0])), "'one'"),
    ],
)
def test_what_cannot_be_learnt_is_refused(made, attempt, match):
    with pytest.raises(pc.PatchclampError, match=match):
        attempt(made.stream)


def test_an_interrupted_training_goes_on_where_it_was(tmp_path):
    stream = make("learner-subspaces", n_train=200, n_test=100).stream
    whole, cut, again, later = layer(), layer(), layer(), layer()
    expected = pc.learn(whole, stream, passes=2)

    def stop(done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pc.learn(cut, stream, passes=2, out=tmp_path / "t", progress=stop)
    with pytest.raises(PatchclampError, match="an interrupted run"):
        pc.learn(cut, stream, passes=2, out=tmp_path / "t")
    with pytest.raises(PatchclampError, match="rows: 12 then, 3 now"):
        pc.learn(cut, stream, passes=2, rows=3, out=tmp_path / "t", resume=True)
    with pytest.raises(PatchclampError, match="interrupted after"):
        Training.load(tmp_path / "t")
    found = pc.learn(again, stream, passes=2, out=tmp_path / "t", resume=True)
    assert (found.accuracy, found.curves) == (expected.accuracy, expected.curves)
    assert torch.equal(again.module.weight, whole.module.weight)
    # One that ended gives back what it made, whatever the weights are.
    assert pc.learn(later, stream, passes=2, out=tmp_path / "t", resume=True).accuracy == expected.accuracy
    assert torch.equal(later.module.weight, whole.module.weight)
    assert Training.load(tmp_path / "t").accuracy == expected.accuracy


def test_a_folder_of_another_network_is_refused(tmp_path):
    """The network belongs to what is resumed: its parts and their shapes, whatever its weights are."""
    stream = make("learner-subspaces", n_train=200, n_test=100).stream
    pc.learn(layer(), stream, passes=1, out=tmp_path / "t")
    one, two = (nn.Sequential(nn.Linear(100, 8), act, nn.Linear(8, 5)) for act in (nn.ReLU(), nn.Tanh()))
    with pytest.raises(PatchclampError, match=r"network, stream and options .*plan.network"):
        pc.learn(pc.wrap(one, torch.zeros(1, 100)), stream, passes=1, out=tmp_path / "t", resume=True)
    pc.learn(pc.wrap(one, torch.zeros(1, 100)), stream, passes=1, out=tmp_path / "u")
    with pytest.raises(PatchclampError, match=r"modules\.1: ReLU\(\) then, Tanh\(\) now"):
        pc.learn(pc.wrap(two, torch.zeros(1, 100)), stream, passes=1, out=tmp_path / "u", resume=True)


@pytest.mark.parametrize("exists", [False, True])
def test_a_training_that_fails_before_a_task_ends_leaves_its_folder_free(tmp_path, exists):
    stream, out = make("learner-subspaces", n_train=200, n_test=100).stream, tmp_path / "t"
    if exists:
        out.mkdir()
    nan = layer()
    nn.init.constant_(nan.module.weight, torch.nan)
    with pytest.raises(PatchclampError, match=r"a finite loss.*in another folder"):
        pc.learn(nan, stream, start="kept", passes=1, out=out)
    assert out.exists() == exists
    assert pc.learn(layer(), stream, passes=1, out=out).accuracy
