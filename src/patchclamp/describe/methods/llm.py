"""Ask a language model what the windows in which a unit fires have in common."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from patchclamp.core.descriptions import Descriptions
from patchclamp.core.errors import PatchclampError
from patchclamp.core.exemplars import Exemplars
from patchclamp.core.keys import UnitList
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import option
from patchclamp.core.provenance import Provenance
from patchclamp.core.subject import Progress
from patchclamp.describe.chat import Chat, ChatCost
from patchclamp.describe.chat_answers import Answer, Request
from patchclamp.describe.prompts import load_prompt
from patchclamp.describe.rules import quote
from patchclamp.describe.shown_text import read_sentence, scale_activations, show_window
from patchclamp.describe.windows import Named, ShownWindows, UnitRows, iterate_units

MARKED = 0.3
"""Tokens are marked above this share of their window's highest activation."""
MOST_LISTED = 10
"""Tokens of a window whose activation is listed."""


@dataclass(frozen=True)
class LLMOptions:
    """Options of descriptions by a language model."""

    base_url: str = option("", "address of an OpenAI-compatible server, such as http://127.0.0.1:8000/v1")
    llm: str = option("", "the model, as the server calls it")
    budget_tokens: int | None = option(None, "tokens that may be read and written in all", least=1)
    examples: int = option(40, "windows shown in which the unit fires, at most", least=1)
    contrastive: int = option(5, "windows shown in which it is silent, at most", least=0)
    temperature: float = option(0.0, "0 for the likeliest answer, more for a drawn one", least=0.0, most=2.0)
    answer_tokens: int = option(200, "tokens of an answer; models that reason first need thousands", least=16)
    concurrency: int = option(8, "questions at once", least=1, most=256)
    timeout: float = option(120.0, "seconds in which an answer must be there", least=0.1)
    answers: Path | None = option(None, "folder in which answers are kept, so that none is paid twice")


def llm(
    subject: Named, exemplars: Exemplars, options: LLMOptions, *, seed: int = 0, progress: Progress
) -> Descriptions:
    """Describe every unit by what a language model says that its windows have in common.

    A question shows windows in which the unit fires, the strongest first, and windows in which it is silent. In the
    former, tokens above 0.3 of the window's highest activation are marked and listed with ⌈10 · a / max⌉, max over the
    windows shown. Where there are more windows than are shown, a random part is. The prompt is
    ``describe/prompts/explain.md``.

    What tokens hold goes to the server that is named, and to no other. Its key is read from the environment variable
    PATCHCLAMP_LLM_KEY. What it answers is text of a stranger: one line of at most 300 characters is kept.

    Args:
        subject: whose tokens are named.
        exemplars: windows of text in which units fire and in which they do not, as ``draw_evidence`` draws them for
            training.
        options: server, model, budget, what is shown.
        seed: of the windows that are shown, and of the answer where the temperature is above 0.
        progress: called with units done and in all.

    Returns:
        Descriptions: a sentence per unit. A unit without windows in which it fires, with an answer that cannot be read,
        or for which the budget did not suffice has none. Measure: ``windows_shown``. What was asked and paid is in
        ``provenance.extra``.

    Raises:
        PatchclampError: no server or model is named, pictures instead of text, an estimate above the budget, or a
            server that refuses or does not answer; what was answered until then is kept in ``answers``.

    Source: 2410.13928, explanations by contrast; the wording of the prompt is ours.

    Cost: a call per unit, of some 60 tokens a window; no forward pass.
    """
    chat = open_chat(options)
    asked = Questions(subject, exemplars, options, seed)
    cost = chat.refuse_beyond_budget(asked.requests())
    answers = chat.ask(asked.requests(), total=cost.calls + cost.cached, progress=progress)
    sentences = iter([None if one is None else read_sentence(one) for one in answers])
    texts = [next(sentences) if asked.shows(rows) else None for rows in asked.units]
    return _describe(subject, exemplars, asked, chat, texts, answers)


def open_chat(options: LLMOptions) -> Chat:
    """Return the language model that the options name.

    Raises:
        PatchclampError: no server or model is named.
    """
    return Chat(
        options.base_url,
        options.llm,
        budget_tokens=options.budget_tokens,
        folder=options.answers,
        concurrency=options.concurrency,
        timeout=options.timeout,
    )


def estimate_cost(subject: Named, exemplars: Exemplars, options: LLMOptions, *, seed: int = 0) -> ChatCost:
    """Return what describing will cost at most, before anything is asked.

    Args:
        subject: whose tokens are named.
        exemplars: as ``llm`` takes them.
        options: as ``llm`` takes them.
        seed: as ``llm`` takes it.

    Returns:
        ChatCost: calls, calls that kept answers spare, and tokens.

    Raises:
        PatchclampError: no server or model is named, or pictures instead of text.

    Example:
        >>> from patchclamp.calibrate.corpora import make_evidence
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> train, _ = make_evidence(cat, "blocks.0.mlp.act")
        >>> options = LLMOptions(base_url="http://127.0.0.1:8000/v1", llm="my-model")
        >>> estimate_cost(cat, train, options).calls
        4
    """
    return open_chat(options).estimate(Questions(subject, exemplars, options, seed).requests())


class Questions:
    """Make a question of every unit's windows.

    Raises:
        PatchclampError: windows that are no text.
    """

    def __init__(self, subject: Named, exemplars: Exemplars, options: LLMOptions, seed: int) -> None:
        if "text" not in exemplars.stimuli.kind.names:
            raise PatchclampError(
                expected="windows of text", got=f"{exemplars.stimuli.kind.names[0]}s", remedy="Use method 'rule'."
            )
        self.shown, self.options, self.seed = ShownWindows(subject, exemplars), options, seed
        self.units = list(iterate_units(exemplars))
        self.prompt = load_prompt("explain")

    def shows(self, rows: UnitRows) -> bool:
        """Say whether there is something to ask about a unit."""
        return len(rows.active) > 0

    def count(self, rows: UnitRows) -> int:
        """Return how many windows of a unit are shown."""
        silent = min(len(rows.silent), self.options.contrastive)
        return min(len(rows.active), self.options.examples) + silent if self.shows(rows) else 0

    def requests(self) -> Iterator[Request]:
        """Yield a question for every unit that has something to show."""
        for rows in filter(self.shows, self.units):
            messages = self.prompt.fill({"passages": "\n".join(self._lines(rows))})
            options = self.options
            yield Request(messages, self.prompt.title, options.answer_tokens, options.temperature, self.seed)

    def _lines(self, rows: UnitRows) -> Iterator[str]:
        draw = rows.draw(self.seed)
        active = _some(rows.active, self.options.examples, draw)[::-1]
        silent = _some(rows.silent, self.options.contrastive, draw)
        values = [self._activations(int(row)) for row in active]
        most = max(float(one.max()) for one in values)
        windows = self.shown.of_rows(np.concatenate([active, silent]).astype(np.int64))
        for place, (window, own) in enumerate(zip(windows, values, strict=False), 1):
            peak = float(own.max())
            marks = (own > MARKED * peak) & (own > 0)
            yield f"Passage {place}, it fires: {show_window(window, marks)}"
            if marks.any():
                scaled = scale_activations(own, most)
                listed = sorted(np.flatnonzero(marks).tolist(), key=lambda i: (-own[i], i))[:MOST_LISTED]
                yield "  " + ", ".join(f"{quote(window.tokens[i])} {scaled[i]:.0f}" for i in sorted(listed))
        for place, window in enumerate(windows[len(values) :], len(values) + 1):
            yield f"Passage {place}, it is silent: {show_window(window)}"

    def _activations(self, row: int) -> np.ndarray:
        """Return the activation of every token of a window; where only the row's own is known, that at each mark."""
        if self.shown.exemplars.activations is not None:
            return self.shown.activations(row)
        return self.shown.marks(row) * float(self.shown.exemplars.value[row])


def _some(rows: np.ndarray, most: int, draw: np.random.Generator) -> np.ndarray:
    """Return at most so many rows, in their order."""
    chosen: np.ndarray = rows if len(rows) <= most else np.sort(draw.permutation(len(rows))[:most])
    return rows if len(rows) <= most else rows[chosen]


def _describe(
    subject: Named,
    exemplars: Exemplars,
    asked: Questions,
    chat: Chat,
    texts: Sequence[str | None],
    answers: Sequence[Answer | None],
) -> Descriptions:
    sentences: dict[str, int] = {}
    terms = [-1 if text is None else sentences.setdefault(text, len(sentences)) for text in texts]
    numbers = np.array(terms, dtype=np.int32).reshape(-1, 1)
    counts = [asked.count(rows) for rows in asked.units]
    left = sum(one is None for one in answers)
    extra = {
        "prompt": asked.prompt.title,
        "usage": chat.usage.to_json(),
        "unread": sum(text is None for text in texts) - left - counts.count(0),
        "beyond_budget": left,
    }
    options = asked.options
    return Descriptions(
        UnitList([rows.key for rows in asked.units], subject.name),
        numbers,
        (numbers >= 0).astype(np.float64),
        tuple(sentences),
        f"llm/{chat.model}, {asked.prompt.title}",
        "1 where there is a sentence",
        {"windows_shown": np.array(counts, dtype=np.float64)},
        evidence=(
            f"exemplars {exemplars.hash[:16]}",
            f"at most {options.examples} windows in which it fires and {options.contrastive} in which it is silent",
        ),
        provenance=Provenance(extra=extra),
    )


def _cost(_sizes: Sizes, _options: LLMOptions) -> Cost:
    return Cost()


METHOD = Method(
    llm,
    name="llm",
    room="describe",
    title="descriptions by a language model",
    question="What does a language model say that the windows of a unit have in common?",
    papers=(Paper("2410.13928"),),
    keys=("unit",),
    cost=_cost,
    oracle="oracles.llm:llm",
    calibrated_on=("cat",),
    must_show="a planted neuron is described by the answer to its windows, not to another unit's",
    sources=("describe/chat.py", "describe/prompts/__init__.py", "describe/shown_text.py"),
    outside="a server with a language model",
)
