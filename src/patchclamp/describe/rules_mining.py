"""Find the rules that part the tokens on which a unit fires from all others, and score them on other windows."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from patchclamp.describe import rules
from patchclamp.describe.rules import Rule, letters_of, stem

KINDS = ("token", "tokens", "word", "affix", "pattern", "follows", "first", "concept")
"""Kinds of rules that are mined."""
ATOMS = ("token", "word", "prefix", "suffix", "pattern", "first", "concept", "after", "pair", "triple")
"""Candidates of one condition, which are compared within their own kind first."""
KIND_OF = {"prefix": "affix", "suffix": "affix", "after": "follows", "pair": "follows", "triple": "follows"}
COMPLEXITY = {"word": 2, "prefix": 2, "suffix": 2, "pattern": 2, "first": 2, "after": 2, "pair": 3, "triple": 4}
FIRSTS, AFFIXES = (1, 2, 4), (2, 3, 4)
SHORTLIST = 3
"""Candidates of each kind that are scored on the windows kept back."""
MOST_FEATURES, MOST_IN_SETS = 512, 64
"""Candidates that are counted, the most frequent ones, and tokens that a set is chosen from, the best ones."""
DIGITS = 9
"""Decimals of a score: what differs by rounding alone is a tie."""
# None of them has two counts that can share a character, so that Python's own matcher, which is faster, cannot hang.
_PATTERNS = [(e, re.compile(e.replace("$", r"\Z"), re.DOTALL).search) for e in rules.NAMED_PATTERNS.values()]


@dataclass(frozen=True, eq=False)
class Windows:
    """Hold the windows of one unit, token after token.

    Args:
        token: ``(token,)`` place of its text among the texts.
        window: ``(token,)`` number of its window, never falling.
        position: ``(token,)`` place in its window.
        active: ``(token,)`` whether the unit fires there.
        fires: ``(window,)`` whether the unit fires in it.
        held: ``(window,)`` whether it is kept back for picking.
        peak: where the unit fires most.
        labels: ``(token, concept)``; None where there are none.
    """

    token: Int[np.ndarray, " token"]
    window: Int[np.ndarray, " token"]
    position: Int[np.ndarray, " token"]
    active: Bool[np.ndarray, " token"]
    fires: Bool[np.ndarray, " window"]
    held: Bool[np.ndarray, " window"]
    peak: int
    labels: Bool[np.ndarray, "token concept"] | None = None

    @cached_property
    def n_active(self) -> Float[np.ndarray, "window one"]:
        """Tokens of each window on which the unit fires; at least 1, so that it can divide."""
        counts = np.bincount(self.window[self.active], minlength=len(self.fires))
        return np.maximum(counts, 1).astype(np.float64)[:, None]

    def weights(self, side: Bool[np.ndarray, " window"]) -> Float[np.ndarray, " window"]:
        """Return what each window of a side weighs in a score: one half for those that fire, one half for the rest."""
        found = side & self.fires, side & ~self.fires
        return sum((0.5 * part / max(part.sum(), 1) for part in found), np.zeros(len(side)))


@dataclass(frozen=True)
class Found:
    """Hold the rule of one unit.

    Args:
        rule: the rule.
        score: on the windows kept back for picking; on all of them where too few could be kept back.
        unlabelled: that of the best rule without concepts.
        top_token: that of the rule which names the token of the highest activation.
        held_out: whether windows were kept back.
    """

    rule: Rule
    score: float
    unlabelled: float
    top_token: float
    held_out: bool


@dataclass(frozen=True, eq=False)
class Candidates:
    """Hold rules of one unit and how often each fires in each window.

    Args:
        kind: ``(candidate,)`` place in ``ATOMS``; −1 of a set of tokens.
        what: ``(candidate,)`` which of that kind; of a set its place in ``sets``.
        fired: ``(window, candidate)`` tokens on which it fires.
        right: ``(window, candidate)`` tokens among them on which the unit fires too.
        sets: tokens of each set.
    """

    kind: Int[np.ndarray, " candidate"]
    what: Int[np.ndarray, " candidate"]
    fired: Float[np.ndarray, "window candidate"]
    right: Float[np.ndarray, "window candidate"]
    sets: tuple[tuple[int, ...], ...] = ()

    @property
    def complexity(self) -> Int[np.ndarray, " candidate"]:
        """How much each says, as rules count it."""
        known = np.array([COMPLEXITY.get(atom, 1) for atom in ATOMS])[self.kind]
        return np.array(
            [len(self.sets[w]) if k < 0 else c for k, w, c in zip(self.kind, self.what, known, strict=True)]
        )

    def take(self, chosen: Int[np.ndarray, " some"]) -> "Candidates":
        """Return some of them."""
        return Candidates(self.kind[chosen], self.what[chosen], self.fired[:, chosen], self.right[:, chosen], self.sets)

    def join(self, sets: list[tuple[int, ...]], fired: np.ndarray, right: np.ndarray) -> "Candidates":
        """Return these and some sets of tokens.

        Returns:
            Candidates: the sets are the last of them.
        """
        n = len(sets)
        return Candidates(
            np.concatenate([self.kind, np.full(n, -1)]),
            np.concatenate([self.what, np.arange(n)]),
            np.concatenate([self.fired, fired], axis=1),
            np.concatenate([self.right, right], axis=1),
            tuple(sets),
        )


def gain(
    fired: Float[np.ndarray, "window candidate"], right: Float[np.ndarray, "window candidate"], windows: Windows
) -> Float[np.ndarray, "window candidate"]:
    """Return what each window adds to a candidate's score, before it is weighted.

    Of a window in which the unit fires: one half for a rule that fires in it at all, one half for F₁ of the tokens on
    which both fire. Of any other window −1 for a rule that fires in it.

    Returns:
        Float[np.ndarray, "window candidate"]: from −1 to 1.
    """
    hit = (fired > 0).astype(np.float64)
    f1 = 2 * right / (fired + windows.n_active)
    return np.where(windows.fires[:, None], (hit + f1) / 2, -hit)


class Miner:
    """Mine rules for the units of a site.

    Args:
        texts: of the tokens that windows name by number, in order, each once.
        concepts: names of the columns of labels.
        kinds: of rules that are mined, among ``KINDS``.
        most_tokens: tokens of a set at most.
    """

    def __init__(
        self, texts: Sequence[str], concepts: Sequence[str] = (), kinds: Sequence[str] = KINDS, most_tokens: int = 16
    ) -> None:
        self.texts, self.concepts, self.kinds, self.most_tokens = texts, concepts, frozenset(kinds), most_tokens
        features: dict[tuple[int, str], int] = {}
        listed = [[key for key in self._keys(text) if self._mines(ATOMS[key[0]])] for text in texts]
        for number, key in enumerate(sorted({key for keys in listed for key in keys})):
            features[key] = number + 1
        self.features = list(features)
        self.table = np.zeros((len(texts), max(map(len, listed), default=0)), dtype=np.int32)
        for row, keys in enumerate(listed):
            self.table[row, : len(keys)] = [features[key] for key in keys]
        self._kinds = np.array([0, *(kind for kind, _ in self.features)], dtype=np.int64)
        self._place = np.zeros(len(self.features) + 1, dtype=np.int32)
        self._wanted = np.zeros(len(texts), dtype=bool)

    def _mines(self, atom: str) -> bool:
        kind = KIND_OF.get(atom, atom)
        return kind in self.kinds or (kind == "token" and "tokens" in self.kinds)

    def _keys(self, text: str) -> list[tuple[int, str]]:
        """Return all conditions on one token that a text meets, each as its kind and what it names."""
        word, root = letters_of(text), stem(text)
        keys = [("token", text), *([("word", root)] if root else [])]
        keys += [("prefix", word[:n]) for n in AFFIXES if len(word) > n]
        keys += [("suffix", word[-n:]) for n in AFFIXES if len(word) > n]
        keys += [("pattern", expression) for expression, found in _PATTERNS if found(text)]
        return [(ATOMS.index(kind), what) for kind, what in keys]

    @cached_property
    def _words(self) -> dict[str, str]:
        """The form that stands for a word: its shortest."""
        words: dict[str, str] = {}
        for word in sorted({letters_of(text) for text in self.texts}, key=lambda one: (len(one), one)):
            words.setdefault(stem(word), word)
        return words

    def rule(self, candidates: Candidates, i: int) -> Rule:
        """Return a candidate as a rule."""
        kind, what = int(candidates.kind[i]), int(candidates.what[i])
        if kind < 0:
            return rules.Tokens(tuple(self.texts[t] for t in candidates.sets[what]))
        atom, n = ATOMS[kind], len(self.texts)
        if atom == "first":
            return rules.First(FIRSTS[what])
        if atom == "concept":
            return rules.Concept(self.concepts[what])
        if atom == "after":
            return rules.Follows((self.texts[what],))
        if atom in ("pair", "triple"):
            before, last = divmod(what, n)
            tokens = divmod(before, n) if atom == "triple" else (before,)
            return rules.Follows(tuple(self.texts[t] for t in tokens), self.texts[last])
        name = self.features[what - 1][1]
        if atom == "word":
            return rules.Word(self._words[name])
        makers: Mapping[str, Callable[[str], Rule]] = {
            "token": rules.Token,
            "prefix": rules.Prefix,
            "suffix": rules.Suffix,
            "pattern": rules.Pattern,
        }
        return makers[atom](name)

    # -- one unit -----------------------------------------------------------------------------------------------------

    def mine(self, windows: Windows) -> Found | None:
        """Return the rule of a unit; None where nothing fires on any token of its own.

        Candidates are what holds of a token on which the unit fires, in windows that are not kept back. The best three
        of each kind, and sets of tokens that grow by the best token, are scored on the windows kept back. Of those that
        are within one standard error of the best, by their difference window by window, the simplest is picked.

        Args:
            windows: of the unit.

        Returns:
            Found: the rule and its score.
        """
        whole = np.ones(len(windows.fires), dtype=bool)
        parted = all((windows.fires[side] == fires).any() for side in (windows.held, ~windows.held) for fires in (0, 1))
        fit, held = (~windows.held, windows.held) if parted else (whole, whole)
        shortlist = self._shortlist(self._count(windows, fit), windows, fit)
        if not len(shortlist.kind):
            return None
        gains, weights = gain(shortlist.fired, shortlist.right, windows), windows.weights(held)
        scores = np.round(0.5 + weights @ gains, DIGITS)
        best = self._pick(shortlist, gains, scores, windows, held)
        plain = np.flatnonzero(shortlist.kind != ATOMS.index("concept"))
        unlabelled = np.nan
        if len(plain):
            other = self._pick(shortlist.take(plain), gains[:, plain], scores[plain], windows, held)
            unlabelled = float(scores[plain][other])
        top = windows.token == windows.token[windows.peak]
        fired, right = (
            np.bincount(windows.window[x], minlength=len(whole))[:, None] for x in (top, top & windows.active)
        )
        baseline = 0.5 + float(weights @ gain(fired, right, windows)[:, 0])
        return Found(self.rule(shortlist, best), float(scores[best]), unlabelled, round(baseline, DIGITS), parted)

    def _count(self, windows: Windows, fit: Bool[np.ndarray, " window"]) -> Candidates:
        """Count in each window how often every candidate fires, all kinds together."""
        at = np.flatnonzero(windows.active & fit[windows.window])
        parts = [self._single(windows, at), *self._after(windows, at), *self._others(windows, at)]
        firsts = np.cumsum([0, *(len(what) for _, what, _, _ in parts)])
        n, n_windows = int(firsts[-1]), len(fit)
        rows = np.concatenate([rows for _, _, rows, _ in parts])
        places = np.concatenate([place + first for (_, _, _, place), first in zip(parts, firsts, strict=False)])
        cells = windows.window[rows] * n + places
        shape = (n_windows, n)
        fired, right = (
            np.bincount(some, minlength=n_windows * n).reshape(shape).astype(np.float64)
            for some in (cells, cells[windows.active[rows]])
        )
        kinds, what = (np.concatenate([np.asarray(part[i], dtype=np.int64) for part in parts]) for i in (0, 1))
        return Candidates(kinds, what, fired, right)

    def _single(self, windows: Windows, at: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return kinds and numbers of the candidates that look at one token, and the rows on which each fires."""
        table = self.table[windows.token]  # (token, feature)
        chosen, counts = np.unique(table[at], return_counts=True)
        chosen, counts = (x[chosen > 0] for x in (chosen, counts))
        if len(chosen) > MOST_FEATURES:
            chosen = np.sort(chosen[np.argsort(-counts, kind="stable")[:MOST_FEATURES]])
        self._place[chosen] = np.arange(1, len(chosen) + 1)
        places = self._place[table]
        self._place[chosen] = 0
        rows, columns = np.nonzero(places)
        return self._kinds[chosen], chosen, rows, places[rows, columns] - 1

    def _after(self, windows: Windows, at: np.ndarray) -> list[tuple[np.ndarray, ...]]:
        """Return the candidates that look at the tokens before: one, one and the token, two and the token."""
        if "follows" not in self.kinds:
            return []
        token, n = windows.token.astype(np.int64), len(self.texts)
        found: list[tuple[np.ndarray, ...]] = []
        for atom, back in (("after", 1), ("pair", 1), ("triple", 2)):
            own = at[windows.position[at] >= back]
            near = token[own - 1] if atom == "after" else token[own]
            self._wanted[near] = True
            behind = np.flatnonzero(windows.position >= back)
            rows = behind[self._wanted[token[behind - 1] if atom == "after" else token[behind]]]
            self._wanted[near] = False

            def name(at: np.ndarray, atom: str = atom) -> np.ndarray:
                if atom == "after":
                    return token[at - 1]
                pair = token[at - 1] * n + token[at]
                return pair if atom == "pair" else token[at - 2] * n * n + pair

            chosen = np.unique(name(own))
            names = name(rows)
            places = np.minimum(np.searchsorted(chosen, names), max(len(chosen) - 1, 0))
            same = chosen[places] == names if len(chosen) else np.zeros(len(rows), dtype=bool)
            kinds = np.full(len(chosen), ATOMS.index(atom))
            found.append((kinds, chosen, rows[same], places[same]))
        return found

    def _others(self, windows: Windows, at: np.ndarray) -> list[tuple[np.ndarray, ...]]:
        """Return the candidates that look at the position, and those that look at labels."""
        columns: list[tuple[str, np.ndarray]] = []
        if "first" in self.kinds:
            columns.append(("first", windows.position[:, None] < np.array(FIRSTS)))
        if "concept" in self.kinds and windows.labels is not None:
            columns.append(("concept", windows.labels))
        found: list[tuple[np.ndarray, ...]] = []
        for atom, fires in columns:
            chosen = np.flatnonzero(fires[at].any(axis=0))
            rows, places = np.nonzero(fires[:, chosen])
            found.append((np.full(len(chosen), ATOMS.index(atom)), chosen, rows, places))
        return found

    def _shortlist(self, candidates: Candidates, windows: Windows, fit: Bool[np.ndarray, " window"]) -> Candidates:
        """Return the best candidates of each kind on the windows that are not kept back, and sets of tokens."""
        scores = np.round(0.5 + windows.weights(fit) @ gain(candidates.fired, candidates.right, windows), DIGITS)
        best = {
            atom: own[np.argsort(-scores[own], kind="stable")]
            for number, atom in enumerate(ATOMS)
            if len(own := np.flatnonzero(candidates.kind == number))
        }
        chosen = [own[:SHORTLIST] for atom, own in best.items() if atom != "token" or "token" in self.kinds]
        some = candidates.take(np.concatenate([np.zeros(0, dtype=np.int64), *chosen]))
        if "tokens" not in self.kinds or "token" not in best:
            return some
        return some.join(*self._sets(candidates.take(best["token"][:MOST_IN_SETS]), windows, fit))

    def _sets(
        self, tokens: Candidates, windows: Windows, fit: Bool[np.ndarray, " window"]
    ) -> tuple[list[tuple[int, ...]], np.ndarray, np.ndarray]:
        """Grow a set of tokens from the best one by whichever adds most, as long as any does; return every stage."""
        weights, chosen, score = windows.weights(fit), [0], -np.inf
        totals = [(tokens.fired[:, 0], tokens.right[:, 0])]
        while len(chosen) < min(self.most_tokens, len(tokens.what)):
            fired, right = totals[-1]
            more = np.round(
                0.5 + weights @ gain(fired[:, None] + tokens.fired, right[:, None] + tokens.right, windows), DIGITS
            )
            if len(chosen) == 1:
                score = float(np.round(0.5 + weights @ gain(fired[:, None], right[:, None], windows), DIGITS)[0])
            more[chosen] = -np.inf
            add = int(more.argmax())
            if more[add] <= score:
                break
            score = float(more[add])
            chosen.append(add)
            totals.append((fired + tokens.fired[:, add], right + tokens.right[:, add]))
        texts = [self.features[what - 1][1] for what in tokens.what[chosen].tolist()]
        places = [self._token_places[text] for text in texts]
        sets = [tuple(places[:n]) for n in range(2, len(chosen) + 1)]
        empty = np.zeros((len(fit), 0))
        fired, right = (np.column_stack([empty, *(total[i] for total in totals[1:])]) for i in (0, 1))
        return sets, fired, right

    @cached_property
    def _token_places(self) -> dict[str, int]:
        return {text: i for i, text in enumerate(self.texts)}

    def _pick(
        self,
        candidates: Candidates,
        gains: Float[np.ndarray, "window candidate"],
        scores: Float[np.ndarray, " candidate"],
        windows: Windows,
        held: Bool[np.ndarray, " window"],
    ) -> int:
        """Return the simplest candidate whose difference from the best is within one standard error.

        Of the sets of tokens, each of which holds the one before, only the best stands for election.
        """
        differences = gains - gains[:, [int(scores.argmax())]]
        variance = np.zeros(len(scores))
        for part in (held & windows.fires, held & ~windows.fires):
            if (n := int(part.sum())) > 1:
                variance += differences[part].var(axis=0, ddof=1) / n / 4
        stands, sets = np.ones(len(scores), dtype=bool), np.flatnonzero(candidates.kind < 0)
        if len(sets):
            stands[sets] = False
            stands[sets[scores[sets].argmax()]] = True
        near = np.flatnonzero(stands & (scores.max() - scores <= np.sqrt(variance) + 10.0**-DIGITS))
        complexity = candidates.complexity
        return int(min(near, key=lambda i: (complexity[i], -scores[i], self.rule(candidates, int(i)).sentence)))
