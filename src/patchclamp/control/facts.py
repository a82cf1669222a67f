"""The task of one fact to edit, and the site whose keys the edit reads."""

from collections.abc import Sequence
from typing import Any

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.recording import Recording
from patchclamp.core.task import Case, Part, Task
from patchclamp.subjects.protocols import ReadsText, Records


@checked
def fact(prompt: str, subject: str, target: str, *, contrast: str | None = None) -> Task:
    """Return the task of one edited fact: a prompt, its new answer, and which part of the prompt is the subject.

    Args:
        prompt: ends where the answer follows.
        subject: who or what the fact is about; its last occurrence in the prompt counts.
        target: the new answer, with its leading space.
        contrast: the present answer.

    Returns:
        Task: one case.

    Raises:
        PatchclampError: a prompt without its subject.

    Example:
        >>> fact("Arbon lies in", "Arbon", " Norland").cases[0].parts[0].stop
        5
    """
    start = prompt.rfind(subject) if subject else -1
    if start < 0:
        raise PatchclampError(
            expected="a subject that stands in the prompt",
            got=f"{subject!r} for {prompt!r}",
            remedy="Write it as the prompt does.",
        )
    part = Part("subject", start, start + len(subject))
    case = Case(prompt, None, (target,), () if contrast is None else (contrast,), parts=(part,))
    return Task((case,), "log_probability")


@checked
def only_fact(subject: ReadsText, task: Task) -> tuple[Case, Part, tuple[int, ...]]:
    """Return the one case of a task, its part ``subject``, and the id of its answer.

    Raises:
        PatchclampError: another number of cases, no subject, or an answer of several tokens.
    """
    case = task.cases[0]
    about = next((part for part in case.parts if part.name == "subject"), None)
    if len(task) != 1 or about is None or not isinstance(case.shown, str) or not case.targets:
        raise PatchclampError(
            expected="one case: a prompt, its new answer, and the part 'subject' of the prompt",
            got=f"{len(task)} cases, the first with {len(case.targets)} answers, subject {about}",
            remedy="fact('Ann lives in', 'Ann', ' Arbon') makes one; edit facts one by one.",
        )
    answer = subject.continuation(case.shown, case.targets[0])
    if len(answer) != 1:
        raise PatchclampError(
            expected="a new answer of one token",
            got=f"{case.targets[0]!r} of {len(answer)}",
            remedy="Choose an answer that is one token, with its leading space.",
        )
    return case, about, answer


@checked
def key_site(subject: Records, layer: int | None = None) -> str:
    """Return the site whose activations are the keys of an MLP: ``blocks.L.mlp.act``.

    Args:
        subject: has blocks.
        layer: the block; a quarter of the way up by default.

    Raises:
        PatchclampError: no such block, or none with an MLP.
    """
    sites = [site.path for site in subject.sites() if site.kind == "mlp.act"]
    path = f"blocks.{len(sites) // 4 if layer is None else layer}.mlp.act"
    if path not in sites:
        raise PatchclampError(
            expected=f"a block from 0 to {len(sites) - 1} with an MLP" if sites else "blocks with an MLP",
            got="none" if layer is None else str(layer),
            remedy="Choose another layer." if sites else "Choose a model of a known family.",
        )
    return path


@checked
def neighbours(task: Task, text: Recording, *, skip: Natural = 0, n: Natural = 20) -> tuple[Task, Task]:
    """Return default prompts to test an edit on: paraphrases of the fact, and unrelated prompts.

    Args:
        task: one fact.
        text: ordinary text.
        skip: number of first texts to leave out, because the edit may have been fitted on them.
        n: most prompts of each kind.

    Returns:
        tuple: the fact's prompt after other texts, with its answer; and beginnings of texts, which say nothing of it.

    Raises:
        PatchclampError: too little text.
    """
    case = task.cases[0]
    texts = [one for one in text.stimuli[skip:] if getattr(one, "text", None) and len(one) > 3]
    after = [Case(f"{_beginning(one, 20)} {case.shown}", None, case.targets) for one in texts[:n]]
    others = [Case(_beginning(one, len(one) // 2)) for one in texts[: 5 * n]]
    if not texts:
        raise PatchclampError(
            expected="texts beside those that the edit was made after", got="none", remedy="Record more text."
        )
    return Task(tuple(after), "log_probability"), Task(tuple(others), "log_probability")


def _beginning(stimulus: Any, n: int) -> str:
    """Return the text of a stimulus' first tokens."""
    ends: Sequence[int] = [int(stop) for _, stop in stimulus.spans[:n] if stop > 0]
    return str(stimulus.text)[: max(ends, default=1)]
