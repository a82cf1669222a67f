"""Let a network answer with units clamped and without: it continues text, or classifies an image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from patchclamp.core.arguments import Natural, Positive, checked
from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.core.intervention import Intervention, clamp
from patchclamp.core.subject import Progress, reason_lacking, refuse_no_subject
from patchclamp.subjects.generation import Generation
from patchclamp.subjects.protocols import Classifies, Generates, Records


@checked
@dataclass(frozen=True, eq=False)
class ClampedText:
    """What a model writes after a prompt, without and with clamps.

    Args:
        prompt: what was continued, as it was given.
        interventions: the clamps.
        bare: what is written without any.
        clamped: what is written with them; None without clamps.
    """

    prompt: Any
    interventions: tuple[Intervention, ...]
    bare: Generation
    clamped: Generation | None = None

    def to_json(self) -> dict[str, Any]:
        """Return both texts as JSON-ready data."""
        both = (
            None if one is None else {"text": one.text, "ids": one.ids.tolist()} for one in (self.bare, self.clamped)
        )
        bare, clamped = both
        changes = [one.to_json() for one in self.interventions]
        prompt = self.prompt if isinstance(self.prompt, str) else {"ids": self.bare.prompt.ids.tolist()}
        return {"prompt": prompt, "interventions": changes, "unclamped": bare, "clamped": clamped}


@dataclass(frozen=True)
class ClassScore:
    """How likely one class is.

    Args:
        index: number of the class.
        name: of the class.
        probability: without clamps.
        clamped: with them; None without clamps.
    """

    index: int
    name: str
    probability: float
    clamped: float | None = None


@checked
@dataclass(frozen=True, eq=False)
class ClampedClasses:
    """The likeliest classes of an image, without and with clamps.

    Args:
        image: its name.
        id: its hash.
        interventions: the clamps.
        classes: the likeliest without clamps, then those that are among the likeliest with them only.
    """

    image: str
    id: str
    interventions: tuple[Intervention, ...]
    classes: tuple[ClassScore, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the classes as JSON-ready data."""
        rows = [
            {"class": one.index, "name": one.name, "probability": one.probability, "clamped": one.clamped}
            for one in self.classes
        ]
        changes = [one.to_json() for one in self.interventions]
        return {"image": self.image, "id": self.id, "interventions": changes, "classes": rows}


@checked
def generate(
    subject: Any,
    prompt: Any,
    clamps: Sequence[str | Intervention] = (),
    *,
    max_new_tokens: Positive = 40,
    temperature: float | int = 0.0,
    top: Positive = 5,
    seed: Natural = 0,
    progress: Progress | None = None,
) -> ClampedText | ClampedClasses:
    """Continue a prompt, or classify an image, with units clamped and without.

    Args:
        subject: a model that continues text, or one that classifies images.
        prompt: the text; or the image: a picture, or a path as for ``gallery``.
        clamps: interventions, or what ``clamp`` reads: ``blocks.0.mlp.act/neurons/7=0``.
        max_new_tokens: of text, most tokens to write.
        temperature: of text; 0 takes the likeliest token.
        top: of an image, how many classes.
        seed: of the sampling.
        progress: called with tokens done and at most, with clamps and then without.

    Returns:
        ClampedText: of a model that continues text. ClampedClasses: of a model of images.

    Raises:
        PatchclampError: several prompts, a unit that does not exist, a text longer than the context, or answers that
            are not finite.
        CannotIntervene: a subject that neither continues text nor classifies.

    Source: interventions on activations while text is generated, as in 2308.10248.

    Cost: a forward pass per token, or one for an image; twice where something is clamped.

    Example:
        >>> from patchclamp.loaders import load
        >>> found = generate(load("organism:cat"), "the old cat", ["blocks.0.mlp.act/neurons/7=0"], max_new_tokens=1)
        >>> found.bare.text, found.clamped.text
        (' sat', ' ran')
    """
    refuse_no_subject(subject, Records, "that continues text or classifies images")
    changes = tuple(clamp(one) if isinstance(one, str) else one for one in clamps)
    if not reason_lacking(subject, Classifies):
        return _classify(subject, prompt, changes, top)
    if why := reason_lacking(subject, Generates):
        raise CannotIntervene(
            expected="a subject that continues text or classifies images",
            got=f"{subject.name}: {why}",
            remedy="subject.run(inputs, interventions=…) shows it anything else.",
        )
    how: dict[str, Any] = {
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "seed": seed,
        "progress": progress,
    }
    # With clamps first, so that one that cannot be is refused before anything is written.
    changed = subject.generate(prompt, interventions=list(changes), **how) if changes else [None]
    bare = subject.generate(prompt, **how)
    if len(bare) != 1:
        raise PatchclampError(expected="one prompt", got=f"{len(bare):,}", remedy="Continue each by itself.")
    return ClampedText(prompt, changes, bare[0], changed[0])


def _classify(subject: Any, image: Any, changes: tuple[Intervention, ...], top: int) -> ClampedClasses:
    shown = subject.stimuli(image)
    if len(shown) != 1:
        raise PatchclampError(expected="one image", got=f"{len(shown):,}", remedy=f"Name one: {image}:0.")
    if subject.n_answers == 1:
        raise PatchclampError(
            expected="a model that chooses among classes",
            got=f"{subject.name}, which gives one number",
            remedy=f"Explain it: patchclamp explain MODEL TEXT --target {subject.answer_name(0)}; in Python "
            "model.measure(text, pc.Metric('logit', (0,))) gives it.",
        )

    def weigh(interventions: list[Intervention]) -> Any:
        return subject.run(shown, interventions=interventions).logits[0].flatten().double().softmax(-1)

    changed = weigh(list(changes)) if changes else None
    bare = weigh([])
    if not (bare if changed is None else bare + changed).isfinite().all():
        raise PatchclampError(
            expected="finite answers",
            got=f"NaN with {len(changes) or 'nothing'} clamped",
            remedy="Clamp to a value that the model's own numbers can hold.",
        )
    orders = [p.argsort(descending=True, stable=True)[:top].tolist() for p in (bare, changed) if p is not None]
    classes = [
        ClassScore(i, subject.answer_name(i), float(bare[i]), None if changed is None else float(changed[i]))
        for i in dict.fromkeys(i for order in orders for i in order)
    ]
    name = getattr(shown[0], "name", None) or getattr(shown[0], "text", None) or shown[0].id[:12]
    return ClampedClasses(name, shown[0].id, changes, tuple(classes))
