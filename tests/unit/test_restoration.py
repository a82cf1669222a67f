"""However a use of a model ends, nothing of the rig stays behind in it."""

import hashlib

import numpy as np
import pytest
import torch
from torch import nn

from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.core.intervention import change
from patchclamp.core.metric import Metric
from patchclamp.subjects import attention
from patchclamp.subjects.engine import Engine, Place, Tap
from patchclamp.subjects.families.spec import family
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.network import Network

# Those of three blocks; tests/families goes through all.
FAMILIES = ("gemma2", "gpt2", "gpt_neox", "gptj", "llama")

IDS = ([3, 14, 15, 9, 26, 5], [35, 8, 9, 7])
METRIC = Metric("logit", (7,))


def snapshot(module):
    """Return everything that could have been changed in a model: attributes, hooks, modes, weights, attention."""
    found = {"attention": getattr(getattr(module, "config", None), "_attn_implementation", None)}
    found["tapped"] = [list(chain) for part in module.modules() for chain in [attention._active.get(part, [])] if chain]
    for path, part in module.named_modules():
        found[path, "attributes"] = {
            key: (type(value), tuple(value) if key.endswith("hooks") or "hooks_" in key else id(value))
            for key, value in part.__dict__.items()
            if isinstance(value, dict) or key in ("forward", "_attn", "training") or callable(value)
        }
        found[path, "names"] = sorted(part.__dict__)
        found[path, "training"] = part.training
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        digest = hashlib.sha256(value.detach().numpy().tobytes()).hexdigest()
        found[name, "tensor"] = (value.requires_grad, value.grad is None, id(value), value._version, digest)
    return found


class Interrupted(Exception):
    """What a user's own function raises."""


def raising(error, after=0):
    """Return a function for ``call`` that raises at its n-th use."""
    uses = []

    def fn(x):
        uses.append(1)
        if len(uses) > after:
            raise error
        return x

    return fn


@pytest.fixture
def checked():
    """Make a family's tiny model; at the end of the test its snapshot must be what it was."""
    made = []

    def make(name):
        module = family(name).tiny()
        # Some parameters are frozen by their owner: they stay frozen, the others do not become so.
        for parameter in list(module.parameters())[::3]:
            parameter.requires_grad_(False)
        model = LanguageModel(module)
        made.append((model, snapshot(module)))
        return model

    yield make
    for model, before in made:
        after = snapshot(model.module)
        assert {k: (before.get(k), after.get(k)) for k in before | after if before.get(k) != after.get(k)} == {}


def halting_sites(model):
    kinds = ["resid_in", "attn.q", "attn.v", "attn.pattern", "attn.z", "mlp.act", "resid_out"]
    return (
        [f"blocks.1.{k}" for k in kinds]
        + ["embed", "final"]
        + ([] if model.family.parallel else ["blocks.1.resid_mid"])
    )


@pytest.mark.parametrize("error", [Interrupted, KeyboardInterrupt])
@pytest.mark.parametrize("name", FAMILIES)
def test_an_error_inside_a_visit(checked, name, error):
    model = checked(name)
    for site in halting_sites(model):
        basis = "heads" if site.endswith("pattern") else "neurons"
        with pytest.raises(error):
            model.run(list(IDS), record="*", interventions=[change("call", site, basis=basis, fn=raising(error()))])
    stop = change("call", "blocks.2.mlp.act", fn=raising(error()))
    with pytest.raises(error):
        model.differentiate(list(IDS), METRIC, "blocks.*", interventions=[stop])
    with pytest.raises(error):
        model.sweep([IDS[0]], METRIC, [[stop], [change("ablate", "blocks.0.attn.q")]])


@pytest.mark.parametrize("error", [Interrupted, KeyboardInterrupt])
@pytest.mark.parametrize("name", FAMILIES)
def test_an_error_in_the_middle_of_generation(checked, name, error):
    model = checked(name)
    late = [change("call", "blocks.1.mlp.act", fn=raising(error(), after=2)), change("ablate", "blocks.0.attn.k")]
    with pytest.raises(error):
        model.generate(list(IDS), interventions=late, max_new_tokens=5)
    early = [change("call", "blocks.1.mlp.act", fn=raising(error())), change("ablate", "blocks.1.attn.v")]
    with pytest.raises(error), model.intervene(early):
        model.module(input_ids=torch.tensor([IDS[0]]))


@pytest.mark.parametrize("name", FAMILIES)
def test_what_ends_well_leaves_nothing_either(checked, name):
    model = checked(name)
    model.run(list(IDS), record="*", padding="left")
    model.run(list(IDS), record="blocks.0.mlp.act", logits=False)
    model.run(list(IDS), interventions=[change("ablate", "blocks.0.attn.k"), change("ablate", "blocks.1.mlp.act")])
    model.differentiate(list(IDS), METRIC, "*")
    model.sweep([IDS[0]], METRIC, [[change("ablate", f"blocks.{i}.mlp.act", 1)] for i in range(3)])
    model.generate(list(IDS), max_new_tokens=2, interventions=[change("ablate", "blocks.1.attn.v", at="+0:")])


def test_nested_contexts_take_off_only_their_own(checked):
    model = checked("llama")
    ids = torch.tensor([IDS[0]])
    outer, inner = (
        [change("ablate", "blocks.0.attn.v")],
        [change("ablate", "blocks.1.attn.q"), change("ablate", "embed", 3)],
    )

    def logits():
        with torch.no_grad():
            return model.module(input_ids=ids).logits

    bare = logits()
    with model.intervene(outer):
        one = logits()
        with model.intervene(inner):
            two = logits()
            with pytest.raises(Interrupted), model.intervene(outer):
                raise Interrupted
            assert torch.equal(logits(), two)
        assert torch.equal(logits(), one)
        nested = model.run([IDS[0]], interventions=inner).logits
        assert torch.equal(logits(), one)
    assert torch.equal(logits(), bare)
    assert torch.equal(two, nested)
    assert torch.equal(model.run([IDS[0]], interventions=[*outer, *inner]).logits, two)
    assert not torch.equal(one, bare)
    assert not torch.equal(two, one)


@pytest.mark.parametrize(
    "edit",
    [
        change("ablate", "blocks.9.mlp.act"),
        change("ablate", "nowhere"),
        change("ablate", "blocks.0.mlp.act", 4096),
        change("ablate", "blocks.0.mlp.act", basis="unheard"),
        change("ablate", "blocks.0.mlp.act", 0, basis="heads"),
        change("set", "blocks.0.attn.z", 0, basis="heads", value=[1.0, 2.0, 3.0]),
    ],
)
def test_an_error_while_binding(checked, edit):
    model = checked("gpt2")
    good = change("ablate", "blocks.0.attn.q")
    for attempt in (
        lambda: model.run(list(IDS), interventions=[good, edit]),
        lambda: model.generate(list(IDS), interventions=[good, edit], max_new_tokens=2),
        lambda: model.differentiate(list(IDS), METRIC, "embed", interventions=[good, edit]),
        lambda: model.sweep([IDS[0]], METRIC, [[good], [edit]]),
    ):
        with pytest.raises(PatchclampError):
            attempt()
    with pytest.raises(PatchclampError), model.intervene([good, edit]):
        model.module(input_ids=torch.tensor([IDS[0]]))


@pytest.mark.parametrize(
    "missing",
    [Place("transformer.h.7", "out"), Tap("transformer.h.0.nothing", "q"), Place("transformer.h.0.mlp.x", "in")],
)
def test_a_place_that_does_not_exist_takes_off_what_was_attached_before_it(checked, missing):
    model = checked("gpt2")
    good = [(Place("transformer.h.0.mlp", "out"), lambda x: x), (Tap("transformer.h.0.attn", "q"), lambda x: x)]
    for order in ([*good, (missing, lambda x: x)], [(missing, lambda x: x), *good]):
        with pytest.raises(CannotIntervene), model.engine.attach_visits(order, freeze=True, tap=True):
            pytest.fail("nothing may run")


def test_a_model_that_takes_no_attention_functions_by_name():
    module = nn.Sequential(nn.Linear(2, 2))
    before = snapshot(module)
    with pytest.raises(CannotIntervene), Engine(module).attach_visits([(Tap("0", "q"), lambda x: x)], freeze=True):
        pytest.fail("nothing may run")
    assert snapshot(module) == before


@pytest.mark.parametrize("name", ["gpt2", "gptj"])
def test_what_another_library_put_in_a_block_is_put_back(checked, name):
    model = checked(name)
    blocks, owner = model.engine.blocks, []
    slot = model.engine.attention_method

    def foreign(bare):
        def call(*args, **kwargs):
            owner.append(1)
            return bare(*args, **kwargs)

        return call

    mine = [foreign(b.forward) for b in blocks]
    for block, forward in zip(blocks, mine, strict=True):
        block.forward = forward
    if slot:
        blocks[1].attn._attn = theirs = foreign(blocks[1].attn._attn)
    try:
        model.sweep([IDS[0]], METRIC, [[change("ablate", "blocks.2.mlp.act")], [change("ablate", "blocks.1.attn.q")]])
        with pytest.raises(Interrupted):
            model.sweep([IDS[0]], METRIC, [[change("call", "blocks.2.mlp.act", fn=raising(Interrupted()))]])
        assert [b.__dict__["forward"] for b in blocks] == mine
        assert not slot or blocks[1].attn.__dict__["_attn"] is theirs
    finally:
        for block in blocks:
            del block.forward
        if slot:
            del blocks[1].attn._attn
    assert owner


@pytest.mark.parametrize("error", [Interrupted, KeyboardInterrupt])
def test_a_plain_network(error):
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.BatchNorm1d(4), nn.Linear(4, 2)).eval()
    module[0].weight.requires_grad_(False)
    before = snapshot(module)
    net, x = Network(module, torch.zeros(2, 3)), torch.ones(2, 3)
    net.sites()
    stop = [change("call", "module.1.out", fn=raising(error()))]
    for attempt in (
        lambda: net.run(x, record="*", interventions=stop),
        lambda: net.differentiate(x, lambda y: y[:, 0], "*", interventions=stop),
    ):
        with pytest.raises(error):
            attempt()
    with pytest.raises(error), net.intervene(stop):
        module(x)
    with pytest.raises(PatchclampError):
        net.run(x, interventions=[change("ablate", "module.9.out")])
    net.run(x, record="*", interventions=[change("ablate", "module.2.out")])
    net.differentiate(x, lambda y: y[:, 0], "*")
    assert snapshot(module) == before


def test_an_example_that_does_not_fit_leaves_no_hooks():
    module = nn.Sequential(nn.Linear(3, 4))
    before = snapshot(module)
    with pytest.raises(PatchclampError, match="example inputs"):
        Network(module, torch.zeros(2, 5)).sites()
    assert snapshot(module) == before


def test_threads_take_turns_and_leave_the_model_as_it_was(tiny_language_model):
    """Two at once would see each other's hooks, and put the stand-ins back in the wrong order."""
    from concurrent.futures import ThreadPoolExecutor

    from patchclamp.attribute import attribute_nodes

    model, metric = tiny_language_model("llama"), Metric("logit_difference", (3,), (5,))
    alone = attribute_nodes(model, "w3 w4 w5", metric, method="relp").values
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(attribute_nodes, model, "w3 w4 w5", metric, method="relp") for _ in range(12)]
        assert all(np.array_equal(job.result().values, alone) for job in jobs)
    assert not any("forward" in module.__dict__ for module in model.module.modules())


def undecided():
    """Return a network that answers otherwise in training mode, one of its parts in evaluation mode already."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.LSTM(6, 3, 2, dropout=0.5, batch_first=True)
    )
    module[2].eval()
    return module


def test_a_network_in_training_mode_is_run_in_evaluation_mode_and_left_in_training_mode():
    module, x = undecided(), torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = undecided().eval()(x)[0]
    before = snapshot(module)
    net = Network(module, x)
    assert net.sites()
    assert torch.equal(net.run(x).logits[0], wanted)
    assert torch.equal(net.run(x, record="module.0.out").logits[0], wanted)
    net.differentiate(x, lambda out: out[0].sum(-1), "module.0.out")
    assert snapshot(module) == before


def test_a_language_model_that_was_put_into_training_mode_answers_as_in_evaluation_mode(checked):
    model = checked("gpt2")
    wanted = model.run(IDS[0]).logits
    steps = list(model.steps(IDS[0], max_new_tokens=4))
    model.module.train()
    assert any(isinstance(part, nn.Dropout) and part.p for part in model.module.modules())
    before = snapshot(model.module)
    try:
        assert torch.equal(model.run(IDS[0]).logits, wanted)
        assert list(model.steps(IDS[0], max_new_tokens=4)) == steps
        with model.intervene([change("ablate", "blocks.0.mlp.act", 3)]):
            assert model.module.training
        assert snapshot(model.module) == before
    finally:
        model.module.eval()


@pytest.mark.parametrize("again", [
    lambda model: model.run(IDS[1]),
    lambda model: model.run(IDS[1], record="blocks.0.mlp.act"),
    lambda model: list(model.steps(IDS[1], max_new_tokens=2)),
    lambda model: model.differentiate(IDS[1], METRIC, "blocks.0.mlp.act"),
    lambda model: model.module(input_ids=torch.tensor([[1, 2]])),
])  # fmt: skip
def test_a_function_that_runs_its_own_network_is_refused_and_nothing_stays(checked, again):
    model = checked("gpt2")
    wanted = model.run(IDS[0]).logits

    def fn(x):
        again(model)
        return x

    with pytest.raises(PatchclampError, match="middle of a forward pass"):
        model.run(IDS[0], interventions=[change("call", "blocks.0.mlp.act", 3, fn=fn)])
    assert torch.equal(model.run(IDS[0]).logits, wanted)
