"""The two architectures, and the training that makes the shipped organisms."""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from patchclamp.core.errors import PatchclampError
from patchclamp.organisms.language.documents import documents
from patchclamp.organisms.language.tokens import BEGINNING, VOCABULARY, train_tokenizer
from patchclamp.organisms.training import weight_decay_groups
from patchclamp.train import Objective, Plan
from patchclamp.train import train as train_modules

STEPS = {"language-gpt2": 24_000, "language-llama": 24_000}
"""How long the shipped ones were trained: until facts about new people were put together."""
NAMES = tuple(STEPS)
CONTEXT = 64
IGNORED = -100


@dataclass(frozen=True)
class Recipe:
    """Hold everything that decides what a training run gives.

    Args:
        name: one of ``NAMES``.
        steps: optimizer steps; ``STEPS`` has those of the shipped organisms.
        seed: of the text, the order of the rows and the first weights.
        rows: rows of ``CONTEXT`` tokens per step.
        documents: how many different documents the text has; they are shown again in another order where steps ask
            for more.
        rate: peak learning rate.
        warmup: steps of linear warm-up; then a cosine to a twentieth of the peak.
        decay: weight decay of matrices.
        weight: how often the token of an answer counts in the loss that is followed; every other counts once.
        mixed: bfloat16 for the matrix products, float32 for the rest.
    """

    name: str
    steps: int
    seed: int = 0
    rows: int = 16
    documents: int = 250_000
    rate: float = 3e-3
    warmup: int = 200
    decay: float = 0.1
    weight: float = 4.0
    mixed: bool = True


@dataclass(frozen=True)
class Progress:
    """Say how far training is.

    Args:
        step: steps done.
        steps: steps in all.
        loss: mean loss in nats per token since the last report.
        seconds: since the start.
    """

    step: int
    steps: int
    loss: float
    seconds: float


def architecture(name: str) -> Any:
    """Return the transformers configuration of an organism.

    Raises:
        PatchclampError: no such organism.
    """
    from transformers import GPT2Config, LlamaConfig

    special: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}
    if name == "language-gpt2":
        return GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=CONTEXT,
            n_embd=128,
            n_layer=4,
            n_head=4,
            n_inner=512,
            activation_function="gelu_pytorch_tanh",
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            **special,
        )
    if name == "language-llama":
        return LlamaConfig(
            vocab_size=VOCABULARY,
            max_position_embeddings=CONTEXT,
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            tie_word_embeddings=True,
            **special,
        )
    raise PatchclampError(
        expected=f"an organism among {', '.join(NAMES)}", got=repr(name), remedy="Choose one of these."
    )


@dataclass(frozen=True)
class Rows:
    """Hold text packed into rows of ``CONTEXT`` tokens: whole documents, each after ``<bos>``, then filling.

    Args:
        ids: tokens; -1 is filling.
        answers: which tokens answer a question.
    """

    ids: Int[Tensor, "row token"]
    answers: Bool[Tensor, "row token"]


def rows_of_text(
    rules: Any, seed: int, n_documents: int, *, progress: Callable[[int, int], None] | None = None
) -> Rows:
    """Pack training documents into rows.

    Args:
        rules: the tokenizer.
        seed: of the text.
        n_documents: how many.
        progress: called with documents written and documents in all.

    Returns:
        Rows: ``(row, CONTEXT)`` ids, −1 where nothing stands, and which are answers.

    Cost: some 300 microseconds a document.
    """
    rows: list[list[int]] = [[]]
    answers: list[list[bool]] = [[]]
    source = islice(documents(seed), n_documents)
    written = 0
    while chunk := list(islice(source, 2000)):
        written += len(chunk)
        if progress is not None:
            progress(written, n_documents)
        for document, encoded in zip(chunk, rules.encode_batch([one.text for one in chunk]), strict=True):
            if len(encoded.ids) > CONTEXT:
                continue
            if len(rows[-1]) + len(encoded.ids) > CONTEXT:
                rows.append([])
                answers.append([])
            rows[-1] += encoded.ids
            answers[-1] += [any(s < b and e > a for a, b in document.answers) for s, e in encoded.offsets]
    ids = np.full((len(rows), CONTEXT), -1, dtype=np.int64)
    asked = np.zeros((len(rows), CONTEXT), dtype=bool)
    for i, (row, flags) in enumerate(zip(rows, answers, strict=True)):
        ids[i, : len(row)] = row
        asked[i, : len(row)] = flags
    return Rows(torch.from_numpy(ids), torch.from_numpy(asked))


def train(
    recipe: Recipe,
    folder: Path,
    *,
    device: str = "cpu",
    progress: Callable[[Progress], None] | None = None,
    writing: Callable[[int, int], None] | None = None,
    checkpoints: bool = True,
    every: int = 100,
    rules: Any = None,
) -> Path:
    """Train an organism and write it as a Hugging Face folder, its weights in float16.

    Args:
        recipe: what to train.
        folder: where the finished model goes; checkpoints go to ``folder/checkpoints/step-…``.
        device: where to train.
        progress: called every ``every`` steps.
        writing: called before that, with documents written and documents in all.
        checkpoints: whether to write the model along the way, more often early on.
        every: steps between reports.
        rules: a tokenizer (of ``tokenizers``) to use instead of the one that the recipe trains.

    Returns:
        Path: the folder.

    Raises:
        PatchclampError: no such organism.

    Cost: some 14 steps a second on one core, after two minutes that write the text; the same weights again on the
    same machine with the same number of threads.
    """
    config = architecture(recipe.name)
    rules = rules or train_tokenizer()
    text = rows_of_text(rules, recipe.seed, recipe.documents, progress=writing)
    model = make_untrained(config, recipe.seed).to(device).train()
    marks = _checkpoint_steps(recipe.steps) if checkpoints else set()
    start, losses = time.monotonic(), list[float]()

    def loss(batch: tuple[Tensor, Tensor], _step: int) -> Tensor:
        value, plain = _losses(model, *batch, mixed=recipe.mixed)
        losses.append(float(plain))
        return value

    def optimizer(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            weight_decay_groups(parameters, recipe.decay), lr=recipe.rate, betas=(0.9, 0.98), fused=True
        )

    def note(step: int, steps: int) -> None:
        if step in marks:
            _save(model, rules, folder / "checkpoints" / f"step-{step:05d}")
        if step % every == 0:
            if progress:
                progress(Progress(step, steps, sum(losses) / every, time.monotonic() - start))
            losses.clear()

    objective = Objective(model, loss, optimizer, lambda step, _: schedule(step, recipe))
    plan = Plan(steps=recipe.steps, clip=1.0, seed=recipe.seed)
    train_modules(objective, _batches(text, recipe, device), plan, progress=note)
    _save(model, rules, folder)
    (folder / "recipe.json").write_text(
        json.dumps({**recipe.__dict__, "minutes": round((time.monotonic() - start) / 60, 1)}, indent=1) + "\n"
    )
    return folder


def make_untrained(config: Any, seed: int) -> Any:
    """Make an untrained model, the same one for the same seed."""
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")


def schedule(step: int, recipe: Recipe) -> float:
    """Return the share of the peak learning rate at a step."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return 0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2


def _batches(text: Rows, recipe: Recipe, device: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield rows and how often each of their tokens counts, without end, every row once before any comes again."""
    order = torch.Generator().manual_seed(recipe.seed)
    queue = torch.empty(0, dtype=torch.int64)
    while True:
        while len(queue) < recipe.rows:
            queue = torch.cat([queue, torch.randperm(len(text.ids), generator=order)])
        chosen, queue = queue[: recipe.rows], queue[recipe.rows :]
        yield text.ids[chosen].to(device), 1 + (recipe.weight - 1) * text.answers[chosen].to(device)


def _losses(
    model: Any, rows: Int[Tensor, "row token"], weights: Float[Tensor, "row token"], *, mixed: bool
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the loss that is followed, and the plain one, every token counted once."""
    cast = torch.autocast(rows.device.type, torch.bfloat16) if mixed else nullcontext()
    positions, mask = separate_documents(rows)
    with cast:
        logits = model(input_ids=rows.clamp(min=0), position_ids=positions, attention_mask=mask, use_cache=False).logits
    losses = losses_of(logits, rows)
    shown = rows[:, 1:] >= 0
    return (losses * weights[:, 1:]).sum() / (weights[:, 1:] * shown).sum(), losses.detach().sum() / shown.sum()


def separate_documents(
    rows: Int[Tensor, "row token"],
) -> tuple[Int[Tensor, "row token"], Float[Tensor, "row 1 token token"]]:
    """Return positions and attention mask under which every document of a row is as if it stood alone.

    Returns:
        tuple: positions counted from each ``<bos>``; 0 where a token may look, and a large negative number elsewhere.
    """
    length = rows.shape[1]
    index = torch.arange(length, device=rows.device)
    starts = torch.where(rows <= 0, index, 0).cummax(dim=1).values
    sees = (starts[:, :, None] == starts[:, None, :]) & (index[:, None] >= index[None, :])
    mask = torch.zeros(sees.shape, device=rows.device).masked_fill(~sees, torch.finfo(torch.float32).min)
    return index - starts, mask[:, None]


def losses_of(
    logits: Float[Tensor, "row token vocabulary"], rows: Int[Tensor, "row token"]
) -> Float[Tensor, "row target"]:
    """Return the cross-entropy in nats of every token after a row's first; 0 on filling."""
    targets = rows[:, 1:].masked_fill(rows[:, 1:] < 0, IGNORED)
    flat = cross_entropy(
        logits[:, :-1].float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
    )
    return flat.view_as(targets)


def _checkpoint_steps(steps: int) -> set[int]:
    return {2**i for i in range(5, 20) if 2**i < steps} | set(range(1000, steps, 1000))


def _save(model: Any, rules: Any, folder: Path) -> None:
    import copy

    from transformers import PreTrainedTokenizerFast
    from transformers.utils import logging

    logging.disable_progress_bar()  # a bar that is over at once is noise
    folder.mkdir(parents=True, exist_ok=True)
    copy.deepcopy(model).to("cpu", torch.float16).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=rules,
        bos_token=BEGINNING,
        eos_token=BEGINNING,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(folder)
