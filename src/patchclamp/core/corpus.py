"""Where stimuli lie and how they are cut, before any model has read them; it holds none of them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from os import fspath
from pathlib import Path
from typing import Any, Literal

from patchclamp.core.arguments import checked
from patchclamp.core.checks import within
from patchclamp.core.disk import write_file
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.json_text import canonical
from patchclamp.core.noun_folder import check_format, read_object

FORMAT, VERSION = "patchclamp-corpus", 1
WINDOW = 128
LARGEST = 2**31 - 1
Kind = Literal["text", "chat", "documents", "images"]


@checked
@dataclass(frozen=True)
class Corpus:
    """Name stimuli by where they lie and how they are cut: a text of any length, or images.

    A corpus is portable (no token ids) and as small as its description; ``read_corpus(subject, corpus)`` streams the
    stimuli that one subject is shown.

    Args:
        source: a UTF-8 file; of images a file, a folder, an ``npz`` or ``npy`` array, ``digits:0:300``.
        kind: ``text``, cut into windows; ``chat``, a conversation a line, put through the chat template; ``documents``,
            labelled JSON lines, each a stimulus of its own; ``images``.
        window: tokens per stimulus at most, without overlap; None: 128, or the model's context where that is shorter.
        bos: whether windows begin and end as the tokenizer's texts do.
        skip_first: tokens at the beginning of each stimulus that no statistics count, the tokenizer's own beginning
            among them. First tokens of many models have norms a hundred times those of all others.
        max_tokens: stop after so many; None: at the text's end.
        max_images: stop after so many; None: after the last.
        content: hash of what lies there, once it was read: of a text of its bytes, of images of their ids in order.
            A text of another content is refused from then on.

    Raises:
        PatchclampError: counts outside their range, or an option that the kind does not have.

    Example:
        >>> corpus = Corpus("story.txt", window=64, max_tokens=10**9)
        >>> Corpus.from_json(corpus.to_json()) == corpus
        True
    """

    source: str | Path
    kind: Kind = "text"
    window: int | None = None
    bos: bool = True
    skip_first: int = 0
    max_tokens: int | None = None
    max_images: int | None = None
    content: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", fspath(self.source))
        check_counts({"--window": self.window, "--max-tokens": self.max_tokens, "--max-images": self.max_images})
        of_text: dict[str, Any] = {"window": None, "bos": True, "skip_first": 0, "max_tokens": None}
        of_others = {"images": of_text, "documents": {"bos": True, "max_images": None}}
        usual: dict[str, Any] = of_others.get(self.kind, {"max_images": None})
        strange = [name for name, value in usual.items() if getattr(self, name) != value]
        if strange:
            raise PatchclampError(
                expected=f"a corpus of kind {self.kind} without {', '.join(usual)}",
                got=f"{strange[0]}={getattr(self, strange[0])!r}",
                remedy="Leave it out, or choose another kind.",
            )
        if not 0 <= self.skip_first < (self.window or LARGEST):
            most = "" if self.window is None else f" to {self.window - 1}, below the window of {self.window} tokens"
            raise PatchclampError(
                expected=f"--skip-first from 0{most}",
                got=str(self.skip_first),
                remedy="Give a smaller number.",
            )

    @property
    def path(self) -> Path:
        """Where the stimuli lie, as a path."""
        return Path(self.source)

    @property
    def hash(self) -> str:
        """SHA-256 over content and cutting, wherever the files lie; of a corpus that nobody has read, over its source.

        Cost: reads no file.
        """
        said = self.to_json()
        return hashlib.sha256(canonical({**said, "source": ""} if self.content else said)).hexdigest()

    def fit(self, context: int | None) -> "Corpus":
        """Return the corpus with its window fixed for a model.

        Args:
            context: tokens that the model takes at most; None where it sets no bound.

        Raises:
            PatchclampError: the window is longer, or nothing would be left after ``skip_first``.
        """
        if self.kind == "images":
            return self
        window = min(WINDOW, context or WINDOW) if self.window is None else self.window
        if context is not None and window > context:
            raise PatchclampError(
                expected=f"a window of at most {context} tokens, the model's context",
                got=str(window),
                remedy="Give a shorter --window.",
            )
        return replace(self, window=window)

    def to_json(self) -> dict[str, Any]:
        """Return the corpus as JSON-ready data."""
        return {"format": FORMAT, "version": VERSION, **{name: getattr(self, name) for name in self._names()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Corpus":
        """Read a corpus; the inverse of ``to_json``.

        Raises:
            PatchclampError: no corpus, or one of a newer version.
            Damaged: a part is missing or of another type.
        """
        check_format(data, FORMAT, VERSION, "Corpus.save")
        try:
            return cls(**{name: data[name] for name in cls._names()})
        except (KeyError, PatchclampError) as problem:
            got = problem.got if isinstance(problem, PatchclampError) else f"no {problem}"
            raise Damaged(expected="a whole corpus", got=f"one with {got}", remedy="Write it again.") from problem

    def save(self, path: str | Path) -> None:
        """Write the corpus as JSON, whole or not at all."""
        write_file(Path(path), json.dumps(self.to_json(), ensure_ascii=False, allow_nan=False).encode())

    @classmethod
    def load(cls, path: str | Path) -> "Corpus":
        """Read a corpus that ``save`` wrote.

        Raises:
            Damaged: not a whole corpus.
        """
        return cls.from_json(read_object(path, "corpus"))

    @classmethod
    def _names(cls) -> list[str]:
        return [field.name for field in fields(cls)]


def check_counts(counts: Mapping[str, int | None]) -> None:
    """Refuse counts below one, and those beyond what is counted with.

    Raises:
        PatchclampError: names the option.
    """
    for name, value in counts.items():
        if value is not None:
            within(name, value, 1, LARGEST, remedy="Give a number in that range.")
