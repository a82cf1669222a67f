"""Text: from characters to stimuli, with a role and a span for every token."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from patchclamp.core.errors import PatchclampError
from patchclamp.core.stimulus import Role, Stimulus

PASSAGE = 4096
LONGEST_LINE = 65536


class Tokenizer:
    """Turn text into stimuli with a transformers tokenizer.

    Args:
        bare: the tokenizer. Fast ones give character spans; others leave them unknown.
    """

    def __init__(self, bare: Any) -> None:
        self.bare = bare
        self.fast = bool(getattr(bare, "is_fast", False))
        self.special = set(bare.all_special_ids)
        plain, framed = self._ids("a"), list(bare("a", add_special_tokens=True)["input_ids"])
        cut = next((i for i in range(len(framed)) if framed[i : i + len(plain)] == plain), 0)
        self.prefix = framed[:cut]
        self.prepends = False

    @property
    def begins_with_bos(self) -> bool:
        """Whether texts begin with the BOS token."""
        return self.bare.bos_token_id is not None and int(self.bare.bos_token_id) in self.prefix

    def prepend_bos(self) -> None:
        """Begin texts with the BOS token, which the tokenizer does not do by itself.

        Raises:
            PatchclampError: it has no such token.
        """
        if self.bare.bos_token_id is None:
            raise PatchclampError(
                expected="a tokenizer with a BOS token", got="one without", remedy="Leave --prepend-bos out."
            )
        self.prefix, self.prepends = [int(self.bare.bos_token_id), *self.prefix], True

    @property
    def pad(self) -> int:
        """Id that fills padded columns; masked, so any will do."""
        return int(self.bare.pad_token_id if self.bare.pad_token_id is not None else self.bare.eos_token_id or 0)

    def _ids(self, text: str) -> list[int]:
        return list(self.bare(text, add_special_tokens=False)["input_ids"])

    def pieces(self, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return ids and ``(token, 2)`` spans of several texts, without anything added.

        Raises:
            PatchclampError: half a character, as broken command lines and JSON can hold.
        """
        for text in texts:
            if any("\ud800" <= sign <= "\udfff" for sign in text):
                raise PatchclampError(
                    expected="text in whole Unicode characters",
                    got=ascii(text[:40]),
                    remedy="It holds bytes that are not UTF-8: convert it.",
                )
        options = {"add_special_tokens": False, "verbose": False}
        encoded = self.bare(list(texts), return_offsets_mapping=self.fast, **options)
        spans = encoded["offset_mapping"] if self.fast else [[(-1, -1)] * len(ids) for ids in encoded["input_ids"]]
        return [
            (np.array(ids, dtype=np.int64), np.array(span, dtype=np.int64).reshape(-1, 2))
            for ids, span in zip(encoded["input_ids"], spans, strict=True)
        ]

    def stimulus(self, text: str, *, bos: bool = True, chat: bool = False) -> Stimulus:
        """Turn one text into one stimulus.

        Args:
            text: the text.
            bos: begin as the tokenizer does by itself; never twice.
            chat: wrap it in the chat template as one user message.

        Raises:
            PatchclampError: empty text, or no chat template.
        """
        if not text.strip():
            raise PatchclampError(expected="a text", got=repr(text[:20]), remedy="Give at least one word.")
        whole, inside = self.render([{"role": "user", "content": text}]) if chat else (text, [(0, len(text))])
        [(ids, spans)] = self.pieces([whole])
        return self.framed(ids, spans, inside, bos=bos, text=whole)

    def framed(
        self,
        ids: np.ndarray,
        spans: np.ndarray,
        inside: Sequence[tuple[int, int]] | None,
        *,
        bos: bool,
        text: str | None = None,
    ) -> Stimulus:
        """Put the tokenizer's own beginning before ids, unless they already have it, and give every token its role."""
        roles = np.full(len(ids), Role.TEXT, dtype=np.int64)
        if inside is not None and (spans[:, 0] >= 0).any():
            within = np.zeros(len(ids), dtype=bool)
            for start, stop in inside:
                within |= (spans[:, 1] > start) & (spans[:, 0] < stop)
            roles[~within & (spans[:, 0] >= 0)] = Role.TEMPLATE
        roles[np.isin(ids, list(self.special))] = Role.SPECIAL
        n = len(self.prefix)
        has = n > 0 and ids[:n].tolist() == self.prefix
        if has:
            roles[:n] = Role.BOS
        if bos and n and not has:
            ids = np.concatenate([self.prefix, ids])
            spans = np.concatenate([np.full((n, 2), -1), spans])
            roles = np.concatenate([np.full(n, Role.BOS), roles])
        elif not bos and has:
            ids, spans, roles = ids[n:], spans[n:], roles[n:]
        return Stimulus(ids.astype(np.int64), roles.astype(np.int64), spans.astype(np.int64), text)

    def render(self, messages: Sequence[dict[str, str]]) -> tuple[str, list[tuple[int, int]]]:
        """Apply the chat template; return the text and where the messages' own words stand in it.

        Raises:
            PatchclampError: the tokenizer has no template, or it does not take these messages.
        """
        if not getattr(self.bare, "chat_template", None):
            raise PatchclampError(
                expected="a tokenizer with a chat template", got="one without", remedy="Leave --chat out."
            )
        if not messages or not all(isinstance(m.get("content"), str) for m in messages):
            raise PatchclampError(
                expected="messages whose content is text", got=f"{list(messages)}"[:80], remedy="Mend the messages."
            )
        whole = self._templated(messages)
        return whole, self._own_words([m["content"] for m in messages], messages, whole)

    def _templated(self, messages: Sequence[dict[str, str]]) -> str:
        try:
            return str(self.bare.apply_chat_template(list(messages), tokenize=False))
        except Exception as problem:  # templates are programs of other people's and raise what they like
            raise PatchclampError(
                expected="messages that the chat template takes",
                got=f"{type(problem).__name__}: {problem}"[:200],
                remedy="Check roles and order of the messages.",
            ) from problem

    def _own_words(
        self, contents: Sequence[str], messages: Sequence[dict[str, str]], whole: str
    ) -> list[tuple[int, int]]:
        """Return where the contents stand in the rendered text.

        Marks rendered in their place show what the template adds: a content may also occur in a header ("user").
        """
        marks = [f"\ue000{i}\ue001" for i in range(len(contents))]
        marked = self._templated([{**m, "content": mark} for m, mark in zip(messages, marks, strict=True)])
        added = re.split("|".join(marks), marked)
        for words in (list(contents), [c.strip() for c in contents]):  # many templates strip
            rebuilt, found = added[0], []
            for word, after in zip(words, added[1:], strict=False):
                found.append((len(rebuilt), len(rebuilt) + len(word)))
                rebuilt += word + after
            if rebuilt == whole and len(found) == len(words):
                return found
        places, at = [], 0  # the template does something else with them: look for them in order
        for word in contents:
            start = whole.find(word, at)
            if start >= 0:
                at = start + len(word)
                places.append((start, at))
        return places

    def continuation(self, prompt: str, answer: str) -> tuple[int, ...]:
        """Return the ids that the answer adds: ids(prompt + answer)[len(ids(prompt)):].

        Raises:
            PatchclampError: the answer is empty, or its first letters merge with the prompt's last token.
        """
        before = self.stimulus(prompt).ids.tolist()
        after = self.stimulus(prompt + answer).ids.tolist()
        if not answer or after[: len(before)] != before or len(after) == len(before):
            raise PatchclampError(
                expected="an answer that leaves the prompt's own tokens as they are",
                got=f"{answer!r} after {prompt[-20:]!r}, which changes them",
                remedy="Begin the answer with a space, and end the prompt without one.",
            )
        return tuple(after[len(before) :])

    def continued(self, prompt: np.ndarray, ids: np.ndarray) -> str:
        """Return generated ids as the text that they add to the prompt's."""
        before = self.bare.decode(prompt.tolist(), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        whole = self.bare.decode(
            [*prompt.tolist(), *ids.tolist()], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return str(whole[len(before) :] if whole.startswith(before) else self.bare.decode(ids.tolist()))

    def token(self, id: int) -> str:
        """Return one token as people read it: its characters, a leading space kept."""
        piece = self.bare.convert_ids_to_tokens(int(id))
        text = str(self.bare.convert_tokens_to_string([piece])) if piece is not None else ""
        spaced = piece is not None and piece[:1] in ("▁", "Ġ", " ") and not text.startswith(" ")
        return (" " + text if spaced else text) or str(piece)


def prepend_bos(model: Any) -> None:
    """Let a language model's texts begin with its tokenizer's BOS token, where the tokenizer does not by itself.

    Raises:
        PatchclampError: a model of images, no tokenizer, or one without a BOS token.
    """
    if not hasattr(model, "tokenize"):
        raise PatchclampError(
            expected="a language model", got=f"{model.name}, a model of images", remedy="Leave --prepend-bos out."
        )
    if not model.tokenizer.begins_with_bos:
        model.tokenizer.prepend_bos()
        # Texts are other tokens now: what was recorded before is not the same run.
        model.tokenizer_hash = hashlib.sha256(f"{model.tokenizer_hash} after BOS".encode()).hexdigest()


def passages(path: str | Path) -> Iterator[tuple[int, str]]:
    """Yield a text file as passages that end at a line's end, with the character each begins at; memory stays flat.

    Raises:
        PatchclampError: no such file, empty, or not UTF-8 text.
    """
    file = Path(path)
    if not file.is_file():
        raise PatchclampError(
            expected="a text file",
            got=f"{file}, which is {'a folder' if file.is_dir() else 'not there'}",
            remedy="Check the path.",
        )
    begin, held, any_word = 0, "", False
    try:
        # newline="" keeps \r\n: character spans must point into the file as it is.
        with file.open(encoding="utf-8", newline="") as stream:
            while line := stream.readline(LONGEST_LINE):
                if "\0" in line:
                    raise PatchclampError(
                        expected="a text file",
                        got=f"{file}, which holds binary data",
                        remedy="Give it plain UTF-8 text.",
                    )
                any_word = any_word or not line.isspace()
                held += line
                if len(held) >= PASSAGE:
                    yield begin, held
                    begin, held = begin + len(held), ""
    except OSError as problem:
        raise PatchclampError(
            expected="a file that can be read",
            got=f"{file}: {problem.strerror}",
            remedy="Check the path and its permissions.",
        ) from problem
    except UnicodeDecodeError as problem:
        raise PatchclampError(
            expected="a text file in UTF-8",
            got=f"{file}: {problem.reason}",
            remedy="Convert it.",
        ) from problem
    if not any_word:
        raise PatchclampError(expected="a text", got=f"{file}, which is empty", remedy="Give it some words.")
    if held:
        yield begin, held


def windows(tokenizer: Tokenizer, path: str | Path, *, window: int, bos: bool = True) -> Iterator[Stimulus]:
    """Yield a text file as stimuli of ``window`` tokens, the last one shorter, without overlap.

    The passages' tokens follow one another as one stream; each window begins as the tokenizer begins a text.

    Args:
        tokenizer: what makes tokens.
        path: the file.
        window: tokens per stimulus, the beginning included.
        bos: whether windows begin as the tokenizer begins a text.

    Raises:
        PatchclampError: the window holds no text.
    """
    room = window - (len(tokenizer.prefix) if bos else 0)
    if room < 1:
        raise PatchclampError(
            expected=f"a window of at least {window - room + 1} tokens",
            got=str(window),
            remedy="Give a larger --window.",
        )
    ids, spans = np.zeros(0, dtype=np.int64), np.zeros((0, 2), dtype=np.int64)
    for begin, text in passages(path):
        [(more, where)] = tokenizer.pieces([text])
        ids = np.concatenate([ids, more])
        spans = np.concatenate([spans, np.where(where >= 0, where + begin, where)])
        while len(ids) >= room:
            yield tokenizer.framed(ids[:room], spans[:room], None, bos=bos)
            ids, spans = ids[room:], spans[room:]
    if len(ids):
        yield tokenizer.framed(ids, spans, None, bos=bos)


def conversations(tokenizer: Tokenizer, path: str | Path, *, window: int, bos: bool = True) -> Iterator[Stimulus]:
    """Yield one stimulus per line through the chat template: a JSON list of messages, or the words of one user message.

    Conversations longer than the window are cut at its end.
    """
    for _, text in passages(path):
        # By newline only: JSON may hold other line separators inside its strings.
        for line in filter(str.strip, text.split("\n")):
            messages: Any = [{"role": "user", "content": line.strip()}]
            if line.lstrip().startswith("["):
                with suppress(ValueError, RecursionError):  # a line of prose may begin with a bracket
                    messages = json.loads(line)
            if not all(isinstance(m, dict) and {"role", "content"} <= set(m) for m in messages):
                raise PatchclampError(
                    expected='messages like {"role": "user", "content": "…"}', got=line[:60], remedy="Mend that line."
                )
            whole, inside = tokenizer.render(messages)
            [(ids, spans)] = tokenizer.pieces([whole])
            s = tokenizer.framed(ids, spans, inside, bos=bos)
            yield Stimulus(s.ids[:window], s.roles[:window], s.spans[:window])
