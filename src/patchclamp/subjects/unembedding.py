"""What vectors of a language model's residual stream say in tokens."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.site import Site
from patchclamp.core.stimulus import Shown, Stimulus
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.families.spec import Family, families, module_path, reason_uncovered
from patchclamp.subjects.head_circuits import HeadCircuit, factor_heads
from patchclamp.subjects.model import Model
from patchclamp.subjects.placement import bring_weights
from patchclamp.subjects.relevance_rules import check_norm, subtracts_mean
from patchclamp.subjects.shown_text import ShownText


def write_factor(model: Model, site: str) -> float:
    """Return the number by which a family scales what a site's projection gives, before it is added to the stream."""
    place: Any = model._places.get(f"{site.rpartition('.')[0]}.write", (None, None))[1]
    return float(getattr(place, "factor", 1.0))


@checked
class Unembeds(ShownText):
    """Read vectors of the residual stream, and what units write to it, as tokens."""

    _head: str = ""
    """Path of the module that gives the logits; empty where no linear map does."""

    @property
    def n_answers(self) -> int:
        """Number of logits: the vocabulary's tokens; 0 where no head gives any."""
        return int(self.module.get_submodule(self._head).out_features) if self._head else 0

    @property
    def special_answers(self) -> frozenset[int]:
        """Ids of special tokens, which stand for no text."""
        return frozenset(id for id in self.tokenizer.special if id < self.n_answers)

    def answer_name(self, index: int) -> str:
        """Return a token as people read it."""
        return self.tokenizer.token(index)

    def place_name(self, shown: Shown, node: UnitKey) -> str:
        """Return the token at a node's position."""
        assert isinstance(shown, Stimulus)
        assert node.position is not None
        return self.tokenizer.token(int(shown.ids[node.position]))

    def promoted_logits(self, site: str, values: Float[Tensor, "n width"]) -> Float[Tensor, "n token"] | None:
        """Return what values at a site promote through the stream and the unembedding alone; None where unknown."""
        kind = self.site(site).kind
        if kind in ("mlp.act", "attn.z", "ssm.z"):
            return self.read_out(self.write_to_stream(site, values))
        of_stream = kind == "embed" or kind.endswith(".write") or kind.startswith("resid_")
        return self.read_out(values) if of_stream else None

    def _find_head(self) -> str:
        """Return the path of the module that gives the logits; empty where there is none."""
        head = self.module.get_output_embeddings()
        return "" if head is None else module_path(self.module, head)

    @property
    def _headless(self) -> bool:
        return not self._head

    @property
    def head(self) -> Any:
        """The map from the normed stream to the logits; raises where there is none."""
        if not self._head:
            raise PatchclampError(
                expected="a model with an unembedding: a linear map from the stream to its answers",
                got=f"{self.name}, a {type(self.module).__name__}"
                + (" that was saved without its head" if self._headless else ""),
                remedy="Survey and record it, or load the language model that it belongs to.",
            )
        return self.module.get_submodule(self._head)

    def unembed(self, final: Float[Tensor, "... d_model"]) -> Float[Tensor, "... token"]:
        """Return the logits of values at ``final``, the family's soft-cap included."""
        logits = self.head(final)
        return logits if self.family is None else self.family.cap_logits(self.module, logits)

    def read_out(self, directions: Float[Tensor, "n d_model"]) -> Float[Tensor, "n token"]:
        """Return what directions of the residual stream promote: W_U · norm(d), biases taken off.

        A head that does more than unembed (BERT's) is called as a whole. The final norm divides by the direction's own
        size, so rows are comparable within, not between directions.
        """
        family = self.covering_family()
        steps = [self.module.get_submodule(path) for path in family.head]
        norm = self.module.get_submodule(family.final_path(self.module))
        head = self.head

        def read(x: Tensor) -> Tensor:
            for step in steps or (head,):
                x = step(x)
            return x

        with torch.no_grad():
            nothing = torch.zeros_like(directions[:1])
            if not steps:
                directions = norm(directions) - norm(nothing)
            logits = read(directions)
            # Where nothing is left to take off, a pass over all logits is saved.
            if steps or getattr(head, "bias", None) is not None:
                logits = logits - read(nothing)
            return family.scale_logits(self.module, logits)

    @property
    def tied_embeddings(self) -> bool:
        """Whether tokens are embedded by the rows that unembed them."""
        weights = [getattr(one, "weight", None) for one in (self.module.get_input_embeddings(), self.head)]
        return isinstance(weights[0], Tensor) and weights[0] is weights[1]

    def unembedding_rows(self) -> Float[Tensor, "token d_model"] | None:
        """Return the direction of the normed stream that each token is read from; None where no weight says it.

        Quantised and offloaded heads, and heads that do more than unembed, have none that can be shown.
        """
        weight = None if self.covering_family().head else _plain_weight(self.head)
        return None if weight is None else weight.detach().T

    def head_circuits(self, site: str) -> list[HeadCircuit]:
        """Return the circuit W_V W_O of every head of a block, as ``factor_heads`` gives it."""
        return factor_heads(self, site)

    def write_to_stream(self, site: str, values: Float[Tensor, "n width"]) -> Float[Tensor, "n d_model"]:
        """Return what values at a site write to the residual stream: W_down (or W_O) · values, biases taken off.

        The module itself is called, so offloaded and quantised weights work. A norm after it is left out; a number by
        which the family scales what is added is not.

        Args:
            site: an ``mlp.act`` or ``attn.z`` site.
            values: activations there.
        """
        linear = self.module.get_submodule(self._place(site)[1].module)
        with torch.no_grad():
            both = linear(torch.cat([values, torch.zeros_like(values[:1])]))
        return (both[:-1] - both[-1:]) * write_factor(self, site)

    def write_directions(self, site: str, units: slice) -> Float[Tensor, "unit d_model"]:
        """Return what units of a site write to the residual stream at activation 1, in float32.

        Args:
            site: an ``mlp.act`` or ``attn.z`` site.
            units: which of its coordinates.

        Raises:
            PatchclampError: a site that does not write to the stream through one linear map.

        Example:
            >>> from patchclamp.loaders import load
            >>> load("organism:cat").write_directions("blocks.0.mlp.act", slice(0, 2)).shape
            torch.Size([2, 64])
        """
        own_site = self._writer(site)
        weight = _plain_weight(self.module.get_submodule(self._place(site)[1].module))
        if weight is not None:
            return weight[units].detach().to(torch.float32, copy=True)
        return self.write_to_stream(site, self._one_hot(own_site, units)).float()

    def read_directions(self, site: str, units: slice, branch: str = "mlp.pre") -> Float[Tensor, "unit d_model"]:
        """Return the direction of the stream that each unit reads, the gain of the norm before it included.

        Args:
            site: an ``mlp.act`` site.
            units: which of its neurons.
            branch: ``mlp.pre``, what the nonlinearity reads (in a gated MLP the gate), or ``mlp.up``, its other branch.

        Returns:
            Tensor: ``(unit, d_model)``, float32; without its mean where the norm takes the mean off.

        Raises:
            PatchclampError: no such branch, or no norm of a known kind before it.
        """
        family, layer = self.covering_family(), self._writer(site).layer or 0
        if family.block.get("mlp.act") is None or not site.endswith(".mlp.act"):
            raise PatchclampError(
                expected="a site of neurons, blocks.N.mlp.act",
                got=site,
                remedy="What units of other sites read is no direction of the stream.",
            )
        place: Any = family.block.get(branch)
        if place is None or not family.entry_norms:
            known = [name for name in ("mlp.pre", "mlp.up") if name in family.block]
            why = f"{branch}: its MLPs have {', '.join(known)}" if place is None else "no norm before its MLPs"
            raise PatchclampError(
                expected=f"for {self.name} a branch of the MLP that reads the normed stream",
                got=why,
                remedy="Read what units write: side write.",
            )
        block = family.layers(self.module)[layer]
        path = family.mlp_norm(block)
        linear, norm = block.get_submodule(place.module), block.get_submodule(path)
        check_norm(norm, family.gain, path)
        with torch.no_grad():
            weight = _plain_weight(linear)
            if weight is None:
                each = torch.eye(self.site(f"blocks.{layer}.resid_in").width, dtype=self.dtype, device=self.device)
                weight = linear(each) - linear(torch.zeros_like(each[:1]))
            # A fused projection gives the gate's other branch too.
            rows = place.take(weight)[:, units].T.to(torch.float32, copy=True)  # (unit, d_model)
            with bring_weights(norm):
                if getattr(norm, "weight", None) is not None:
                    rows = rows * family.gain(norm).detach().float()
        return rows - rows.mean(1, keepdim=True) if subtracts_mean(norm) else rows

    def _writer(self, site: str) -> Site:
        own_site = self.site(site)
        if own_site.kind not in ("mlp.act", "attn.z"):
            raise PatchclampError(
                expected="a site that writes to the stream through one linear map, such as blocks.0.mlp.act",
                got=site,
                remedy="`patchclamp info MODEL` lists them.",
            )
        return own_site

    def _one_hot(self, site: Site, units: slice) -> Tensor:
        places = range(*units.indices(site.width))
        rows = torch.zeros(len(places), site.width, dtype=self.dtype, device=self.device)
        rows[torch.arange(len(places)), torch.tensor(places)] = 1
        return rows

    def covering_family(self) -> Family:
        """Return the family that covers the model; raise where none does."""
        if self.family is None:
            raise PatchclampError(
                expected="a model that a family file covers",
                got=reason_uncovered(self.module, families()).removeprefix("no family file covers "),
                remedy="Use module sites, or add a family: docs/howto/family.md says how.",
            )
        return self.family


def _plain_weight(linear: nn.Module) -> Float[Tensor, "in out"] | None:
    """Return what a linear map multiplies with; None where it must be called (offloaded, quantised)."""
    weight = getattr(linear, "weight", None)
    transposed = type(linear).__name__ == "Conv1D"
    if not (transposed or type(linear) is nn.Linear) or not isinstance(weight, Tensor) or hasattr(linear, "_hf_hook"):
        return None
    if type(weight.data) is not Tensor or weight.is_meta or not weight.is_floating_point():
        return None
    return weight if transposed else weight.T
