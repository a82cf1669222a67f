"""The card of one method, and all that is read from the annotations of its one function."""

import inspect
import re
import time
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from patchclamp.core import options as opts
from patchclamp.core.arguments import Natural, checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.provenance import Provenance, read_versions
from patchclamp.core.rooms import FOLDERS, ROOMS
from patchclamp.core.subject import Keep, Progress, keep_nothing, reason_lacking
from patchclamp.core.tier import NOT_STORED, Tier, find_tier

TAKES = (
    "Task",
    "Corpus",
    "Recording",
    "Cohort",
    "Stream",
    "Split",
    "Scores",
    "Basis",
    "Descriptions",
    "Exemplars",
    "Rollouts",
    "Judge",
    "Chooser",
    "Reader",
    "Encoder",
)
"""Nouns that a method may take, beside the subject; the last four answer for people, see ``describe/judge.py``."""
GIVES = (
    "Scores",
    "Graph",
    "Basis",
    "Recording",
    "Intervention",
    "Edit",
    "Descriptions",
    "Exemplars",
    "Rollouts",
    "Readout",
    "Similarity",
    "Training",
    "Estimate",
)
"""Nouns of which a method gives one."""
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_ARXIV = re.compile(r"\d{4}\.\d{4,5}")
_ORACLE = re.compile(r"oracles(\.[a-z0-9_]+)+:[a-z0-9_]+")
OURS = "ours"


@checked
@dataclass(frozen=True)
class Paper:
    """Name where a method comes from.

    Args:
        reference: an arXiv number, ``doi:…``, or ``ours`` where the method is our own.
        equation: which equation, section or algorithm is implemented.

    Raises:
        PatchclampError: a reference of another form.

    Example:
        >>> Paper("2508.21258", equation="4").link
        'https://arxiv.org/abs/2508.21258'
    """

    reference: str
    equation: str = ""

    def __post_init__(self) -> None:
        known = _ARXIV.fullmatch(self.reference) or self.reference == OURS
        if not known and not re.fullmatch(r"doi:10\.\d{4,9}/\S+", self.reference):
            raise PatchclampError(
                expected="an arXiv number, doi:10.…/…, or ours",
                got=repr(self.reference),
                remedy="For example Paper('2508.21258', equation='4').",
            )

    @property
    def link(self) -> str:
        """The address of the paper; empty for our own."""
        if self.reference == OURS:
            return ""
        doi = self.reference.removeprefix("doi:")
        return f"https://doi.org/{doi}" if doi != self.reference else f"https://arxiv.org/abs/{doi}"


@checked
@dataclass(frozen=True)
class Sizes:
    """Say how large the inputs of a method are, so that its cost can be stated before it runs.

    Args:
        cases: of the task.
        units: that are scored, searched or fitted at each position.
        positions: of the longest case.
        rows: of the first recording: tokens, conditions, times.
        targets: columns that are predicted.
        folds: of the split.
    """

    cases: Natural = 1
    units: Natural = 0
    positions: Natural = 1
    rows: Natural = 0
    targets: Natural = 0
    folds: Natural = 1


@checked
@dataclass(frozen=True)
class Cost:
    """Say what a method will take, before it begins.

    Args:
        forward: rows of forward passes, of one case each.
        backward: rows of backward passes.
        bytes: memory beyond the model's and the inputs'.
    """

    forward: Natural = 0
    backward: Natural = 0
    bytes: Natural = 0


@checked
@dataclass(frozen=True)
class Method:
    """Describe a method: its function, what it is for, where it comes from, and what proves it.

    Args:
        run: the one function. Its parameters are ``subject`` (annotated with the protocols that it needs) where it has
            one, nouns, ``options`` (a frozen dataclass) where it has some, ``seed``, ``progress``, and ``keep`` where
            parts of its result can be kept as soon as they are known (``core.subject.Keep``); its return
            annotation is the noun that it gives.
        name: how it is called on the command line and in Python.
        room: one of ``core.rooms.ROOMS``.
        title: its name as people write it.
        question: what it answers.
        papers: where it comes from.
        keys: what its result is keyed by: ``unit``, ``edge``, ``region``, ``time``, ``step``; empty where by nothing.
        cost: sizes and options → what it will take.
        oracle: the slow function that it is tested against, ``oracles.FILE:FUNCTION``.
        calibrated_on: places at which it must find what was planted, ``ORGANISM`` or ``ORGANISM:TASK``; ``*`` stands
            for several. What is measured there follows from the noun that it gives (``patchclamp.calibrate.measures``).
        must_show: what it must find there, in one sentence.
        must_miss: place → why it cannot find what was planted there.
        options_at: place → the options that it is tried with there; ``*`` stands for several, later places win.
        sources: further files of the package that decide its figures, such as an engine; its own is always one.
        reproduced: stored figures of papers on real data, ``benchmarks/figures/NAME.json`` in the repository.
        measures: whether its scores are measured effects, not predictions of them.
        default_for: what it is the default of, as ``ROOM`` or ``ROOM:KEY``.
        kind: one of ``core.rooms.FOLDERS``.
        quick: options with which it is compared with its oracle, and runs the conformance suite; the defaults where
            these are quick.
        resumable: whether an interrupted run, kept in a folder, goes on where it was.
        outside: what it needs that is no part of the package, such as a server; such a method is tested, but there is
            nothing to calibrate it on, and it stays experimental.

    Raises:
        PatchclampError: a card that is incomplete, or a function whose annotations do not say what it takes and gives.
    """

    run: Callable[..., Any] = field(repr=False)
    name: str
    room: str
    title: str
    question: str
    papers: tuple[Paper, ...]
    cost: Callable[[Sizes, Any], Cost] = field(repr=False)
    oracle: str
    calibrated_on: tuple[str, ...]
    must_show: str
    keys: tuple[str, ...] = ()
    must_miss: Mapping[str, str] = field(default_factory=dict)
    options_at: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    reproduced: tuple[str, ...] = ()
    default_for: tuple[str, ...] = ()
    measures: bool = False
    kind: str = "method"
    quick: Mapping[str, Any] = field(default_factory=dict)
    resumable: bool = False
    outside: str = ""

    def __post_init__(self) -> None:
        wrong = [
            what
            for what, fits in {
                f"name {self.name!r}": _NAME.fullmatch(self.name),
                f"room {self.room!r}": self.room in ROOMS,
                f"kind {self.kind!r}": self.kind in FOLDERS,
                "no title": self.title,
                "a question without ?": self.question.endswith("?"),
                "no paper": self.papers,
                f"oracle {self.oracle!r}": _ORACLE.fullmatch(self.oracle),
                "no organism on which it can fail": self.calibrated_on,
                "nothing that it must show": self.must_show,
            }.items()
            if not fits
        ]
        if wrong:
            raise PatchclampError(
                expected=f"a complete card of a method in a room among {', '.join(ROOMS)}",
                got=f"{self.name}: {'; '.join(wrong)}",
                remedy="Each names a paper (or Paper('ours')), an oracle oracles.FILE:FUNCTION and an organism.",
            )
        self._check_annotations()

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return typing.get_type_hints(self.run)

    @cached_property
    def _parameters(self) -> dict[str, inspect.Parameter]:
        return dict(inspect.signature(self.run).parameters)

    @property
    def needs(self) -> tuple[type, ...]:
        """The protocols that its subject must keep; none where it takes no subject."""
        protocol = self._hints.get("subject")
        # A subject that may be left out is annotated with None too.
        protocol = next((one for one in typing.get_args(protocol) if one is not type(None)), protocol)
        if protocol is None:
            return ()
        # A protocol that only joins others has no members of its own, and is none that people know.
        parts = [one for one in protocol.__mro__ if getattr(one, "_is_protocol", False) and _has_members(one)]
        return tuple(one for one in parts if not any(one is not other and one in other.__mro__ for other in parts))

    @property
    def takes(self) -> dict[str, str]:
        """Parameter → noun, without the subject; ``?`` ends the name of a noun that may be left out."""
        nouns = {}
        for name, parameter in self._parameters.items():
            if name not in ("subject", "options", "seed", "progress", "keep"):
                noun, optional = _noun_of(self._hints.get(name))
                nouns[name] = noun + ("?" if optional or parameter.default is not inspect.Parameter.empty else "")
        return nouns

    @property
    def gives(self) -> str:
        """The noun that it gives."""
        return _noun_of(self._hints.get("return"))[0]

    @property
    def file(self) -> str:
        """The file of its function, as the index names it: ``patchclamp/attribute/methods/relp.py``."""
        return self.run.__module__.replace(".", "/") + ".py"

    @property
    def tier(self) -> Tier:
        """Its tier by the stored calibration; a method that is not the package's own is experimental."""
        ours = self.run.__module__.startswith("patchclamp.")
        return find_tier(f"{self.room}/{self.name}", self.outside) if ours else NOT_STORED

    @property
    def options(self) -> type:
        """The class of its options."""
        options_class: type = self._hints.get("options", opts.NoOptions)
        return options_class

    def _check_annotations(self) -> None:
        strange = [f"{name}: {noun}" for name, noun in self.takes.items() if noun.rstrip("?") not in TAKES]
        if self.gives not in GIVES:
            strange.append(f"→ {self.gives or 'nothing'}")
        if strange:
            raise PatchclampError(
                expected=f"a function that takes nouns among {', '.join(TAKES)} and gives one of {', '.join(GIVES)}",
                got=f"{self.name} with {'; '.join(strange)}",
                remedy="What is no noun is an option. Three outputs are three cards.",
            )
        opts.read_schema(self.options)

    def make_options(self, given: Mapping[str, Any]) -> Any:
        """Return the method's options from values by name; see ``core.options.make_options``."""
        return opts.make_options(self.options, given)

    def refuse(self, subject: Any) -> None:
        """Refuse a subject that lacks what the method needs.

        Raises:
            PatchclampError: which protocol is lacking, and why.
        """
        for protocol in self.needs:
            if reason := reason_lacking(subject, protocol):
                raise PatchclampError(
                    expected=f"a subject for {self.name}: {_in_words(protocol)}",
                    got=f"{getattr(subject, 'name', type(subject).__name__)}: {reason}",
                    remedy=f"`patchclamp methods --room {self.room}` lists what each method of this room needs.",
                )

    def __call__(
        self,
        *inputs: Any,
        seed: Natural = 0,
        progress: Progress | None = None,
        keep: Keep = keep_nothing,
        options: Any = None,
        **given: Any,
    ) -> Any:
        """Run the method and return its noun, with its provenance.

        Args:
            inputs: the subject where it has one, then its nouns, in the order of the parameters; by name too.
            seed: of everything random.
            progress: called with what is done and what there is in all.
            keep: where a resumable method keeps parts of its result, such as ``Bundle.once``.
            options: an options object; or give single options by name.
            given: nouns and options by name.

        Raises:
            PatchclampError: a subject that lacks a protocol, a missing or surplus input, an unknown option.
        """
        bound = self._bind(inputs, given)
        rest = {name: value for name, value in given.items() if name not in bound}
        if options is not None and (rest or not isinstance(options, self.options)):
            raise PatchclampError(
                expected=f"either {self.options.__name__} or single options",
                got=f"{type(options).__name__}" + (f" and {', '.join(rest)}" if rest else ""),
                remedy="Give all of them one way.",
            )
        chosen = self.make_options(rest) if options is None else options
        if "subject" in bound:
            self.refuse(bound["subject"])
        extra: dict[str, Any] = {}
        if "options" in self._parameters:
            extra["options"] = chosen
        if "seed" in self._parameters:
            extra["seed"] = seed
        if "progress" in self._parameters:
            extra["progress"] = progress or _ignore_progress
        if "keep" in self._parameters:
            extra["keep"] = keep
        begun = time.perf_counter()
        noun = self.run(**bound, **extra)
        return self._sign(noun, bound, chosen, seed, time.perf_counter() - begun)

    def _bind(self, inputs: Sequence[Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the subject and the nouns by the names of the function's parameters."""
        names = [*(["subject"] if "subject" in self._parameters else []), *self.takes]
        bound = dict(zip(names, inputs, strict=False))
        twice = [name for name in bound if name in given]
        bound |= {name: given[name] for name in names if name in given}
        missing = [
            name for name in names if name not in bound and self._parameters[name].default is inspect.Parameter.empty
        ]
        if missing or twice or len(inputs) > len(names):
            raise PatchclampError(
                expected=f"for {self.name}: {', '.join(names)}",
                got=f"{missing[0]} missing" if missing else f"{twice[0]} twice" if twice else f"{len(inputs)} inputs",
                remedy="Options are given by name.",
            )
        wrong = [
            name
            for name, noun in self.takes.items()
            if name in bound and bound[name] is not None and not _is_noun(bound[name], self._hints[name])
        ]
        if wrong:
            raise PatchclampError(
                expected=f"a {self.takes[wrong[0]].rstrip('?')} as {wrong[0]}, for {self.name}",
                got=f"{type(bound[wrong[0]]).__name__}",
                remedy=f"It takes {', '.join(f'{name} ({noun})' for name, noun in self.takes.items())}.",
            )
        return bound

    def _sign(self, noun: Any, bound: Mapping[str, Any], options: Any, seed: int, seconds: float) -> Any:
        """Return the noun with what made it, where it has a place for that."""
        own = getattr(noun, "provenance", None)
        if not isinstance(own, Provenance):
            return noun
        subject = bound.get("subject")
        hashes = {
            name: str(value.hash) for name, value in bound.items() if name != "subject" and hasattr(value, "hash")
        }
        signed = replace(
            own,
            subject=own.subject or str(getattr(subject, "name", "")),
            subject_hash=own.subject_hash or str(getattr(subject, "hash", "")),
            method=f"{self.room}/{self.name}",
            options=opts.to_json(options),
            seed=seed,
            tier=self.tier.name,
            versions=read_versions(),
            hashes={**hashes, **own.hashes},
            seconds=seconds,
        )
        return replace(noun, provenance=signed)

    def to_json(self) -> dict[str, Any]:
        """Return all that can be said of the method without running it: its entry in the index."""
        return {
            "name": self.name,
            "kind": self.kind,
            "room": self.room,
            "title": self.title,
            "question": self.question,
            "papers": [{"reference": one.reference, "equation": one.equation} for one in self.papers],
            "keys": list(self.keys),
            "needs": [one.__name__ for one in self.needs],
            "takes": self.takes,
            "gives": self.gives,
            "options": opts.read_schema(self.options),
            "oracle": self.oracle,
            "calibrated_on": list(self.calibrated_on),
            "must_show": self.must_show,
            "must_miss": dict(self.must_miss),
            "options_at": {place: dict(given) for place, given in self.options_at.items()},
            "sources": list(self.sources),
            "reproduced": list(self.reproduced),
            "default_for": list(self.default_for),
            "measures": self.measures,
            "file": self.file,
            "quick": dict(self.quick),
            "resumable": self.resumable,
            "outside": self.outside,
        }


def _ignore_progress(_done: int, _total: int) -> None:
    """Take the place of a progress line where nobody looks."""


def _has_members(protocol: type) -> bool:
    return any(not name.startswith("_") for name in (*vars(protocol), *vars(protocol).get("__annotations__", {})))


def _noun_of(hint: Any) -> tuple[str, bool]:
    """Return the name of an annotated noun, and whether it may be None."""
    if hint is None:
        return "", False
    parts = [one for one in typing.get_args(hint) if one is not type(None)]
    if parts and type(None) in typing.get_args(hint):
        return getattr(parts[0], "__name__", repr(parts[0])), True
    return getattr(hint, "__name__", repr(hint)), False


def _is_noun(value: Any, hint: Any) -> bool:
    kinds = [one for one in (typing.get_args(hint) or (hint,)) if isinstance(one, type)]
    return not kinds or isinstance(value, tuple(kinds))


def _in_words(protocol: type) -> str:
    """Return what a protocol promises: the first line of its docstring."""
    first = (protocol.__doc__ or protocol.__name__).partition("\n")[0].removesuffix(".")
    return first[:1].lower() + first[1:]
