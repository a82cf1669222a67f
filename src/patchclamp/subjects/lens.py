"""Look into a language model along a text: what each depth would answer, and what each head attends to."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from patchclamp.core.arguments import Natural, Positive, checked
from patchclamp.core.attention import Attention
from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.core.logit_lens import LogitLens
from patchclamp.core.stimulus import Stimulus
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.unembedding import Unembeds

MOST_LOGITS = 2**26
"""Logits that are held at once: 256 MiB. One product of many rows takes a third of the time of many products."""


@checked
class Lenses(Unembeds):
    """Give a language model its logit lens and its attention patterns."""

    def logit_lens(
        self, text: Any, *, top: Positive = 5, target: str | int | None = None, interventions: Sequence[Any] = ()
    ) -> LogitLens:
        """Return the next tokens that the residual stream says at every depth: softmax(W_U · norm(x)).

        Args:
            text: text, ids or a stimulus; one.
            top: how many of the likeliest tokens to keep at each place.
            target: a token, as text or as its id, whose rank and log-probability are wanted at each place.
            interventions: changes that are in force.

        Returns:
            LogitLens: a row for what the first block reads and one for what each block leaves, the final norm applied;
                the last row is the model's own answer.

        Raises:
            PatchclampError: several texts, or a target that is no single token.
            CannotIntervene: a family whose blocks share no one residual stream.

        Source: nostalgebraist (2020), *interpreting GPT: the logit lens*.

        Cost: one forward pass, and an unembedding of each of (blocks + 1) × tokens vectors.

        Example:
            >>> from patchclamp.loaders import load
            >>> lens = load("organism:cat").logit_lens("the old cat")
            >>> lens.ids.shape == (len(lens.sites), len(lens.tokens), 5)
            True
        """
        self.head  # noqa: B018  a model without one says so
        sites = stream_sites(self)
        stimulus = _one_stimulus(self, text)
        wanted = None if target is None else _token_of(self, stimulus, target)
        # The model's own answer is read behind its last norm: a change there shows too.
        run = self.run(stimulus, record=[*sites[:-1], "final"], interventions=list(interventions), logits=False)
        norm = self.module.get_submodule(self.covering_family().final_path(self.module))
        with torch.no_grad():
            final = torch.cat([*(norm(run.recording[path]) for path in sites[:-1]), run.recording["final"]])
            parts = [
                _read_logits(upcast(self.unembed(rows)), min(top, self.n_answers), wanted)
                for rows in final.split(max(MOST_LOGITS // self.n_answers, 1))
            ]
        shape = (len(sites), len(stimulus))
        ids, probabilities = (np.concatenate([part[i] for part in parts]).reshape(*shape, -1) for i in (0, 1))
        more: dict[str, np.ndarray] = {}
        if wanted is not None:
            more["ranks"] = np.concatenate([part[2] for part in parts]).reshape(shape)
            more["log_probabilities"] = np.concatenate([part[3] for part in parts]).reshape(shape)
        known = {int(id) for id in np.unique(ids)} | ({wanted} if wanted is not None else set())
        return LogitLens(
            self.name,
            tuple(_spell(self, int(id)) for id in stimulus.ids),
            tuple(sites),
            ids,
            probabilities,
            {id: _spell(self, id) for id in sorted(known)},
            wanted,
            changes=len(interventions),
            **more,
        )

    def lens_logits(self, residual: Float[Tensor, "row d_model"]) -> Float[Tensor, "row token"]:
        """Return the logits that vectors of the residual stream say by the logit lens: W_U · norm(x)."""
        norm = self.module.get_submodule(self.covering_family().final_path(self.module))
        with torch.no_grad():
            return self.unembed(norm(residual))

    def attention(self, text: Any, layer: Natural | None = None, *, interventions: Sequence[Any] = ()) -> Attention:
        """Return what every head attends to along a text.

        Args:
            text: text, ids or a stimulus; one.
            layer: one block; all that have attention where None.
            interventions: changes that are in force.

        Returns:
            Attention: weights ``(layer, head, target, source)``, as the model computes them.

        Raises:
            PatchclampError: several texts, a block without attention, or a model of which no patterns can be read.

        Cost: one forward pass up to the last block asked for, its attention computed step by step; layers · heads ·
            tokens² numbers.

        Example:
            >>> from patchclamp.loaders import load
            >>> load("organism:cat").attention("the old cat", 0).tokens
            ('<bos>', ' the', ' old', ' cat')
        """
        self.require("attention")
        stimulus = _one_stimulus(self, text)
        blocks = [site.layer for site in self.sites() if site.kind == "attn.pattern" and site.layer is not None]
        if layer is not None and layer not in blocks:
            raise PatchclampError(
                expected=f"a block with attention, from {blocks[0]} to {blocks[-1]}" if blocks else "attention",
                got=f"block {layer}",
                remedy="`patchclamp info MODEL` lists sites and heads.",
            )
        layers = blocks if layer is None else [layer]
        paths = [f"blocks.{i}.attn.pattern" for i in layers]
        recording = self.run(stimulus, record=paths, interventions=list(interventions), logits=False).recording
        weights = np.stack([_pattern(recording[path]) for path in paths])
        return Attention(self.name, tuple(_spell(self, int(id)) for id in stimulus.ids), tuple(layers), weights)


def stream_sites(model: Unembeds) -> list[str]:
    """Return where the residual stream is read: what the first block reads, and what each block leaves.

    Raises:
        CannotIntervene: the blocks share no one stream, for the stream itself is normed after each addition.
    """
    family = model.covering_family()
    if family.sum_norms or family.head:
        raise CannotIntervene(
            expected="a model whose blocks add to one residual stream, which the last norm and the unembedding read",
            got=f"{model.name}, a {family.name}, which norms the stream itself after each addition",
            remedy="Use a model that norms what its blocks read, such as gpt2 or llama; or read the logits alone.",
        )
    return along_stream(model)


def along_stream(model: Unembeds) -> list[str]:
    """Return the residual stream's sites from block to block, whatever norms stand between."""
    return ["blocks.0.resid_in", *(site.path for site in model.sites() if site.kind == "resid_out")]


def _read_logits(logits: Float[Tensor, "row token"], top: int, target: int | None) -> list[np.ndarray]:
    """Return ids and probabilities of each row's likeliest tokens; of a target its rank and log-probability."""
    whole = logits.logsumexp(-1, keepdim=True)
    best = logits.topk(top)
    read = [best.indices, (best.values - whole).exp().double()]
    if target is not None:
        own = logits[:, target : target + 1]
        read += [1 + (logits > own).sum(-1), (own - whole)[:, 0].double()]
    return [values.cpu().numpy() for values in read]


def _pattern(recorded: Tensor) -> Float[np.ndarray, "head target source"]:
    pattern: np.ndarray = upcast(recorded).cpu().numpy().transpose(1, 0, 2)  # recorded as (target, head, source)
    return pattern


def _one_stimulus(model: Unembeds, text: Any) -> Stimulus:
    listed = model.stimuli(text, answered=True)
    if len(listed) != 1:
        raise PatchclampError(expected="one text", got=f"{len(listed)}", remedy="Look at each by itself.")
    [stimulus] = listed
    return stimulus


def _token_of(model: Unembeds, stimulus: Stimulus, target: str | int) -> int:
    """Return the id of a target: the id itself, or the one token that a text adds after the prompt."""
    ids = (target,) if isinstance(target, int) else model.tokenizer.continuation(stimulus, target)
    if len(ids) != 1 or not 0 <= ids[0] < model.n_answers:
        raise PatchclampError(
            expected=f"one token, or its id below {model.n_answers}",
            got=f"{target!r}, ids {list(ids)}",
            remedy="Name one token, mostly with the space before it, such as ' cat'.",
        )
    return int(ids[0])


def _spell(model: Any, id: int) -> str:
    """Return a token's text; its number where the model has no tokenizer."""
    return str(id) if model._tokenizer is None else str(model.tokenizer.token(id))
