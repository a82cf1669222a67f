"""From characters to stimuli, with a role and a span for every token."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from patchclamp.core.errors import PatchclampError
from patchclamp.core.stimulus import Role, Stimulus
from patchclamp.subjects.spelling import spelling

PASSAGE = 4096
PROBES = ("a", "the", "1", ".")
"""Texts by which it is seen what a tokenizer puts around them; one that its vocabulary lacks says nothing."""
LONGEST_CHARACTER = 4
"""Bytes of the longest character, each of which may be a token of its own."""
LONGEST_LINE = 65536
LONGEST_MESSAGE = 2**24


class Tokenizer:
    """Turn text into stimuli with a transformers tokenizer.

    Args:
        bare: the tokenizer. Fast ones give character spans; others leave them unknown.
    """

    def __init__(self, bare: Any) -> None:
        self.bare = bare
        self.fast = bool(getattr(bare, "is_fast", False))
        self.special = set(bare.all_special_ids)
        self.prefix, self.suffix = self._special_ids()
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
            raise PatchclampError(expected="a tokenizer with a BOS token", got="one without", remedy="Leave --bos out.")
        self.prefix, self.prepends = [int(self.bare.bos_token_id), *self.prefix], True

    @property
    def pad(self) -> int:
        """Id that fills padded columns; masked, so any will do."""
        return int(self.bare.pad_token_id if self.bare.pad_token_id is not None else self.bare.eos_token_id or 0)

    def _special_ids(self) -> tuple[list[int], list[int]]:
        """Return the ids that the tokenizer puts before a text, and those that it puts behind it."""
        for text in PROBES:
            plain, framed = (list(self.bare(text, add_special_tokens=whole)["input_ids"]) for whole in (False, True))
            for cut in range(len(framed) - len(plain) + 1) if plain else ():
                if framed[cut : cut + len(plain)] == plain:
                    return framed[:cut], framed[cut + len(plain) :]
        return [], []

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

    def stimulus(
        self, text: str, *, bos: bool = True, chat: bool = False, answered: bool = False, longest: int | None = None
    ) -> Stimulus:
        """Turn one text into one stimulus.

        Args:
            text: the text.
            bos: begin and end as the tokenizer does by itself; never twice.
            chat: wrap it in the chat template as one user message.
            answered: an answer follows: nothing is put behind the text but, in a chat, what the template puts before an
                answer.
            longest: most tokens; what is too long loses the end of its text.

        Returns:
            Stimulus: with ids, character spans and a role per token.

        Raises:
            PatchclampError: empty text, or no chat template.
        """
        if not text.strip():
            raise PatchclampError(expected="a text", got=repr(text[:20]), remedy="Give at least one word.")
        whole, inside = text, [(0, len(text))]
        if chat:
            whole, inside = self.render([{"role": "user", "content": text}], answered=answered)
        [(ids, spans)] = self.pieces([whole])
        closed = not chat and not answered
        if longest is not None:
            room = max(longest - (self.n_added(closed=closed) if bos else 0), 0)
            ids, spans = ids[:room], spans[:room]
        return self.add_special_tokens(ids, spans, inside, bos=bos, closed=closed, text=whole)

    def n_added(self, *, closed: bool = True) -> int:
        """Return how many tokens the tokenizer puts around a text, or, where it is not ``closed``, before it."""
        return len(self.prefix) + (len(self.suffix) if closed else 0)

    def add_special_tokens(
        self,
        ids: np.ndarray,
        spans: np.ndarray,
        inside: Sequence[tuple[int, int]] | None,
        *,
        bos: bool,
        closed: bool = True,
        text: str | None = None,
    ) -> Stimulus:
        """Put the tokenizer's own tokens around ids, unless they already have them, and give every token its role.

        Args:
            ids: what is framed.
            spans: its characters.
            inside: where the text's own characters lie, where a template stands around them.
            bos: whether anything is put around them.
            closed: whether anything is put behind them.
            text: the characters.

        Returns:
            Stimulus: with a role per token.
        """
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
        after = len(self.suffix)
        if bos and closed and after and ids[-after:].tolist() != self.suffix:
            ids = np.concatenate([ids, self.suffix])
            spans = np.concatenate([spans, np.full((after, 2), -1)])
            roles = np.concatenate([roles, np.full(after, Role.SPECIAL)])
        return Stimulus(ids.astype(np.int64), roles.astype(np.int64), spans.astype(np.int64), text)

    def render(
        self, messages: Sequence[dict[str, str]], *, answered: bool = False
    ) -> tuple[str, list[tuple[int, int]]]:
        """Apply the chat template; return the text and where the messages' own words stand in it.

        Args:
            messages: role and content of each.
            answered: end with what the template puts before an answer.

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
        whole = self._render_template(messages, answered)
        return whole, self._own_words([m["content"] for m in messages], messages, whole, answered)

    def _render_template(self, messages: Sequence[dict[str, str]], answered: bool) -> str:
        try:
            return str(self.bare.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=answered))
        except Exception as problem:  # templates are programs of other people's and raise what they like
            raise PatchclampError(
                expected="messages that the chat template takes",
                got=f"{type(problem).__name__}: {problem}"[:200],
                remedy="Check roles and order of the messages.",
            ) from problem

    def _own_words(
        self, contents: Sequence[str], messages: Sequence[dict[str, str]], whole: str, answered: bool
    ) -> list[tuple[int, int]]:
        """Return where the contents stand in the rendered text.

        Marks rendered in their place show what the template adds: a content may also occur in a header ("user").
        """
        marks = [f"\ue000{i}\ue001" for i in range(len(contents))]
        marked = self._render_template(
            [{**m, "content": mark} for m, mark in zip(messages, marks, strict=True)], answered
        )
        added = re.split("|".join(marks), marked)
        for words in (list(contents), [c.strip() for c in contents]):  # many templates strip
            rebuilt, spans = added[0], []
            for word, after in zip(words, added[1:], strict=False):
                spans.append((len(rebuilt), len(rebuilt) + len(word)))
                rebuilt += word + after
            if rebuilt == whole and len(spans) == len(words):
                return spans
        places, at = [], 0  # the template does something else with them: look for them in order
        for word in contents:
            start = whole.find(word, at)
            if start >= 0:
                at = start + len(word)
                places.append((start, at))
        return places

    def continuation(self, prompt: str | Stimulus, answer: str) -> tuple[int, ...]:
        """Return the ids that the answer adds: ids(prompt + answer)[len(ids(prompt)):].

        Raises:
            PatchclampError: the answer is empty, or its first letters merge with the prompt's last token; a prompt of
                ids that its text is not read as.
        """
        shown = self.stimulus(prompt, answered=True) if isinstance(prompt, str) else prompt
        prompt, before = self.text_of(shown), shown.ids.tolist()
        framed = before[: len(self.prefix)] == self.prefix
        [(ids, spans)] = self.pieces([prompt + answer])
        after = self.add_special_tokens(ids, spans, None, bos=framed, closed=False).ids.tolist()
        if not answer:
            raise PatchclampError(
                expected="an answer of one character at least", got="''", remedy="Give the answer, such as ' cat'."
            )
        if after[: len(before)] != before or len(after) == len(before):
            raise PatchclampError(
                expected="an answer that leaves the prompt's own tokens as they are",
                got=f"{answer!r} after {prompt[-20:]!r}, which changes them",
                remedy="Begin the answer with a space, and end the prompt without one.",
            )
        return tuple(after[len(before) :])

    def text_of(self, shown: Stimulus) -> str:
        """Return the text that a stimulus shows: its own, or what its ids are read as."""
        if shown.text is not None:
            return shown.text
        ids, before, after = shown.ids.tolist(), len(self.prefix), len(self.suffix)
        ids = ids[before:] if ids[:before] == self.prefix else ids
        ids = ids[:-after] if after and ids[-after:] == self.suffix else ids
        text = str(self.bare.decode(ids, clean_up_tokenization_spaces=False))
        # Some rules put a space before a text, which decoding keeps, and others take the first one off.
        written = (text, text[1:] if text.startswith(" ") else " " + text)
        return next((t for t in written if self.pieces([t])[0][0].tolist() == ids), text)

    def continuation_of(self, prompt: np.ndarray, ids: np.ndarray) -> str:
        """Return generated ids as the text that they add to the prompt's.

        What stands for no text is called as ``token`` calls it: bytes that make no character, ids without a token.
        """
        shown, written = prompt.tolist(), ids.tolist()
        if not all(map(self._has_token, (*shown, *written))):
            return self._spell_out(written)
        before = self.bare.decode(shown, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        whole = self.bare.decode([*shown, *written], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        text = str(whole[len(before) :] if whole.startswith(before) else self.bare.decode(written))
        return self._spell_out(written) if "\ufffd" in text else text

    def _spell_out(self, ids: Sequence[int]) -> str:
        """Return ids as text, token by token; those that are a character together as that character."""
        parts: list[str] = []
        kept = [id for id in ids if id not in self.special]
        while kept:
            text, is_bytes = self.spelling(kept[0])
            n = 1
            if is_bytes:
                for n in range(min(LONGEST_CHARACTER, len(kept)), 1, -1):
                    if all(self.spelling(id)[1] for id in kept[:n]):
                        together = str(self.bare.decode(kept[:n], clean_up_tokenization_spaces=False))
                        if "\ufffd" not in together:
                            text = together
                            break
                else:
                    n = 1
            parts.append(text)
            kept = kept[n:]
        return "".join(parts)

    def _has_token(self, id: int) -> bool:
        """Return whether a token stands behind an id: an embedding may have more rows than there are tokens."""
        try:
            return self.bare.convert_ids_to_tokens(int(id)) is not None
        except (IndexError, KeyError, OverflowError):
            return False

    def token(self, id: int) -> str:
        """Return one token as people read it: its characters, a leading space kept; a part of one as its bytes."""
        return self.spelling(id)[0]

    def spelling(self, id: int) -> tuple[str, bool]:
        """Return one token as people read it, and whether it is a part of a character: then the text is its bytes.

        An embedding may have more rows than there are tokens; those are called by their number.
        """
        if not self._has_token(id):
            return f"<id {int(id)}>", False
        piece = self.bare.convert_ids_to_tokens(int(id))
        text = str(self.bare.convert_tokens_to_string([piece]))
        spaced = piece[:1] in ("▁", "Ġ", " ") and not text.startswith(" ")
        return spelling(self.bare, (" " + text if spaced else text) or str(piece), id)


def prepend_bos(model: Any) -> None:
    """Let a language model's texts begin with its tokenizer's BOS token, where the tokenizer does not by itself.

    Raises:
        PatchclampError: a model of images, no tokenizer, or one without a BOS token.
    """
    if not hasattr(model, "tokenize"):
        raise PatchclampError(
            expected="a language model", got=f"{model.name}, a model of images", remedy="Leave --bos out."
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

    The passages' tokens follow one another as one stream; each window begins and ends as the tokenizer's texts do.

    Args:
        tokenizer: what makes tokens.
        path: the file.
        window: tokens per stimulus, the beginning included.
        bos: whether windows begin and end as the tokenizer's texts do.

    Yields:
        Stimulus: in the order of the file.

    Raises:
        PatchclampError: the window holds no text.
    """
    room = window - (tokenizer.n_added() if bos else 0)
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
            yield tokenizer.add_special_tokens(ids[:room], spans[:room], None, bos=bos)
            ids, spans = ids[room:], spans[room:]
    if len(ids):
        yield tokenizer.add_special_tokens(ids, spans, None, bos=bos)


def conversations(tokenizer: Tokenizer, path: str | Path, *, window: int, bos: bool = True) -> Iterator[Stimulus]:
    """Yield one stimulus per line through the chat template: a JSON list of messages, or the words of one user message.

    Conversations longer than the window are cut at its end.

    Yields:
        Stimulus: in the order of the file.

    Raises:
        PatchclampError: a line whose messages lack a role or content, or of more than 16 million characters.
    """
    for line in filter(str.strip, _read_lines(path)):
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
        s = tokenizer.add_special_tokens(ids, spans, inside, bos=bos, closed=False)
        yield Stimulus(s.ids[:window], s.roles[:window], s.spans[:window])


def _read_lines(path: str | Path) -> Iterator[str]:
    """Yield a text file's lines whole, however many passages they span.

    They end at a newline only: JSON may hold other line separators inside its strings.
    """
    held: list[str] = []
    for _, text in passages(path):
        first, *more = text.split("\n")
        held.append(first)
        if sum(map(len, held)) > LONGEST_MESSAGE:
            raise PatchclampError(
                expected=f"lines of at most {LONGEST_MESSAGE:,} characters, a conversation each",
                got=f"a longer one, which begins {held[0][:40]!r}",
                remedy="Cut it, or record the text without --chat.",
            )
        for line in more:
            yield "".join(held)
            held = [line]
    yield "".join(held)


def read_stimuli(
    shown: Any, tokenize: Callable[[str], Stimulus], fits: Callable[[Stimulus], Stimulus]
) -> list[Stimulus]:
    """Turn what people pass (text, ids, stimuli, or a list of these) into stimuli.

    Args:
        shown: what they pass.
        tokenize: text to a stimulus that fits.
        fits: returns a stimulus, or refuses it.

    Returns:
        list[Stimulus]: in the order given.

    Raises:
        PatchclampError: something else, or nothing.

    Example:
        >>> read_stimuli([[3, 4], [5]], tokenize=None, fits=lambda stimulus: stimulus)[0].ids.tolist()
        [3, 4]
    """
    if isinstance(shown, str):
        return [tokenize(shown)]
    if isinstance(shown, Stimulus):
        return [fits(shown)]
    if isinstance(shown, np.ndarray | Tensor):
        rows = np.asarray(shown)
        if rows.dtype.kind in "iu" and rows.ndim in (1, 2):
            return [fits(Stimulus.of(row.astype(np.int64))) for row in np.atleast_2d(rows)]
        what = f"an array of {rows.dtype} and shape {rows.shape}"
    elif isinstance(shown, Iterable) and not isinstance(shown, bytes | Mapping):
        listed = list(shown)
        whole = listed and all(isinstance(i, int | np.integer) and not isinstance(i, bool) for i in listed)
        if whole and all(abs(int(i)) < 2**63 for i in listed):
            return [fits(Stimulus.of(np.array(listed, dtype=np.int64)))]
        if listed:
            return [s for item in listed for s in read_stimuli(item, tokenize, fits)]
        what = "none"
    else:
        what = f"{shown!r:.60}"
    raise PatchclampError(
        expected="at least one stimulus: text, token ids as whole numbers, a stimulus, or a list of these",
        got=what,
        remedy="Give a text or token ids.",
    )
