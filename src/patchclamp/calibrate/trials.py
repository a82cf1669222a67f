"""A method on one organism, with what is known there."""

import fnmatch
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from patchclamp import organisms
from patchclamp.calibrate import truth as known
from patchclamp.calibrate.corpora import make_corpus, make_evidence, make_exemplars, make_text
from patchclamp.calibrate.described import scorer_inputs
from patchclamp.calibrate.planted_edges import planted_folds, reader_of, writer_of
from patchclamp.core.checks import one_of
from patchclamp.core.errors import PatchclampError
from patchclamp.core.method import Method
from patchclamp.core.method_files import find_method
from patchclamp.core.method_index import find_default
from patchclamp.core.task import Case, Task
from patchclamp.core.training import Training
from patchclamp.core.unit import UnitKey
from patchclamp.organisms import digits, judges, language, learners, populations, superposition
from patchclamp.organisms.language.dialects import examples, prompts, read_dialect
from patchclamp.organisms.language.rewrites import background, rewrite
from patchclamp.subjects.plain import PlainNetwork
from patchclamp.subjects.residual_edges import edge_map

UNKNOWN_WORD = "qzx"
"""A word that no planted organism knows."""
Made = tuple[dict[str, Any], known.Truth]
"""Inputs of a method by the names of its parameters, and what is known of the organism."""


@dataclass(frozen=True, eq=False)
class Trial:
    """Hold what a method is run on, and with what.

    Args:
        method: which.
        place: ``ORGANISM`` or ``ORGANISM:TASK``.
        inputs: by the names of its parameters.
        options: that its card states for this place.
        truth: what is known there.
        seed: of everything random.
    """

    method: Method
    place: str
    inputs: Mapping[str, Any]
    options: Mapping[str, Any]
    truth: known.Truth
    seed: int = 0

    def run(self, **changes: Any) -> Any:
        """Return what the method gives, with some inputs changed."""
        return self.method(**{**self.inputs, **changes}, **self.options, seed=self.seed)

    def parameter(self, noun: str) -> str:
        """Return the name of the first parameter that takes a noun."""
        return next(name for name, taken in self.method.takes.items() if taken.rstrip("?") == noun)


def list_places(method: Method) -> list[tuple[str, str]]:
    """Return the places at which a method is tried, in the order of its card, each with ``show`` or ``miss``.

    Raises:
        PatchclampError: a place at an organism that there is not.
    """
    places: dict[str, str] = {}
    for claim, patterns in (("show", method.calibrated_on), ("miss", tuple(method.must_miss))):
        for pattern in patterns:
            wanted, colon, task = _plain(pattern).partition(":")
            matched = fnmatch.filter(_names(), wanted)
            if not matched:
                raise PatchclampError(
                    expected=f"an organism among {', '.join(_names())}",
                    got=f"{pattern!r} on the card of {method.name}",
                    remedy="Name ORGANISM or ORGANISM:TASK in calibrated_on and must_miss; * stands for several.",
                )
            # What is named to be missed is not to be shown, whatever pattern names it too.
            places |= {f"{name}{colon}{task}": claim for name in matched}
    return list(places.items())


def make_trial(method: Method, place: str, *, seed: int = 0) -> Trial:
    """Return a method's trial at a place.

    Args:
        method: which.
        place: ``ORGANISM`` or ``ORGANISM:TASK``.
        seed: of everything random.

    Returns:
        Trial: the inputs that the card takes, and what is known about them.

    Raises:
        PatchclampError: an organism that has nothing for what the method takes and gives.

    Cost: the organism is built.

    Example:
        >>> from patchclamp.core.method_files import find_method
        >>> make_trial(find_method("relp", "attribute"), "mover-gpt2").method.name
        'relp'
    """
    name, _, task = place.partition(":")
    options: dict[str, Any] = {}
    for pattern, given in method.options_at.items():
        if fnmatch.fnmatch(place, _plain(pattern)):
            options |= given
    home = find_home(name)
    for make in (MAKERS.get(home, _planted_trial), *((_corpus_trial,) if hasattr(home, "build") else ())):
        if (made := make(method, name, task)) is not None:
            return Trial(method, place, made[0], options, made[1], seed)
    raise PatchclampError(
        expected=f"an organism among {', '.join(_names())}, with inputs of a method that gives {method.gives}",
        got=f"{place} for {method.name}",
        remedy="Name in calibrated_on where the method can be tried; calibrate/trials.py says on what.",
    )


def find_home(name: str) -> ModuleType:
    """Return the module of the kind of organism that a name belongs to.

    Raises:
        PatchclampError: no such organism.
    """
    one_of("organism", name, _names())
    return next(home for home in organisms.homes() if name in home.names())


def _names() -> tuple[str, ...]:
    return tuple(name for home in organisms.homes() for name in home.names())


def _plain(pattern: str) -> str:
    return pattern.removeprefix("planted/")


def _planted_trial(method: Method, name: str, task: str) -> Made | None:
    home: Any = find_home(name)
    if task not in ("", "edges") or not hasattr(home, "task"):
        return None
    subject = home.build(name)
    if method.gives == "Descriptions" and "Exemplars" in method.takes.values():
        return _evidence_trial(method, subject, home.card(name))
    inputs = _ask(method, subject, read_word_by_word(name) if task else home.task(name), "", edges=task == "edges")
    if inputs is None:
        return None
    card = home.card(name)
    if method.gives == "Estimate":
        return _explain_for_benchmark(method, inputs)
    if method.gives == "Descriptions":
        # A unit that works against the answer says the other one; one that another backs up has no effect alone.
        words = {
            str(UnitKey.parse(key).without_place()): card["contrast" if effect < 0 else "target"]
            for key, effect in card["effects"].items()
        }
        return inputs, known.PlantedWords(words)
    if not task:
        return inputs, known.PlantedUnits(card["effects"])
    graph = edge_map(subject)
    return inputs, known.PlantedEdges(planted_folds(name, graph), lambda u, v: (writer_of(u), reader_of(v, graph)))


def _evidence_trial(method: Method, subject: Any, card: Mapping[str, Any]) -> Made | None:
    """Return windows of the site of the first planted neurons, and those by which their descriptions are tested."""
    keys = [UnitKey.parse(key).without_place() for key in card["effects"] if "/neurons/" in key]
    sites = sorted({key.site for key in keys})
    if not sites:
        return None
    train, test = make_evidence(subject, sites[0])
    nouns = {noun.rstrip("?"): parameter for parameter, noun in method.takes.items()}
    planted = [str(key) for key in keys if key.site == sites[0]]
    return {"subject": subject, nouns["Exemplars"]: train}, known.PlantedFiring(planted, test)


def read_word_by_word(name: str) -> Task:
    """Return a planted organism's prompt beside its card's corrupted one, and beside itself with each word unknown.

    A circuit's edges are those along which any word can change the answer.
    """
    card = organisms.card(name)
    words = list(re.finditer(r"\w+", card["prompt"]))
    others = [card["prompt"][: word.start()] + UNKNOWN_WORD + card["prompt"][word.end() :] for word in words]
    cases = [Case(card["prompt"], one, (card["target"],), (card["contrast"],)) for one in (card["corrupt"], *others)]
    return Task(tuple(cases), name=f"{name} word by word")


def _digits_trial(method: Method, name: str, task: str) -> Made | None:
    inputs = None if task else _ask(method, digits.build(name), digits.task(), "region")
    if inputs is None or method.gives == "Descriptions":
        return None
    return _explain_for_benchmark(method, inputs) if method.gives == "Estimate" else (inputs, known.Regions())


def _ask(method: Method, subject: Any, task: Task, key: str, *, edges: bool = False) -> dict[str, Any] | None:
    """Return what a method of a question takes; Scores are those of the default method of the kind of key."""
    options: dict[str, Any] = {"level": "edge"} if edges else {}
    makers: Mapping[str, Callable[[], Any]] = {
        "Task": lambda: task,
        "Scores": lambda: find_method(find_default("attribute", key=key), "attribute")(subject, task, **options),
    }
    nouns = {parameter: makers.get(noun.rstrip("?")) for parameter, noun in method.takes.items()}
    if method.gives not in ("Scores", "Estimate", "Descriptions") or None in nouns.values():
        return None
    return {"subject": subject, **{parameter: make() for parameter, make in nouns.items() if make is not None}}


def _explain_for_benchmark(method: Method, inputs: dict[str, Any]) -> Made | None:
    """Return what a benchmark is given, and which of it can be shuffled."""
    nouns = {parameter: noun.rstrip("?") for parameter, noun in method.takes.items()}
    explained = next((name for name, noun in nouns.items() if noun in ("Scores", "Descriptions", "Basis")), None)
    return None if explained is None else (inputs, known.Explained(explained))


def _brain_trial(method: Method, name: str, task: str) -> Made | None:
    if method.needs:
        return None
    brain = populations.make(name, variant=task)
    inputs = brain.inputs(method.takes)
    return None if inputs is None else (inputs, known.ReadTargets(np.array(brain.readable), brain.signal))


def _judges_trial(method: Method, name: str, task: str) -> Made | None:
    nouns = {noun: parameter for parameter, noun in method.takes.items()}
    if task or method.gives != "Estimate" or set(nouns) != {"Task"}:
        return None
    planted = judges.make(name)
    return {"subject": planted.judge, nouns["Task"]: planted.task}, known.Explained(nouns["Task"])


def _stream_trial(method: Method, name: str, task: str) -> Made | None:
    if method.gives != "Training" or [noun.rstrip("?") for noun in method.takes.values()] != ["Stream"]:
        return None
    made = learners.make(name, variant=task)
    plain = Training(0, 0, 0, {}, accuracy=tuple(map(tuple, made.plain.tolist())))
    layer = nn.Linear(made.stream.stages[0].inputs.shape[1], made.stream.n_classes, bias=False).double()
    subject = PlainNetwork(layer, torch.zeros(1, layer.in_features, dtype=torch.float64), name="layer")
    return {"subject": subject, next(iter(method.takes)): made.stream}, known.PlainTraining(plain)


def _directions_trial(method: Method, _name: str, task: Any) -> Made | None:
    """Return activity and a basis of it; what a second recording or basis holds is what was planted."""
    made = superposition.make(task, n_rows=8000 if method.gives == "Basis" else 4000)
    nouns = [(name, noun.rstrip("?")) for name, noun in method.takes.items() if noun != "Corpus?"]
    if method.gives not in ("Basis", "Estimate") or {noun for _, noun in nouns} - {"Recording", "Basis"}:
        return None
    makers: Mapping[str, Iterator[Callable[[], Any]]] = {
        "Recording": iter((lambda: made.recording, lambda: made.concepts)),
        "Basis": iter((lambda: _coder_of(made.recording), lambda: made.basis)),
    }
    inputs = {name: next(makers[noun])() for name, noun in nouns}
    return (
        _explain_for_benchmark(method, inputs)
        if method.gives == "Estimate"
        else (inputs, known.PlantedDirections(made.directions))
    )


def _coder_of(recording: Any) -> Any:
    """Return the basis that the default method finds in planted activity."""
    method = find_method(find_default("decompose"), "decompose")
    return method(recording=recording, n_features=64, k=3, coder_batch=256, passes=20, learning_rate=0.005)


def _language_trial(method: Method, name: str, task: str) -> Made | None:
    if method.kind == "scorer":
        inputs, least = scorer_inputs(name, task, method.takes)
        return inputs, known.TrueDescriptions(least)
    subject = language.build(name)
    if method.gives == "Edit":
        fact = rewrite(task or "lies", 1)
        inputs = {"subject": subject, "task": fact.task, "text": background(subject, "blocks.*.mlp.act", 300)}
        return inputs, known.RewrittenFact(fact.paraphrases, fact.others)
    if method.gives == "Basis":
        wanted, _, other = (task or "java-cpp").partition("-")
        started = [case for case in examples(wanted, other, 24, seed=2).cases if case.label == wanted]
        half = Task(tuple(Case(str(case.shown)[: len(str(case.shown)) // 2]) for case in started), "logit")
        return {"subject": subject, "task": examples(wanted, other, 40)}, known.LabelledText(
            wanted, examples(wanted, other, 24, seed=1), prompts(wanted, 32, seed=1), half, read_dialect
        )
    nouns = {noun.rstrip("?"): parameter for parameter, noun in method.takes.items()}
    if method.gives == "Estimate" and set(nouns) == {"Corpus", "Basis"}:
        shown = [one.stimulus for one in language.text(500, seed=1, name=name)]
        site = "blocks.2.resid_out"
        basis = find_method(find_default("decompose"), "decompose")(
            recording=subject.run(shown, record=[site], logits=False).recording,
            site=site,
            n_features=256,
            k=4,
            coder_batch=128,
            passes=20,
            learning_rate=0.003,
        )
        corpus = make_text(name, 140, seed=2)
        return _explain_for_benchmark(method, {"subject": subject, nouns["Corpus"]: corpus, nouns["Basis"]: basis})
    if method.gives != "Estimate" or set(nouns) != {"Task", "Descriptions"}:
        return None
    texts = Task.of_labels({"text": [str(one.stimulus.text) for one in language.text(3, seed=3, name=name)]})
    side: dict[str, Any] = {"side": task} if task else {}
    described = find_method(find_default("describe"), "describe")(subject, task=texts, **side)
    inputs = {"subject": subject, nouns["Task"]: texts, nouns["Descriptions"]: described}
    return _explain_for_benchmark(method, inputs)


def _corpus_trial(method: Method, name: str, task: str) -> Made | None:
    makers: Mapping[str, Callable[[Any], Any]] = {"Corpus": make_corpus, "Exemplars": make_exemplars}
    nouns = {parameter: makers.get(noun.rstrip("?")) for parameter, noun in method.takes.items()}
    if task or not nouns or None in nouns.values():
        return None
    subject = organisms.build(name)
    given = {parameter: make(subject) for parameter, make in nouns.items() if make is not None}
    return {"subject": subject, **given}, known.Unplanted()


MAKERS: Mapping[Any, Callable[[Method, str, str], Made | None]] = {
    digits: _digits_trial,
    populations: _brain_trial,
    judges: _judges_trial,
    learners: _stream_trial,
    language: _language_trial,
    superposition: _directions_trial,
}
"""Kind of organism → what a method is run on there; None where there is nothing of what it takes and gives.

A kind that is not named here has ``build``, ``card`` and ``task``: its card says which units carry the answer."""
