"""Units whose descriptions are known: each fires where a rule says, in windows of an organism's text."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from patchclamp.core.descriptions import Descriptions
from patchclamp.core.exemplars import KINDS, Exemplars
from patchclamp.core.keys import UnitList
from patchclamp.core.method_files import find_method
from patchclamp.core.site import Site
from patchclamp.core.stimulus import PackedStimuli, Stimulus
from patchclamp.describe.judge import Window
from patchclamp.describe.judges.rule import RuleJudge
from patchclamp.describe.readers import CountEncoder, CountReader, OverlapChooser
from patchclamp.describe.rules import Follows, Rule, Token
from patchclamp.describe.windows import ShownWindows
from patchclamp.organisms import language

SITE = "planted.units"
LEAST = 30
"""Windows in which a rule must fire, and in which it must not, to be planted."""
SHOWN = 40
"""Windows of each sort per unit."""
WINDOW = 16
"""Tokens of a window."""


@dataclass(frozen=True, eq=False)
class PlantedRules:
    """Hold units that fire where a rule says.

    Args:
        subject: whose tokens the rules are of.
        exemplars: windows in which they fire and in which they do not, with activations.
        descriptions: the rules, as sentences.
    """

    subject: Any
    exemplars: Exemplars
    descriptions: Descriptions


def planted_rules(
    name: str, what: str = "tokens", *, n_units: int = 24, negatives: str = "silent", seed: int = 0
) -> PlantedRules:
    """Return units that fire at a token (``tokens``), at a token after another one (``contexts``), or at random.

    Where it fires a unit's activation is drawn from 1 to 3, elsewhere it is 0. The descriptions are the rules; of
    ``contexts`` with ``negatives`` near, and of ``near`` itself, the rules leave out the context: they are wrong of the
    hard windows alone. Units of ``noise`` fire at one token in ten, drawn anew in every window, and their descriptions
    name a token.

    Args:
        name: a language organism.
        what: ``tokens``, ``contexts``, ``near`` or ``noise``.
        n_units: units at most.
        negatives: ``silent`` windows are drawn at random; ``near`` ones hold the rule's token out of its context;
            ``neighbour`` ones are near ones in which that token is marked.
        seed: of the text, the choice of windows and the activations.

    Returns:
        PlantedRules: at most ``n_units`` of them, fewer where the text is too short.
    """
    subject, stimuli = _read(name, seed)
    windows = [Window(tuple(subject.answer_name(int(i)) for i in one.ids)) for one in stimuli]
    draw = np.random.default_rng(seed)
    rules, loose = _make_rules(windows, what)
    columns: dict[str, list[Any]] = {key: [] for key in ("unit", "kind", "value", "position", "stimulus")}
    activations: list[np.ndarray] = []
    texts: list[str] = []
    marks: list[np.ndarray] = []
    cuts = [0]
    for rule, wide in zip(rules, loose, strict=True):
        fired = [_fire(rule, window, draw) for window in windows]
        on = np.array([one.any() for one in fired])
        near = np.array([wide.fires(window).any() for window in windows]) & ~on
        off = near if negatives != "silent" else ~on
        if min(on.sum(), off.sum()) < LEAST or len(texts) == n_units:
            continue
        chosen = [draw.choice(np.flatnonzero(side), min(SHOWN, int(side.sum())), replace=False) for side in (on, off)]
        for kind, rows in zip(("quantile", negatives), chosen, strict=True):
            for row in rows.tolist():
                values = np.where(fired[row], draw.uniform(1, 3, len(fired[row])), 0.0)
                at = int(values.argmax())
                marked = np.flatnonzero(wide.fires(windows[row])) if kind == "neighbour" else np.array([at])
                _append(columns, len(texts), KINDS.index(kind), values[at], int(marked[0]), row)
                activations.append(values)
                marks.append(marked)
                cuts.append(cuts[-1] + len(marked))
        texts.append(wide.sentence if what in ("near", "noise") or negatives != "silent" else rule.sentence)
    site = Site(SITE, "mlp.act", len(texts))
    exemplars = _exemplars(
        site,
        stimuli,
        columns,
        marks=np.concatenate(marks).astype(np.int32),
        mark_offsets=np.array(cuts),
        activations=np.concatenate(activations).astype(np.float32),
    )
    return PlantedRules(subject, exemplars, describe_by(texts, subject.name))


def scorer_inputs(name: str, what: str, takes: Mapping[str, str]) -> tuple[dict[str, Any], float]:
    """Return what a scorer is given at a place, and what it must give true descriptions at least.

    Judges match rules, readers and encoders count words: what is tried is the scorer, and no language model's talent.

    Args:
        name: a language organism.
        what: ``tokens``, ``contexts``, ``near``, ``neighbour``, ``noise``; ``write`` or ``read`` of real neurons.
        takes: parameter → noun, of the scorer.

    Returns:
        tuple: inputs by parameter, and the least mean score.
    """
    if what in ("write", "read"):
        planted, least = _of_neurons(name, what), 0.0
    else:
        hard = what if what in ("near", "neighbour") else "silent"
        planted, least = planted_rules(name, "near" if hard != "silent" else what, negatives=hard), 0.9
    shown = ShownWindows(planted.subject, planted.exemplars)
    helpers: Mapping[str, Callable[[], Any]] = {
        "Judge": RuleJudge,
        "Reader": lambda: CountReader(shown.texts(np.arange(len(planted.exemplars.stimuli)))),
        "Encoder": CountEncoder,
        "Chooser": OverlapChooser,
    }
    nouns = {"exemplars": planted.exemplars, "descriptions": planted.descriptions}
    others = {name: helpers[noun.rstrip("?")]() for name, noun in takes.items() if noun.rstrip("?") in helpers}
    return {"subject": planted.subject, **nouns, **others}, least


def _of_neurons(name: str, side: str, n: int = 8) -> PlantedRules:
    """Return the neurons of the last block that stand for one token most, with the windows in which they do most."""
    subject, stimuli = _read(name, 0)
    some = stimuli[:60]
    site = [one for one in subject.sites() if one.kind == "mlp.act"][-1]
    words = find_method("vocabulary", "describe")(subject, side=side, tokens=1)
    first: dict[str, int] = {}
    for place in words.order("peak").tolist():
        key = words.index.unit(place)
        if key.site == site.path and _is_word(words.text(place)):
            first.setdefault(words.text(place), place)
    chosen = sorted(list(first.values())[:n])
    recording = subject.run(some, record=[site.path], logits=False).recording
    values = recording[site.path].float().cpu().numpy().reshape(len(some), WINDOW, -1)
    columns: dict[str, list[Any]] = {key: [] for key in ("unit", "kind", "value", "position", "stimulus")}
    activations = []
    for place in chosen:
        unit = words.index.unit(place).index
        order = np.argsort(-values[:, :, unit].max(1))
        for kind, rows in (("top", order[:10]), ("silent", order[-20:])):
            for row in rows.tolist():
                own = values[row, :, unit]
                _append(columns, unit, KINDS.index(kind), own.max(), int(own.argmax()), row)
                activations.append(own)
    return PlantedRules(
        subject, _exemplars(site, some, columns, activations=np.concatenate(activations)), words.take(chosen)
    )


def _exemplars(site: Site, shown: Sequence[Stimulus], columns: Mapping[str, list[Any]], **more: Any) -> Exemplars:
    kinds = {"unit": np.int32, "kind": np.int8, "value": np.float32, "position": np.int32, "stimulus": np.int32}
    arrays: dict[str, Any] = {key: np.array(column, dtype=kinds[key]) for key, column in columns.items()}
    return Exemplars(site, stimuli=PackedStimuli.of(shown), **arrays, **more)


def describe_by(texts: Sequence[str], subject: str = "") -> Descriptions:
    """Return descriptions of the planted units by texts, one a unit."""
    index = UnitList([f"{SITE}/neurons/{i}" for i in range(len(texts))], subject)
    terms = np.arange(len(texts), dtype=np.int32)[:, None]
    return Descriptions(index, terms, np.ones((len(texts), 1)), tuple(texts), "planted", "a rule")


def _append(columns: Mapping[str, list[Any]], *values: Any) -> None:
    for column, value in zip(columns.values(), values, strict=True):
        column.append(value)


@cache
def _read(name: str, seed: int) -> tuple[Any, list[Stimulus]]:
    """Return an organism and windows of its text, none twice, all of one length.

    Longer windows hold more of everything: where lengths differ, whatever counts words tells active windows by these.
    """
    subject = language.build(name)
    read = [one.stimulus for one in language.text(1800, seed=11 + seed, name=name)]
    ids = np.concatenate([one.ids[one.counted] for one in read])
    cut = [Stimulus.of(row) for row in ids[: len(ids) // WINDOW * WINDOW].reshape(-1, WINDOW)]
    return subject, list({one.id: one for one in cut}.values())


def _make_rules(windows: Sequence[Window], what: str) -> tuple[list[Rule], list[Rule]]:
    """Return rules, and each without its context; what fires in most windows or in few is left out later."""
    counts: dict[tuple[str, ...], int] = {}
    for window in windows:
        pairs = {(one,) for one in window.tokens} if what in ("tokens", "noise") else set(pairwise(window.tokens))
        for pair in pairs:
            counts[pair] = counts.get(pair, 0) + 1
    common = sorted((n, pair) for pair, n in counts.items() if LEAST <= n <= len(windows) / 4 and _is_word(pair[-1]))
    chosen = [pair for _, pair in reversed(common)]
    loose: list[Rule] = [Token(pair[-1]) for pair in chosen]
    if what in ("tokens", "noise"):
        return ([Noise() for _ in chosen] if what == "noise" else loose), loose
    return [Follows(pair[:-1], pair[-1]) for pair in chosen], loose


def _is_word(token: str) -> bool:
    """Say whether a token is a whole word in small letters, so that what counts words finds it."""
    return len(token) > 3 and token[0] == " " and token[1:].isalpha() and token.islower()


class Noise:
    """Fire at one token in ten, at random."""

    sentence, complexity, needs_labels = "at random", 1, False

    def fires(self, window: Window) -> np.ndarray:
        """Return where it fires: nowhere of itself, see ``_fire``."""
        return np.zeros(len(window), dtype=bool)


def _fire(rule: Rule, window: Window, draw: np.random.Generator) -> np.ndarray:
    """Return where a unit fires; it does not at special tokens."""
    fired = draw.random(len(window)) < 0.05 if isinstance(rule, Noise) else rule.fires(window)
    return fired & np.array(["<" not in token for token in window.tokens])
