"""Half precision, kinds of attention, tied, offloaded and quantised weights: the rig takes the model as it comes."""

import numpy as np
import pytest
import torch
from torch import nn

from patchclamp.core.errors import PatchclampError
from patchclamp.core.intervention import change
from patchclamp.core.metric import Metric
from patchclamp.core.recording import as_numpy
from patchclamp.subjects.contract import laws
from patchclamp.subjects.contract.verify import probes, verify
from patchclamp.subjects.families.spec import family
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.placement import refuse_device

# Those of three blocks; tests/families goes through all.
FAMILIES = ("gemma2", "gpt2", "gpt_neox", "gptj", "llama")

IDS = ([3, 14, 15, 9, 26, 5], [35, 8, 9, 7])
SITE = "blocks.1.mlp.act"
EDITS = [
    change("set", SITE, 7, value=3.0, at=2),
    change("scale", "blocks.0.attn.z", 1, basis="heads", value=0.0, at=-1),
]


def native_gap(model):
    return max(map(laws.native_gap, probes(model)))


def worked(model):
    """Return what a model gives when it is recorded, clamped and let write."""
    clean = model.run(list(IDS), record=["blocks.*.mlp.act", "blocks.*.attn.k", "blocks.*.resid_out"])
    changed = model.run(list(IDS), record=SITE, interventions=EDITS)
    written = model.generate(list(IDS), interventions=EDITS, max_new_tokens=4)
    return clean, changed, [g.ids.tolist() for g in written]


def assert_same_work(model, reference):
    for found, expected in zip(worked(model)[:2], worked(reference)[:2], strict=True):
        assert torch.equal(found.logits, expected.logits)
        for site in expected.recording.values:
            assert torch.equal(found.recording[site], expected.recording[site]), site
    assert worked(model)[2] == worked(reference)[2]


# -- half precision ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", FAMILIES)
def test_half_precision_is_the_model_to_the_bit_and_can_be_clamped(name, dtype):
    model = LanguageModel(family(name).tiny().to(dtype))
    assert model.dtype == dtype
    assert native_gap(model) == 0.0
    clean = model.run([IDS[0]], record=SITE)
    assert clean.recording[SITE].dtype == clean.logits.dtype == dtype
    own = float(clean.recording[SITE][2, 7])
    same = model.run([IDS[0]], interventions=[change("set", SITE, 7, value=own, at=2)])
    assert torch.equal(same.logits, clean.logits)
    for row in (clean.recording[SITE][2], clean.recording.to_numpy()[SITE][2]):
        edit = change("set", SITE, value=row, at=2)
        assert torch.equal(model.run([IDS[0]], interventions=[edit]).logits, clean.logits)
        assert edit.to_json()["value"] == clean.recording[SITE][2].tolist()
    more = model.run([IDS[0]], record=SITE, interventions=[change("set", SITE, 7, value=own + 3, at=2)])
    assert float(more.recording[SITE][2, 7]) == pytest.approx(own + 3, rel=0.01)
    assert torch.equal(more.logits[:, :2], clean.logits[:, :2])
    assert (more.logits[:, 2:] - clean.logits[:, 2:]).abs().max() > 0.01


def test_half_precision_metrics_and_gradients_are_as_exact_as_the_activations():
    # Weights that bfloat16 holds exactly, so that only the activations are rounded.
    rounded = family("llama").tiny().to(torch.bfloat16)
    half, whole = LanguageModel(rounded), LanguageModel(family("llama").tiny())
    whole.module.load_state_dict(rounded.float().state_dict())
    half = LanguageModel(family("llama").tiny().to(torch.bfloat16))
    metric = Metric("logit_difference", (7,), (11,))
    found, expected = (m.differentiate([IDS[0]], metric, SITE) for m in (half, whole))
    assert found.metric.dtype == torch.float32
    assert found.gradients[SITE].dtype == torch.bfloat16
    assert abs(float(found.metric - expected.metric)) < 0.2
    cosine = torch.cosine_similarity(found.gradients[SITE].float().flatten(), expected.gradients[SITE].flatten(), dim=0)
    assert cosine > 0.98
    swept = half.sweep([IDS[0]], metric, [[], [change("ablate", SITE)]])
    assert swept.dtype == torch.float32
    assert float(swept[0]) == float(found.metric)


def test_bfloat16_leaves_the_framework_bit_for_bit():
    model = LanguageModel(family("gpt2").tiny().to(torch.bfloat16))
    values = model.run([IDS[0]], record=SITE).recording[SITE]
    array = as_numpy(values)
    assert str(array.dtype) == "bfloat16"
    assert np.array_equal(array.view(np.uint16), values.view(torch.int16).numpy().view(np.uint16))
    assert np.array_equal(array.astype(np.float32), values.float().numpy())


# -- attention --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox"])
def test_either_kind_of_attention_is_the_model_to_the_bit(name, attention):
    module = family(name).tiny()
    module.set_attn_implementation(attention)
    model = LanguageModel(module)
    assert native_gap(model) == 0.0
    assert max(map(laws.tap_gap, probes(model))) == 0.0
    model.run([IDS[0]], record="blocks.0.attn.pattern")
    assert module.config._attn_implementation == attention
    # A tapped run computes eager attention; sdpa differs from that by rounding only.
    plain, tapped = (model.run([IDS[0]], attention=how).logits for how in ("native", "tap"))
    assert float((plain - tapped).abs().max()) <= 1e-5
    assert torch.equal(plain, tapped) or attention == "sdpa"


# -- tied weights -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tie", [True, False])
def test_tied_and_untied_embeddings(tie):
    from transformers import LlamaConfig, LlamaForCausalLM

    from patchclamp.subjects.families.spec import enlarge

    config = LlamaConfig(
        num_hidden_layers=2, hidden_size=32, num_attention_heads=4, intermediate_size=48, vocab_size=61,
        max_position_embeddings=64, tie_word_embeddings=tie,
    )  # fmt: skip
    model = LanguageModel(enlarge(LlamaForCausalLM(config), weight=0.3))
    module = model.module
    assert (module.lm_head.weight is module.model.embed_tokens.weight) == tie
    assert native_gap(model) == 0.0
    clean = model.run([IDS[0]], record="final")
    assert torch.allclose(model.unembed(clean.recording["final"]), clean.logits[0], atol=1e-5)
    # A clamp of the embeddings reaches the logits through the blocks, never through the shared matrix.
    before = module.lm_head.weight.detach().clone()
    silenced = model.run([IDS[0]], record="embed", interventions=[change("ablate", "embed")])
    assert not silenced.recording["embed"].any()
    assert torch.equal(module.lm_head.weight, before)
    gradient = model.differentiate([IDS[0]], Metric("logit", (7,)), "embed").gradients["embed"]
    assert gradient.abs().max() > 1e-3


# -- offloaded weights ------------------------------------------------------------------------------------------------


@pytest.fixture
def accelerate():
    return pytest.importorskip("accelerate", reason="needs accelerate, which the dev tools install")


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize("place", ["cpu", "disk", "split"])
def test_offloaded_weights_record_clamp_and_write_like_the_whole_model(accelerate, tmp_path, name, place):
    module = family(name).tiny()
    if place == "cpu":
        module = accelerate.cpu_offload(module, execution_device="cpu")
    elif place == "disk":
        module = accelerate.disk_offload(module, str(tmp_path), execution_device="cpu")
    else:
        right = family(name)
        stem, _, _ = right.blocks.rpartition(".")
        device_map = {f"{stem}.{child}": "cpu" for child, _ in module.get_submodule(stem).named_children()}
        del device_map[right.blocks]
        device_map |= {f"{right.blocks}.{i}": "disk" if i == 1 else "cpu" for i in range(3)} | {"lm_head": "cpu"}
        module = accelerate.dispatch_model(
            module, device_map, main_device="cpu", offload_dir=str(tmp_path), force_hooks=True
        )
    down = module.get_submodule(family(name).block["mlp.act"].under(f"{family(name).blocks}.1").module)
    assert down.weight.device.type == "meta"
    model, reference = LanguageModel(module), LanguageModel(family(name).tiny())
    assert_same_work(model, reference)
    assert native_gap(model) == 0.0
    # Stopping in the middle of a forward must not leave weights behind on the device.
    model.run([IDS[0]], record=SITE, logits=False)
    assert down.weight.device.type == "meta"
    values = reference.run([IDS[0]], record=SITE).recording[SITE]
    assert torch.equal(model.write_to_stream(SITE, values), reference.write_to_stream(SITE, values))


def test_a_restarted_sweep_over_offloaded_weights(accelerate, tmp_path):
    module = accelerate.disk_offload(family("llama").tiny(), str(tmp_path), execution_device="cpu")
    model, reference = LanguageModel(module), LanguageModel(family("llama").tiny())
    cells = [[change("ablate", f"blocks.{i}.mlp.act", u)] for i in range(3) for u in (1, 2)]
    metric = Metric("logit", (7,))
    assert torch.equal(model.sweep([IDS[0]], metric, cells), reference.sweep([IDS[0]], metric, cells))


# -- quantised weights ------------------------------------------------------------------------------------------------


class Int8Linear(nn.Module):
    """Weight-only int8: one scale per output row, dequantised when called."""

    def __init__(self, linear):
        super().__init__()
        scale = linear.weight.detach().abs().amax(1, keepdim=True) / 127
        self.weight = nn.Parameter((linear.weight.detach() / scale).round().to(torch.int8), requires_grad=False)
        self.register_buffer("scale", scale)
        self.bias = linear.bias

    def forward(self, x):
        return nn.functional.linear(x, self.weight.to(x.dtype) * self.scale, self.bias)


def quantised(name):
    module = family(name).tiny()
    for path, part in list(module.named_modules()):
        if isinstance(part, nn.Linear) and path.startswith(family(name).blocks):
            parent, _, child = path.rpartition(".")
            setattr(module.get_submodule(parent), child, Int8Linear(part))
    return module


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_neox", "gptj"])
def test_quantised_weights_record_and_clamp(name):
    model, whole = LanguageModel(quantised(name)), LanguageModel(family(name).tiny())
    assert native_gap(model) == 0.0
    clean, changed, written = worked(model)
    assert (clean.logits - whole.run(list(IDS)).logits).abs().max() > 1e-4
    assert float(changed.recording.of(SITE, 0)[2, 7]) == 3.0
    assert (changed.logits - clean.logits).abs().max() > 1e-3
    assert all(written)
    # W_down · act is still the MLP's output: the quantised module itself is asked.
    values = clean.recording[SITE]
    down = model.module.get_submodule(model.family.block["mlp.act"].under(f"{model.family.blocks}.1").module)
    assert torch.allclose(model.write_to_stream(SITE, values), values @ (down.weight * down.scale).T, atol=1e-4)


def test_quantised_weights_are_differentiated_as_the_weights_that_they_stand_for():
    module = quantised("llama")
    model, whole = LanguageModel(module), family("llama").tiny()
    for path, part in module.named_modules():
        if isinstance(part, Int8Linear):
            whole.get_submodule(path).weight.data = part.weight * part.scale
    metric = Metric("logit", (7,))
    found, expected = (m.differentiate([IDS[0]], metric, SITE).gradients[SITE] for m in (model, LanguageModel(whole)))
    assert model.capabilities.differentiate
    assert bool(expected.any())
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-7)


class Detached(Int8Linear):
    """A kernel without a derivative."""

    def forward(self, x):
        return super().forward(x.detach())


@pytest.mark.parametrize("when", ["always", "once it was run without gradients"])
def test_quantised_weights_say_why_gradients_are_missing(when):
    module = quantised("llama")
    linear = module.model.layers[1].mlp.down_proj
    linear.__class__ = Detached if when == "always" else Repacked
    able = LanguageModel(module).capabilities
    assert (able.intervene, able.generate, able.attention, able.differentiate) == (True, True, True, False)
    why = dict(able.missing)["differentiate"]
    assert "quantised" in why
    assert f"{type(linear).__name__} at model.layers.1.mlp.down_proj" in why
    with pytest.raises(PatchclampError, match="quantised"):
        LanguageModel(module).differentiate([IDS[0]], Metric("logit", (7,)), SITE)
    assert LanguageModel(family("llama").tiny()).capabilities.differentiate


class Repacked(Int8Linear):
    """Weights that are laid out for inference when they are first run without gradients, as bitsandbytes does."""

    def forward(self, x):
        self.packed = getattr(self, "packed", False) or not torch.is_grad_enabled()
        return super().forward(x.detach() if self.packed else x)


@pytest.mark.filterwarnings("ignore")  # of bitsandbytes' own
def test_bitsandbytes_8_bit_weights_are_differentiated_on_a_processor():
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="needs bitsandbytes, which is no requirement")
    module, whole = family("llama").tiny(), LanguageModel(family("llama").tiny())
    for block in module.model.layers:
        dense = block.mlp.down_proj
        linear = bitsandbytes.nn.Linear8bitLt(dense.in_features, dense.out_features, False, has_fp16_weights=False)
        linear.load_state_dict({"weight": dense.weight.data})
        block.mlp.down_proj = linear.to("cpu")
    model, metric = LanguageModel(module), Metric("logit", (7,))
    found, expected = (m.differentiate([IDS[0]], metric, SITE) for m in (model, whole))
    assert model.quantised
    assert not whole.quantised
    assert float((found.metric - expected.metric).abs()) > 1e-6  # they are other weights
    a, b = found.gradients[SITE].flatten(), expected.gradients[SITE].flatten()
    assert float(torch.nn.functional.cosine_similarity(a, b, dim=0)) > 0.99


def test_the_contract_holds_for_quantised_weights():
    verdicts = verify(LanguageModel(quantised("llama")))
    assert {v.name: v.deviation for v in verdicts if not v.passed} == {}
    assert len(verdicts) == 10


@pytest.mark.filterwarnings("ignore")  # torchao's own import warns of what torch is going to change
def test_torchao_int8_weights_record_and_clamp_and_have_gradients_or_say_why_not():
    pytest.importorskip("torchao", reason="needs torchao, which is no requirement")
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    module, whole = family("llama").tiny(), LanguageModel(family("llama").tiny())
    quantize_(module, Int8WeightOnlyConfig())
    model = LanguageModel(module)
    assert "torchao" in type(module.model.layers[0].mlp.down_proj.weight.data).__module__
    assert native_gap(model) == 0.0
    clean, changed, written = worked(model)
    assert 1e-4 < (clean.logits - whole.run(list(IDS)).logits).abs().max() < 1
    assert float(changed.recording.of(SITE, 0)[2, 7]) == 3.0
    assert (changed.logits - clean.logits).abs().max() > 1e-3
    assert all(written)
    if not model.capabilities.differentiate:
        with pytest.raises(PatchclampError, match="quantised"):
            model.differentiate([IDS[0]], Metric("logit", (7,)), SITE)
        return
    slopes = [m.differentiate([IDS[0]], Metric("logit", (7,)), SITE).gradients[SITE].flatten() for m in (model, whole)]
    assert float(nn.functional.cosine_similarity(*slopes, dim=0)) > 0.99


@pytest.mark.parametrize(
    ("device", "says"),
    [
        ("auto:cpu=1GiB,cpu=2GiB", "a second one for cpu"),
        ("auto:cuda:0=1GiB,0=2GiB", "a second one for 0"),
        ("auto:cuda:99=1GiB", "GPU 99 in"),
    ],
)
def test_bounds_for_one_device_twice_or_for_none_are_refused(accelerate, device, says):
    with pytest.raises(PatchclampError) as caught:
        refuse_device(device)
    assert says in caught.value.got
