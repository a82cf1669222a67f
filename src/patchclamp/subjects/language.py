"""A Hugging Face language model in the rig, its sites named by what they mean."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.disk import build_aside, refuse_occupied
from patchclamp.core.edit import Edit
from patchclamp.core.errors import PatchclampError
from patchclamp.core.metric import EachMetric, Metric
from patchclamp.core.recording import Recording
from patchclamp.core.site import Site
from patchclamp.core.stimulus import Shown
from patchclamp.core.subject import Capabilities, Differentiated, Progress, Run
from patchclamp.subjects.apply import Edits, TokenPositions, by_row, pick_rows, upcast
from patchclamp.subjects.batching import Batch, Padding, PaddingCheck, PositionTracker, read_columns
from patchclamp.subjects.cases import ReadCase
from patchclamp.subjects.context import context_of, first_position_id
from patchclamp.subjects.engine import Engine, Place, Restart, Tap, Wrap, stop_once_called
from patchclamp.subjects.families.spec import Family, family_of
from patchclamp.subjects.generation import Generation, check_request, generate_ids, generate_stepwise
from patchclamp.subjects.hashing import tokenizer_hash
from patchclamp.subjects.language_lacks import list_capabilities
from patchclamp.subjects.lens import Lenses
from patchclamp.subjects.load_errors import two_text_error
from patchclamp.subjects.moe import routed_tokens
from patchclamp.subjects.probing import probe
from patchclamp.subjects.reading import read_prompt
from patchclamp.subjects.relevance_rules import Rule, check_rules, forward_replacements, last_visits
from patchclamp.subjects.text import Tokenizer
from patchclamp.subjects.visits import gradients_of, keep_on_path, refuse_second_call

Attention = Literal["native", "tap"]


@checked
class LanguageModel(Lenses):
    """Lay a Hugging Face language model in the rig.

    Args:
        model: a ``…ForCausalLM`` or ``…ForMaskedLM``, a model of images and text, which is shown text alone, or one
            without a head, which is only recorded and changed; used as it is, wherever its weights lie, restored after
            use.
        tokenizer: its tokenizer; None where only token ids are shown.
        name: what to call it in keys.
        hash: identity, where the caller knows it (a folder's hash); else that of the weights.
        family: where the canonical sites lie (default: found by class name).

    Raises:
        PatchclampError: an encoder-decoder, which is shown two texts.

    Example:
        >>> from patchclamp.subjects.families.spec import family
        >>> model = LanguageModel(family("gpt2").tiny())
        >>> model.site("blocks.1.mlp.act").width
        128
    """

    module: Any
    stimulus_kind = "text"

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        name: str | None = None,
        hash: str | None = None,
        family: Family | None = None,
    ) -> None:
        if getattr(model.config, "is_encoder_decoder", False):
            raise two_text_error(type(model).__name__, str(model.config.model_type))
        super().__init__(
            model.eval(), (), name=name or getattr(model.config, "_name_or_path", "") or type(model).__name__
        )
        self.family = family or family_of(model)
        # What a unit writes straight to the logits is known of covered models alone.
        self._head = self._find_head()
        self.direct = self.family is not None and bool(self._head)
        self._padding = PaddingCheck(model, self._inputs)
        self._tokenizer = None if tokenizer is None else Tokenizer(tokenizer)
        self.tokenizer_hash = tokenizer_hash(tokenizer)
        if hash is not None:
            self.__dict__["hash"] = hash
        self.context = context_of(model.config.get_text_config(), self._first_position)
        if self.family is not None:
            blocks, method = self.family.layers(model), self.family.wrapped_method(model)
            written_out = self.family.attention_written_out(model)
            self.engine = Engine(model, blocks=blocks, attention_method=method, written_out=written_out)

    @property
    def capabilities(self) -> Capabilities:
        """What can be done with it; ``missing`` says why not where it cannot."""
        return list_capabilities(self, super().capabilities, headless=self._headless)

    @property
    def device(self) -> torch.device:
        """Where the inputs go."""
        device: torch.device = self.module.get_input_embeddings().weight.device
        return torch.device("cpu") if device.type == "meta" else device  # offloaded weights

    @property
    def dtype(self) -> torch.dtype:
        """Type of the activations."""
        return self.module.dtype

    @property
    def pads_left(self) -> bool:
        """Whether it is known that padding, on the left too, leaves rows as they are alone."""
        return self.family is not None and self.family.pads_left

    @property
    def _first_position(self) -> int:
        """The position id of the first token."""
        config = self.module.config.get_text_config()
        return first_position_id(self.module) if self.family is None else self.family.first_position(config)

    @cached_property
    def _places(self) -> dict[str, tuple[Site, Place | Tap]]:
        return self._module_places if self.family is None else self.family.places(self.module)

    @cached_property
    def _module_places(self) -> dict[str, tuple[Site, Place | Tap]]:
        # Only what has one vector per token of the batch: rotary angles have no batch, some MLPs flatten it away.
        ids = torch.zeros(2, 3, dtype=torch.int64, device=self.device)
        places = probe(self.module, lambda: self.module(input_ids=ids, use_cache=False), lead=(2, 3))
        # The logits: shown only for the positions that are asked for, and returned anyway.
        places.pop(f"module.{self._head}.out", None)
        return places

    def read_case(self, shown: Any, targets: Sequence[Any], contrasts: Sequence[Any] = (), **how: Any) -> ReadCase:
        """Turn a prompt and its answers into tokens and a metric; see ``Model.read_case``, and ``read_prompt``.

        Returns:
            ReadCase: stimulus, counterpart and metric.
        """
        self.head  # noqa: B018  a model without one says so
        return read_prompt(self, shown, targets, contrasts, **how)

    # -- running ------------------------------------------------------------------------------------------------------

    def run(
        self,
        stimuli: Any,
        *,
        record: str | Sequence[str] = (),
        interventions: Sequence[Any] = (),
        logits: bool | Sequence[int] = True,
        padding: Padding = "right",
        attention: Attention = "native",
        restart: Restart | None = None,
    ) -> Run:
        """Show stimuli in one batch, with changes, and record.

        Without logits the forward pass stops at the last recorded site; with chosen positions only those are
        unembedded.

        Args:
            stimuli: text, ids, stimuli, or a list of these.
            record: site paths or patterns, such as ``blocks.*.mlp.act``.
            interventions: one list for every row, or a list per row (one stimulus is then repeated for each).
            logits: True for all positions, False for none, or logical positions (negative from each row's end).
            padding: side of the padding.
            attention: ``tap`` routes attention through the tap even where no site needs it.
            restart: skip the blocks before a layer.

        Returns:
            Run: logits ``(stimulus, position, token)``, recording with rows = tokens.

        Raises:
            PatchclampError: unknown sites, units out of range, prompts that do not fit.

        Cost: one forward pass.

        Example:
            >>> from patchclamp.subjects.families.spec import family
            >>> run = LanguageModel(family("llama").tiny()).run([[1, 2, 3]], record="blocks.*.mlp.act")
            >>> run.logits.shape, run.recording["blocks.0.mlp.act"].shape
            (torch.Size([1, 3, 61]), torch.Size([3, 48]))
        """
        shown = self.stimuli(stimuli)
        if by_row(interventions) and len(shown) == 1:
            shown = shown * len(interventions)
        batch = self.batch(shown, padding)
        paths = self._paths(record)
        kept: dict[str, Any] = {}

        def keep(path: str, x: Tensor) -> Tensor:
            refuse_second_call(path, kept)
            kept[path] = self._rows(path, x, batch)
            return x

        with torch.no_grad():
            output = self._forward(batch, paths, keep, interventions, logits, attention, restart)
        return Run(tuple(shown), output, self._recording(shown, kept))

    def watch(self, stimuli: Any, sites: str | Sequence[str], see: Callable[[str, Tensor], None]) -> None:
        """Show stimuli in one batch and hand over what each site does as it is computed; nothing is kept.

        Args:
            stimuli: text, ids, stimuli, or a list of these.
            sites: site paths or patterns.
            see: called with each site's path and its ``(tokens, width)`` rows; they are the network's own, so it copies
                what it wants to keep and changes nothing.

        Raises:
            PatchclampError: unknown sites, prompts that do not fit.

        Cost: one forward pass, stopped at the last site; memory of one site.

        Example:
            >>> from patchclamp.subjects.families.spec import family
            >>> model = LanguageModel(family("gpt2").tiny())
            >>> model.watch([[1, 2, 3]], "blocks.1.mlp.act", lambda path, x: print(path, tuple(x.shape)))
            blocks.1.mlp.act (3, 128)
        """
        batch = self.batch(self.stimuli(stimuli))
        met: set[str] = set()

        def keep(path: str, x: Tensor) -> Tensor:
            refuse_second_call(path, met)
            met.add(path)
            see(path, self._rows(path, x, batch))
            return x

        with torch.no_grad():
            self._forward(batch, self._paths(sites), keep, (), False, "native", None)

    def differentiate(
        self,
        stimuli: Any,
        metric: Metric | EachMetric,
        sites: str | Sequence[str],
        *,
        interventions: Sequence[Any] = (),
        padding: Padding = "right",
        rules: Sequence[str] = (),
        restart: Restart | None = None,
    ) -> Differentiated:
        """Return a metric's gradient at sites, and the values there.

        Args:
            stimuli: text, ids, stimuli, or a list of these.
            metric: what is differentiated; each row's metric depends on that row only.
            sites: site paths or patterns.
            interventions: changes that hold meanwhile; gradients flow through them.
            padding: side of the padding.
            rules: relevance rules among ``ln identity half ah direct`` that replace the backward pass; the forward pass
                stays equal to the bit. RelP is ``("ln", "identity", "half")``; none gives the plain gradient.
            restart: skip the blocks before a layer.

        Returns:
            Differentiated: metric ``(stimulus,)``, values and gradients with rows = tokens.

        Raises:
            CannotIntervene: the subject has no gradients.

        Cost: one forward and one backward pass; memory of all activations between.
        """
        batch = self.batch(self.stimuli(stimuli), padding)
        measured, held = self.trace(batch, metric, sites, interventions=interventions, rules=rules, restart=restart)
        with torch.enable_grad():
            gradients_at = gradients_of(measured, held)
        values = {path: self._rows(path, x.detach(), batch) for path, x in held.items()}
        gradients = {path: self._rows(path, g, batch) for path, g in gradients_at.items()}
        recorded = self._recording(batch.stimuli, values)
        return Differentiated(measured.detach(), recorded, self._recording(batch.stimuli, gradients, recorded.rows))

    def trace(
        self,
        batch: Batch,
        metric: Metric | EachMetric,
        sites: str | Sequence[str],
        *,
        interventions: Sequence[Any] = (),
        rules: Sequence[str] = (),
        restart: Restart | None = None,
    ) -> tuple[Float[Tensor, " stimulus"], dict[str, Tensor]]:
        """Return a metric and values at sites ``(row, column, width)`` with the graph between them.

        For gradients of one site at another; arguments as for ``differentiate``, the batch one that ``batch`` made. The
        first sites on a path are leaves.

        Returns:
            tuple[Float[Tensor, " stimulus"], dict[str, Tensor]]: m of every row, and the values by site, all part of
                one graph.

        Cost: one forward pass; memory of all activations, as long as the result is held.
        """
        self.require("differentiate")
        ruled = check_rules(rules)
        held: dict[str, Tensor] = {}
        with torch.enable_grad():
            logits = self._forward(
                batch,
                self._paths(sites),
                keep_on_path(held),
                interventions,
                metric.positions,
                "native",
                restart,
                ruled,
                True,
            )
            assert logits is not None
            return metric(upcast(logits)), held

    @contextmanager
    def intervene(self, interventions: Sequence[Any]) -> Iterator[None]:
        """Change every forward of the model inside the context: plain calls and ``model.module.generate`` too.

        Positions are logical whatever the padding, and steps follow the key-value cache. Each prefill starts a new
        prompt.

        Example:
            >>> from patchclamp.core.intervention import change
            >>> from patchclamp.subjects.families.spec import family
            >>> model = LanguageModel(family("gpt2").tiny())
            >>> with model.intervene([change("scale", "blocks.0.attn.z", 1, value=0.0, basis="heads")]):
            ...     model.module(input_ids=torch.tensor([[1, 2]])).logits.shape
            torch.Size([1, 2, 61])
        """
        # Whoever runs it within may be training it.
        with self._attach_changes(interventions, evaluate=False)():
            yield

    def _attach_changes(
        self, interventions: Sequence[Any], *, evaluate: bool = True
    ) -> Callable[[], AbstractContextManager[None]]:
        """Return what attaches interventions; entered anew it goes on where the prompt was left."""
        positions = self.family is not None and self.family.positions
        framer = PositionTracker(self.module, positions=positions, first_position=self._first_position)
        edits = self._bind(interventions, None)
        visits = self._visits([], edits, lambda _site: framer.current(), lambda _path, x: x)
        return lambda: self.engine.attach_visits(visits, prepare=framer.prepare, evaluate=evaluate)

    def generate(
        self,
        prompts: Any,
        *,
        interventions: Sequence[Any] = (),
        max_new_tokens: int = 40,
        temperature: float | int = 0.0,
        seed: Natural = 0,
        cache: bool = True,
        progress: Progress | None = None,
    ) -> list[Generation]:
        """Continue prompts, with changes, by transformers' own ``generate``.

        Args:
            prompts: text, ids, stimuli, or a list of these; a family's are padded on the left, others run one by one.
            interventions: one list for all rows, or a list per row.
            max_new_tokens: most tokens to write.
            temperature: 0 takes the likeliest token; more samples.
            seed: of the sampling.
            cache: use the key-value cache; off gives the same text, slowly.
            progress: called with steps done and steps at most.

        Returns:
            list[Generation]: one per prompt, in their order.

        Raises:
            PatchclampError: prompt and continuation exceed the context, or a position lies outside the prompt; the
                model does not continue text, or its logits are not finite.
        """
        self.require("generate")
        shown = self.stimuli(prompts, answered=True)
        check_request(max(map(len, shown)), self.context, max_new_tokens, temperature)
        self._bind(interventions, len(shown)).check([len(s) for s in shown], steps=True)
        written: dict[int, np.ndarray] = {}
        # A family's contract proves batches and padding; some networks that carry a state mix rows, even of one length.
        for rows in [range(len(shown))] if self.pads_left else [[i] for i in range(len(shown))]:
            batch = self.batch([shown[i] for i in rows], "left")
            with self.intervene(pick_rows(interventions, rows)):
                made = generate_ids(
                    self.module,
                    batch,
                    pad=self._pad,
                    max_new_tokens=max_new_tokens,
                    temperature=temperature,
                    seed=seed,
                    cache=cache,
                    progress=progress,
                )
            written |= dict(zip(rows, made, strict=True))
        write = (lambda *_ids: "") if self._tokenizer is None else self._tokenizer.continuation_of
        return [Generation(s, written[i], write(s.ids, written[i])) for i, s in enumerate(shown)]

    def steps(self, prompt: Any, *, interventions: Sequence[Any] = (), max_new_tokens: int = 40) -> Iterator[int]:
        """Yield the tokens that ``generate`` writes at temperature 0, one by one; between them the model is free.

        Args:
            prompt: text, ids or a stimulus; one.
            interventions: changes that hold at every step.
            max_new_tokens: most tokens to write.

        Returns:
            Iterator[int]: ids, up to the first end token.

        Raises:
            PatchclampError: as ``generate``, before the first token.

        Cost: one forward pass per token that is taken.
        """
        self.require("generate")
        listed = self.stimuli(prompt, answered=True)
        if len(listed) != 1:
            raise PatchclampError(
                expected="one prompt", got=f"{len(listed)}", remedy="Step each by itself, or generate them together."
            )
        [shown] = listed
        check_request(len(shown), self.context, max_new_tokens, 0.0)
        self._bind(interventions, 1).check([len(shown)], steps=True)
        return generate_stepwise(
            self.module,
            self.batch([shown]),
            pad=self._pad,
            max_new_tokens=max_new_tokens,
            attached=self._attach_changes(interventions),
        )

    def save_edited(self, edit: Edit, folder: str | Path) -> None:
        """Write the model with an edit in force to a new or empty folder, whole or not at all; ``pc.load`` reads it.

        Args:
            edit: made for these weights.
            folder: gets config, safetensors and tokenizer, and with them a hash of its own.

        Raises:
            PatchclampError: an edit of other weights, or a folder that holds something or cannot be written.
        """
        refuse_occupied(Path(folder))
        with build_aside(Path(folder)) as part, self.edited(edit):
            self.module.save_pretrained(part)
            if self._tokenizer is not None:
                self._tokenizer.bare.save_pretrained(part)

    def of_level(self, level: str) -> dict[str, str]:
        """Return the sites of a level of units with their basis; neurons and heads are those of a family."""
        if "." not in level:
            self.covering_family()
        return super().of_level(level)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _forward(
        self,
        batch: Batch,
        paths: Sequence[str],
        keep: Callable[[str, Tensor], Tensor],
        interventions: Sequence[Any],
        logits: bool | Sequence[int],
        attention: Attention,
        restart: Restart | None,
        rules: Sequence[Rule] = (),
        freeze: bool = False,
    ) -> Tensor | None:
        edits: Edits = self._bind(interventions, len(batch.stimuli))
        edits.check(batch.lengths.tolist(), steps=False)
        self.refuse_skipped((*paths, *edits.paths), restart)
        if not self.pads_left:
            self._check_padding(batch)
        frame = TokenPositions(batch.logical, batch.lengths, batch.stimuli)
        chosen = None if isinstance(logits, bool) else read_columns(batch, logits)
        if chosen is not None and self._headless:
            self.require("differentiate")
        output: Tensor | None = None
        with stop_once_called([] if logits is not False else paths) as seen:

            def then(path: str, x: Tensor) -> Tensor:
                kept = keep(path, x)
                seen(path)
                return kept

            visits = self._visits(paths, edits, lambda _site: frame, then)
            tapped = attention == "tap" or any(isinstance(place, Tap) for place, _ in visits)
            replaced: dict[str, Wrap] = {}
            if rules:
                replaced = forward_replacements(self.covering_family(), self.module, rules)
                visits += last_visits(self.covering_family(), self.module, rules)
            if chosen is not None and self._head:
                rows = torch.arange(len(chosen), device=chosen.device)[:, None]
                visits.append((Place(self._head, "in"), lambda x: x[rows.to(x.device), chosen.to(x.device)]))
            with self.engine.attach_visits(
                visits, restart=restart, tap=tapped, native=not tapped, freeze=freeze, stand_ins=replaced
            ):
                output = self._answer(batch)
        if output is None or logits is False:
            return None
        return output if chosen is not None or not batch.padded else batch.square(batch.rows(output))

    def _answer(self, batch: Batch) -> Tensor | None:
        """Return the logits of a batch, ``(row, column, token)``; None of a model without a head."""
        logits: Tensor | None = getattr(self.module(**self._inputs(batch)), "logits", None)
        return logits

    def _check_padding(self, batch: Batch) -> None:
        self._padding.check(batch)

    def _inputs(self, batch: Batch) -> dict[str, Any]:
        inputs: dict[str, Any] = {"input_ids": batch.ids, "use_cache": False}
        if batch.padded:
            inputs["attention_mask"] = (batch.logical >= 0).long()
        if self.family is None or self.family.positions:
            inputs["position_ids"] = batch.logical.clamp(min=0) + self._first_position
        return inputs

    def _rows(self, path: str, x: Tensor, batch: Batch) -> Tensor:
        site = self._place(path)[0]
        return batch.pattern_rows(x, site.n_heads) if site.kind == "attn.pattern" else batch.rows(x)

    def _recording(
        self, stimuli: Sequence[Shown], values: Mapping[str, Any], rows: Mapping[str, np.ndarray] | None = None
    ) -> Recording:
        bare = super()._recording(stimuli, values)
        about = {"subject": self.name, "dtype": str(self.dtype).removeprefix("torch.")}
        ragged = {path: x for path, x in bare.values.items() if bare.sites[path].ragged}
        known = {path: routed_tokens(x) if rows is None else rows[path] for path, x in ragged.items()}
        kept = {path: x[torch.from_numpy(known[path]).to(x.device)] for path, x in ragged.items()}
        return Recording(bare.stimuli, {**bare.values, **kept}, bare.sites, about, rows=known)
