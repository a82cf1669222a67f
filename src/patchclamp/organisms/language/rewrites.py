"""One fact of the world changed, with its paraphrases and the facts that should stay."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from patchclamp.core.arguments import Positive, checked
from patchclamp.core.checks import one_of
from patchclamp.core.recording import Recording
from patchclamp.core.task import Case, Part, Task
from patchclamp.organisms.language.documents import documents
from patchclamp.organisms.language.labelled import label_documents
from patchclamp.organisms.language.tasks import LIES, LIVES, WORKS
from patchclamp.organisms.language.words import NAMES
from patchclamp.organisms.language.world import CITIES, COUNTRIES, world
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.sampled_text import join_recordings

BATCH = 100


@dataclass(frozen=True)
class Rewrite:
    """Hold one changed fact.

    Args:
        task: the prompt, its new answer, its true one as the wrong one, and its subject as a part.
        paraphrases: other prompts for the same fact, with the same answers.
        others: the same prompt about everybody else, and, of a person, what they work as; with their true answers.
    """

    task: Task
    paraphrases: Task
    others: Task


def _tables() -> Mapping[str, tuple[Sequence[str], Mapping[str, str], Sequence[str], Sequence[str]]]:
    return {"lives": (LIVES, world().city, NAMES, CITIES), "lies": (LIES, world().country, CITIES, COUNTRIES)}


@checked
def rewrite(kind: str, number: int = 0) -> Rewrite:
    """Return a changed fact.

    Args:
        kind: ``lives`` (in which city a person lives) or ``lies`` (in which country a city lies).
        number: which; each is about another subject until all have been.

    Raises:
        PatchclampError: no such kind.

    Example:
        >>> case = rewrite("lies").task.cases[0]
        >>> case.shown, case.targets, case.contrasts
        ('Arbon lies in', (' Norland',), (' Velia',))
    """
    tables = _tables()
    one_of("kind", kind, tables)
    templates, table, subjects, objects = tables[kind]
    who = subjects[7 * number % len(subjects)]
    others = [one for one in objects if one != table[who]]
    new = others[number % len(others)]

    def case(template: str, about: str, answer: str, wrongs: tuple[str, ...] = ()) -> Case:
        prompt = template.partition("|")[0].replace("{A}", about)
        start = prompt.index(about)
        return Case(prompt, None, (f" {answer}",), wrongs, parts=(Part("subject", start, start + len(about)),))

    asked = [case(template, who, new, (f" {table[who]}",)) for template in templates]
    kept = [case(templates[0], one, table[one]) for one in subjects if one != who]
    if kind == "lives":
        kept += [case(WORKS[0], one, world().job[one]) for one in subjects]
    own, paraphrases, rest = (Task(tuple(cases), "log_probability") for cases in (asked[:1], asked[1:], kept))
    return Rewrite(own, paraphrases, rest)


@checked
def background(model: LanguageModel, sites: str | Sequence[str], n: Positive = 600) -> Recording:
    """Record an organism over documents like those that it was trained on.

    Args:
        model: a language organism.
        sites: what to record.
        n: documents.

    Returns:
        Recording: rows = tokens, at the sites that the pattern matches.

    Cost: a forward pass per hundred documents.
    """
    shown = [document.stimulus for document in label_documents(islice(documents(0), n), model.tokenizer.bare)]
    parts = [
        model.run(shown[i : i + BATCH], record=sites, logits=False).recording.to_numpy() for i in range(0, n, BATCH)
    ]
    return join_recordings(parts, model)
