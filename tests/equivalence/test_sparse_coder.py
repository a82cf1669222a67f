"""Sparse coders equal their dense oracles, values and gradients; trained coders equal the Basis that they export."""

import numpy as np
import pytest
import torch

from oracles import sparse_coder as oracle
from patchclamp.decompose import make_coder
from patchclamp.decompose.sklearn_api import config_of
from patchclamp.decompose.sparse_code import JumpReLU, Step, autoencode, keep_batch_topk, keep_topk
from patchclamp.subjects.bases import decode, encode

METHODS = ("l1", "topk", "batchtopk", "jumprelu")


def weights(n=40, read=12, width=9, latents=24, seed=0):
    draw = torch.Generator().manual_seed(seed)
    shapes = ((n, read), (latents, read), (latents,), (read,), (latents, width))
    return [torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes]


@pytest.mark.parametrize("kind", ["topk", "batchtopk"])
@pytest.mark.parametrize("k", [1, 5, 24])
def test_sparse_code_and_its_gradients_are_the_dense_ones(kind, k):
    ours, theirs = {
        "topk": (keep_topk, oracle.dense_topk), "batchtopk": (keep_batch_topk, oracle.dense_batch_topk)
    }[kind]  # fmt: skip
    x, *parts = weights()
    target = torch.randn(40, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    results = []
    for run, keep in ((autoencode, ours), (oracle.autoencode, theirs)):
        leaves = [p.clone().requires_grad_() for p in parts]
        out, _ = run(x, *leaves, lambda pre, keep=keep: keep(pre, k))
        (out - target).square().mean().backward()
        results.append([out.detach(), *(leaf.grad for leaf in leaves)])
    for got, wanted in zip(*results, strict=True):
        assert torch.allclose(got, wanted, rtol=0, atol=1e-12)


def test_batch_topk_keeps_exactly_as_many_with_groups_of_every_size():
    draw = torch.Generator().manual_seed(0)
    for latents in (7, 16, 64, 96, 128):
        pre = torch.randn(13, latents, generator=draw) + 3
        for k in (1, 3, 7):
            code = keep_batch_topk(pre, k)
            assert code.values.sort().values.equal(pre.flatten().sort().values[-13 * k :])
            dense = torch.zeros_like(pre)
            dense[code.rows(), code.latents] = code.values
            assert ((dense == pre) | (dense == 0)).all()


@pytest.mark.parametrize("width", [None, 5])
def test_topk_begins_turned_towards_the_first_vectors_at_the_length_of_least_squares(width):
    coder = make_coder(config_of("topk", 40, k=6), 8, width, seed=1).double()
    draw = torch.Generator().manual_seed(2)
    x = torch.randn(30, 8, generator=draw, dtype=torch.float64) + 1
    y = x if width is None else x @ torch.randn(8, 5, generator=draw, dtype=torch.float64)
    before = [coder.encoder.detach().clone(), coder.decoder.detach().clone()]
    coder.begin(x, y, at_once=7)
    inside, target = (v * (v.shape[1] / v.square().sum(1).mean()).sqrt() for v in (x, y))
    wanted = oracle.begin(inside - inside.mean(0), target - target.mean(0), *before, 6, 2)
    assert torch.allclose(coder.encoder, wanted[0])
    assert torch.allclose(coder.decoder, wanted[1])
    assert not torch.allclose(coder.encoder, wanted[0] * 1.01)
    if width is None:
        parallel = torch.cosine_similarity(coder.encoder, coder.decoder)
        assert torch.allclose(parallel, torch.ones_like(parallel))


def test_l1_loss_is_the_papers():
    coder = make_coder(config_of("l1", 20, sparsity=0.01), 6, 5, seed=1).double()
    draw = torch.Generator().manual_seed(2)
    x, y = (torch.randn(30, w, generator=draw, dtype=torch.float64) for w in (6, 5))
    coder.begin(x, y)
    got = coder.losses(x, y, dead_after=10**9).total
    wanted = oracle.l1_loss(
        x * coder.scale_in, y * coder.scale_out, coder.encoder, coder.encoder_bias, coder.decoder_bias, coder.decoder,
        coder.output_bias, 0.01,
    )  # fmt: skip
    assert got.item() == pytest.approx(wanted.item(), rel=1e-12)
    # scaled so that E‖x‖² = d; the two biases begin at the means
    assert ((x * coder.scale_in).square().sum(1).mean()).item() == pytest.approx(6)
    assert torch.allclose(coder.decoder_bias, (x * coder.scale_in).mean(0))
    assert torch.allclose(coder.output_bias, (y * coder.scale_out).mean(0))


def test_threshold_gradients_are_the_kernels():
    a = torch.tensor([[0.9, 1.04], [1.3, 0.97]], dtype=torch.float64, requires_grad=True)
    threshold = torch.tensor([1.0, 1.0], dtype=torch.float64, requires_grad=True)
    JumpReLU.apply(a, threshold, 0.1).sum().backward()
    assert a.grad.tolist() == [[0, 1], [1, 0]]
    # −θ / ε for each value within ε / 2 of θ; the 0.9 lies outside
    assert threshold.grad.tolist() == pytest.approx([0, -20])
    threshold.grad = None
    Step.apply(a.detach(), threshold, 0.1).sum().backward()
    assert threshold.grad.tolist() == pytest.approx([0, -20])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("width", [None, 10])
def test_coder_and_basis_agree(method, width):
    options = {"k": 4} if "topk" in method else {}
    coder = make_coder(config_of(method, 32, skip=width is not None, **options), 16, width, seed=3)
    draw = np.random.default_rng(4)
    x = torch.tensor(draw.normal(3, 20, size=(64, 16)), dtype=torch.float32)
    y = x if width is None else torch.tensor(draw.normal(-1, 0.01, size=(64, 10)), dtype=torch.float32)
    coder.begin(x, y)
    with torch.no_grad():
        for parameter in coder.parameters():
            parameter.add_(0.05 * torch.tensor(draw.normal(size=parameter.shape), dtype=torch.float32))
    coder.renormalise()
    coder.losses(x, y, dead_after=10**9)
    basis = coder.to_basis("a", None if width is None else "elsewhere")
    f = encode(basis, x)
    assert f.count_nonzero() > 0
    scale = f.abs().max()
    assert torch.allclose(f / scale, coder.encode(x) / scale, rtol=0, atol=1e-6)
    out = coder(x)
    assert torch.allclose(decode(basis, f, x) / out.abs().max(), out / out.abs().max(), rtol=0, atol=1e-6)
    assert np.allclose(np.linalg.norm(basis.decoder, axis=1), 1, atol=1e-6)
