"""Codes of few active latents, their reconstruction, and gradients that touch no other latent."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

Select = Callable[[Tensor], "Code"]
"""From pre-activations ``(n, latent)`` to the code that is kept of them."""


class Code(NamedTuple):
    """The active latents of n vectors, one vector after another.

    Args:
        latents: ``(active,)`` which latents.
        values: ``(active,)`` how much of each; not negative.
        starts: ``(n,)`` where each vector's own begin.
    """

    latents: Int[Tensor, " active"]
    values: Float[Tensor, " active"]
    starts: Int[Tensor, " n"]

    def rows(self) -> Int[Tensor, " active"]:
        """Return the vector of each active latent."""
        ends = torch.cat([self.starts[1:], self.starts.new_tensor([len(self.latents)])])
        return torch.arange(len(self.starts), device=self.starts.device).repeat_interleave(ends - self.starts)

    def transpose(self, n_latents: int, *others: Float[Tensor, " active"]) -> list["Code"]:
        """Return the transposed code, latents by vectors, once with its values and once with each of the others.

        Args:
            n_latents: how many latents there are, active or not.
            others: numbers of the active latents that replace the values.
        """
        order = self.latents.argsort(stable=True)
        counts = torch.bincount(self.latents, minlength=n_latents)
        rows, starts = self.rows()[order], counts.cumsum(0) - counts
        return [Code(rows, values[order], starts) for values in (self.values, *others)]


def keep_topk(pre: Float[Tensor, "n latent"], k: int) -> Code:
    """Keep the k largest of every vector, as far as they are positive.

    Example:
        >>> keep_topk(torch.tensor([[1.0, 3.0, -1.0, 2.0]]), 2).latents.tolist()
        [1, 3]
    """
    best = pre.topk(k, dim=-1)
    starts = torch.arange(0, best.indices.numel(), k, device=pre.device)
    return Code(best.indices.flatten(), best.values.relu().flatten(), starts)


def keep_batch_topk(pre: Float[Tensor, "n latent"], k: int) -> Code:
    """Keep the n · k largest of the whole batch, as far as they are positive: k a vector on average.

    Cost: the m-th largest of the maxima of groups is at most the m-th largest of all, so what lies below it cannot be
    among the m largest; only the rest is sorted.

    Example:
        >>> keep_batch_topk(torch.tensor([[1.0, 3.0], [0.5, 4.0]]), 1).values.tolist()
        [3.0, 4.0]
    """
    n, width = pre.shape
    most = n * k
    groups = next((g for g in (16, 8, 4, 2) if width % g == 0 and width // g >= k), 1)
    maxima = pre.view(n, groups, width // groups).amax(1)
    least = maxima.flatten().topk(most, sorted=False).values.min().clamp(min=torch.finfo(pre.dtype).tiny)
    flat = pre.flatten()
    near = (flat >= least).nonzero().squeeze(1)
    if len(near) > most:
        near = near[flat[near].topk(most, sorted=False).indices].sort().values
    rows, latents = near // width, near % width
    counts = torch.bincount(rows, minlength=n)
    return Code(latents, flat[near], counts.cumsum(0) - counts)


def keep_above(pre: Float[Tensor, "n latent"], threshold: Float[Tensor, " latent"]) -> Code:
    """Keep what exceeds its threshold."""
    rows, latents = (pre > threshold).nonzero(as_tuple=True)
    counts = torch.bincount(rows, minlength=len(pre))
    return Code(latents, pre[rows, latents], counts.cumsum(0) - counts)


def write(code: Code, decoder: Float[Tensor, "latent width"]) -> Float[Tensor, "n width"]:
    """Return Σ f_j D_j of every vector, from the rows of D that are active."""
    return embedding_bag(code.latents, decoder, code.starts, mode="sum", per_sample_weights=code.values)


class _Autoencode(torch.autograd.Function):
    """ŷ = f D with f = keep((x − b_dec) Eᵀ + b_enc): one dense product forward, none backward.

    The gradient of a latent's rows is a sum over the vectors that it was active in, so it is again a bag: of vectors,
    ordered by latent. Its weights are the pre-activations' gradients for E, the latents' values for D.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, encoder: Tensor, encoder_bias: Tensor, decoder_bias: Tensor, decoder: Tensor, keep: Select
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        centred = x - decoder_bias
        code = keep(torch.addmm(encoder_bias, centred, encoder.T))
        ctx.save_for_backward(centred, encoder, decoder, *code)
        ctx.mark_non_differentiable(*code)
        return write(code, decoder), *code

    @staticmethod
    def backward(ctx: Any, upstream: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        centred, encoder, decoder, *parts = ctx.saved_tensors
        code = Code(*parts)
        upstream = upstream.contiguous()
        with torch.enable_grad():
            values = code.values.detach().requires_grad_()
            written = write(Code(code.latents, values, code.starts), decoder.detach())
            # A latent that is not positive is off: nothing flows through it.
            toward = torch.autograd.grad(written, values, upstream)[0] * (code.values > 0)
        by_value, by_gradient = code.transpose(len(decoder), toward)
        d_encoder = write(by_gradient, centred)
        d_decoder = write(by_value, upstream)
        d_bias = torch.zeros_like(encoder[:, 0]).index_add_(0, code.latents, toward)
        return None, d_encoder, d_bias, -(d_bias @ encoder), d_decoder, None


def autoencode(
    x: Float[Tensor, "n read"],
    encoder: Float[Tensor, "latent read"],
    encoder_bias: Float[Tensor, " latent"],
    decoder_bias: Float[Tensor, " read"],
    decoder: Float[Tensor, "latent width"],
    keep: Select,
) -> tuple[Float[Tensor, "n width"], Code]:
    """Return the reconstruction f D and the code f = keep((x − b_dec) Eᵀ + b_enc), never dense.

    Gradients flow to the weights, not to x.

    Args:
        x: ``(n, read)`` vectors.
        encoder: E ``(latent, read)``.
        encoder_bias: b_enc ``(latent,)``.
        decoder_bias: b_dec ``(read,)``.
        decoder: D ``(latent, width)``.
        keep: which pre-activations stay.

    Returns:
        tuple: ``(n, width)`` f D, and the Code.

    Source: ours: the products of 2406.04093, equations 1 to 3, on active latents only.

    Cost: one product of x with E forward; backward, k rows of x and of the output's gradient per vector.

    Example:
        >>> from functools import partial
        >>> eye, zero = torch.eye(2), torch.zeros(2)
        >>> autoencode(torch.tensor([[3.0, 1.0]]), eye, zero, zero, eye, partial(keep_topk, k=1))[0].tolist()
        [[3.0, 0.0]]
    """
    out, *code = _Autoencode.apply(x, encoder, encoder_bias, decoder_bias, decoder, keep)
    return out, Code(*code)


class JumpReLU(torch.autograd.Function):
    """JumpReLU(a) = a · H(a − θ), differentiable in θ by a rectangle of width ε around it.

    ∂/∂θ = −(θ / ε) K((a − θ) / ε), K = 1 within ±½: the derivative of the expected loss, estimated by a kernel.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        """Return the values."""
        ctx.save_for_backward(a, threshold)
        ctx.bandwidth = bandwidth
        return a * (a > threshold)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients."""
        a, threshold = ctx.saved_tensors
        near = (a - threshold).abs() < ctx.bandwidth / 2
        return upstream * (a > threshold), -(near * upstream).sum(0) * threshold / ctx.bandwidth, None


class Step(torch.autograd.Function):
    """H(a − θ), differentiable in θ alone by the same rectangle: ∂/∂θ = −(1 / ε) K((a − θ) / ε)."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        """Return the values."""
        ctx.save_for_backward(a, threshold)
        ctx.bandwidth = bandwidth
        return (a > threshold).to(a.dtype)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients."""
        a, threshold = ctx.saved_tensors
        near = (a - threshold).abs() < ctx.bandwidth / 2
        return None, -(near * upstream).sum(0) / ctx.bandwidth, None
