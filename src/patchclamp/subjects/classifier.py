"""A classifier of texts, or a reward model, in the rig: what it answers is a class, or one number."""

from collections.abc import Callable, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from patchclamp.core.arguments import checked
from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.core.logit_lens import LogitLens
from patchclamp.core.stimulus import Stimulus
from patchclamp.core.subject import Capabilities
from patchclamp.subjects.batching import Batch, Padding
from patchclamp.subjects.cases import ReadCase
from patchclamp.subjects.classes import NamesClasses
from patchclamp.subjects.engine import Restart
from patchclamp.subjects.families.spec import families, reason_uncovered
from patchclamp.subjects.language import Attention, LanguageModel
from patchclamp.subjects.reading import read_classes
from patchclamp.subjects.relevance_rules import Rule

SCORE = "score"
"""Where transformers' decoders keep the map from the last token's state to the classes."""
_AT_END = (-1,)


@checked
class TextClassifier(NamesClasses, LanguageModel):
    """Lay a classifier of texts, or a reward model, in the rig.

    Its logits are those of the classes, ``(stimulus, 1, class)``, read once for a whole text, so that metrics have the
    position −1. A decoder reads the last token's state; padding is left out whatever the config says of it.

    Args:
        model: a ``…ForSequenceClassification``; used as it is, wherever its weights lie, restored after use.
        tokenizer: its tokenizer; None where only token ids are shown.
        name: what to call it in keys.
        hash: identity, where the caller knows it (a folder's hash); else that of the weights.

    Example:
        >>> from transformers import LlamaConfig, LlamaForSequenceClassification
        >>> sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        >>> model = TextClassifier(LlamaForSequenceClassification(LlamaConfig(vocab_size=50, num_labels=3, **sizes)))
        >>> model.run([[1, 2, 3], [4, 5]]).logits.shape, model.site("blocks.0.mlp.act").width
        (torch.Size([2, 1, 3]), 32)
    """

    def __init__(self, model: Any, tokenizer: Any = None, *, name: str | None = None, hash: str | None = None) -> None:
        self._scored = isinstance(getattr(model, SCORE, None), nn.Linear)
        super().__init__(model, tokenizer, name=name, hash=hash)
        # What stands between the blocks and the classes of an encoder is no linear map.
        self.direct = self.direct and self._scored

    def _find_head(self) -> str:
        return SCORE if self._scored else ""

    @property
    def _headless(self) -> bool:
        return False

    @property
    def capabilities(self) -> Capabilities:
        """What can be done with it; ``missing`` says why not where it cannot."""
        bare = super().capabilities
        missing = tuple(each for each in bare.missing if each[0] != "generate")
        why = "it answers with classes, not with text" if self.n_answers > 1 else "it answers with one number"
        return Capabilities(True, bare.differentiate, False, bare.attention, (*missing, ("generate", why)))

    @property
    def n_answers(self) -> int:
        """Number of logits: classes; 1 of a reward model."""
        return int(self.module.config.num_labels)

    @property
    def special_answers(self) -> frozenset[int]:
        """Classes that stand for nothing: none."""
        return frozenset()

    def read_case(self, shown: Any, targets: Sequence[Any], contrasts: Sequence[Any] = (), **how: Any) -> ReadCase:
        """Turn a text and its classes into tokens and a metric; see ``Model.read_case``.

        Returns:
            ReadCase: stimulus, counterpart and metric.
        """
        return read_classes(self, shown, targets, contrasts, **how)

    def promoted_logits(self, site: str, values: Float[Tensor, "n width"]) -> Float[Tensor, "n token"] | None:
        """Return what values at a site promote through the stream and the classes' map alone; None where unknown."""
        return super().promoted_logits(site, values) if self.direct else None

    def batch(self, stimuli: Sequence[Stimulus], padding: Padding = "right") -> Batch:
        """Lay stimuli out as one padded rectangle; an encoder reads its first column, so it is padded on the right."""
        return super().batch(stimuli, padding if self._scored else "right")

    def continuation(self, prompt: str | Stimulus, answer: str) -> tuple[int, ...]:
        """Refuse: the number of a token is no class.

        Raises:
            CannotIntervene: always.
        """
        raise CannotIntervene(
            expected="a model that continues text, for an answer in tokens",
            got=f"{self.name}, which answers with classes",
            remedy="Name a class where explain, attribute and patch ask for the answer.",
        )

    def logit_lens(self, text: Any, **how: Any) -> LogitLens:
        """Refuse: a lens reads the next token at every place, and classes are read once, at a text's end.

        Raises:
            CannotIntervene: always.
        """
        raise CannotIntervene(
            expected="a model that predicts tokens, for the logit lens",
            got=f"{self.name}, which answers with classes",
            remedy="Attribute a class to blocks.*.resid_out, or patch these sites.",
        )

    # -- inside -------------------------------------------------------------------------------------------------------

    def _forward(
        self,
        batch: Batch,
        paths: Sequence[str],
        keep: Callable[[str, Tensor], Tensor],
        interventions: Sequence[Any],
        logits: bool | Sequence[int],
        attention: Attention,
        restart: Restart | None,
        rules: Sequence[Rule] = (),
        freeze: bool = False,
    ) -> Tensor | None:
        chosen: bool | Sequence[int] = False
        if logits is not False:
            asked = _AT_END if logits is True else tuple(logits)
            if set(asked) != {-1}:
                raise PatchclampError(
                    expected="the position −1: a classifier answers once for a whole text",
                    got=f"positions {asked}"[:80],
                    remedy="Leave the positions out: Metric('logit', (class,)).",
                )
            chosen = asked
        return super()._forward(batch, paths, keep, interventions, chosen, attention, restart, rules, freeze)

    def _answer(self, batch: Batch) -> Tensor:
        inputs = self._inputs(batch)
        if self._scored:
            # The model itself looks for the last token by the config's padding id, which a text may hold too.
            scored: Tensor = self.module.get_submodule(SCORE)(self.module.base_model(**inputs)[0])
            return scored
        answered: Tensor = self.module(**inputs).logits
        return answered[:, None]

    def _check_padding(self, batch: Batch) -> None:
        if batch.padded:
            raise PatchclampError(
                expected="texts of one length",
                got=f"{int(batch.lengths.min())} to {int(batch.lengths.max())} tokens, and "
                f"{reason_uncovered(self.module, families())}, so that nobody knows whether it reads padding",
                remedy="Run texts of each length by themselves (--batch-size 1).",
            )


def is_classifier(model: Any) -> bool:
    """Return whether a transformers model answers with classes of whole texts, or one number for each.

    Args:
        model: any module.

    Example:
        >>> is_classifier(nn.Linear(2, 2))
        False
    """
    return type(model).__name__.endswith("ForSequenceClassification") and hasattr(model, "config")
