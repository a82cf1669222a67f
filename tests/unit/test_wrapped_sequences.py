"""Plain networks whose outputs and sites have positions: metrics, places, recordings, what a change does not reach."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

import patchclamp as pc
from patchclamp.core.errors import PatchclampError, PatchclampWarning
from patchclamp.core.metric import EachMetric

X = torch.tensor([[1, 2, 3]])


def embedded(classes=5):
    torch.manual_seed(0)
    return pc.wrap(nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, classes)), X)


def difference(target, contrast, position=-1):
    return pc.Metric("logit_difference", (target,), (contrast,), (position,))


# -- metrics ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", [-1, -3, 0, 1, 2])
@pytest.mark.parametrize("classes", [3, 5])
def test_a_metric_is_read_at_its_position(position, classes):
    net = embedded(classes)
    x = torch.tensor([[1, 2, 3], [4, 0, 1]])
    found = net.differentiate(x, difference(2, 0, position), "module.0.out")
    byhand = net.differentiate(x, lambda y: y[:, position, 2] - y[:, position, 0], "module.0.out")
    assert torch.equal(found.metric, byhand.metric)
    assert torch.equal(found.gradients["module.0.out"], byhand.gradients["module.0.out"])
    assert found.gradients["module.0.out"][:, position].any()


def test_a_sequence_metric_and_a_metric_per_row():
    net, x = embedded(), torch.tensor([[1, 2, 3], [4, 0, 1]])
    with torch.no_grad():
        log_p = net.module(x).log_softmax(-1)
    spelled = pc.Metric("sequence_log_probability", (4, 1), positions=(0, -1))
    found = net.differentiate(x, spelled, "module.0.out").metric
    assert torch.allclose(found, log_p[:, 0, 4] + log_p[:, 2, 1])
    each = EachMetric((pc.Metric("logit", (2,), positions=(1,)), pc.Metric("logit", (3,), positions=(1,))))
    assert torch.equal(net.differentiate(x, each, "module.0.out").metric, net.module(x).detach()[[0, 1], 1, [2, 3]])


@pytest.mark.parametrize(
    ("metric", "match"),
    [
        (difference(2, 0, 3), "positions from −3 to 2"),
        (difference(2, 0, -4), "positions from −3 to 2"),
        (difference(5, 0), "ids from 0 to 4"),
        (difference(2, 9), "ids from 0 to 4"),
        (pc.Metric("kl", reference=(0.0,)), "a reference of 5"),
        (lambda y: y.sum(), "one number per row"),
        (lambda y: y[:, 0], "one number per row"),
        (lambda y: 3.0, "one number per row"),
    ],
)
def test_a_metric_that_does_not_fit_the_output_is_refused(metric, match):
    with pytest.raises(PatchclampError, match=match):
        embedded().differentiate(X, metric, "module.0.out")


def test_an_output_of_one_vector_has_one_position():
    torch.manual_seed(0)
    net = pc.wrap(nn.Sequential(nn.Linear(4, 3)), torch.zeros(1, 4))
    x = torch.randn(2, 4)
    expected = net.module(x).detach()
    for position in (-1, 0):
        found = net.differentiate(x, difference(2, 0, position), "module.0.in").metric
        assert torch.equal(found, expected[:, 2] - expected[:, 0])
    for position in (1, -2):
        with pytest.raises(PatchclampError, match="leave positions out"):
            net.differentiate(x, difference(2, 0, position), "module.0.in")


class Laid(nn.Module):
    """Gives its output in another layout."""

    def __init__(self, lay):
        super().__init__()
        self.first, self.second, self.lay = nn.Embedding(5, 4), nn.Linear(4, 5), lay

    def forward(self, ids):
        return self.lay(self.second(self.first(ids)))


@pytest.mark.parametrize(
    "lay",
    [
        lambda y: y.transpose(1, 2),
        lambda y: y.transpose(0, 1),
        lambda y: y[..., None],
        lambda y: y.sum((1, 2)),
        lambda y: (y, y),
        lambda y: {"logits": y},
    ],
    ids=["class before position", "position first", "four axes", "one axis", "a tuple", "a mapping"],
)
def test_an_output_whose_axes_cannot_be_told_is_refused_and_a_function_says_which_is_which(lay):
    torch.manual_seed(0)
    net, metric = pc.wrap(Laid(lay), X), difference(2, 0)
    with pytest.raises(PatchclampError, match=r"a function that picks \(batch, read position, class\)"):
        net.differentiate(X, metric, "module.first.out")
    if net.module(X) is not None and isinstance(net.module(X), torch.Tensor) and net.module(X).shape == (1, 5, 3):
        picked = net.differentiate(X, lambda y: metric(y.transpose(1, 2)[:, [-1]]), "module.first.out")
        plain = net.differentiate(X, lambda y: y[:, 2, -1] - y[:, 0, -1], "module.first.out")
        assert torch.equal(picked.metric, plain.metric)


# -- places -----------------------------------------------------------------------------------------------------------

BEYOND = [3, 7, -4, [0, 3], "3:", "1:1", "+0", "+0:+2", [slice(5, 9)], slice(3, None)]


@pytest.mark.parametrize("at", BEYOND, ids=str)
def test_a_place_that_a_sequence_does_not_have_is_refused(at):
    net = embedded()
    net.sites()
    called = []
    handle = net.module.register_forward_pre_hook(lambda *_: called.append(1))
    with pytest.raises(PatchclampError):
        net.run(X, interventions=[pc.change("set", "module.1.out", 0, value=9.0, at=at)])
    assert not called, "a batch of the example's shape is checked before it runs"
    handle.remove()
    # A batch of another length: at the site. Four tokens more, so places move with them.
    longer = torch.arange(7)[None] % 5
    far = [7, 12, -8, [0, 7], "7:", "1:1", "+0", "+0:+2", [slice(9, 12)], slice(7, None)][BEYOND.index(at)]
    with pytest.raises(PatchclampError):
        net.run(longer, interventions=[pc.change("set", "module.1.out", 0, value=9.0, at=far)])
    with pytest.raises(PatchclampError), net.intervene([pc.change("set", "module.1.out", 0, value=9.0, at=far)]):
        net.module(longer)
    with pytest.raises(PatchclampError):
        net.differentiate(
            longer, difference(2, 0), "module.0.out",
            interventions=[pc.change("set", "module.1.out", 0, value=9.0, at=far)],
        )  # fmt: skip
    assert not net.module[1]._forward_hooks


@pytest.mark.parametrize("at", [0, 2, -1, -3, [0, 2], "1:", ":2", "-2:", slice(1, 3)], ids=str)
def test_a_place_that_it_has_is_changed_and_no_other(at):
    net = embedded()
    expected = net.run(X, record="module.1.out").recording["module.1.out"].clone()
    where = {"1:": [1, 2], ":2": [0, 1], "-2:": [1, 2]}.get(at, at) if isinstance(at, str) else at
    expected[:, where, 3] = 9.0
    changed = net.run(X, record="module.1.out", interventions=[pc.change("set", "module.1.out", 3, value=9.0, at=at)])
    assert torch.equal(changed.recording["module.1.out"], expected)


def test_a_map_of_positions_beyond_the_sequence_is_refused():
    net = embedded()
    source = net.run(X, record="module.1.out").recording
    for positions in ({5: 0}, {0: 0, 3: 1}, {0: 3}):
        patch = pc.change("patch", "module.1.out", source=pc.Source(source, positions=positions))
        with pytest.raises(PatchclampError):
            net.run(X, interventions=[patch])
    for positions in ({-1: 0}, {0: -1}, {0.5: 1}, {True: 1}, "0", [0]):
        with pytest.raises(PatchclampError):
            pc.Source(source, positions=positions)
    cat = pc.load("organism:cat")
    clean = cat.run("the old cat", record="blocks.0.mlp.act").recording
    with pytest.raises(PatchclampError, match="source's map"):
        cat.run(
            "the dog",
            interventions=[pc.change("patch", "blocks.0.mlp.act", source=pc.Source(clean, positions={99: 0}))],
        )


class Tokens(nn.Module):
    """Flattens the tokens of all rows onto one axis inside."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Embedding(5, 4), nn.Linear(4, 5)

    def forward(self, ids):
        return self.second(self.first(ids).flatten(0, 1)).unflatten(0, ids.shape)


def test_rows_that_are_not_stimuli_are_not_taken_for_them():
    net, x = pc.wrap(Tokens(), torch.zeros(2, 3, dtype=torch.int64)), torch.tensor([[1, 2, 3], [4, 0, 1]])
    whole = pc.change("ablate", "module.second.in", 1)
    recorded = net.run(x, record="module.second.in", interventions=[whole]).recording
    assert (recorded["module.second.in"][:, 1] == 0).all()
    with pytest.raises(PatchclampError, match="first axis"):
        net.run(x, interventions=[[whole], []])
    with pytest.raises(PatchclampError, match="first axis"):
        recorded.of("module.second.in", 1)
    with pytest.raises(PatchclampError, match="first axis"):
        net.run(x, interventions=[pc.change("patch", "module.second.in", source=recorded)])
    with pytest.raises(PatchclampError, match="rows at"), net.intervene([[whole], [], [whole]]):
        net.module(x)


# -- recordings -------------------------------------------------------------------------------------------------------


def test_a_recording_of_sequences_knows_its_positions():
    net, x = embedded(), torch.tensor([[1, 2, 3], [4, 0, 1]])
    recording = net.run(x, record="module.1.out").recording
    values = recording["module.1.out"]
    assert values.shape == (2, 3, 6)
    for stimulus, position, unit in itertools.product(range(2), range(3), range(6)):
        assert recording.at(f"module.1.out/neurons/{unit}@{position}", stimulus) == values[stimulus, position, unit]
    assert torch.equal(recording.at("module.1.out/neurons/4", 1), values[1, :, 4])
    assert torch.equal(recording.of("module.1.out", 1), values[1])
    assert recording.positions("module.1.out", 1).tolist() == [0, 1, 2]
    assert torch.equal(recording.mean("module.1.out"), values.mean(0))
    assert recording.donors("module.1.out", 2, "") == [0, 1]
    assert recording.donors("module.1.out", 3, "") == []
    for key, stimulus in (
        ("module.1.out/neurons/0@3", 0), ("module.1.out/neurons/6@0", 0), ("module.1.out/neurons/0@0", 2),
        ("other/module.1.out/neurons/0@0", 0), ("module.1.out/neurons/0@+1", 0), ("module.2.out/neurons/0", 0),
    ):  # fmt: skip
        with pytest.raises(PatchclampError):
            recording.at(key, stimulus)


@pytest.mark.parametrize("stimulus", [0, 1])
@pytest.mark.parametrize("at", [None, 0, [0, 2], -1])
@pytest.mark.parametrize("units", [None, (1, 4)])
def test_a_patch_from_its_own_recording_equals_hooks_by_hand(stimulus, at, units):
    net = embedded()
    donors = torch.tensor([[3, 2, 1], [0, 4, 4]])
    source = net.run(donors, record="module.1.out").recording
    patch = pc.change("patch", "module.1.out", units, at=at, source=pc.Source(source, stimulus=stimulus))
    found = net.run(X.repeat(2, 1), interventions=[patch]).logits
    with torch.no_grad():
        there = net.module[:2](donors)[stimulus]

    def hook(_module, _args, output):
        new = output.clone()
        for position in range(3) if at is None else np.atleast_1d(at):
            for unit in units or range(6):
                new[:, position, unit] = there[position, unit]
        return new

    handle = net.module[1].register_forward_hook(hook)
    with torch.no_grad():
        expected = net.module(X.repeat(2, 1))
        handle.remove()
        assert torch.equal(found, expected)
        assert not torch.equal(found, net.module(X.repeat(2, 1)))


def test_a_patch_from_another_position_and_a_longer_donor():
    net = embedded()
    source = net.run(torch.tensor([[4, 0, 2, 1, 3]]), record="module.1.out").recording
    moved = pc.change("patch", "module.1.out", source=pc.Source(source, positions={0: 4, 2: 1}))
    found = net.run(X, record="module.1.out", interventions=[moved]).recording["module.1.out"]
    plain = net.run(X, record="module.1.out").recording["module.1.out"]
    there = source["module.1.out"][0]
    assert torch.equal(found, torch.stack([there[4], plain[0, 1], there[1]])[None])
    short = net.run(torch.tensor([[4, 0]]), record="module.1.out").recording
    with pytest.raises(PatchclampError, match="positions below 2"):
        net.run(X, interventions=[pc.change("patch", "module.1.out", source=short)])


def test_resampling_takes_another_stimulus():
    net = embedded()
    x = torch.tensor([[1, 2, 3], [4, 0, 1]])
    source = net.run(x, record="module.1.out").recording
    edit = pc.change("ablate", "module.1.out", mode="resample", source=source)
    for rows, expected in ((x, [1, 0]), (x[1:], [0])):
        found = net.run(rows, record="module.1.out", interventions=[edit]).recording["module.1.out"]
        assert torch.equal(found, source["module.1.out"][expected])


def test_another_subjects_key_recording_or_basis_is_refused():
    net, other = embedded(), pc.wrap(nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 6)), X, name="other")
    foreign = other.run(X, record="module.1.out").recording
    with pytest.raises(PatchclampError, match="one of other"):
        net.run(X, interventions=[pc.change("patch", "module.1.out", source=foreign)])
    with pytest.raises(PatchclampError, match="a change of sequential"):
        net.run(X, interventions=[pc.clamp("other/module.1.out/neurons/3=1")])
    own = pc.clamp("sequential/module.1.out/neurons/3=1")
    assert torch.equal(
        net.run(X, interventions=[own]).logits,
        net.run(X, interventions=[pc.change("set", "module.1.out", 3, value=1.0)]).logits,
    )
    assert pc.Intervention.from_json(own.to_json()).to_json() == own.to_json()
    cleared = pc.Recording(foreign.stimuli, foreign.values, foreign.sites)
    meant = net.run(X, record="module.1.out", interventions=[pc.change("patch", "module.1.out", source=cleared)])
    assert torch.equal(meant.recording["module.1.out"], foreign["module.1.out"])
    basis = pc.Basis("mine", "directions", decoder=np.eye(5, dtype=np.float32))
    for site in ("module.1.out", "module.9.out"):
        with pytest.raises(PatchclampError):
            net.add_basis(basis, site)


# -- positions first --------------------------------------------------------------------------------------------------


class Inside(nn.Module):
    """Has positions before rows inside, as ``nn.LSTM`` and ``nn.MultiheadAttention`` have by default."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.last(self.second(self.first(x).transpose(0, 1)).transpose(0, 1))


def test_a_module_with_positions_first_is_shown_stimuli_first():
    torch.manual_seed(0)
    net, x = pc.wrap(Inside(), torch.zeros(1, 4, 3)), torch.randn(2, 4, 3)
    edit = pc.change("set", "module.second.out", 1, value=5.0, at=2)
    run = net.run(x, record="module.second.out", interventions=[[edit], [edit]])
    with torch.no_grad():
        byhand = net.module.second(net.module.first(x))
        byhand[:, 2, 1] = 5.0
        assert torch.equal(run.recording["module.second.out"], byhand)
        assert torch.equal(run.logits, net.module.last(byhand))
    found = net.differentiate(x, lambda y: y[:, 3, 0], "module.second.out").gradients["module.second.out"]
    assert found.shape == (2, 4, 4)
    assert torch.allclose(found[:, 3], net.module.last.weight[0].detach())
    assert not found[:, :3].any()


# -- what a change does not reach -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "module",
    [
        nn.LSTM(3, 4, batch_first=True),
        nn.GRU(3, 4, batch_first=True, num_layers=2),
        nn.RNN(3, 2, batch_first=True, bidirectional=True),
        nn.LSTM(3, 4),
    ],
    ids=["LSTM", "GRU of two layers", "RNN both ways", "LSTM, positions first"],
)
def test_a_change_of_a_fused_recurrent_modules_output_warns(module):
    torch.manual_seed(0)
    net = pc.wrap(nn.ModuleDict({"rnn": module}), torch.zeros(1, 5, 3))
    net.module.forward = lambda x: module(x)[0]
    x, edit = torch.randn(1, 5, 3), pc.change("set", "module.rnn.out", 0, value=2.0, at=1)
    with pytest.warns(PatchclampWarning, match="call an? .*Cell once per step"):
        net.run(x, interventions=[edit])
    with pytest.warns(PatchclampWarning), net.intervene([edit]):
        net.module(x)
    # To read it, and to change what goes in, is what it says.
    net.run(x, record="module.rnn.out", interventions=[pc.change("ablate", "module.rnn.in", 0)])


class Stepwise(nn.Module):
    """Calls a cell once per step."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(3, 4)

    def forward(self, x):
        h = x.new_zeros(len(x), 4)
        return torch.stack([h := self.cell(x[:, t], h) for t in range(x.shape[1])], 1)


def test_a_cell_is_clamped_at_every_step():
    torch.manual_seed(0)
    net, x = pc.wrap(Stepwise(), torch.zeros(1, 5, 3)), torch.randn(2, 5, 3)
    clamped = net.run(x, interventions=[pc.change("set", "module.cell.out", 2, value=0.0)]).logits
    with torch.no_grad():
        h = x.new_zeros(2, 4)
        for t in range(5):
            h = net.module.cell(x[:, t], h).clone()
            h[:, 2] = 0.0
            assert torch.equal(clamped[:, t], h)
    with pytest.raises(PatchclampError, match="called once per forward"):
        net.run(x, record="module.cell.out")


class Attending(nn.Module):
    """Attends, then reads."""

    def __init__(self):
        super().__init__()
        self.attn, self.out = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        return self.out(self.attn(x, x, x, need_weights=False)[0])


def test_the_input_of_attention_is_queries_keys_and_values():
    torch.manual_seed(0)
    net, x = pc.wrap(Attending().eval(), torch.zeros(1, 5, 4)), torch.randn(2, 5, 4)
    found = net.run(x, interventions=[pc.change("set", "module.attn.in", 1, value=3.0, at=2)]).logits
    moved = x.clone()
    moved[:, 2, 1] = 3.0
    with torch.no_grad():
        assert torch.equal(found, net.module(moved))
        assert (found - net.module(x)).abs()[:, [0, 1, 3, 4]].max() > 1e-3
    with pytest.raises(PatchclampError, match="not called"):
        net.run(x, record="module.attn.out_proj.out")


@pytest.mark.parametrize("masked", [False, True])
def test_no_fast_path_passes_by_a_site(masked):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2).eval()

    class Encoding(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.out = encoder, nn.Linear(8, 3)

        def forward(self, x):
            mask = torch.tensor([[False] * 4 + [True]]).expand(len(x), -1) if masked else None
            return self.out(self.encoder(x, src_key_padding_mask=mask))

    net, x = pc.wrap(Encoding().eval(), torch.randn(1, 5, 8)), torch.randn(2, 5, 8)
    site = "module.encoder.layers.0.linear1.out"
    edit = pc.change("set", site, 3, value=4.0, at=2)
    run = net.run(x, record=site, interventions=[edit])
    assert (run.recording[site][:, 2, 3] == 4.0).all()

    def hook(_module, _args, output):
        new = output.clone()
        new[:, 2, 3] = 4.0
        return new

    handle = encoder.layers[0].linear1.register_forward_hook(hook)
    # With gradients torch goes the slow way by itself.
    expected = net.module(x).detach()
    handle.remove()
    assert torch.equal(run.logits, expected)
    assert (run.logits - net.module(x).detach())[:, 2].abs().max() > 1e-3
    assert torch.backends.mha.get_fastpath_enabled()


class Choosing(nn.Module):
    """Calls one of two maps."""

    def __init__(self):
        super().__init__()
        self.low, self.high = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x):
        return self.low(x) if float(x.sum()) <= 0 else self.high(x)


def test_a_module_that_these_inputs_do_not_call_is_refused():
    net, x = pc.wrap(Choosing(), torch.zeros(1, 3)), torch.ones(2, 3)
    for attempt in (
        lambda: net.run(x, record="module.low.out"),
        lambda: net.run(x, interventions=[pc.change("ablate", "module.low.out")]),
        lambda: net.differentiate(x, lambda y: y[:, 0], "module.low.out"),
    ):
        with pytest.raises(PatchclampError, match=r"module\.low\.out, not called"):
            attempt()


# -- what is shown ----------------------------------------------------------------------------------------------------


def words():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    bare = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "b": 2, "c": 3, "d": 4}, unk_token="<unk>"))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=bare, unk_token="<unk>")


def test_a_plain_module_of_token_ids_is_shown_text():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5))
    net = pc.wrap(module, X, tokenizer=words())
    assert torch.equal(net.run("a b c").logits, net.run(X).logits)
    assert torch.equal(net.run(["a b c", "d a d"]).logits, net.run(torch.tensor([[1, 2, 3], [4, 1, 4]])).logits)
    assert torch.equal(net.differentiate("a b", difference(1, 2), "module.0.out").metric, net.differentiate(
        torch.tensor([[1, 2]]), difference(1, 2), "module.0.out").metric)  # fmt: skip
    with pytest.raises(PatchclampError, match="as many tokens"):
        net.run(["a b c", "d"])


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: pc.wrap(nn.Linear(3, 2), torch.zeros(1, 3), tokenizer=words()),
        lambda: pc.wrap(nn.Embedding(5, 2), X, tokenizer="gpt2"),
        lambda: pc.wrap(nn.Conv2d(1, 2, 3), torch.zeros(1, 1, 8, 8), prepare="scale", tokenizer=words()),
        lambda: embedded().run("a b c"),
        lambda: embedded().run(["a"]),
        lambda: embedded().run([1, 2, 3]),
        lambda: embedded().run(np.array([[1, 2]])),
        lambda: embedded().run(None),
        lambda: embedded().run(()),
        lambda: embedded().run(torch.zeros(0, 3, dtype=torch.int64)),
        lambda: embedded().run(torch.tensor(3)),
        lambda: embedded().run(torch.tensor([[1, 9]])),
        lambda: embedded().run(torch.tensor([[1.0, 2.0]])),
        lambda: embedded().run((X, X)),
        lambda: embedded().run(X, interventions=[pc.change("set", "module.1.out", (0, 1), value=[1.0, 2.0, 3.0])]),
        lambda: embedded().run(X, interventions=[pc.change("set", "module.1.out", value=torch.zeros(3, 6))]),
        lambda: embedded().run(X, interventions=[pc.change("call", "module.1.out", fn=lambda x: x[:, :2])]),
        lambda: embedded().run(X, interventions=[pc.change("call", "module.1.out", fn=lambda x: None)]),
        lambda: embedded().run(X, interventions=pc.change("ablate", "module.1.out")),
        lambda: embedded().run(X, interventions=[pc.change("ablate", "module.1.out"), []]),
        lambda: embedded().run(X, interventions=["module.1.out"]),
        lambda: embedded().run(X, record=3),
        lambda: embedded().run(X, record=["module.1.out", 3]),
    ],
)
def test_what_a_network_cannot_be_shown_is_refused(attempt):
    with pytest.raises(PatchclampError):
        attempt()
