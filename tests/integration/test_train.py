"""A training that is stopped at any moment goes on to the same bytes; what cannot be trained is refused beforehand."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

from patchclamp import PatchclampError
from patchclamp.core.bundle import Bundle
from patchclamp.core.training import Training
from patchclamp.train import EarlyStop, Objective, Plan, needs_of, train

STEPS = 11


class Stopped(Exception):
    """Somebody pulled the plug."""


class Net(nn.Module):
    """A net with everything that later steps can depend on."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.4), nn.Linear(6, 2))
        self.coarse = nn.Parameter(torch.zeros(2, dtype=torch.bfloat16))
        self.register_buffer("passing", torch.zeros(2), persistent=False)

    def forward(self, x):
        found = self.layers(x)
        self.passing.mul_(0.9).add_(found.detach().mean(0))
        return found + self.passing + self.coarse


class Deal:
    """Batches without end that say where they are."""

    def __init__(self, x) -> None:
        self.x, self.at = x, 0

    def __iter__(self):
        while True:
            self.at += 1
            yield [self.x[i] for i in np.random.default_rng([7, self.at]).permutation(len(self.x))[:3]]

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state_dict):
        self.at = state_dict["at"]


class Case:
    """A training: everything that is made anew where a process begins anew. Weights come as chance has them."""

    def __init__(self, source: str = "loader", stop: bool = True) -> None:
        draw = torch.Generator().manual_seed(3)
        self.x, y = torch.randn(24, 4, generator=draw), torch.randn(24, 2, generator=draw)
        self.nets = {"a": Net(), "b": Net()}
        self.noise, self.jitter = torch.Generator().manual_seed(4), np.random.default_rng(5)
        rows = TensorDataset(self.x, y)
        self.batches = {
            "loader": lambda: DataLoader(rows, batch_size=5, shuffle=True, drop_last=True),
            "list": lambda: list(DataLoader(rows, batch_size=7)),
            "stateful": lambda: Deal(rows),
        }[source]()  # fmt: skip
        self.stop = EarlyStop(self.held_out, every=3, patience=2, better="higher") if stop else None
        self.seen, self.pull = 0, ("", -1)

    def loss_of(self, name):
        def loss(batch, step):
            if name == "b" and self.pull in (("loss", step), ("loss", -1)):
                raise Stopped
            x, y = batch if len(batch) == 2 else map(torch.stack, zip(*batch, strict=True))
            x = x + 0.1 * torch.randn(x.shape, generator=self.noise) + float(self.jitter.normal())
            return {"loss": mse_loss(self.nets[name](x), y), "largest": math.inf if step == 4 else float(x.max())}

        return loss

    def held_out(self):
        self.seen += 1
        if self.pull == ("measure", 3 * self.seen - 3):
            raise Stopped
        return {1: 0.0, 2: 5.0, 3: 3.0, 4: 4.0}[self.seen] + 0 * torch.rand(()).item()

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state_dict):
        self.seen = state_dict["seen"]

    def progress(self, done, _total):
        if self.pull == ("progress", done):
            raise Stopped

    def run(self, out: Path, *, pull: tuple[str, int] = ("", -1), resume: bool = False, **options) -> Training:
        self.pull = pull
        objectives = {
            "a": Objective(self.nets["a"], self.loss_of("a"), lambda p: torch.optim.Adam(p, lr=0.02, amsgrad=True)),
            "b": Objective(self.nets["b"], self.loss_of("b"), lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9)),
        }
        own = {"noise": self.noise, "jitter": self.jitter, "case": self}
        plan = Plan(steps=STEPS, warmup=0.3, decay=0.3, clip=1.0, seed=2)
        options = {"checkpoint_s": 0.0, "early_stop": self.stop, "progress": self.progress} | options
        return train(objectives, self.batches, plan, out=out, own=own, resume=resume, **options)

    def weights(self):
        tensors = {name: (*net.state_dict().items(), *net.named_buffers()) for name, net in self.nets.items()}
        return {f"{name}/{key}": tensor for name, pairs in tensors.items() for key, tensor in pairs}


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def begin(out: Path, source: str, stop: bool) -> Path:
    """Leave what a training leaves that is stopped in its first step."""
    with pytest.raises(Stopped):
        Case(source, stop).run(out, pull=("loss", 0))
    return out


def go_on(first: Path, out: Path, source: str, stop: bool, *pulls: tuple[str, int]) -> tuple[Case, Training]:
    """Go on from a copy of what was left, stopped in turn where it is said, with a state after every step."""
    shutil.copytree(first, out)
    for pull in pulls:
        with pytest.raises(Stopped):
            Case(source, stop).run(out, resume=True, pull=pull)
    case = Case(source, stop)
    return case, case.run(out, resume=True)


@pytest.mark.parametrize(("source", "stop"), [("loader", True), ("loader", False), ("list", False), ("stateful", True)])
def test_a_training_stopped_anywhere_goes_on_to_the_same_bytes(source, stop, tmp_path, monkeypatch):
    # Every second step adds a point, so that some states hold half of one.
    monkeypatch.setattr("patchclamp.train.loop.POINTS", STEPS // 2)
    first = begin(tmp_path / "first", source, stop)
    whole, made = go_on(first, tmp_path / "whole", source, stop)
    assert (made.kept, made.steps) == ((3, 9) if stop else (STEPS, STEPS))
    left = content(tmp_path / "whole")
    assert sorted(left) == ["journal.jsonl", "manifest.json", f"state-{made.steps:08d}.safetensors"]
    steps = range(made.steps)
    ways = {"loss": steps, "progress": [step + 1 for step in steps], "measure": [0, 3, 6, 9] if stop else []}
    chains = {place: [(place, step) for step in ways[place]] for place in ways}
    for name, pulls in (chains | {"mixed": [("loss", 1), ("progress", 4), ("loss", 8)]}).items():
        case, again = go_on(first, tmp_path / name, source, stop, *pulls)
        assert content(tmp_path / name) == left, name
        assert again.curves == made.curves, name
        assert_same(case.weights(), whole.weights())
        assert case.noise.get_state().equal(whole.noise.get_state())
        assert case.jitter.bit_generator.state == whole.jitter.bit_generator.state
    # One that has ended gives its weights back, and takes no step.
    again = Case(source, stop)
    assert again.run(tmp_path / "whole", resume=True, pull=("loss", -1)).curves == made.curves
    assert_same(again.weights(), whole.weights())
    assert content(tmp_path / "whole") == left
    # Two beginnings differ, or all of this would say nothing.
    with pytest.raises(AssertionError):
        assert_same(Case(source, stop).weights(), Case(source, stop).weights())


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert [name for name, tensor in one.items() if not torch.equal(tensor, other[name])] == []


# -- kills ------------------------------------------------------------------------------------------------------------

# Imports everything once; then one fork per attempt, in which the k-th call that changes something on disk kills.
KILLED = """
import os, shutil, signal, sys
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from pathlib import Path
from test_train import Case, begin, content
from patchclamp.core import bundle

place = Path(sys.argv[2])
first = begin(place / "first", "loader", True)

def attempt(out, kill_at=0):
    child = os.fork()
    if child == 0:
        seen, status = 0, 1

        def wrap(owner, name):
            real = getattr(owner, name)
            def call(*args, **kwargs):
                nonlocal seen
                seen += 1
                if seen == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **kwargs)
            setattr(owner, name, call)

        for owner, name in ((os, "fsync"), (os, "replace"), (os, "unlink"), (bundle, "save_file")):
            wrap(owner, name)
        try:
            Case().run(out, resume=True)
            (place / "calls").write_text(str(seen))
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

shutil.copytree(first, place / "whole")
assert attempt(place / "whole") == 0
whole, calls = content(place / "whole"), int((place / "calls").read_text())
# The last ones lie between the last state and the end, where nothing more is saved.
for k in sorted({*range(1, calls, int(sys.argv[3])), *range(calls - 6, calls + 1)}):
    out = place / str(k)
    shutil.copytree(first, out)
    assert attempt(out, k) == -signal.SIGKILL, k
    assert attempt(out) == 0, k
    assert content(out) == whole, k
    shutil.rmtree(out)
print(calls)
"""


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, which this system does not have")
def test_a_killed_training_goes_on_to_the_same_bytes(tmp_path, soak):
    here = Path(__file__).parent
    words = [sys.executable, "-c", KILLED, str(here), str(tmp_path), "1" if soak else "31"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 60
    print(f"killed at {'every' if soak else 'the last seven and one in 31'} of {done.stdout.strip()} places")


# -- what is refused --------------------------------------------------------------------------------------------------


def line(**changes) -> dict:
    """Return what trains a line."""
    net = nn.Linear(2, 1)
    batches = [(torch.ones(3, 2), torch.ones(3, 1))] * 4
    objective = Objective(net, lambda batch, step: mse_loss(net(batch[0]), batch[1]))
    return {"objectives": objective, "batches": batches, "plan": Plan(passes=2)} | changes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"plan": Plan(passes=3)}, r"plan\.training\.steps: 8 then, 12 now"),
        ({"plan": Plan(passes=2, seed=1)}, r"plan\.training\.seed: 0 then, 1 now"),
        ({"about": {"data": "other"}}, r"plan\.data: None then, other now"),
        ({"batches": [(torch.ones(3, 2), torch.ones(3, 1))] * 8, "plan": Plan()}, r"batches\.n: 4 then, 8 now"),
        ({"own": {"draws": torch.Generator()}}, r"training\.own: \[\] then, \['draws'\] now"),
        ({"early_stop": EarlyStop(lambda: 0.0, every=1, patience=1)}, r"early_stop\.every: None then, 1 now"),
    ],
)
def test_a_resume_with_another_plan_is_refused(changes, words, tmp_path):
    train(**line(), out=tmp_path / "o")
    before = content(tmp_path / "o")
    with pytest.raises(PatchclampError, match=words):
        train(**line(**changes), out=tmp_path / "o", resume=True)
    assert content(tmp_path / "o") == before


@pytest.mark.parametrize(
    ("module", "optimizer", "words"),
    [
        (nn.Linear(2, 1, bias=False), torch.optim.Adam, r"tensors\.bias: float32 1 cpu then, None now"),
        (nn.Linear(2, 1), torch.optim.AdamW, r"optimizer: Adam then, AdamW now"),
        (nn.Linear(2, 1), lambda p: torch.optim.Adam(p, lr=0.5), r"groups\.0\.lr: 0\.001 then, 0\.5 now"),
    ],
)
def test_a_resume_of_another_module_or_optimizer_is_refused(module, optimizer, words, tmp_path):
    train(**line(), out=tmp_path / "o")
    other = Objective(module, lambda batch, step: module(batch[0]).mean(), optimizer)
    with pytest.raises(PatchclampError, match=words):
        train(**line(objectives=other), out=tmp_path / "o", resume=True)


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "precious").touch()
    for resume in (False, True):
        with pytest.raises(PatchclampError, match="a new or empty folder"):
            train(**line(), out=tmp_path, resume=resume)
    assert [file.name for file in tmp_path.iterdir()] == ["precious"]
    train(**line(), out=tmp_path / "o")
    with pytest.raises(PatchclampError, match="--resume"):
        train(**line(), out=tmp_path / "o")


@pytest.mark.parametrize("what", ["loss", "weights", "held_out"])
def test_what_is_not_finite_ends_it_with_the_step_and_costs_no_state(what, tmp_path):
    net = nn.Linear(2, 1)

    def loss(batch, step):
        found = mse_loss(net(batch[0]), batch[1])
        # The square root's slope at 0 is infinite: the loss is a number, and the weights are none after it.
        return (
            found * {"loss": math.nan}.get(what, 1)
            if step == 5 and what == "loss"
            else (found + (net.weight.sum() * 0).sqrt() if step == 5 and what == "weights" else found)
        )

    def held_out():
        return math.nan if what == "held_out" and state["step"] == 6 else 0.0

    state = {"step": 0}
    changes = line(
        objectives=Objective(net, loss), early_stop=EarlyStop(held_out, every=1, patience=9),
        progress=lambda done, _: state.update(step=done + 1),
    )  # fmt: skip
    words = {"loss": "nan at step 5", "weights": "finite weights.*after step 6", "held_out": "nan after step 6"}[what]
    with pytest.raises(PatchclampError, match=words):
        train(**changes, out=tmp_path / "o", checkpoint_s=0.0)
    bundle = Bundle.open(tmp_path / "o")
    assert [entry["piece"] for entry in bundle.pieces] == ["state-00000005"]
    assert bundle.find_damaged() == []
    assert np.isfinite(bundle.read("state-00000005")["parts//weights/kept/weight"]).all()


def test_what_it_takes_is_stated_and_refused_where_it_is_not_there(tmp_path, monkeypatch):
    from patchclamp.train import needs

    net = nn.Linear(64, 64, bias=False)
    objective = Objective(net, lambda batch, step: net(batch).mean())
    stop = EarlyStop(lambda: 0.0, every=9, patience=9)
    size = 4 * 64 * 64
    assert needs_of(objective) == (3 * size, 2 * 3 * size)
    assert needs_of({"a": objective, "b": objective}, stop) == (2 * 4 * size, 2 * 2 * 4 * size)
    for optimizer, averages in ((torch.optim.SGD, 0), (lambda p: torch.optim.SGD(p, momentum=0.5), 1)):
        assert needs_of(Objective(net, objective.loss, optimizer)).memory == (1 + averages) * size
    train(objective, [torch.ones(1, 64)] * 3, out=tmp_path / "o")
    [state] = (tmp_path / "o").glob("*.safetensors")
    assert needs_of(objective).disk == pytest.approx(2 * state.stat().st_size, rel=0.2)
    monkeypatch.setattr(needs, "free_bytes", lambda _: 6 * size - 1)
    with pytest.raises(PatchclampError, match="two states of the training"):
        train(objective, [torch.ones(1, 64)], out=tmp_path / "p")
    assert not (tmp_path / "p").exists()
    monkeypatch.setattr(needs, "free_memory", lambda _: 3 * size - 1)
    with pytest.raises(PatchclampError, match="of memory"):
        train(objective, [torch.ones(1, 64)])


def test_a_full_disk_costs_no_state(tmp_path, monkeypatch):
    from patchclamp.core import bundle

    def fail_at_third(tensors, path, real=bundle.save_file, seen=[]):  # noqa: B006
        seen.append(path)
        if len(seen) == 3:
            raise OSError(28, "No space left on device")
        real(tensors, path)

    monkeypatch.setattr(bundle, "save_file", fail_at_third)
    with pytest.raises(PatchclampError, match=r"a full disk.*--resume"):
        train(**line(), out=tmp_path / "o", checkpoint_s=0.0)
    assert [entry["piece"] for entry in Bundle.open(tmp_path / "o").pieces] == ["state-00000001"]
    assert train(**line(), out=tmp_path / "o", resume=True).steps == 8


def test_a_state_that_was_changed_is_refused(tmp_path):
    train(**line(), out=tmp_path / "o")
    [state] = (tmp_path / "o").glob("*.safetensors")
    state.write_bytes(state.read_bytes()[:-1] + b"x")
    with pytest.raises(PatchclampError, match="as it was committed"):
        train(**line(), out=tmp_path / "o", resume=True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objectives": {}}, "at least one objective"),
        ({"batches": []}, "at least one batch"),
        ({"batches": iter([torch.ones(1, 2)])}, "steps in the plan"),
        ({"batches": (b for b in line()["batches"]), "plan": Plan(steps=5)}, "gone through again"),
        ({"objectives": Objective(nn.ReLU(), lambda b, s: b)}, "parameters that need a gradient"),
        ({"objectives": Objective(nn.Linear(2, 1), lambda b, s: torch.ones(3))}, "one number with a gradient"),
        ({"objectives": Objective(nn.Linear(2, 1), lambda b, s: torch.ones(()))}, "one without a gradient"),
        ({"objectives": Objective(nn.Linear(2, 1), lambda b, s: {"error": 1})}, "one number with a gradient"),
        ({"objectives": Objective(nn.Linear(2, 1), lambda b, s: b, torch.optim.LBFGS)}, "a LBFGS"),
        ({"own": {"draws": 3}}, "draws with state_dict"),
        ({"about": {"threads": 3}}, "without the names"),
        ({"plan": 3}, "plan"),
    ],
)
def test_what_cannot_be_trained_is_refused(changes, words, tmp_path):
    with pytest.raises(PatchclampError, match=words):
        train(**line(**changes), out=tmp_path / "o")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Plan(steps=1, passes=1), "steps or passes"),
        (lambda: Plan(steps=0), "from 1"),
        (lambda: Plan(decay=1.0), "below 1"),
        (lambda: Plan(clip=math.nan), "largest norm"),
        (lambda: EarlyStop(lambda: 0.0, every=1, patience=0), "from 1"),
        (lambda: EarlyStop(lambda: 0.0, every=1, patience=1, least=-1.0), "at least 0"),
        (lambda: EarlyStop(lambda: 0.0, every=1, patience=1, better="more"), "lower"),
        (lambda: Training(1, 2, 2, {}), "among those taken"),
        (lambda: Training.from_json({"planned": "1"}), "a training"),
    ],
)
def test_plans_that_make_no_sense_are_refused(make, words):
    with pytest.raises(PatchclampError, match=words):
        make()


def test_it_computes_with_the_threads_of_its_plan_and_of_its_beginning(tmp_path):
    seen, net = [], nn.Linear(2, 1)

    def loss(batch, step):
        seen.append(torch.get_num_threads())
        return net(batch).mean()

    def interrupt(_done, _total):
        raise KeyboardInterrupt

    before, drawn = torch.get_num_threads(), torch.get_rng_state()
    objective, batches = Objective(net, loss), [torch.ones(1, 2)] * 2
    for plan in (Plan(threads=2), Plan()):
        train(objective, batches, plan)
    with pytest.raises(KeyboardInterrupt):
        train(objective, batches, Plan(threads=3), out=tmp_path / "o", progress=interrupt)
    assert (torch.get_num_threads(), torch.get_rng_state().equal(drawn)) == (before, True)
    train(objective, batches, Plan(threads=2), out=tmp_path / "o", resume=True)
    assert seen == [2, 2, before, before, 3, 3, 3]
    assert json.loads((tmp_path / "o" / "manifest.json").read_text())["plan"]["threads"] == 3
    assert (torch.get_num_threads(), torch.get_rng_state().equal(drawn)) == (before, True)


@pytest.mark.parametrize("stop", [False, True])
def test_a_folder_says_how_its_training_went(stop, tmp_path, capsys):
    from patchclamp.cli import main

    with pytest.raises(Stopped):
        Case("list", stop).run(tmp_path / "o", pull=("progress", 5))
    under_way = Training.load(tmp_path / "o")
    assert (under_way.planned, under_way.steps, under_way.kept) == (STEPS, 4, 4)
    made = Case("list", stop).run(tmp_path / "o", resume=True)
    read = Training.load(tmp_path / "o")
    assert (read.planned, read.steps, read.kept, read.curves) == (made.planned, made.steps, made.kept, made.curves)
    assert math.isinf(dict(read.curves["a/largest"])[5])
    assert read.provenance.seed == 2
    assert main(["info", str(tmp_path / "o")]) == 0
    told = capsys.readouterr().out
    assert f"{made.steps} of 11 steps" in told
    assert ("after step 3" in told) is stop
    assert main(["info", str(tmp_path / "o"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["curves"].keys() == made.curves.keys()
    [state] = (tmp_path / "o").glob("*.safetensors")
    state.write_bytes(state.read_bytes()[:-1])
    assert main(["info", str(tmp_path / "o")]) == 2
    assert "as it was committed" in capsys.readouterr().err


def test_a_training_is_read_again_as_it_was_written():
    made = train(**line(), about={"data": "ones"})
    data = json.loads(json.dumps(made.to_json()))
    assert Training.from_json(data) == made
    assert made.provenance.options["passes"] == 2
    assert made.provenance.extra == {"data": "ones"}
    assert [len(points) for points in made.to_json(limit=3)["curves"].values()] == [3]
