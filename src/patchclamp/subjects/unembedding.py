"""Unembedding: what vectors of a language model's residual stream say in tokens."""

import torch
from jaxtyping import Float
from torch import Tensor

from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.stimulus import Shown, Stimulus
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.families.spec import Family, families, why_uncovered
from patchclamp.subjects.model import Model
from patchclamp.subjects.text import Tokenizer


@checked
class Unembeds(Model):
    """Read vectors of the residual stream, and what units write to it, as tokens."""

    @property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer; raises where it has none."""
        raise NotImplementedError

    @property
    def n_answers(self) -> int:
        """Number of logits: the vocabulary's tokens."""
        return int(self.module.get_output_embeddings().out_features)

    def answer_name(self, index: int) -> str:
        """Return a token as people read it."""
        return self.tokenizer.token(index)

    def place_name(self, shown: Shown, node: UnitKey) -> str:
        """Return the token at a node's position."""
        assert isinstance(shown, Stimulus)
        assert node.position is not None
        return self.tokenizer.token(int(shown.ids[node.position]))

    def promoted(self, site: str, values: Float[Tensor, "n width"]) -> Float[Tensor, "n token"] | None:
        """Return what values at a site promote through the stream and the unembedding alone; None where unknown."""
        kind = self.site(site).kind
        if kind in ("mlp.act", "attn.z", "ssm.z"):
            return self.read_out(self.written(site, values))
        of_stream = kind == "embed" or kind.endswith(".write") or kind.startswith("resid_")
        return self.read_out(values) if of_stream else None

    def unembed(self, final: Float[Tensor, "... d_model"]) -> Float[Tensor, "... token"]:
        """Return the logits of values at ``final``, the family's soft-cap included."""
        head = self.module.get_output_embeddings()
        logits = head(final)
        return logits if self.family is None else self.family.cap_logits(self.module, logits)

    def read_out(self, directions: Float[Tensor, "n d_model"]) -> Float[Tensor, "n token"]:
        """Return what directions of the residual stream promote: W_U · norm(d), biases taken off.

        A head that does more than unembed (BERT's) is called as a whole. The final norm divides by the direction's own
        size, so rows are comparable within, not between directions.
        """
        family = self.covered()
        whole = self.module.get_submodule(family.head) if family.head else None
        norm = self.module.get_submodule(family.final)
        head = self.module.get_output_embeddings()

        def read(x: Tensor) -> Tensor:
            logits: Tensor = head(norm(x)) if whole is None else whole(x)
            return logits

        with torch.no_grad():
            return read(directions) - read(torch.zeros_like(directions[:1]))

    def written(self, site: str, values: Float[Tensor, "n width"]) -> Float[Tensor, "n d_model"]:
        """Return what values at a site write to the residual stream: W_down (or W_O) · values, biases taken off.

        The module itself is called, so offloaded and quantised weights work. A norm after it is left out.

        Args:
            site: an ``mlp.act`` or ``attn.z`` site.
            values: activations there.
        """
        linear = self.module.get_submodule(self._place(site)[1].module)
        with torch.no_grad():
            both = linear(torch.cat([values, torch.zeros_like(values[:1])]))
        return both[:-1] - both[-1:]

    def covered(self) -> Family:
        """Return the family that covers the model; raise where none does."""
        if self.family is None:
            raise PatchclampError(
                expected="a model that a family file covers",
                got=why_uncovered(self.module, families()).removeprefix("no family file covers "),
                remedy="Use module sites, or add a family: docs/families.md says how.",
            )
        return self.family
