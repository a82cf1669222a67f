"""Find for each unit the simplest rule that says on which tokens it fires, by windows with and without firing."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from patchclamp.core.corpus import Corpus
from patchclamp.core.descriptions import Descriptions
from patchclamp.core.errors import PatchclampError
from patchclamp.core.exemplars import ACTIVE, KINDS, NEGATIVE, Exemplars
from patchclamp.core.keys import Block, UnitIndex, UnitList
from patchclamp.core.method import Cost, Method, Paper
from patchclamp.core.options import option
from patchclamp.core.subject import Progress
from patchclamp.core.unit import UnitKey
from patchclamp.describe.rules_columns import Named, read_columns
from patchclamp.describe.rules_labels import read_labels
from patchclamp.describe.rules_mining import KINDS as RULES
from patchclamp.describe.rules_mining import Found, Miner

AUTHOR = "rule/mined 1"


@dataclass(frozen=True)
class RuleOptions:
    """Options of the rule miner."""

    kinds: tuple[Literal["token", "tokens", "word", "affix", "pattern", "follows", "first", "concept"], ...] = option(
        RULES, "kinds of rules"
    )
    most_tokens: int = option(16, "tokens of a set at most", least=2)
    held_out: float = option(0.35, "share of the windows that are kept back for picking", least=0.0, most=0.9)


def rule(
    subject: Named,
    exemplars: Exemplars,
    options: RuleOptions,
    corpus: Corpus | None = None,
    *,
    seed: int = 0,
    progress: Progress,
) -> Descriptions:
    """Describe every unit by the simplest of the rules that best say on which tokens it fires.

    Active tokens are those that are marked in the exemplars; without marks those whose activation is at least 0.3 of
    the way from the highest one in silent windows to the highest one of their own window.

    The score of a rule is the mean of what it gets in windows in which the unit fires and in those in which it does
    not. In the former it gets one half for firing at all and one half times F₁ of the tokens on which both fire; in the
    latter 1 for not firing. So a rule that never fires gets 0.5.

    Candidates are what is true of an active token: its text, the word of which it is a form, its first and last
    letters, a named pattern, the tokens before it, its position, its labels; and sets of tokens. They are found on one
    part of the windows and scored on the other, parted by content. Of those within one standard error of the best the
    simplest is taken; of the sets, each of which holds the one before, only the best is among them.

    Args:
        subject: whose tokens are named.
        exemplars: windows in which units fire and in which they do not, as ``draw_evidence`` draws them for training.
        options: kinds of rules, size of sets, share kept back.
        corpus: labelled documents or images that the windows are of; with it rules about labels are found too.
        seed: of what is kept back.
        progress: called with units done and in all.

    Returns:
        Descriptions: a sentence per unit, which ``parse_rule`` reads; its weight is the score. Measures: ``held_out``,
        the score where windows could be kept back; ``top_token``, that of the rule which only names the token of the
        highest activation; ``unlabelled``, that of the best rule without labels. Units without windows of both sorts
        have no sentence.

    Raises:
        PatchclampError: exemplars without silent windows, or a corpus that does not hold them.

    Source: ours; the tasks by which it is judged are those of 2410.13928.

    Cost: tokens × 10 lookups per unit, no forward pass; memory of the tokens' columns.

    Example:
        >>> from patchclamp.calibrate.corpora import make_evidence
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> train, _ = make_evidence(cat, "blocks.0.mlp.act")
        >>> words = METHOD(cat, train)
        >>> words.text(words.index.place("blocks.0.mlp.act/neurons/7"))
        'the token " cat"'
    """
    _check(exemplars)
    labels = None if corpus is None else read_labels(subject, corpus, exemplars.stimuli)
    kinds = options.kinds
    if "ids" not in exemplars.stimuli.arrays:
        kinds = tuple(kind for kind in kinds if kind == "concept")  # an image has labels and no tokens
    texts, columns = read_columns(subject, exemplars, seed, options.held_out)
    miner = Miner(texts, () if labels is None else labels.names, kinds, options.most_tokens)
    units, firsts = np.unique(exemplars.unit, return_index=True)
    cuts = [*firsts.tolist(), len(exemplars)]
    found: list[Found | None] = []
    for done, (first, last) in enumerate(pairwise(cuts), 1):
        windows = columns.windows(first, last, None if labels is None else labels.true)
        found.append(None if windows is None else miner.mine(windows))
        progress(done, len(units))
    return _describe(subject, exemplars, units, found)


def _check(exemplars: Exemplars) -> None:
    present = {KINDS[kind] for kind in np.unique(exemplars.kind).tolist()}
    if len(exemplars) and not (present & set(ACTIVE) and present & set(NEGATIVE)):
        raise PatchclampError(
            expected=f"windows in which units fire ({', '.join(ACTIVE)}), and in which not ({', '.join(NEGATIVE)})",
            got=", ".join(sorted(present)),
            remedy="describe.draw_evidence draws both.",
        )


def _describe(subject: Named, exemplars: Exemplars, units: np.ndarray, found: Sequence[Found | None]) -> Descriptions:
    """Return what was found as sentences, each kept once."""
    path, _, basis = exemplars.site.path.partition("/")  # heads lie at sites of their own
    basis = basis or exemplars.basis
    width = exemplars.site.width
    index: UnitIndex | UnitList = UnitIndex([Block(path, basis, width)], subject.name)
    if len(units) != width:
        index = UnitList([str(UnitKey(path, unit, basis)) for unit in units.tolist()], subject.name)
    sentences: dict[str, int] = {}
    terms = [-1 if one is None else sentences.setdefault(one.rule.sentence, len(sentences)) for one in found]
    columns = {
        name: np.array([np.nan if one is None else getattr(one, name) for one in found], dtype=np.float64)
        for name in ("score", "top_token", "unlabelled")
    }
    kept = np.array([one is not None and one.held_out for one in found], dtype=bool)
    measures = {"held_out": np.where(kept, columns["score"], np.nan), **columns}
    del measures["score"]
    return Descriptions(
        index,
        np.array(terms, dtype=np.int32).reshape(-1, 1),
        np.nan_to_num(columns["score"]).reshape(-1, 1),
        tuple(sentences),
        AUTHOR,
        "score on windows that were not mined",
        measures,
        evidence=state_evidence(exemplars),
    )


def state_evidence(exemplars: Exemplars) -> tuple[str, ...]:
    """Return what an author of descriptions was shown, in words: the hash, and how many windows of each kind."""
    counts = np.bincount(exemplars.kind, minlength=len(KINDS)).tolist()
    kinds = ", ".join(f"{kind} {n:,}" for kind, n in zip(KINDS, counts, strict=True) if n)
    return f"exemplars {exemplars.hash[:16]}", f"{kinds} windows of {len(exemplars.units):,} units"


METHOD = Method(
    rule,
    name="rule",
    room="describe",
    title="rules mined from contrast",
    question="Which simple rule says on which tokens a unit fires?",
    papers=(Paper("ours"),),
    keys=("unit",),
    cost=lambda sizes, options: Cost(bytes=64 * sizes.rows),
    oracle="oracles.rules:rule",
    calibrated_on=("cat", "neuron-*", "facts-*", "decoy-*"),
    must_show="the rule of a planted neuron holds on the tokens that fire it, and others' rules do not",
    must_miss={
        "seen-*": "that a word came before somewhere in the text is no rule of the grammar",
    },
    sources=("describe/rules.py", "describe/rules_mining.py", "describe/rules_columns.py"),
)
