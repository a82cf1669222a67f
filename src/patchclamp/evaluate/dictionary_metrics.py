"""Evaluate a dictionary: unexplained variance, L0, dead units, and the cross-entropy of its reconstruction."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from patchclamp.core.arguments import checked
from patchclamp.core.basis import Basis
from patchclamp.core.caution import caution
from patchclamp.core.checks import OF_THIS_MODEL, at_least, same_subject
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.disk import file_hash
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.intervention import Intervention, Span
from patchclamp.core.stats import bootstrap_interval
from patchclamp.core.stimulus import Stimulus
from patchclamp.core.subject import Progress
from patchclamp.evaluate.dictionary_baselines import label, rival_bases
from patchclamp.evaluate.substitution import clamp_site, substitute_reconstruction
from patchclamp.subjects.bases import count_units, encode, reconstruct
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.site_names import resolve_sites

FITTED = 8192
"""Tokens that means, components and gains of the rivals are fitted on, at most."""
FEWEST = 4
RESAMPLES = 1000
NATS = "nats per token"


@checked
@dataclass(frozen=True)
class DictionaryRow:
    """Hold the figures of one basis at one site.

    Args:
        site: the site that is written.
        name: the basis; ``neurons``, ``pca`` and ``random`` keep as many numbers per token.
        units: how many units it has.
        active: L0, units that are not zero, per token.
        dead: share of units that were zero at every token.
        unexplained: Σ ‖x − x̂‖² / Σ ‖x − x̄‖².
        unexplained_later: the same without each stimulus' first counted token, whose norm can hide all others.
        loss: cross-entropy in nats per token with x̂ in the place of x.
        recovered: (CE at the mean − CE with x̂) / (CE at the mean − CE of the network).
        recovered_zero: the same with zeros instead of the mean.
    """

    site: str
    name: str
    units: int
    active: Estimate
    dead: float
    unexplained: Estimate
    unexplained_later: Estimate
    loss: Estimate
    recovered: Estimate
    recovered_zero: Estimate


@checked
@dataclass(frozen=True)
class DictionaryMetrics:
    """Hold what ``measure_dictionary`` measured.

    Args:
        rows: the dictionary and its rivals, site by site.
        loss: the network's own cross-entropy.
        first: site to the share of Σ ‖x‖² that stands in each stimulus' first counted token, and these tokens' share.
        held: site to cross-entropy with the site at its mean and at zero.
        tokens: counted tokens of the evaluation.
        stimuli: number of their stimuli.
        notes: what a reader must know.
        fitted: number of other stimuli that the means and the baselines were fitted on.
    """

    rows: tuple[DictionaryRow, ...]
    loss: Estimate
    first: Mapping[str, tuple[float, float]]
    held: Mapping[str, tuple[Estimate, Estimate]]
    tokens: int
    stimuli: int
    notes: tuple[str, ...]
    fitted: int = 0


def check_subject(model: LanguageModel, dictionary: Dictionary) -> list[str]:
    """Refuse a dictionary of another model, and return notes for one that does not name its model's hash.

    Raises:
        PatchclampError: it was made on other weights, or its widths are not the model's.
    """
    has_hash = same_subject(model, dictionary, what="a dictionary", remedy=OF_THIS_MODEL, by_name=False)
    for site, basis in dictionary.bases.items():
        count_units(basis, model.site(site))
        for path, decoder in basis.further.items():
            if decoder.shape[1] != model.site(path).width:
                raise PatchclampError(
                    expected=f"directions of width {model.site(path).width} for {path}",
                    got=f"{decoder.shape[1]}",
                    remedy="Use the basis with the model that it was made for.",
                )
        read = model.site(basis.reads or site)
        if basis.encoder is not None and basis.encoder.shape[1] != read.width:
            raise PatchclampError(
                expected=f"an encoder of width {read.width} for {read.path}",
                got=f"{basis.encoder.shape[1]}",
                remedy="Use the basis with the model that it was made for.",
            )
    if has_hash:
        return []
    slug = str(dictionary.subject.get("slug", ""))
    return [
        f"it was made for {slug or 'a model that it does not name'} and holds no hash: only the widths were checked"
    ]


@checked
def measure_dictionary(
    model: LanguageModel,
    dictionary: Dictionary,
    shown: Sequence[Stimulus],
    *,
    batch_size: int = 8,
    seed: int = 0,
    progress: Progress | None = None,
) -> DictionaryMetrics:
    """Evaluate a dictionary on text, beside neurons, principal components and random directions of equal L0.

    Even stimuli fit the means and the baselines, odd ones are evaluated. Special tokens count nowhere, and activations
    before the first counted token stay as they are.

    Args:
        model: the language model that it was made on.
        dictionary: its bases.
        shown: stimuli that it was not made on.
        batch_size: stimuli per forward pass.
        seed: of the random directions and the resampling.
        progress: called with forward passes done and in all.

    Returns:
        DictionaryMetrics: every figure with a 95 % interval, stimuli resampled.

    Raises:
        PatchclampError: another model's dictionary, too few stimuli, or a model that does not predict the next token.

    Source: fraction of variance unexplained, L0, dead latents and loss recovered as in 2406.04093 and 2404.16014; the
    baselines are ours.

    Cost: per batch a forward pass, and six more for each site; memory of one batch's values, units and logits.
    """
    dictionary = resolve_sites(model, dictionary)
    notes = check_subject(model, dictionary)
    model.require("generate")
    at_least("the number of stimuli", len(shown), FEWEST, remedy="Give a longer text, or a shorter --window.")
    sites = {p for site, basis in dictionary.bases.items() for p in (site, basis.reads or site)}
    paths = [site.path for site in model.sites() if site.path in sites]
    paths += sorted(sites - set(paths))
    fitted, judged = shown[::2], shown[1::2]
    sample = sample_rows(model, fitted, paths, batch_size)
    tallies: dict[str, dict[str, _Tally]] = {}
    for site, basis in dictionary.bases.items():
        active = float((encode(basis, sample[basis.reads or site]) != 0).sum(1).float().mean())
        rivals = rival_bases(sample[site], max(1, round(active)), basis.n_units, seed=seed)
        whole = {label(dictionary): dictionary.bases, **{name: {site: rival} for name, rival in rivals.items()}}
        tallies[site] = {name: _Tally(bases, site, len(judged)) for name, bases in whole.items()}
        if basis.reads is not None:
            notes.append(f"at {site} the rivals code what is written there; the transcoder sees {basis.reads} only")
    means = {site: sample[site].mean(0) for site in dictionary.bases}
    losses = Losses(len(judged))
    moments, later = (
        {site: _Moments(len(judged), model.site(site).width) for site in dictionary.bases} for _ in range(2)
    )
    n_batches = -(-len(judged) // batch_size)
    for done, first in enumerate(range(0, len(judged), batch_size), start=1):
        batch = judged[first : first + batch_size]
        run = model.run(batch, record=paths, logits=True)
        losses.add("", first, run.logits, batch)
        counted = np.concatenate([s.counted for s in batch])
        counts = [int(s.counted.sum()) for s in batch]
        owner = first + np.repeat(np.arange(len(batch)), counts)
        rest = np.concatenate([np.arange(n) > 0 for n in counts])
        values = {path: run.recording[path][torch.from_numpy(counted)].float() for path in paths}
        at = from_first_counted(batch)
        for site, candidates in tallies.items():
            moments[site].add(owner, values[site])
            later[site].add(owner[rest], values[site][torch.from_numpy(rest)])
            variants: dict[str, list[Intervention]] = {
                "mean": clamp_site(site, means[site], at),
                "zero": clamp_site(site, 0.0, at),
            }
            for name, tally in candidates.items():
                tally.add(owner, rest, values)
                variants[f"/{name}"] = substitute_reconstruction(site, tally.bases, at=at)
            for name, interventions in variants.items():
                logits = model.run(batch, interventions=interventions, logits=True).logits
                losses.add(f"{site}/{name}", first, logits, batch)
        if progress is not None:
            progress(done, n_batches)
    if few := caution(len(judged), "stimuli"):
        notes.append(few)
    return replace(_report(tallies, losses, moments, later, judged, notes, seed), fitted=len(fitted))


def is_training_text(dictionary: Dictionary, text: str | Path) -> bool:
    """Return whether a dictionary was trained on a text, by the hash that it stores of it.

    False if it stores none: a dictionary of another library, or one that was trained on a recording.
    """
    plan = dictionary.about.get("plan")
    # Coders keep the whole manifest of their training there, of which the plan is a part.
    plans = [plan, plan.get("plan")] if isinstance(plan, Mapping) else []
    kept = {one["text"] for one in plans if isinstance(one, Mapping) and isinstance(one.get("text"), str)}
    return bool(kept) and file_hash(Path(text)) in kept


class _Tally:
    """Add up what a basis does, stimulus by stimulus."""

    def __init__(self, bases: Mapping[str, Basis], site: str, n: int) -> None:
        self.bases, self.site, self.basis = bases, site, bases[site]
        self.missed, self.later, self.active = np.zeros(n), np.zeros(n), np.zeros(n)
        self.fired = torch.zeros(self.basis.n_units, dtype=torch.bool)

    def add(self, owner: np.ndarray, rest: np.ndarray, values: Mapping[str, Tensor]) -> None:
        f = encode(self.basis, values[self.basis.reads or self.site])
        missed = (values[self.site] - reconstruct(self.bases, self.site, values)).double().pow(2).sum(1).cpu().numpy()
        np.add.at(self.missed, owner, missed)
        np.add.at(self.later, owner[rest], missed[rest])
        np.add.at(self.active, owner, (f != 0).sum(1).cpu().numpy())
        self.fired |= (f != 0).any(0).cpu()


class _Moments:
    """Add up Σ x and Σ ‖x‖² stimulus by stimulus: the variance about a mean that is known only at the end."""

    def __init__(self, n: int, width: int) -> None:
        self.count, self.square, self.total = np.zeros(n), np.zeros(n), np.zeros((n, width))

    def add(self, owner: np.ndarray, x: Tensor) -> None:
        values = x.double().cpu().numpy()
        np.add.at(self.count, owner, 1)
        np.add.at(self.square, owner, (values**2).sum(1))
        np.add.at(self.total, owner, values)

    def variance(self) -> np.ndarray:
        """Return Σ ‖x − x̄‖² of each stimulus, x̄ over all of them."""
        mean = self.total.sum(0) / max(self.count.sum(), 1)
        squares: np.ndarray = self.square - 2 * self.total @ mean + self.count * (mean @ mean)
        return np.maximum(squares, 0)


class Losses:
    """Sum cross-entropy over counted tokens, stimulus by stimulus, under every change."""

    def __init__(self, n: int) -> None:
        self.count, self.sums = np.zeros(n), {"": np.zeros(n)}

    def add(self, what: str, first: int, logits: Tensor, batch: Sequence[Stimulus]) -> None:
        """Add the cross-entropy of a batch under a change.

        Args:
            what: name of the change; empty for the unchanged model.
            first: number of the batch's first stimulus.
            logits: ``(stimulus, position, token)``.
            batch: the stimuli.
        """
        sums = self.sums.setdefault(what, np.zeros(len(self.count)))
        for i, (row, stimulus) in enumerate(zip(logits, batch, strict=True), start=first):
            ids = torch.from_numpy(stimulus.ids[1:])[:, None].to(row.device)
            log_p = row[: len(ids)].float().log_softmax(-1).gather(1, ids)[:, 0].cpu().numpy()
            counted = stimulus.counted[1:]
            sums[i] = -float(log_p[counted].sum())
            if not what:
                self.count[i] = int(counted.sum())


def sample_rows(model: Any, shown: Sequence[Stimulus], paths: Sequence[str], batch_size: int) -> dict[str, Tensor]:
    """Return counted rows of sites, for fitting means and components; at most 8,192 of each.

    Args:
        model: the subject.
        shown: stimuli to take rows from.
        paths: sites.
        batch_size: stimuli per forward pass.

    Returns:
        dict: site to ``(row, width)``.

    Raises:
        PatchclampError: fewer than two tokens.

    Example:
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> rows = sample_rows(cat, cat.stimuli(["the old cat", "the old dog"]), ["blocks.0.mlp.act"], 2)
        >>> tuple(rows["blocks.0.mlp.act"].shape)
        (6, 16)
    """
    parts: dict[str, list[Tensor]] = {path: [] for path in paths}
    n = 0
    for first in range(0, len(shown), batch_size):
        batch = shown[first : first + batch_size]
        recording = model.run(batch, record=list(paths), logits=False).recording
        counted = torch.from_numpy(np.concatenate([s.counted for s in batch]))
        for path in paths:
            parts[path].append(recording[path][counted].float())
        n += int(counted.sum())
        if n >= FITTED:
            break
    if n < 2:
        raise PatchclampError(expected="text to fit the controls on", got=f"{n} tokens", remedy="Give a longer text.")
    return {path: torch.cat(rows)[:FITTED] for path, rows in parts.items()}


def from_first_counted(batch: Sequence[Stimulus]) -> list[Span] | None:
    """Return the positions from the first counted token on; what stands before it (⟨bos⟩) stays unchanged."""
    first = min((int(s.counted.argmax()) for s in batch if s.counted.any()), default=0)
    return [Span(first)] if first else None


def _first_share(whole: _Moments, later: _Moments) -> tuple[float, float]:
    """Return first tokens' share of Σ ‖x‖², and of the tokens."""
    size, count = whole.square.sum(), whole.count.sum()
    return float(1 - later.square.sum() / size) if size > 0 else nan, float(1 - later.count.sum() / max(count, 1))


def _report(
    tallies: Mapping[str, Mapping[str, _Tally]],
    losses: Losses,
    moments: Mapping[str, _Moments],
    later: Mapping[str, _Moments],
    judged: Sequence[Stimulus],
    notes: Sequence[str],
    seed: int,
) -> DictionaryMetrics:
    n = losses.count

    def score(of: Callable[[np.ndarray], float], unit: str, *columns: np.ndarray) -> Estimate:
        rows = np.column_stack(columns)
        return Estimate(of(rows), bootstrap_interval(rows, of, n_resamples=RESAMPLES, seed=seed), len(rows), unit)

    def ratio(rows: np.ndarray) -> float:
        top, bottom = rows.sum(0)
        return float(top / bottom) if bottom > 0 else nan

    def share(rows: np.ndarray) -> float:
        floor, said, clean = rows.sum(0)
        return float((floor - said) / (floor - clean)) if floor > clean else nan

    clean = losses.sums[""]
    rows, floors = [], {}
    firsts = {site: _first_share(moments[site], later[site]) for site in tallies}
    for site, candidates in tallies.items():
        mean, zero = losses.sums[f"{site}/mean"], losses.sums[f"{site}/zero"]
        floors[site] = (score(ratio, NATS, mean, n), score(ratio, NATS, zero, n))
        variance, count, others = moments[site].variance(), moments[site].count, later[site].variance()
        for name, tally in candidates.items():
            said = losses.sums[f"{site}//{name}"]
            here = DictionaryRow(
                site,
                name,
                tally.basis.n_units,
                score(ratio, "units per token", tally.active, count),
                float((~tally.fired).float().mean()),
                score(ratio, "share of variance", tally.missed, variance),
                score(ratio, "share of variance", tally.later, others),
                score(ratio, NATS, said, n),
                score(share, "share recovered", mean, said, clean),
                score(share, "share recovered", zero, said, clean),
            )
            rows.append(here)
    tokens = int(sum(s.counted.sum() for s in judged))
    return DictionaryMetrics(
        tuple(rows), score(ratio, NATS, clean, n), firsts, floors, tokens, len(judged), tuple(notes)
    )
