"""A wrapped plain network over a Task of its own inputs: attribute, patch and find circuits, as hooks by hand do."""

import numpy as np
import pytest
import torch
from torch import nn

import patchclamp as pc
from oracles.plain import m_with, outputs_of
from patchclamp.attribute.engine import score_task
from patchclamp.attribute.pairs import attribute_pairs, cost_of
from patchclamp.attribute.patching import patch_sites
from patchclamp.attribute.rules import Gradient, PathIntegral, Replacement
from patchclamp.core.errors import PatchclampError
from patchclamp.core.task import Case, Part, Task
from patchclamp.evaluate.circuit_ablation import interchange
from patchclamp.evaluate.faithfulness import evaluate_circuit
from patchclamp.recipes.group_ablation import ablate_group


class Block(nn.Module):
    """Two heads and an MLP of six neurons beside a stream of eight."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.z, self.out = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.mix, self.up, self.act, self.down = nn.Identity(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 8)

    def forward(self, x):
        q, k, v = (part(x).unflatten(-1, (2, 4)).transpose(1, 2) for part in (self.q, self.k, self.z))
        z = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + self.out(self.mix(z))
        return x + self.down(self.act(self.up(x)))


class Steps(nn.Module):
    """An LSTM cell called by a loop of cells, one per step."""

    def __init__(self):
        super().__init__()
        cell = nn.LSTMCell(3, 5)
        self.embed, self.cell, self.states, self.head = nn.Embedding(6, 3), cell, nn.Identity(), nn.Linear(5, 4)

    def forward(self, ids):
        h = c = torch.zeros(len(ids), 5)
        states = []
        for x in self.embed(ids).unbind(1):
            h, c = self.cell(x, (h, c))
            states.append(h)
        return self.head(self.states(torch.stack(states, 1)))


def transformer():
    torch.manual_seed(1)
    module = nn.Sequential(nn.Embedding(6, 8), Block(), Block(), nn.Linear(8, 4)).double()
    cases = [((1, 2, 3), (4, 2, 3)), ((0, 5, 1), (0, 2, 4)), ((3, 3, 1), (2, 5, 1))]
    heads = {"module.*.mix.out": 2}
    return module, torch.tensor([[1, 2, 3]]), cases, ["1.mix", "2.mix", "1.act", "2.act"], heads


def perceptron():
    torch.manual_seed(2)
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 4)).double()
    draw = np.random.default_rng(0).normal(size=(3, 2, 4))
    return module, torch.zeros(1, 4, dtype=torch.float64), [tuple(pair) for pair in draw], ["1", "3"], None


def cells():
    torch.manual_seed(3)
    module = Steps()
    cases = [((1, 2, 3), (4, 2, 3)), ((0, 5, 1), (0, 2, 4)), ((3, 3, 1), (2, 5, 1))]
    return module, torch.tensor([[1, 2, 3]]), cases, ["states", "embed"], None


NETS = [transformer, perceptron, cells]


def opened(make, position=None):
    module, example, cases, names, heads = make()
    with torch.no_grad():  # so that no case is too faint to be asked
        list(module.parameters())[-2].mul_(20)
    net = pc.wrap(module, example, heads=heads)
    parts = () if position is None else (Part("position", position, position + 1),)
    task = Task(tuple(Case(one, other, ("2",), ("0",), parts=parts) for one, other in cases))
    pairs = net.read(task)
    asked = [task.cases.index(next(case for case in task.cases if case.id == pair.id)) for pair in pairs.task.cases]
    rows = [tuple(torch.as_tensor(x, dtype=example.dtype)[None] for x in cases[i]) for i in asked]
    return net, pairs, rows, names, [f"module.{name}.out" for name in names]


def reader(position=-1):
    def read(y):
        last = y if y.ndim == 2 else y[:, position]
        return last[:, 2] - last[:, 0]

    return read


def units_by_hand(net, names, level):
    """Return name, columns of every unit, site after site."""
    found = []
    for name in names:
        site = net.site(f"module.{name}.out")
        n = site.n_heads or (1 if level == "node" else site.width)
        found += [(name, block) for block in torch.arange(site.width).chunk(n)]
    return found


@pytest.mark.parametrize("make", NETS)
@pytest.mark.parametrize("level", ["node", "neuron"])
@pytest.mark.parametrize("denoise", [False, True])
def test_patching_over_a_task_equals_hooks_by_hand(make, level, denoise):
    net, pairs, rows, _, sites = opened(make)
    direction = "denoise" if denoise else "noise"
    found = attribute_pairs(net, pairs, level=level, sites=sites, method="activation_patching", direction=direction)
    read, module = reader(), net.module
    forward = [part.split("/")[0].removeprefix("module.").removesuffix(".out") for part in found.parts]
    units = units_by_hand(net, dict.fromkeys(forward), level)
    for k, (x, other) in enumerate(rows):
        into, source, sign = (other, x, -1) if denoise else (x, other, 1)
        whole = m_with(module, read, into, into, {})
        for i, (name, columns) in enumerate(units):
            expected = sign * (whole - m_with(module, read, into, source, {name: [(columns, None)]}))
            assert found.per_case[k, i] == pytest.approx(expected, rel=1e-5, abs=1e-5), found.parts[i]


@pytest.mark.parametrize("make", NETS)
@pytest.mark.parametrize("position", [None, 0, 1])
def test_predictions_are_differences_times_gradients_read_at_the_cases_position(make, position):
    if make is perceptron and position == 1:
        with pytest.raises(PatchclampError, match="positions from −1 to 0"):
            opened(make, position)
        return
    net, pairs, rows, names, sites = opened(make, position)
    read, module = reader(-1 if position is None else position), net.module
    atp = attribute_pairs(net, pairs, level="neuron", sites=sites, method="attribution_patching")
    ig = attribute_pairs(net, pairs, level="neuron", sites=sites, method="integrated_gradients", steps=20)
    assert ig.provenance.extra["gap"] < 1e-4
    for k, (x, other) in enumerate(rows):
        assert pairs.m_clean[k] == pytest.approx(m_with(module, read, x, x, {}), rel=1e-6, abs=1e-6)
        there = outputs_of(module, other, names)
        held, handles = {}, []
        for name in names:

            def hold(_module, _args, y, name=name, held=held):
                held[name] = y
                y.retain_grad()

            handles.append(module.get_submodule(name).register_forward_hook(hold))
        read(module(x)).sum().backward()
        for handle in handles:
            handle.remove()
        products = {}
        for name in names:
            y, grad = held[name].detach()[0], held[name].grad
            carried = (y - there[name][0]) * (torch.zeros_like(y) if grad is None else grad[0])
            blocks = carried.reshape(-1, carried.shape[-1]).sum(0)
            heads = net.site(f"module.{name}.out").n_heads
            products[name] = blocks.reshape(heads, -1).sum(1) if heads else blocks
        for part, score in zip(atp.parts, atp.per_case[k], strict=True):
            path, _, index = part.split("/")
            name = path.removeprefix("module.").removesuffix(".out")
            assert score == pytest.approx(float(products[name][int(index)]), rel=1e-5, abs=1e-5), part


@pytest.mark.parametrize("make", NETS)
def test_patch_sites_equals_hooks_at_every_position(make):
    net, pairs, rows, names, sites = opened(make)
    found = patch_sites(net, pairs, [f"{sites[0]}/neurons"], direction="noise")
    read, module, [name] = reader(), net.module, names[:1]
    [block] = found.index.blocks
    effects = found.per_case[:, found.index.grid(block.site, block.basis)].transpose(0, 2, 1)
    for k, (x, other) in enumerate(rows):
        ends = [m_with(module, read, end, end, {}) for end in (x, other)]
        for unit in range(effects.shape[1]):
            for place in range(effects.shape[2]):
                at = None if effects.shape[2] == 1 else place
                m = m_with(module, read, x, other, {name: [([unit], at)]})
                assert effects[k, unit, place] == pytest.approx((ends[0] - m) / (ends[0] - ends[1]), abs=1e-4)


@pytest.mark.parametrize("make", NETS)
def test_a_circuit_keeps_its_units_and_takes_the_others_from_the_counterpart(make):
    net, pairs, rows, _, sites = opened(make)
    circuit = attribute_pairs(net, pairs, level="neuron", sites=sites)
    assert circuit.method == "activation_patching"
    forward = dict.fromkeys(part.split("/")[0].removeprefix("module.").removesuffix(".out") for part in circuit.parts)
    units, read = units_by_hand(net, forward, "neuron"), reader()
    kept = np.random.default_rng(5).random((4, len(circuit))) < 0.5
    values = interchange(net, circuit, pairs).measure(kept)
    for s, own in enumerate(kept):
        out = {}
        for (name, columns), stays in zip(units, own, strict=True):
            if not stays:
                out.setdefault(name, []).append((columns, None))
        for k, (x, other) in enumerate(rows):
            assert values[s, k] == pytest.approx(m_with(net.module, read, x, other, out), rel=1e-5, abs=1e-5)


def test_what_a_circuit_leaves_out_is_its_mean_per_position_over_chosen_inputs():
    net, pairs, rows, names, sites = opened(transformer)
    circuit = attribute_pairs(net, pairs, level="neuron", sites=sites, method="attribution_patching")
    kept = np.zeros((1, len(circuit)), dtype=bool)
    values = interchange(net, circuit, pairs, means=pairs).measure(kept)
    seen = [outputs_of(net.module, end, names) for row in rows for end in row]
    means = {name: torch.stack([one[name] for one in seen]).mean(0) for name in names}
    handles = [
        net.module.get_submodule(name).register_forward_hook(lambda _m, _i, _y, name=name: means[name])
        for name in names
    ]
    by_hand = [m_with(net.module, reader(), x, x, {}) for x, _ in rows]
    for handle in handles:
        handle.remove()
    assert np.allclose(values[0], by_hand, atol=1e-5)
    assert not torch.allclose(means[names[0]][:, 0], means[names[0]][:, -1])


def planted():
    """Return a network whose class 2 is neuron 3 alone, and a task that reads it."""
    module = nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 3))
    torch.manual_seed(0)
    with torch.no_grad():
        module[0].weight[3], module[0].bias[3] = torch.tensor([0.0, 4.0, 0.0, 0.0]), 0.0
        module[2].weight.mul_(0.05)
        module[2].weight[2, 3] = 3.0
    draw = np.random.default_rng(1)
    cases = []
    for _ in range(12):
        x = draw.normal(size=4)
        x[1] = 1.0
        other = draw.normal(size=4)
        other[1] = -1.0
        cases.append(Case(x, other, ("2",), ("0",)))
    return pc.wrap(module, torch.zeros(1, 4)), cases


def test_the_planted_neuron_comes_first_and_its_circuit_is_faithful():
    net, cases = planted()
    train, test = (Task(tuple(some)) for some in (cases[:6], cases[6:]))
    for rule in (Replacement(), Gradient(), PathIntegral()):
        scores = score_task(net, train, rule, level="neuron", sites=["module.1.out"])
        if rule != Gradient():
            assert str(scores.top(1)[0]) == "sequential/module.1.out/neurons/3"
    circuit = attribute_pairs(net, net.read(train), level="neuron", sites=["module.1.out"])
    found = evaluate_circuit(net, circuit, net.read(test), minimal=False)
    assert found.points[0].kept.value > 0.9
    assert found.points[0].random.value < 0.5
    mean = evaluate_circuit(net, circuit, net.read(test), means=net.read(train), minimal=False)
    x = torch.as_tensor(np.stack([end for case in cases[:6] for end in (case.shown, case.counterpart)])).float()
    hidden = net.module[1](net.module[0](x)).mean(0)
    assert mean.m_empty == pytest.approx(float(np.diff(net.module[2](hidden).detach().numpy()[[0, 2]])[0]), abs=1e-5)


def test_a_receipt_replaces_the_units_together_and_random_ones_beside_them():
    net, cases = planted()
    pairs = net.read(Task(tuple(cases)))
    circuit = attribute_pairs(net, pairs, level="neuron", sites=["module.1.out"])
    receipt = ablate_group(net, circuit, pairs, circuit.order()[:2].tolist())
    units = [int(circuit.parts[i].rsplit("/", 1)[1]) for i in circuit.order()[:2]]
    by_hand = []
    for case in cases:
        x, other = (torch.as_tensor(end)[None].float() for end in (case.shown, case.counterpart))
        by_hand.append(m_with(net.module, reader(), x, x, {}))
        by_hand[-1] -= m_with(net.module, reader(), x, other, {"1": [(units, None)]})
    assert receipt.measured == pytest.approx(np.mean(by_hand), rel=1e-5)
    assert 3 in units
    assert max(map(abs, receipt.receipt.controls.measured)) < receipt.measured / 2


def test_one_case_without_a_counterpart_is_held_against_zero():
    net, cases = planted()
    alone = Task((Case(cases[0].shown, targets=("2",)),), "logit")
    scores = score_task(net, alone, Replacement(), level="neuron", sites=["module.1.out"])
    assert str(scores.top(1)[0]) == "sequential/module.1.out/neurons/3@0"
    assert scores.metric_clean == pytest.approx(
        float(net.run(torch.as_tensor(cases[0].shown)[None].float()).logits[0, 2])
    )


def test_a_map_is_scored_by_channel_and_case():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, 3)).double()
    images = np.random.default_rng(0).normal(size=(3, 2, 1, 6, 6))
    net = pc.wrap(module, torch.zeros(1, 1, 6, 6, dtype=torch.float64))
    pairs = net.read(Task(tuple(Case(one, other, ("2",), ("0",)) for one, other in images)))
    read = reader()
    patch = attribute_pairs(net, pairs, level="neuron", sites=["module.1.out"], method="activation_patching")
    assert patch.parts[1] == "module.1.out/channels/1"
    ig = attribute_pairs(net, pairs, level="neuron", sites=["module.1.out"], method="integrated_gradients", steps=20)
    for k, (one, other) in enumerate(torch.as_tensor(images)):
        there = module[1](module[0](other[None]))
        for channel in range(4):
            x = module[1](module[0](one[None])).clone()
            x[:, channel] = there[:, channel]
            m = float(read(module[3](module[2](x)))[0].detach())
            assert patch.per_case[k, channel] == pytest.approx(pairs.m_clean[k] - m, rel=1e-5, abs=1e-5)
        assert ig.per_case[k].sum() == pytest.approx(pairs.m_clean[k] - pairs.m_counterpart[k], abs=1e-5)
    kept = interchange(net, patch, pairs).measure(np.array([[True] * 4, [False] * 4]))
    assert np.allclose(kept, [pairs.m_clean, pairs.m_counterpart])


def test_named_axes_and_several_positions_are_read_as_stated():
    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.out = nn.Embedding(6, 4), nn.Linear(4, 3)

        def forward(self, ids):
            return self.out(self.embed(ids)).transpose(1, 2)

    torch.manual_seed(0)
    net = pc.wrap(Turned(), torch.tensor([[1, 2, 3]]), output=("stimulus", "class", "position"))
    x = torch.tensor([[1, 2, 3]])
    both = pc.Metric("logit_difference", (2,), (0,), (0, -1))
    y = net.run(x).logits
    assert float(net.measure(x, both)[0]) == pytest.approx(float((y[0, 2] - y[0, 0])[[0, 2]].mean()))
    parts = (Part("position", 0, 1), Part("position", 2, 3))
    pairs = net.read(Task((Case((1, 2, 3), (4, 5, 0), ("2",), ("0",), parts=parts),)))
    assert pairs.m_clean[0] == pytest.approx(float(net.measure(x, both)[0]))
    found = attribute_pairs(
        net, pairs, level="neuron", sites=["module.embed.out"], by_position=True, method="activation_patching"
    )
    by_place = found.values.reshape(3, 4)
    assert (by_place[1] == 0).all()
    assert (by_place[[0, 2]] != 0).all()


def test_heads_and_metrics_of_a_clamped_network_equal_hooks_to_the_bit():
    net, _, rows, _, _ = opened(transformer)
    x, other = rows[0]
    donor = net.run(other, record="module.1.mix.out").recording
    metric = pc.Metric("logit_difference", (2,), (0,), (1,))
    for head in range(2):
        columns = torch.arange(4 * head, 4 * head + 4)
        for at in (None, 0, 1):
            change = pc.change("patch", "module.1.mix.out", head, basis="heads", at=at, source=donor)
            by_hand = m_with(net.module, reader(1), x, other, {"1.mix": [(columns, at)]})
            assert float(net.measure(x, metric, interventions=[change])[0]) == by_hand


def test_cost_is_counted_before_work():
    net, pairs, _, _, sites = opened(transformer)
    cost = cost_of(net, pairs, level="neuron", sites=sites)
    assert (cost.parts, cost.method, cost.forward) == (16, "activation_patching", len(pairs) * (2 + 2 * 2 + 2 * 6))


def classifier():
    torch.manual_seed(0)

    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.out = nn.Embedding(6, 4), nn.Linear(4, 3)

        def forward(self, ids):
            return self.out(self.embed(ids).mean(1))

    return pc.wrap(Last(), torch.tensor([[1, 2, 3]]))


def test_what_cannot_be_asked_is_refused_with_a_remedy():
    net, case = classifier(), Case((1, 2, 3), (4, 5, 0), ("2",), ("0",))
    pairs = net.read(Task((case,)))
    found = attribute_pairs(net, pairs, level="neuron", sites=["module.embed.out"])
    assert found.values.sum() == pytest.approx(pairs.m_clean[0] - pairs.m_counterpart[0], abs=1e-5)
    site = ["module.embed.out"]
    alone = Task((Case((1, 2, 3), targets=("2",)),), "logit")
    refused = [
        (
            lambda: score_task(net, alone, PathIntegral(), level="node", sites=site),
            "level 'neuron' with sites",
        ),
        (lambda: attribute_pairs(net, pairs, sites=site, by_position=True), "answer's positions"),
        (lambda: patch_sites(net, pairs, site), "answer's positions"),
        (lambda: attribute_pairs(net, pairs, sites=site, method="relp"), "relevance rules"),
        (lambda: attribute_pairs(net, pairs), "sites of a plain network"),
        (lambda: attribute_pairs(net, pairs, sites=["module.embed.out/heads"]), "site with heads"),
        (lambda: score_task(net, Task((case,)), Gradient(), level="edge"), "edges"),
        (lambda: attribute_pairs(net, net.read(alone), sites=site), "a counterpart of every case"),
        (lambda: net.read(Task((Case((1, 2, 3), targets=("2",)),))), "no contrast"),
        (lambda: net.read(Task((Case((1, 2), (3, 4, 5), ("2",), ("0",)),))), "one shape"),
        (lambda: net.read(Task((Case((1, 2), (3, 4), ("cat",), ("0",)),))), "class numbers"),
        (lambda: net.read(Task((Case((1, 2), (3, 4), ("7",), ("0",)),))), "classes from 0 to 2"),
        (lambda: net.read(Task((Case(np.ones((1, 3)), np.zeros((1, 3)), ("2",), ("0",)),))), "first axis"),
        (lambda: net.read(Task((Case((1, 2), (1, 2), ("2",), ("0",)),))), "differs from the input"),
        (lambda: pc.wrap(nn.Linear(4, 6), torch.zeros(1, 4), output=("class", "batch")), "output= axes"),
        (lambda: pc.wrap(nn.Sequential(nn.Linear(4, 6)), torch.zeros(1, 4), heads={"module.0.out": 4}), "evenly"),
        (lambda: pc.wrap(nn.Sequential(nn.Linear(4, 6)), torch.zeros(1, 4), heads={"module.9.out": 2}), "site"),
    ]
    for ask, words in refused:
        with pytest.raises(PatchclampError, match=words) as problem:
            ask()
        assert problem.value.remedy


@pytest.mark.parametrize("against_zero", [True, False])
def test_explain_names_the_planted_neuron_with_its_receipts(against_zero):
    net, cases = planted()
    x, other = (torch.as_tensor(end)[None].float() for end in (cases[0].shown, cases[0].counterpart))
    corrupt = None if against_zero else other
    found = pc.explain(
        net, x, 2, contrast=0, counterpart=corrupt, levels=["module.1.out"], method="activation_patching", top=2
    )
    assert found.causes[0].key == "sequential/module.1.out/neurons/3@0"
    if not against_zero:
        by_hand = m_with(net.module, reader(), x, x, {}) - m_with(net.module, reader(), x, other, {"1": [([3], None)]})
        assert found.causes[0].measured == pytest.approx(by_hand, rel=1e-5)
    assert found.receipts.randoms.mean < found.measured / 2
    assert found.to_json()["question"]["target"] == "2"
    for answer in ("two", 7):
        with pytest.raises(PatchclampError, match=r"class numbers|classes from 0 to 2"):
            pc.explain(net, x, answer, levels=["module.1.out"])


def test_without_named_sites_the_modules_that_hold_no_others_are_scored():
    net = pc.wrap(nn.Sequential(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), nn.Linear(8, 3)), torch.zeros(1, 4))
    task = pc.Task((pc.Case(np.ones(4, np.float32), np.zeros(4, np.float32), ("2",), ("0",)),) * 2)
    sites = ["module.0.0.out", "module.0.1.out", "module.1.out"]
    for method in ("attribution_patching", "activation_patching"):
        found = pc.attribute(net, task, method=method)
        assert [block.site for block in found.index.blocks] == sites
        named = pc.attribute_pairs(net, net.read(task), level="neuron", sites=sites, method=method)
        np.testing.assert_array_equal(found.values, named.values)


def test_an_image_models_channels_are_its_neurons():
    task = pc.Task.of("digits:1", "1", contrast="7")
    found = pc.attribute(pc.load("organism:digits-cnn"), task, method="attribution_patching")
    assert {block.basis for block in found.index.blocks} == {"channels"}
