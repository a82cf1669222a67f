"""Continue one prompt without and with a direction, beside random directions."""

from dataclasses import dataclass
from typing import Any

from patchclamp.ablate.steering import Writes, measure_steered, push
from patchclamp.core.arguments import Natural, Positive, checked
from patchclamp.core.basis import Basis
from patchclamp.core.estimate import Estimate
from patchclamp.core.intervention import At
from patchclamp.core.provenance import Provenance
from patchclamp.core.receipt import Receipt
from patchclamp.core.subject import Progress

BATCH = 64


@checked
@dataclass(frozen=True, eq=False)
class SteeredText:
    """Hold the effect of a direction on the text that follows one prompt.

    Args:
        prompt: what was continued.
        site: where the direction is added.
        strength: in the site's units of activation.
        without: the likeliest continuation.
        steered: the same with the direction.
        receipt: how far sampled text moves along the direction, read without it, beside random directions.
        perplexity: of the sampled text without the direction, under the subject as it is.
        perplexity_steered: of the sampled text with it, likewise.
        provenance: of the direction.
    """

    prompt: str
    site: str
    strength: float
    without: str
    steered: str
    receipt: Receipt
    perplexity: Estimate
    perplexity_steered: Estimate
    provenance: Provenance

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON-ready data."""
        return {
            "prompt": self.prompt,
            "site": self.site,
            "strength": self.strength,
            "without": self.without,
            "steered": self.steered,
            "receipt": self.receipt.to_json(),
            "perplexity": self.perplexity.to_json(),
            "perplexity_steered": self.perplexity_steered.to_json(),
            "provenance": self.provenance.to_json(),
        }


@checked
def continue_steered(
    subject: Writes,
    basis: Basis,
    prompt: str,
    strength: float | None = None,
    *,
    nats: float = 0.1,
    at: At = None,
    unit: Natural = 0,
    n: Positive = 20,
    n_random: Positive = 99,
    max_new_tokens: Positive = 24,
    seed: Natural = 0,
    progress: Progress | None = None,
) -> SteeredText:
    """Continue a prompt without and with a direction, and measure how far the text moves along it.

    Sampled continuations are shown to the subject again, without any direction, and their mean activity at the site is
    projected on it. The effect is that of the steered text minus that of the text without, in units of the distance
    between the labels' means where the basis says it: 1 is the whole way from one label to the other. Random directions
    of the same norm are added at the same strength, and their text is projected on the same direction.

    Args:
        subject: a language model that generates.
        basis: directions with their site, as ``steer`` finds them.
        prompt: text that is continued.
        strength: in the site's units of activation; the default is the one that changes next-token predictions by
            ``nats``.
        nats: mean KL divergence per token of the default strength.
        at: positions; the default is every position and every generated token.
        unit: which direction.
        n: continuations that are sampled, at temperature 1.
        n_random: random directions.
        max_new_tokens: of a continuation.
        seed: of sampling and random directions.
        progress: called with continuations done and in all.

    Returns:
        SteeredText: the likeliest continuations, and a receipt over the sampled ones.

    Raises:
        PatchclampError: no site or direction of that number, no room to continue, a strength at which answers are not
            finite, or a budget that no strength reaches.

    Source: 2308.10248 and 2312.06681 steer this way; the projection and the random directions are ours.

    Cost: 2 + (2 + n_random) · n continuations, a forward pass over each, and 20 · n more for the default strength.

    Example:
        >>> from patchclamp.loaders import load
        >>> import numpy as np
        >>> up = Basis("up", "directions", decoder=np.eye(16)[:1], site="blocks.0.mlp.act")
        >>> text = continue_steered(load("organism:cat"), up, "the old cat", 5.0, n=2, n_random=2, max_new_tokens=2)
        >>> text.strength
        5.0
    """
    effect = measure_steered(
        subject,
        basis,
        [prompt] * n,
        strength,
        nats=nats,
        at=at,
        unit=unit,
        n_random=n_random,
        max_new_tokens=max_new_tokens,
        seed=seed,
        progress=progress,
    )
    pushes = [push(basis, effect.strength, unit=unit, at=at)]
    likeliest = [
        subject.generate([prompt], interventions=own, max_new_tokens=max_new_tokens)[0].text for own in ([], pushes)
    ]
    return SteeredText(
        prompt,
        effect.site,
        effect.strength,
        likeliest[0],
        likeliest[1],
        effect.receipt,
        effect.perplexity,
        effect.perplexity_steered,
        basis.provenance,
    )
