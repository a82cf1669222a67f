"""Compare two networks over one text: two models or checkpoints, or one before and after a change."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from patchclamp.compare.layer_similarity import LayerSimilarity, compare_layers
from patchclamp.compare.lens_difference import LensGathering
from patchclamp.compare.methods.rsa import LEAST_CONDITIONS
from patchclamp.compare.next_tokens import NextTokens, divergence_of, estimate_divergence
from patchclamp.compare.unit_pairs import MOST_CELLS, Moments, pair_units, shared_sites
from patchclamp.core.arguments import Natural, checked
from patchclamp.core.edit import Edit
from patchclamp.core.errors import PatchclampError
from patchclamp.core.intervention import Intervention
from patchclamp.core.lens_difference import LensDifference
from patchclamp.core.model_comparison import ModelComparison
from patchclamp.core.provenance import Provenance, read_versions
from patchclamp.core.site import Site
from patchclamp.core.stats import Interval
from patchclamp.core.stimulus import Shown
from patchclamp.core.subject import Progress
from patchclamp.subjects.corpora import Batches, read_shared
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.language_lacks import refuse_no_tokens
from patchclamp.subjects.lens import stream_sites
from patchclamp.subjects.pass_memory import PYTHON, count_forward_bytes

LAYERS, UNITS = "resid_out", "mlp.act"
N_CONDITIONS, N_SAMPLE, N_LENS, N_RANDOM, MOST_RANDOM = 100, 2000, 1000, 3, 99
"""Tokens between which dissimilarities are measured, tokens over which units are correlated, tokens that the logit lens
is read at, random changes."""


@dataclass(frozen=True)
class Changed:
    """A network with what is changed in it.

    Args:
        model: the network.
        edit: a change of its weights, in force while it runs.
        interventions: changes of what its sites do.
    """

    model: LanguageModel
    edit: Edit | None = None
    interventions: tuple[Intervention, ...] = ()

    def hold(self) -> AbstractContextManager[Any]:
        """Return a context in which the edit is in force."""
        return nullcontext() if self.edit is None else self.model.edited(self.edit)

    @property
    def name(self) -> str:
        """What it is called."""
        more = " edited" if self.edit is not None else " steered" if self.interventions else ""
        return self.model.name + more

    @property
    def hash(self) -> str:
        """Hash of its weights; empty where it is steered, which has none."""
        return self.edit.after if self.edit is not None else "" if self.interventions else self.model.hash

    def run(self, batch: Sequence[Shown], sites: Sequence[str]) -> tuple[dict[str, np.ndarray], list[Tensor]]:
        """Return what sites did, ``(token, width)``, and the logits of every stimulus, ``(position, token)``."""
        with self.hold():
            found = self.model.run(list(batch), record=list(sites), interventions=list(self.interventions))
        values = {site: np.asarray(found.recording[site].float().cpu()) for site in sites}
        return values, [found.logits[i, : len(one)] for i, one in enumerate(batch)]

    def read_lens(self, stream: np.ndarray) -> Tensor:
        """Return what the logit lens says of the residual stream, ``(token, d_model)``."""
        with self.hold():
            return self.model.lens_logits(torch.from_numpy(stream).to(self.model.device, self.model.dtype))


@checked
def compare_models(
    first: LanguageModel,
    second: LanguageModel | Edit | Sequence[Intervention],
    text: Any,
    *,
    batch_size: int = 8,
    n_random: Natural = N_RANDOM,
    seed: Natural = 0,
    progress: Progress | None = None,
) -> ModelComparison:
    """Compare two language models over one text: layer by layer, unit by unit, and next token by next token.

    Layers are compared by ``rsa`` over sampled tokens, beside shuffled tokens; a network gives the same values every
    time, so the ceiling is 1. Units are paired by the correlation of their activations over sampled tokens, beside
    shuffled tokens too. Units that both have are compared over all tokens: what they do, and what they write.

    Args:
        first: a language model.
        second: another that cuts text into the same tokens; an Edit of the first; or interventions on the first.
        text: a Corpus, the path of a text, or what ``read_corpus`` gave for the first.
        batch_size: stimuli per forward pass; not read of what ``read_corpus`` gave.
        n_random: random changes of the same size, of an edit, of a checkpoint whose weights differ, or of vectors that
            are added; each is one more pass over the text.
        seed: of samples, shuffles, resamples and random changes.
        progress: called with tokens done and in all.

    Returns:
        ModelComparison: all of it, with a sentence.

    Raises:
        PatchclampError: other tokens, fewer than four of them, an edit of other weights, or no memory.

    Source: ``rsa``; for units 2401.12181.

    Cost: two forward passes over the text and one for each random change; memory of sampled activations, 8 kB a unit,
    and of one batch's logits of both.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from patchclamp.loaders import load
        >>> story = Path(tempfile.mkdtemp()) / "story.txt"
        >>> _ = story.write_text("the old cat sat on the mat. the young dog ran to the park.")
        >>> cat = load("organism:cat")
        >>> compare_models(cat, cat, story).similarity.diagonal().tolist()
        [1.0, 1.0]
    """
    if n_random > MOST_RANDOM:
        raise PatchclampError(
            expected=f"at most {MOST_RANDOM} random changes",
            got=f"{n_random:,}",
            remedy="Each is a pass over the text.",
        )
    for model in (first, second):
        refuse_no_tokens(model, "the comparison of next tokens")
    one = Changed(first)
    other = _second(first, second)
    batches = read_shared(first, other.model, text, batch_size=batch_size)
    if batches.kind != "text" or batches.n_counted < LEAST_CONDITIONS:
        raise PatchclampError(
            expected=f"a text of at least {LEAST_CONDITIONS} tokens",
            got=f"{batches.n_counted} tokens" if batches.kind == "text" else batches.kind,
            remedy="Name a longer text.",
        )
    layers, units = zip(*(sites_of(side.model) for side in (one, other)), strict=True)
    sample = _Sample(batches.n_counted, layers, units, np.random.default_rng(seed))
    controls, caution = _random_changes(one, other, n_random, seed)
    lens, lens_caution = _begin_lens(one, other, sample)
    sums: list[list[tuple[float, int]]] = [[] for _ in controls]
    moments = {site: Moments(width) for site, width in zip(*_common_sites(units), strict=True)}
    tokens, done = NextTokens(first._tokenizer), 0
    lens_paths = ((), ()) if lens is None else lens.paths
    for batch in batches:
        counted = np.concatenate([np.asarray(shown.counted) for shown in batch])
        runs = [
            side.run(batch, list(dict.fromkeys([*(site.path for site in (*layers[k], *units[k])), *lens_paths[k]])))
            for k, side in enumerate((one, other))
        ]
        for site, moment in moments.items():
            moment.add(*(values[site][counted] for values, _ in runs))
        sample.take(counted, [values for values, _ in runs])
        if lens is not None:
            values, logits = zip(*runs, strict=True)
            lens.add(batch, values, logits, (one.read_lens, other.read_lens))
        n_answers = min(side[1][0].shape[-1] for side in runs)
        for shown, p, q in zip(batch, runs[0][1], runs[1][1], strict=True):
            tokens.add(shown, p[:, :n_answers], q[:, :n_answers])  # type: ignore[arg-type]
        for k, control in enumerate(controls):
            _, logits = control.run(batch, ())
            for shown, p, q in zip(batch, runs[0][1], logits, strict=True):
                mask = np.asarray(shown.counted)
                apart = divergence_of(p.float().log_softmax(-1), q.float().log_softmax(-1)).cpu().numpy()[mask]
                sums[k].append((float(apart.sum(dtype=np.float64)), int(mask.sum())))
        done += sum(map(len, batch))
        if progress is not None:
            progress(done, batches.n_tokens)
    alike, partners = sample.compare()
    shared = tuple(moments)
    writes = {site: _writes(one, other, site) for site in shared}
    moved = [moments[site].measure(writes[site]) for site in shared]
    widths = tuple({site.path: site.width for site in side} for side in units)
    cautions = [*filter(None, (caution, lens_caution)), *(_unknown_writes(shared, writes))]
    return ModelComparison(
        (one.name, other.name), (one.hash, other.hash), tokens.n_tokens,
        tuple(tuple(site.path for site in side) for side in layers), alike.value, alike.low, alike.high,  # type: ignore[arg-type]
        alike.shuffled, alike.shuffled_mean, sample.n_conditions, widths, partners.partner,  # type: ignore[arg-type]
        partners.correlation.astype(np.float64), partners.back, partners.chance.astype(np.float64), sample.n,
        shared, np.concatenate(moved) if moved else np.zeros((0, 8)), tokens.estimate(seed), tokens.agreement,
        tuple(estimate_divergence(each, seed).value for each in sums), tokens.largest_changes(), tokens.shown_texts(),
        LensDifference() if lens is None else lens.difference(seed), tuple(cautions),
        Provenance(
            first.name, first.hash, "compare_models", options={"batch_size": batches.batch_size, "n_random": n_random},
            seed=seed, versions=read_versions("patchclamp", "torch", "transformers"),
            hashes={
                **first.origin, **{f"second_{what}": commit for what, commit in other.model.origin.items()},
                "second": other.hash, "text": batches.stimuli,
            },
        ),
    )  # fmt: skip


def memory_bytes(
    first: LanguageModel,
    second: LanguageModel,
    batches: Batches,
    *,
    edit: Edit | None = None,
    n_random: int = N_RANDOM,
) -> int:
    """Return what comparing two networks takes: sampled activations, random changes, and a batch or the pairing.

    Args:
        first: a language model.
        second: another, or the same.
        batches: the text, as ``read_corpus`` gave it.
        edit: what is compared instead of a second model.
        n_random: random changes, each as large as the edit or as the difference of the two models' weights.

    Returns:
        int: bytes.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from patchclamp.loaders import load
        >>> from patchclamp.subjects.corpora import read_corpus
        >>> story = Path(tempfile.mkdtemp()) / "story.txt"
        >>> _ = story.write_text("the old cat sat on the mat.")
        >>> cat = load("organism:cat")
        >>> memory_bytes(cat, cat, read_corpus(cat, story)) > 0
        True
    """
    (layers, units), (others, partners) = (
        [sum(site.width for site in side) for side in sites_of(model)] for model in (first, second)
    )
    n, at_once = min(batches.n_counted, N_SAMPLE), batches.batch_size
    length = -(-batches.n_tokens // max(batches.n_stimuli, 1))
    sampled = 4 * n * (layers + units + others + partners)
    changed = 0
    if edit is not None:
        changed = edit.size
    elif second is not first:
        changed = sum(p.numel() for p in first.module.parameters())
    own = 4 * changed * (edit is None) + 4 * changed * n_random
    # Both networks' values and logits, a random change's logits, and the weights that it stands in for.
    batch = at_once * (count_forward_bytes(first, length) + 4 * length * (layers + units + others + partners))
    batch += 3 * 4 * at_once * length * max(first.n_answers, second.n_answers) + 4 * changed * bool(n_random)
    # Units of one, then those of the other as they are, in double precision and back; a block of correlations, twice.
    cells = min(units * partners, MOST_CELLS)
    pairing = 4 * n * (units + 2 * partners) + max(8 * n * max(units, partners), 8 * cells)
    return PYTHON + sampled + own + max(batch, pairing)


class _Sample:
    """Activations at tokens that are drawn before the first of them is read."""

    def __init__(self, n_counted: int, layers: Any, units: Any, draw: np.random.Generator) -> None:
        self.draw = draw
        self.n, self.n_conditions = min(n_counted, N_SAMPLE), min(n_counted, N_CONDITIONS)
        chosen = draw.permutation(n_counted)[: self.n]
        self.order = np.argsort(np.argsort(chosen))  # where the k-th drawn token stands among the sampled
        self.at = np.sort(chosen)
        self.lens_at = np.sort(chosen[:N_LENS])
        self.seen = self.filled = 0
        self.sites: list[list[list[Site]]] = [[list(layers[k]), list(units[k])] for k in (0, 1)]
        self.values = [
            {site.path: np.empty((self.n, site.width), np.float32) for part in side for site in part}
            for side in self.sites
        ]

    def take(self, counted: np.ndarray, sides: Sequence[dict[str, np.ndarray]]) -> None:
        """Keep the rows of a batch that were drawn."""
        n = int(counted.sum())
        stop = int(np.searchsorted(self.at, self.seen + n))
        rows = np.flatnonzero(counted)[self.at[self.filled : stop] - self.seen]
        for kept, values in zip(self.values, sides, strict=True):
            for site, array in kept.items():
                array[self.filled : stop] = values[site][rows]
        self.filled, self.seen = stop, self.seen + n

    def compare(self) -> tuple[LayerSimilarity, Any]:
        """Return the similarity of layers and the partners of units."""
        conditions = np.sort(self.order[: self.n_conditions])
        layers = [[side[site.path][conditions] for site in self.sites[k][0]] for k, side in enumerate(self.values)]
        units = [[side[site.path] for site in self.sites[k][1]] for k, side in enumerate(self.values)]
        alike = (
            compare_layers(layers[0], layers[1], self.draw)
            if all(layers)
            else LayerSimilarity(*(np.zeros(tuple(map(len, layers))),) * 3, Interval(0.0, 0.0, 0.95, "no layers"), 0.0)
        )
        empty = [part or [np.zeros((self.n, 0), np.float32)] for part in units]
        found = pair_units(empty[0], empty[1], self.draw)
        if not all(units):
            found = replace(
                found,
                partner=np.full((found.partner.shape[0], len(units[1])), -1, np.int32),
                correlation=np.full((found.partner.shape[0], len(units[1])), np.nan),
                back=np.full((found.back.shape[0], len(units[0])), -1, np.int32),
            )
        return alike, found


def _begin_lens(one: Changed, other: Changed, sample: _Sample) -> tuple[LensGathering | None, str]:
    """Return what gathers the difference of the logit lenses; or None, and why."""
    try:
        sites = [stream_sites(side.model) for side in (one, other)]
    except PatchclampError as problem:
        return None, f"no logit lens was compared: {problem.got}"
    return LensGathering(sites, sample.lens_at, NextTokens(one.model._tokenizer).spell), ""


def _second(first: LanguageModel, second: Any) -> Changed:
    if isinstance(second, Edit):
        return Changed(first, edit=second)
    return Changed(first, interventions=tuple(second)) if isinstance(second, Sequence) else Changed(second)


def sites_of(model: LanguageModel) -> tuple[list[Site], list[Site]]:
    """Return the sites of a model's layers, and of its units."""
    sites = [site for site in model.sites() if not site.ragged and site.width]
    return [site for site in sites if site.kind == LAYERS], [site for site in sites if site.kind == UNITS]


def _common_sites(units: Sequence[Sequence[Site]]) -> tuple[tuple[str, ...], list[int]]:
    first, second = ({site.path: site.width for site in side} for side in units)
    sites = shared_sites(first, second)
    return sites, [first[site] for site in sites]


def _writes(one: Changed, other: Changed, site: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Return what units of a site write in both networks; None where one does not write through one map."""
    found = []
    for side in (one, other):
        try:
            with side.hold():
                width = side.model.site(site).width
                found.append(side.model.write_directions(site, slice(0, width)).double().cpu().numpy())
        except PatchclampError:
            return None
    return (found[0], found[1]) if found[0].shape == found[1].shape else None


def _unknown_writes(shared: Sequence[str], writes: Any) -> Iterator[str]:
    unknown = [site for site in shared if writes[site] is None]
    if unknown:
        yield f"what units write is not known at {', '.join(unknown[:3])}: the change there is that of activations"


def _random_changes(one: Changed, other: Changed, n: int, seed: int) -> tuple[list[Changed], str]:
    """Return random changes of the size of what sets two networks apart, and why there are none where so."""
    if n == 0 or other.hash == one.hash:
        return [], ""
    if other.interventions:
        draw = np.random.default_rng(seed)
        turned = [[_turn(one.model, do, draw) for do in other.interventions] for _ in range(n)]
        if any(do is None for each in turned for do in each):
            return [], "no random control: only units, and vectors that are added, have one"
        return [replace(other, interventions=tuple(filter(None, each))) for each in turned], ""
    edit = other.edit or _difference(one.model, other.model)
    if edit is None:
        return [], "no random control: the two have other parameters"
    return [Changed(one.model, edit=edit.random_like(seed + 1 + i)) for i in range(n)], ""


def _turn(model: LanguageModel, do: Intervention, draw: np.random.Generator) -> Intervention | None:
    """Return the same change of other units of the site, or an added random vector of the same length; or None."""
    width = model.site(do.site).width
    if do.basis == "neurons" and do.units is not None:
        others = np.setdiff1d(np.arange(width), do.units)
        if len(others) < len(do.units):
            return None
        return replace(do, units=tuple(map(int, draw.choice(others, len(do.units), replace=False))))
    if do.operation != "add" or do.value is None:
        return None
    value = np.asarray(do.value, dtype=np.float64)
    if do.basis != "neurons":
        basis = model.basis_at(do.site, do.basis)
        if basis.decoder is None:
            return None
        chosen = list(range(len(basis.decoder))) if do.units is None else list(do.units)
        value = np.broadcast_to(value, (len(chosen),)) @ basis.decoder[chosen].astype(np.float64)
    length = float(np.linalg.norm(np.broadcast_to(value, (width,))))
    noise = draw.standard_normal(width)
    return replace(do, basis="neurons", units=None, value=(noise * length / np.linalg.norm(noise)).astype(np.float32))


def _difference(one: LanguageModel, other: LanguageModel) -> Edit | None:
    """Return the edit that makes one network the other; None where their parameters are of other names or shapes."""
    first, second = one.parameters(), other.parameters()
    if [(name, tuple(p.shape)) for name, p in first.items()] != [(name, tuple(p.shape)) for name, p in second.items()]:
        return None
    deltas = {}
    for name, parameter in first.items():
        delta = (second[name].float().cpu() - parameter.float().cpu()).numpy()
        if np.isfinite(delta).all() and delta.any():
            deltas[name] = delta
    return Edit(deltas, one.hash, f"{other.name} for {one.name}") if deltas else None
