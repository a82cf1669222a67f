"""Any PyTorch module in the rig, and module sites of language models that no family file covers."""

import numpy as np
import pytest
import torch
import transformers
from torch import nn

import patchclamp as pc
from patchclamp.core.errors import CannotIntervene, PatchclampError, PatchclampWarning
from patchclamp.core.intervention import change
from patchclamp.core.metric import Metric
from patchclamp.subjects.contract.verify import verify
from patchclamp.subjects.families.spec import family
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.network import Network


@pytest.fixture
def conv():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 3), nn.Flatten(), nn.Linear(2 * 4 * 5, 5)
    ).eval()
    return pc.wrap(module, torch.zeros(2, 3, 6, 7), name="Small Conv"), torch.randn(3, 3, 6, 7)


@pytest.fixture
def dense():
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)).eval()
    return pc.wrap(module, torch.zeros(1, 4)), torch.randn(5, 4)


def test_sites_are_the_modules_inputs_and_outputs_in_forward_order(conv):
    net, _ = conv
    assert isinstance(net, Network)
    assert net.name == "small-conv"
    assert [s.path for s in net.sites()] == [f"module.{i}.{side}" for i in range(5) for side in ("in", "out")]
    widths = {s.path: (s.width, s.axes[1:]) for s in net.sites()}
    assert widths["module.0.out"] == (4, ("channel", "y", "x"))
    assert widths["module.3.out"] == (40, ("unit",))
    assert widths["module.4.out"] == (5, ("unit",))
    with pytest.raises(PatchclampError, match=r"Nearest: .*module\.4\.out"):
        net.site("module.4.output")


def test_a_recording_equals_the_modules_called_one_by_one(conv):
    net, x = conv
    run = net.run(x, record="*")
    with torch.no_grad():
        expected = {}
        for i, part in enumerate(net.module):
            expected[f"module.{i}.in"] = x.clone()
            x = part(x).clone()
            expected[f"module.{i}.out"] = x.clone()
    for site, values in expected.items():
        # Before the in-place ReLU had its way with the convolution's output.
        if site in ("module.0.out", "module.1.in"):
            with torch.no_grad():
                values = net.module[0](conv[1])
            assert (values < 0).any()
        assert torch.equal(run.recording[site], values), site
    assert torch.equal(run.logits, expected["module.4.out"])
    assert net.run(conv[1], logits=False).logits is None


def test_a_recordings_key_means_the_channel(conv):
    net, x = conv
    recording = net.run(x, record="module.0.out,module.3.out").recording
    for stimulus in range(3):
        assert torch.equal(
            recording.at("module.0.out/neurons/2", stimulus)[0], recording["module.0.out"][stimulus, 2].T
        )
        assert float(recording.at("module.3.out/neurons/7@0", stimulus)) == float(
            recording["module.3.out"][stimulus, 7]
        )
    with pytest.raises(PatchclampError, match="a neuron's key"):
        recording.at("module.0.out/heads/1")


@pytest.mark.parametrize(
    ("operation", "value", "expected"),
    [
        ("set", 2.0, lambda old: torch.full_like(old, 2.0)),
        ("set", [1.0, -1.0], lambda old: torch.tensor([1.0, -1.0])[None, :, None, None].expand_as(old)),
        ("add", 3.0, lambda old: old + 3),
        ("scale", -1.0, lambda old: -old),
        ("ablate", None, torch.zeros_like),
    ],
)
def test_convolution_channels_can_be_clamped(conv, operation, value, expected):
    net, x = conv
    edit = change(operation, "module.0.out", (3, 1), value=value)
    run = net.run(x, record="module.0.out", interventions=[edit])
    with torch.no_grad():
        hand = net.module[0](x)
        hand[:, [3, 1]] = expected(hand[:, [3, 1]])
        assert torch.equal(run.recording["module.0.out"], hand)
        assert torch.equal(run.logits, net.module[1:](hand.clone()))
    assert (run.logits - net.run(x).logits).abs().max() > 1e-3


def test_one_list_per_row_and_the_context(conv):
    net, x = conv
    lists = [[], [change("ablate", "module.0.out", 1)], [change("set", "module.3.out", 5, value=4.0)]]
    together = net.run(x, interventions=lists).logits
    for row, edits in enumerate(lists):
        alone = net.run(x[row : row + 1], interventions=edits).logits[0]
        assert torch.allclose(together[row], alone, atol=1e-6)
    with torch.no_grad():
        bare = net.module(x)
        with net.intervene(lists[1]):
            inside = net.module(x)
        assert torch.equal(inside, net.run(x, interventions=lists[1]).logits)
        assert torch.equal(net.module(x), bare)
    assert not torch.equal(inside, bare)


def test_a_patch_and_a_mean_from_a_recording(dense):
    net, x = dense
    donor = net.run(torch.randn(4, 4, generator=torch.Generator().manual_seed(2)), record="module.1.out").recording
    patched = net.run(x, record="module.1.out", interventions=[
        change("patch", "module.1.out", (2, 5), source=pc.Source(donor, stimulus=3)),
        change("ablate", "module.1.out", 0, mode="mean", source=donor),
    ]).recording["module.1.out"]  # fmt: skip
    values = donor["module.1.out"]
    assert torch.equal(patched[:, [2, 5]], values[3, [2, 5]].expand(5, -1))
    assert torch.equal(patched[:, 0], values.mean(0)[0].expand(5))
    rest = [1, 3, 4, 6, 7]
    assert torch.equal(patched[:, rest], net.run(x, record="module.1.out").recording["module.1.out"][:, rest])


def test_positions_are_refused_where_there_are_none(conv, dense):
    for (net, x), site in ((conv, "module.0.out"), (dense, "module.0.out")):
        with pytest.raises(CannotIntervene, match="a site with positions"):
            net.run(x, interventions=[change("set", site, 1, value=1.0, at=0)])
    net, x = conv
    donor = net.run(x, record="module.0.out").recording
    with pytest.raises(CannotIntervene, match="from a source"):
        net.run(x, interventions=[change("ablate", "module.0.out", 1, mode="mean", source=donor)])


def test_gradients_of_any_function_of_the_output(dense):
    net, x = dense
    first, _, last = net.module
    sites = ["module.0.out", "module.2.in", "module.2.out"]
    found = net.differentiate(x, lambda y: y[:, 1] ** 2, sites)
    with torch.no_grad():
        pre = first(x)
        out = last(pre.relu())
        slope = 2 * out[:, 1:2] * last.weight[1]
    assert torch.equal(found.metric, out[:, 1] ** 2)
    assert torch.allclose(found.gradients["module.2.in"], slope)
    assert torch.allclose(found.gradients["module.2.out"], 2 * out * torch.tensor([0.0, 1.0, 0.0]))
    # The in-place ReLU must change neither the value that is reported nor what its gradient is taken to be.
    assert torch.equal(found.values["module.0.out"], pre)
    assert (pre < 0).any()
    assert torch.allclose(found.gradients["module.0.out"], slope * (pre > 0))
    assert torch.allclose(net.differentiate(x, lambda y: y[:, 1] ** 2, sites[0]).gradients[sites[0]], slope * (pre > 0))
    assert all(p.grad is None for p in net.module.parameters())


def test_gradients_of_a_metric_through_a_clamp(dense):
    net, x = dense
    edit = [change("scale", "module.1.out", (0, 1), value=3.0)]
    found = net.differentiate(x, Metric("logit_difference", (2,), (0,), (0,)), "module.0.out", interventions=edit)
    with torch.no_grad():
        pre = net.module[0](x)
        gain = torch.ones(8)
        gain[:2] = 3.0
        slope = (net.module[2].weight[2] - net.module[2].weight[0]) * gain * (pre > 0)
        act = pre.relu() * gain
        out = net.module[2](act)
    assert torch.allclose(found.metric, out[:, 2] - out[:, 0])
    assert torch.allclose(found.gradients["module.0.out"], slope)


class Twice(nn.Module):
    """Calls one linear map two times."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 3)
        self.last = nn.Linear(3, 2)

    def forward(self, x):
        return self.last(self.inner(torch.relu(self.inner(x))))


def test_a_module_that_is_called_twice_is_refused_where_it_would_be_a_guess():
    torch.manual_seed(0)
    net, x = pc.wrap(Twice(), torch.zeros(1, 3)), torch.randn(2, 3)
    for attempt in (
        lambda: net.run(x, record="module.inner.out"),
        lambda: net.differentiate(x, lambda y: y[:, 0], "module.inner.in"),
    ):
        with pytest.raises(PatchclampError, match="called once per forward"):
            attempt()
    assert net.run(x, record="module.last.in").recording["module.last.in"].shape == (2, 3)
    # A change holds in both calls.
    with torch.no_grad():
        zero = net.run(x, interventions=[change("ablate", "module.inner.out")]).logits
        assert torch.equal(zero, net.module.last(torch.zeros(2, 3)))


class Paired(nn.Module):
    """Takes two inputs and passes tuples between its modules."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(3, 5, batch_first=True)
        self.out = nn.Linear(5, 2)

    def forward(self, x, shift):
        states, _ = self.rnn(x)
        return self.out(states + shift[:, None])


def test_several_inputs_tuple_outputs_and_positions():
    torch.manual_seed(0)
    x, shift = torch.randn(2, 4, 3), torch.randn(2, 5)
    net = pc.wrap(Paired(), (torch.zeros(1, 4, 3), torch.zeros(1, 5)))
    assert net.site("module.rnn.out").axes == ("stimulus", "position", "unit")
    edit = change("set", "module.rnn.out", (0, 4), value=[2.0, -2.0], at="1:3")
    with pytest.warns(PatchclampWarning, match="fused GRU"):
        run = net.run((x, shift), record="module.rnn.out", interventions=[edit])
    with torch.no_grad():
        states = net.module.rnn(x)[0].clone()
        states[:, 1:3, 0], states[:, 1:3, 4] = 2.0, -2.0
        assert torch.equal(run.recording["module.rnn.out"], states)
        assert torch.equal(run.logits, net.module.out(states + shift[:, None]))


def test_a_plain_module_needs_examples_that_fit():
    with pytest.raises(PatchclampError, match="example inputs"):
        pc.wrap(nn.Linear(2, 3))
    with pytest.raises(PatchclampError, match="example inputs that the module accepts"):
        pc.wrap(nn.Linear(2, 3), torch.zeros(1, 5)).sites()


def test_the_hash_is_that_of_the_weights(dense):
    net, _ = dense
    again = pc.wrap(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), torch.zeros(1, 4))
    assert net.hash != again.hash
    again.module.load_state_dict(net.module.state_dict())
    again = pc.wrap(again.module, torch.zeros(1, 4))
    assert net.hash == again.hash


# -- language models --------------------------------------------------------------------------------------------------


def test_module_sites_of_a_covered_language_model_equal_its_canonical_ones():
    model = LanguageModel(family("llama").tiny())
    pairs = {
        "module.model.layers.1.mlp.down_proj.in": "blocks.1.mlp.act",
        "module.model.layers.0.mlp.out": "blocks.0.mlp.write",
        "module.model.layers.2.in": "blocks.2.resid_in",
        "module.lm_head.in": "final",
    }
    rows = [[1, 2, 3, 4], [5, 6]]
    recording = model.run(rows, record=[*pairs, *pairs.values()]).recording
    for module_site, site in pairs.items():
        assert torch.equal(recording[module_site], recording[site]), site
        edits = [[change("scale", path, 3, value=5.0, at=1)] for path in (module_site, site)]
        one, other = (model.run(rows, interventions=e, padding="left").logits for e in edits)
        assert torch.equal(one, other)
    metric = Metric("logit", (7,))
    found = model.differentiate(rows, metric, ["blocks.0.mlp.write", "module.model.layers.0.mlp.out"])
    assert found.gradients["module.model.layers.0.mlp.out"].shape == (6, 32)


def uncovered(kind):
    from transformers import MptConfig, MptForCausalLM, XGLMConfig, XGLMForCausalLM

    from patchclamp.subjects.families.spec import enlarge

    ends = {"vocab_size": 61, "bos_token_id": 0, "eos_token_id": 60, "d_model": 32}
    if kind == "mpt":
        config = MptConfig(n_layers=2, n_heads=4, max_seq_len=64, **ends)
        return enlarge(MptForCausalLM(config), weight=0.3), "transformer.blocks.1.ffn.down_proj"
    config = XGLMConfig(num_layers=2, attention_heads=4, ffn_dim=64, max_position_embeddings=64, **ends)
    return enlarge(XGLMForCausalLM(config), weight=0.3), "model.layers.1.self_attn.out_proj"


@pytest.mark.parametrize("kind", ["mpt", "xglm"])
def test_a_language_model_without_a_family_works_by_module_sites(kind):
    module, path = uncovered(kind)
    model = pc.wrap(module)
    assert isinstance(model, LanguageModel)
    missing = dict(model.capabilities.missing)
    assert set(missing) == {"attention", "canonical sites"}
    assert type(module).__name__ in missing["canonical sites"]
    assert (model.capabilities.attention, model.capabilities.differentiate, model.capabilities.generate) == (
        False,
        True,
        True,
    )

    rows = [[3, 14, 15, 9, 26, 5], [35, 8, 9, 7]]
    everything = model.run(rows, record="module.*")
    assert all(len(values) == 10 for values in everything.recording.values.values())
    verdicts = {v.name: v for v in verify(model)}
    assert verdicts["native, every site recorded"].deviation == 0.0

    site = f"module.{path}.in"
    seen = {}
    handle = module.get_submodule(path).register_forward_pre_hook(lambda _m, args: seen.update(x=args[0].clone()))
    plain = model.run([rows[0]], record=site)
    handle.remove()
    assert torch.equal(plain.recording[site], seen["x"][0])

    def see(_module, args):
        x = args[0].clone()
        x[:, 2, 5] = 7.0
        return (x,)

    handle = module.get_submodule(path).register_forward_pre_hook(see)
    hand = model.run([rows[0]]).logits
    handle.remove()
    edit = change("set", site, 5, value=7.0, at=2)
    assert torch.equal(model.run([rows[0]], interventions=[edit]).logits, hand)
    padded = model.run(rows, interventions=[edit], padding="left").logits
    assert (padded[0] - hand[0]).abs().max() <= 1e-5 * float(hand.abs().max())
    assert (hand - plain.logits).abs().max() > 1e-3
    together = model.generate(rows, interventions=[edit], max_new_tokens=3)
    alone = [model.generate([r], interventions=[edit], max_new_tokens=3)[0] for r in rows]
    assert [g.ids.tolist() for g in together] == [g.ids.tolist() for g in alone]
    gradient = model.differentiate(rows, Metric("logit", (7,)), "module.*").gradients[site]
    assert np.isfinite(gradient.numpy()).all()
    assert gradient.any()
    with pytest.raises(PatchclampError, match="a site of this subject"):
        model.run(rows, record="blocks.*.mlp.act")
    with pytest.raises(PatchclampError, match="a family file covers"):
        model.read_out(torch.zeros(1, 32))


def several_times(kind):
    """Make a language model with a module that runs several times in one forward."""
    from transformers import OpenAIGPTConfig, OpenAIGPTLMHeadModel

    from patchclamp.subjects.families.spec import enlarge

    if kind == "shared":
        module, _ = uncovered("xglm")
        module.model.layers[1].activation_fn = module.model.layers[0].activation_fn
        return module
    gpt = OpenAIGPTConfig(n_layer=2, n_embd=32, n_head=4, vocab_size=61, n_positions=64)
    return enlarge(OpenAIGPTLMHeadModel(gpt), weight=0.3)


@pytest.mark.parametrize("kind", ["shared", "openai"])
def test_modules_that_run_several_times_fall_out_of_patterns_and_are_named(kind):
    model = pc.wrap(several_times(kind))
    path = [site.path for site in model.sites() if site.calls > 1][-1]
    verdicts = verify(model)
    assert all(v.passed for v in verdicts)
    assert [v.excluded for v in verdicts if v.excluded]
    recorded = model.run([[3, 4, 5]], record="module.*").recording.values
    assert path not in recorded
    assert {s.path for s in model.sites() if s.calls == 1} == set(recorded)
    with pytest.raises(PatchclampError, match=r"called once per forward; got module\..*called again"):
        model.run([[3, 4, 5]], record=path)
    changed = model.run([[3, 4, 5]], interventions=[change("scale", path, 0, value=3.0)]).logits
    assert (changed - model.run([[3, 4, 5]]).logits).abs().max() > 1e-3


def test_an_activation_that_a_network_uses_twice_falls_out_of_patterns():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.act = nn.Linear(4, 4), nn.Linear(4, 2), nn.ReLU()

        def forward(self, x):
            return self.act(self.two(self.act(self.one(x))))

    net = Network(Twice(), torch.zeros(1, 4))
    assert {s.path: s.calls for s in net.sites()}["module.act.out"] == 2
    assert "calls" in net.site("module.act.out").to_json()
    assert "calls" not in net.site("module.one.out").to_json()
    assert set(net.run(torch.ones(1, 4), record="module.*").recording.values) == {
        f"module.{m}.{side}" for m in ("one", "two") for side in ("in", "out")
    }


def narrow(kind):
    """Make a causal model with room for 12 tokens, under the name that its config has for that."""
    if kind == "whisper":
        config = transformers.WhisperConfig(
            vocab_size=61, d_model=32, decoder_layers=1, decoder_attention_heads=4, decoder_ffn_dim=48,
            max_target_positions=12, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
            encoder_layers=1, encoder_attention_heads=4, encoder_ffn_dim=48,
        )  # fmt: skip
        return transformers.WhisperForCausalLM(config)
    if kind == "mpt":
        return transformers.MptForCausalLM(
            transformers.MptConfig(vocab_size=61, d_model=32, n_layers=1, n_heads=4, max_seq_len=12)
        )
    if kind == "codegen":
        return transformers.CodeGenForCausalLM(
            transformers.CodeGenConfig(
                vocab_size=61, n_embd=32, n_layer=1, n_head=4, n_positions=12, n_ctx=12, rotary_dim=4
            )
        )
    config = transformers.XLMRobertaConfig(
        vocab_size=61, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=14, pad_token_id=1,
    )  # fmt: skip
    return transformers.XLMRobertaForMaskedLM(config)


@pytest.mark.parametrize("kind", ["whisper", "mpt", "codegen", "xlm_roberta"])
def test_a_prompt_beyond_the_context_is_refused_by_whatever_name_the_config_has_for_it(kind):
    model = pc.wrap(narrow(kind))
    assert model.context == 12
    assert model.run([list(range(3, 15))]).logits.shape == (1, 12, 61)
    with pytest.raises(PatchclampError, match="at most 12 tokens, the model's context; got 13 tokens"):
        model.run([list(range(3, 16))])


def test_positions_are_counted_as_the_models_own_embeddings_count_them():
    model = pc.wrap(narrow("xlm_roberta"))
    ids = torch.tensor([[5, 9, 23, 4]])
    with torch.no_grad():
        assert torch.equal(model.run(ids).logits, model.module(input_ids=ids).logits)
