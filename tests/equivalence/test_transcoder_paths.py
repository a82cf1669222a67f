"""Exactness: what reaches a later neuron or feature through transcoders' features, errors and biases is all of it."""

import pytest
import torch

from patchclamp.core.corpus import Corpus
from patchclamp.decompose import Job, Recipe, TextSource, TopKConfig, train
from patchclamp.decompose.transcoding import mlp_sites
from patchclamp.subjects.bases import decode, encode

LAYER = 2


@pytest.fixture(scope="module")
def circuit(tiny_language_model, tmp_path_factory):
    """Return a GPT-2 of three blocks and a transcoder of each block's MLP, the middle one with a skip."""
    model = tiny_language_model("gpt2")
    text = tmp_path_factory.mktemp("text") / "words.txt"
    text.write_text("\n".join(f"w{i % 56} w{i * 7 % 56} w{i * i % 56} w{i % 5}" for i in range(400)))
    jobs = [Job(*mlp_sites(model, layer), TopKConfig(48, k=6, skip=layer == 1)) for layer in range(3)]
    trained = train(TextSource(model, Corpus(text, window=24)), jobs, Recipe(batch_size=128, passes=2))
    return model, {one.job.writes: one.coder.to_basis("t", one.job.reads) for one in trained}


@pytest.mark.parametrize("target", ["feature", "neuron"])
def test_contributions_sum_to_the_pre_activation(circuit, target):
    model, bases = circuit
    earlier = [f"blocks.{layer}.mlp.write" for layer in range(LAYER)]
    here = bases[f"blocks.{LAYER}.mlp.write"]
    attention = [f"blocks.{layer}.attn.write" for layer in range(LAYER + 1)]
    sites = ["blocks.0.resid_in", f"blocks.{LAYER}.resid_mid", f"blocks.{LAYER}.mlp.pre", here.reads]
    sites += [*attention, *earlier, *(bases[site].reads for site in earlier)]
    found = model.run([[1, 5, 9, 30, 7, 2]], record=sites).recording
    norm = model.module.transformer.h[LAYER].ln_2
    x = found[here.reads]

    for j in range(5):
        if target == "feature":
            row, bias = torch.tensor(here.encoder[j]), torch.tensor(here.encoder_bias[j])
            bias = bias - row @ torch.tensor(here.decoder_bias)
            wanted = x @ row + bias
        else:
            linear = model.module.transformer.h[LAYER].mlp.c_fc
            row, bias = linear.weight[:, j].detach(), linear.bias[j].detach()
            wanted = found[f"blocks.{LAYER}.mlp.pre"][:, j]
        # The norm is frozen at each token's own scale; its mean is subtracted from whatever is pulled back through it.
        stream = found[f"blocks.{LAYER}.resid_mid"]
        scale = (stream.var(1, unbiased=False) + norm.eps).sqrt()[:, None]
        pulled = norm.weight.detach() * row
        pulled = (pulled - pulled.mean()) / scale
        nodes = {"embedding": (found["blocks.0.resid_in"] * pulled).sum(1)}
        nodes["bias"] = (bias + row @ norm.bias.detach()).expand(len(x))
        for site in attention:
            nodes[site] = (found[site] * pulled).sum(1)
        for site in earlier:
            basis, read = bases[site], found[bases[site].reads]
            f = encode(basis, read)
            # Input-dependent activation × input-invariant weight product, feature by feature.
            for i in f.any(0).nonzero().flatten().tolist():
                nodes[f"{site}/{i}"] = f[:, i] * (pulled @ torch.tensor(basis.decoder[i]))
            rest = decode(basis, torch.zeros_like(f), read)
            nodes[f"{site}, bias and skip"] = (rest * pulled).sum(1)
            nodes[f"{site}, error"] = ((found[site] - decode(basis, f, read)) * pulled).sum(1)
        total = torch.stack(list(nodes.values())).sum(0)
        assert torch.allclose(total, wanted, rtol=0, atol=1e-4 * max(1.0, float(wanted.abs().max())))
        # None of the kinds of nodes can be left out.
        for left_out in ("error", "bias", "mlp.write/"):
            part = torch.stack([v for name, v in nodes.items() if left_out not in name]).sum(0)
            assert (part - wanted).abs().max() > 1e-3
