"""Sparse autoencoders and transcoders with few active latents: L1, TopK, BatchTopK and JumpReLU."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from patchclamp.core.arguments import checked
from patchclamp.core.basis import Basis
from patchclamp.core.checks import at_least
from patchclamp.core.errors import PatchclampError
from patchclamp.decompose.sparse_code import (
    Code,
    JumpReLU,
    Step,
    autoencode,
    keep_above,
    keep_batch_topk,
    keep_topk,
    write,
)


@dataclass(frozen=True)
class CoderConfig:
    """What every sparse coder has.

    Args:
        n_latents: how many latents.
        skip: a transcoder's linear path from what it reads to what it writes, zero at first.

    Raises:
        PatchclampError: numbers that make no sense.
    """

    method: ClassVar[str] = ""
    # arrays of vectors by latents in a step: pre-activations, latents, and the gradients of both
    dense: ClassVar[int] = 6
    n_latents: int
    skip: bool = False

    def __post_init__(self) -> None:
        at_least("the number of latents", self.n_latents, 1)


@checked
@dataclass(frozen=True)
class L1Config(CoderConfig):
    """f = ReLU(a), loss mean (ŷ − y)² / ‖y‖ + λ mean Σ f, and ghost gradients for dead latents.

    The error of a vector is divided by its norm, not its square, and averaged over dimensions: λ of other programs do
    not carry over. Vectors are scaled so that E‖x‖² = d.

    Args:
        sparsity: λ, reached over the warm-up.
    """

    method: ClassVar[str] = "l1"
    sparsity: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive(self.sparsity, "sparsity penalty")


@checked
@dataclass(frozen=True)
class TopKConfig(CoderConfig):
    """f = the k largest of ReLU(a), loss mean (ŷ − y)² + α mean (e − ê)², e = y − ŷ rebuilt by k_aux dead latents.

    Args:
        k: latents kept of every vector.
        aux: α.
        k_aux: dead latents that reconstruct the error; the default is half the width.
    """

    method: ClassVar[str] = "topk"
    # the pre-activations alone are formed
    dense: ClassVar[int] = 2
    k: int = 32
    aux: float = 1 / 32
    k_aux: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.k <= self.n_latents:
            raise PatchclampError(
                expected=f"k from 1 to {self.n_latents}, the number of latents",
                got=str(self.k),
                remedy="Give another --k, or more latents.",
            )


@checked
@dataclass(frozen=True)
class BatchTopKConfig(TopKConfig):
    """As TopK, but the n · k largest of a batch of n vectors, so that hard vectors may have more.

    Read singly, vectors keep what exceeds θ, the running mean of the least value that was kept.
    """

    method: ClassVar[str] = "batchtopk"


@checked
@dataclass(frozen=True)
class JumpReLUConfig(CoderConfig):
    """f = a · H(a − θ), loss mean (ŷ − y)² + λ mean ‖f‖₀, θ learnt by a rectangle kernel of width ε.

    Args:
        sparsity: λ, reached over the warm-up.
        bandwidth: ε, where vectors are scaled so that E‖x‖² = 1, as λ is.
        threshold: θ at first, on the same scale.
    """

    method: ClassVar[str] = "jumprelu"
    sparsity: float = 1e-3
    bandwidth: float = 0.05
    threshold: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive(self.sparsity, "sparsity penalty")
        _check_positive(self.bandwidth, "bandwidth")
        _check_positive(self.threshold, "threshold")


def _check_positive(value: float, what: str) -> None:
    if not 0 < value < float("inf"):
        raise PatchclampError(expected=f"a positive {what}", got=str(value), remedy="Give another --sparsity.")


class Losses(NamedTuple):
    """What one step of training measured.

    Args:
        total: what is minimised.
        unexplained: share of the variance that ŷ leaves, of this batch.
        l0: active latents per vector.
        fired: ``(latent,)`` which latents were active.
    """

    total: Float[Tensor, ""]
    unexplained: Float[Tensor, ""]
    l0: Float[Tensor, ""]
    fired: Bool[Tensor, " latent"]


@checked
class SparseCoder(nn.Module):
    """f = φ((x − b_dec) Eᵀ + b_enc), ŷ = f D + b_out (+ x Sᵀ), the rows of D of length 1.

    Inside, x and y are multiplied by √(d / E‖x‖²) and √(d / E‖y‖²), so that losses and penalties mean the same at
    every site; ``encode``, ``decode`` and ``to_basis`` take and give the site's own measure.

    Args:
        config: kind and size.
        read: width of x.
        width: width of y; the default is that of x.
        seed: of the directions at first.

    Raises:
        PatchclampError: a skip without another site to read.
    """

    def __init__(self, config: CoderConfig, read: int, width: int | None = None, *, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        out = read if width is None else width
        decoder = torch.randn(config.n_latents, out, generator=generator)
        self.config = config
        self.autoencoder = width is None
        if self.autoencoder and config.skip:
            raise PatchclampError(
                expected="a transcoder where there is a skip",
                got="an autoencoder, which a skip would copy",
                remedy="Leave --skip-connection out, or transcode.",
            )
        rows = nn.functional.normalize(decoder, dim=1)
        other = nn.functional.normalize(torch.randn(config.n_latents, read, generator=generator), dim=1)
        self.decoder = nn.Parameter(rows)
        self.encoder = nn.Parameter((rows.clone() if self.autoencoder else other) * self.gain(read))
        self.encoder_bias = nn.Parameter(torch.zeros(config.n_latents))
        self.decoder_bias = nn.Parameter(torch.zeros(read))
        self.output_bias = nn.Parameter(torch.zeros(out))
        self.skip = nn.Parameter(torch.zeros(out, read)) if config.skip else None
        self.register_buffer("scale_in", torch.ones(()))
        self.register_buffer("scale_out", torch.ones(()))
        # vectors since each latent last fired
        self.register_buffer("quiet", torch.zeros(config.n_latents, dtype=torch.int64))
        self.scale_in: Tensor
        self.scale_out: Tensor
        self.quiet: Tensor

    def gain(self, read: int) -> float:
        """Return the length of the encoder's rows at first."""
        return 1.0

    # -- training -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def begin(self, x: Float[Tensor, "n read"], y: Float[Tensor, "n width"], *, at_once: int = 512) -> None:
        """Set scales and biases by the first vectors: b_dec and b_out begin at the means.

        Args:
            x: ``(n, read)`` vectors that are read.
            y: ``(n, width)`` vectors that are written.
            at_once: vectors in memory at a time, for pre-activations.

        Raises:
            PatchclampError: vectors that are all zero.
        """
        for name, values in (("scale_in", x), ("scale_out", y)):
            size = values.square().sum(1).mean()
            if size == 0:
                raise PatchclampError(
                    expected="activations", got="zeros alone", remedy="Choose another site, or other text."
                )
            getattr(self, name).copy_((values.shape[1] / size).sqrt())
        self.decoder_bias.copy_(x.mean(0) * self.scale_in)
        self.output_bias.copy_(y.mean(0) * self.scale_out)

    def losses(
        self, x: Float[Tensor, "n read"], y: Float[Tensor, "n width"], *, dead_after: int, warm: float = 1.0
    ) -> Losses:
        """Return the loss of a batch, in the site's own units, and what is reported of it.

        Args:
            x: ``(n, read)`` vectors that are read.
            y: ``(n, width)`` vectors that are written.
            dead_after: number of vectors without firing after which a latent is dead.
            warm: share of the warm-up that has passed.

        Returns:
            Losses: loss, unexplained variance, active latents per vector, and which latents fired.
        """
        raise NotImplementedError

    def scale_pair(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return both with E‖x‖² = d."""
        inside = x * self.scale_in
        return inside, (inside if y is x else y * self.scale_out)

    def rest(self, x: Tensor) -> Tensor:
        """Return what ŷ has besides its latents: b_out + x Sᵀ."""
        return self.output_bias if self.skip is None else self.output_bias + x @ self.skip.T

    def dead(self, dead_after: int) -> Tensor:
        """Return which latents have been off for ``dead_after`` vectors."""
        return (self.quiet >= dead_after).nonzero().squeeze(1)

    @torch.no_grad()
    def note_fired(self, fired: Bool[Tensor, " latent"], n: int) -> None:
        """Count n more vectors for the latents that stayed off."""
        self.quiet.add_(n).masked_fill_(fired, 0)

    @torch.no_grad()
    def project(self) -> None:
        """Take from the decoder's gradient what would only change the length of its rows."""
        gradient = self.decoder.grad
        if gradient is not None:
            gradient.addcmul_(torch.linalg.vecdot(gradient, self.decoder)[:, None], self.decoder, value=-1)

    @torch.no_grad()
    def renormalise(self) -> None:
        """Give the decoder's rows length 1 again."""
        self.decoder.div_(torch.linalg.vector_norm(self.decoder, dim=1, keepdim=True).clamp(min=1e-12))

    # -- use ----------------------------------------------------------------------------------------------------------

    def pre(self, inside: Float[Tensor, "n read"]) -> Float[Tensor, "n latent"]:
        """Return a = (x − b_dec) Eᵀ + b_enc of scaled vectors."""
        return torch.addmm(self.encoder_bias, inside - self.decoder_bias, self.encoder.T)

    def keep(self, pre: Float[Tensor, "n latent"]) -> Code:
        """Return the code of single vectors, as the Basis reads them."""
        raise NotImplementedError

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "n read"]) -> Float[Tensor, "n latent"]:
        """Return the latents f, densely, in the measure of what is written."""
        code = self.keep(self.pre(x * self.scale_in))
        f = torch.zeros(len(x), self.config.n_latents, dtype=x.dtype, device=x.device)
        f[code.rows(), code.latents] = code.values / self.scale_out
        return f

    @torch.no_grad()
    def forward(self, x: Float[Tensor, "n read"]) -> Float[Tensor, "n width"]:
        """Return ŷ."""
        inside = x * self.scale_in
        return (write(self.keep(self.pre(inside)), self.decoder) + self.rest(inside)) / self.scale_out

    @torch.no_grad()
    def to_basis(self, name: str, reads: str | None = None) -> Basis:
        """Return the coder as a Basis, its scales folded into the weights.

        Args:
            name: slug used in keys.
            reads: the site that a transcoder reads.
        """
        a, b = self.scale_in.double(), self.scale_out.double()
        # a x − b_dec = a (x − b_dec / a), and f / b keeps D's rows at length 1.
        extra: dict[str, Tensor] = {} if self.skip is None else {"skip": self.skip * a / b}
        arrays = {
            "decoder": self.decoder,
            "encoder": self.encoder * a / b,
            "encoder_bias": self.encoder_bias / b,
            "decoder_bias": self.decoder_bias / a,
            "output_bias": self.output_bias / b,
            **extra,
            **{key: value / b for key, value in self._thresholds().items()},
        }
        numbers = {key: np.ascontiguousarray(t.detach().float().cpu().numpy()) for key, t in arrays.items()}
        kind, k = self._activation()
        return Basis(name, "directions", **numbers, activation=kind, k=k, reads=reads)  # type: ignore[arg-type]

    def _thresholds(self) -> dict[str, Tensor]:
        return {}

    def _activation(self) -> tuple[str, int | None]:
        return "relu", None


class L1Coder(SparseCoder):
    """A sparse coder with an L1 penalty; see ``L1Config``."""

    config: L1Config

    def gain(self, read: int) -> float:
        """Return the length at which half the latents, which all fire at first, write no more than x."""
        return min(1.0, 2 * read / self.config.n_latents)

    def losses(
        self, x: Float[Tensor, "n read"], y: Float[Tensor, "n width"], *, dead_after: int, warm: float = 1.0
    ) -> Losses:
        """Return the loss of a batch; see ``SparseCoder.losses``.

        Returns:
            Losses: loss, unexplained variance, active latents per vector, and which latents fired.

        Source: 2309.08600, equations 1 to 4; ghost gradients as in 2406.11944.
        """
        inside, target = self.scale_pair(x, y)
        pre = self.pre(inside)
        f = pre.relu()
        error = target - f @ self.decoder - self.rest(inside)
        norms = torch.linalg.vector_norm(target, dim=1, keepdim=True).clamp(min=1e-6)
        total = (error.square() / norms).mean() + warm * self.config.sparsity * f.sum(1).mean()
        dead = self.dead(dead_after)
        if len(dead):
            total = total + self._ghosts(pre[:, dead], error.detach(), norms, dead)
        active = f > 0
        return Losses(total, _unexplained_variance(error, target), active.sum() / len(x), active.any(0))

    def _ghosts(self, pre: Tensor, error: Tensor, norms: Tensor, dead: Tensor) -> Tensor:
        """Return the loss of dead latents, as exponentials, on the error y − ŷ, made as large as that of the living."""
        # Far above zero an exponential is no use, and no latent that is that large is dead.
        guess = pre.clamp(max=10).exp() @ self.decoder[dead]
        size = error.norm(dim=1, keepdim=True) / (2 * guess.norm(dim=1, keepdim=True) + 1e-6)
        loss = ((error - guess * size.detach()).square() / norms).mean()
        return loss * ((error.square() / norms).mean() / (loss + 1e-6)).detach()

    def keep(self, pre: Float[Tensor, "n latent"]) -> Code:
        """Return what is positive."""
        return keep_above(pre, torch.zeros_like(pre[0]))


class TopKCoder(SparseCoder):
    """A sparse coder that keeps k latents; see ``TopKConfig``."""

    config: TopKConfig
    select: Callable[[Tensor, int], Code] = staticmethod(keep_topk)
    # so many vectors, spread over what is given, show most latents what there is, and cost eight steps of 2,048
    shown = 2**13

    @torch.no_grad()
    def begin(self, x: Float[Tensor, "n read"], y: Float[Tensor, "n width"], *, at_once: int = 512) -> None:
        """Set scales and biases by the first vectors, turn directions towards them, and fit the encoder's length.

        With a quarter of k latents kept, a row d becomes 3 d + m, at length 1, where m points to the vectors that the
        latent was kept of, each as far as it has it: Σ f x for E, Σ f y for D. Then E = g E where
        g = Σ y·ŷ / Σ ‖ŷ‖², for which ŷ of k latents is nearest: at length 1 the k latents of a vector, which share
        most of what they read, would together write several times too much, and the first steps would only undo that.

        Cost: two products of at most 8,192 vectors with the encoder, and the same of what is kept of them.
        """
        super().begin(x, y, at_once=at_once)
        every = slice(None, None, -(-len(x) // self.shown))
        pairs = list(zip(x[every].split(at_once), y[every].split(at_once), strict=True))
        toward_read, toward_write = torch.zeros_like(self.encoder), torch.zeros_like(self.decoder)
        for inside, target in self._centre_pairs(pairs):
            [code] = keep_topk(inside @ self.encoder.T, -(-self.config.k // 4)).transpose(self.config.n_latents)
            toward_read += write(code, inside)
            toward_write += write(code, target)
        for rows, toward in ((self.encoder, toward_read), (self.decoder, toward_write)):
            # A latent that was kept of none stays. Turned further, more latents begin alike, and more of them die.
            rows.copy_(nn.functional.normalize(3 * rows + nn.functional.normalize(toward, dim=1), dim=1))
        along = size = torch.zeros(())
        for inside, target in self._centre_pairs(pairs):
            guess = write(self.select(inside @ self.encoder.T, self.config.k), self.decoder)
            along, size = along + (guess * target).sum(), size + guess.square().sum()
        if along > 0:
            self.encoder.mul_(along / size)

    def _centre_pairs(self, pairs: list[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield scaled vectors without their means."""
        for x, y in pairs:
            yield x * self.scale_in - self.decoder_bias, y * self.scale_out - self.output_bias

    def losses(
        self, x: Float[Tensor, "n read"], y: Float[Tensor, "n width"], *, dead_after: int, warm: float = 1.0
    ) -> Losses:
        """Return the loss of a batch; see ``SparseCoder.losses``.

        Returns:
            Losses: loss, unexplained variance, active latents per vector, and which latents fired.

        Source: 2406.04093, equations 1 to 4 and appendix A.2.
        """
        inside, target = self.scale_pair(x, y)

        def keep(pre: Tensor) -> Code:
            return self.select(pre, self.config.k)

        written, code = autoencode(inside, self.encoder, self.encoder_bias, self.decoder_bias, self.decoder, keep)
        error = target - written - self.rest(inside)
        total = error.square().mean()
        dead = self.dead(dead_after)
        if len(dead) and self.config.aux > 0:
            total = total + self.config.aux * self._aux(inside, error.detach(), dead)
        on = code.values > 0
        fired = torch.zeros(self.config.n_latents, dtype=torch.bool, device=x.device)
        fired[code.latents[on]] = True
        self._note_least(code)
        return Losses(total, _unexplained_variance(error, target), on.sum() / len(x), fired)

    def _aux(self, x: Tensor, error: Tensor, dead: Tensor) -> Tensor:
        """Return mean (e − ê)², where ê is what the best of the dead latents write."""
        most = self.config.k_aux or max(self.decoder.shape[1] // 2, 1)
        keep = partial(keep_topk, k=min(most, len(dead)))
        guess, _ = autoencode(
            x, self.encoder[dead], self.encoder_bias[dead], self.decoder_bias, self.decoder[dead], keep
        )
        return (error - guess).square().mean()

    def _note_least(self, code: Code) -> None:
        pass

    def keep(self, pre: Float[Tensor, "n latent"]) -> Code:
        """Return the k largest."""
        return keep_topk(pre, self.config.k)

    def _activation(self) -> tuple[str, int | None]:
        return "topk", self.config.k


class BatchTopKCoder(TopKCoder):
    """A sparse coder that keeps k latents a vector on average; see ``BatchTopKConfig``."""

    select = staticmethod(keep_batch_topk)
    momentum = 0.99

    def __init__(self, config: BatchTopKConfig, read: int, width: int | None = None, *, seed: int = 0) -> None:
        super().__init__(config, read, width, seed=seed)
        # −1 until the first batch
        self.register_buffer("least", torch.full((), -1.0))
        self.least: Tensor

    @torch.no_grad()
    def _note_least(self, code: Code) -> None:
        if len(code.values):
            now = code.values.min()
            self.least.copy_(torch.where(self.least < 0, now, torch.lerp(now, self.least, self.momentum)))

    def keep(self, pre: Float[Tensor, "n latent"]) -> Code:
        """Return what exceeds the threshold."""
        return keep_above(pre, self.least.clamp(min=0).expand(pre.shape[1]))

    def _thresholds(self) -> dict[str, Tensor]:
        return {"threshold": self.least.clamp(min=0).expand(self.config.n_latents)}

    def _activation(self) -> tuple[str, int | None]:
        return "jumprelu", None


class JumpReLUCoder(SparseCoder):
    """A sparse coder with a learnt threshold for every latent; see ``JumpReLUConfig``."""

    config: JumpReLUConfig

    def __init__(self, config: JumpReLUConfig, read: int, width: int | None = None, *, seed: int = 0) -> None:
        super().__init__(config, read, width, seed=seed)
        first = float(np.log(config.threshold * read**0.5))
        self.log_threshold = nn.Parameter(torch.full((config.n_latents,), first))

    def losses(
        self, x: Float[Tensor, "n read"], y: Float[Tensor, "n width"], *, dead_after: int, warm: float = 1.0
    ) -> Losses:
        """Return the loss of a batch; see ``SparseCoder.losses``.

        Returns:
            Losses: loss, unexplained variance, active latents per vector, and which latents fired.

        Source: 2407.14435, equations 7 to 12.
        """
        inside, target = self.scale_pair(x, y)
        pre, threshold = self.pre(inside), self.log_threshold.exp()
        width = self.config.bandwidth * inside.shape[1] ** 0.5
        f = JumpReLU.apply(pre, threshold, width)
        error = target - f @ self.decoder - self.rest(inside)
        penalty = Step.apply(pre, threshold, width).sum(1).mean()
        total = error.square().mean() + warm * self.config.sparsity * penalty
        active = pre > threshold
        return Losses(total, _unexplained_variance(error, target), active.sum() / len(x), active.any(0))

    def keep(self, pre: Float[Tensor, "n latent"]) -> Code:
        """Return what exceeds its threshold."""
        return keep_above(pre, self.log_threshold.exp())

    def _thresholds(self) -> dict[str, Tensor]:
        return {"threshold": self.log_threshold.exp()}

    def _activation(self) -> tuple[str, int | None]:
        return "jumprelu", None


def _unexplained_variance(error: Tensor, target: Tensor) -> Tensor:
    with torch.no_grad():
        return error.square().sum() / (target - target.mean(0)).square().sum().clamp(min=1e-12)


_CODERS: dict[type[CoderConfig], type[SparseCoder]] = {
    L1Config: L1Coder,
    TopKConfig: TopKCoder,
    BatchTopKConfig: BatchTopKCoder,
    JumpReLUConfig: JumpReLUCoder,
}


@checked
def make_coder(config: CoderConfig, read: int, width: int | None = None, *, seed: int = 0) -> SparseCoder:
    """Return an untrained coder of the config's kind.

    Args:
        config: an ``L1Config``, ``TopKConfig``, ``BatchTopKConfig`` or ``JumpReLUConfig``.
        read: width of what is read.
        width: width of what is written, for a transcoder; the default is ``read``.
        seed: of the initial directions.

    Returns:
        SparseCoder: its weights random.

    Source: see the configs.

    Example:
        >>> make_coder(TopKConfig(8, k=2), 4).encode(torch.ones(1, 4)).shape
        torch.Size([1, 8])
    """
    return _CODERS[type(config)](config, read, width, seed=seed)
