"""Encoder-decoders: refused as language models with the reason, and measured as networks of two texts."""

import pytest
import torch
import transformers

import patchclamp as pc
from patchclamp.core.errors import PatchclampError
from patchclamp.core.intervention import change
from patchclamp.subjects.families.spec import enlarge
from patchclamp.subjects.language import LanguageModel

SOURCE, TARGET = torch.tensor([[5, 9, 2, 7, 11]]), torch.tensor([[0, 3, 8]])
PAIR = (SOURCE, torch.ones_like(SOURCE), TARGET)
BUILT = {
    "T5": ({"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 1, "num_heads": 4, "vocab_size": 61},
           "decoder.block.0.layer.2.DenseReluDense.wo"),
    "Bart": ({"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4,
              "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "vocab_size": 61},
             "model.decoder.layers.0.fc2"),
}  # fmt: skip


def built(name):
    config = getattr(transformers, f"{name}Config")(**BUILT[name][0])
    return enlarge(getattr(transformers, f"{name}ForConditionalGeneration")(config), weight=0.3)


def read(answer):
    return answer.logits[:, -1, 7] - answer.logits[:, -1, 11]


@pytest.mark.parametrize("name", BUILT)
def test_an_encoder_decoder_is_no_language_model_and_its_modules_are_measured_on_two_texts(name):
    module, down = built(name), BUILT[name][1]
    with pytest.raises(PatchclampError, match="positions are of two texts") as refused:
        LanguageModel(module)
    assert "decoder_input_ids" in refused.value.remedy
    net, site = pc.wrap(module, PAIR), f"module.{down}.in"
    kept, on = [], [change("set", site, 3, value=2.0, at=2)]

    def before(_module, args):
        kept.append(args[0].clone())
        args[0][:, 2, 3] = 2.0

    recorded = net.run(PAIR, record=site).recording[site]
    handle = module.get_submodule(down).register_forward_pre_hook(before)
    try:
        with torch.no_grad():
            changed = read(module(*PAIR))
    finally:
        handle.remove()
    assert torch.equal(recorded, kept[0])
    assert torch.equal(net.measure(PAIR, read, interventions=on), changed)
    assert not torch.equal(net.measure(PAIR, read), changed)
    gradients = net.differentiate(PAIR, read, [site]).gradients[site]
    step = [net.measure(PAIR, read, interventions=[change("add", site, 3, value=v, at=2)]) for v in (1e-2, -1e-2)]
    assert float((step[0] - step[1]) / 2e-2) == pytest.approx(float(gradients.reshape(3, -1)[2, 3]), rel=1e-2)
