"""Store activations of a text, a recording or arrays, shuffled by a seed in bounded memory."""

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from patchclamp.core.arguments import checked
from patchclamp.core.checks import one_of
from patchclamp.core.errors import PatchclampError
from patchclamp.core.recording import Recording, StoredRecording
from patchclamp.core.stimulus import Shown
from patchclamp.engines import Engine, Piece, Serial, Start, cut_pieces
from patchclamp.engines.engine import Tick
from patchclamp.subjects.corpora import read_corpus
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.pass_memory import count_forward_bytes
from patchclamp.subjects.recordable import select_recordable

Rows = dict[str, Tensor]
"""Site path to ``(row, width)`` values; the rows of all sites are those of the same tokens."""


class ActivationSource:
    """A source of activations: rows of sites, chunk by chunk."""

    @property
    def subject(self) -> Mapping[str, str]:
        """Slug and hash of the model."""
        raise NotImplementedError

    @property
    def about(self) -> Mapping[str, Any]:
        """What decides the activations, as JSON-ready data."""
        raise NotImplementedError

    @property
    def n_rows(self) -> int:
        """Rows of one pass: tokens that statistics count."""
        raise NotImplementedError

    def width(self, site: str) -> int:
        """Return a site's width."""
        raise NotImplementedError

    def match(self, pattern: str) -> list[str]:
        """Return the paths of the sites that patterns, joined by commas, name."""
        raise NotImplementedError

    @property
    def device(self) -> str:
        """Where the activations are."""
        return "cpu"

    def forward_rows(self, most: int | None = None) -> int:
        """Return how many rows of forward passes it takes to read ``most`` rows from the beginning, or all of them."""
        return 0

    def chunk_bytes(self, site: str) -> int:
        """Return what reading a chunk of a site's rows holds."""
        return 0

    def chunks(self, sites: Sequence[str], start: int) -> Iterator[Rows]:
        """Yield the rows of the chunks from number ``start`` on."""
        raise NotImplementedError

    def first_tokens(self) -> Iterator[Tensor]:
        """Yield for every chunk which of its rows are the first of their stimulus; nothing where that is unknown."""
        return iter(())


@checked
class TextSource(ActivationSource):
    """Activations of a language model over a text, straight from its forward passes.

    Args:
        model: the subject.
        corpus: a Corpus of text, the path of one, or what ``read_corpus`` gave.
        batch_size: stimuli per forward pass.
        engine: where these are computed, from ``open_engine``; this process by default. It does not change the values.

    Raises:
        PatchclampError: no text, or numbers that make no sense.

    Cost: one tokenisation of the text to count it, and one every pass.
    """

    def __init__(self, model: LanguageModel, corpus: Any, *, batch_size: int = 8, engine: Engine | None = None) -> None:
        self.model, self.batches = model, read_corpus(model, corpus, batch_size=batch_size)
        self.engine = engine or Serial()

    @property
    def subject(self) -> Mapping[str, str]:
        """Slug and hash of the model."""
        return {"slug": self.model.name, "hash": self.model.hash}

    @property
    def about(self) -> Mapping[str, Any]:
        """Text and cutting."""
        plan = self.batches.to_json()
        # What the text's hash and the cutting decide is not said twice.
        for name in ("n_stimuli", "n_tokens", "stimuli"):
            del plan[name]
        return {
            **plan,
            "rows": self.n_rows,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            # The weights do not say what comes before a text.
            **({"tokenizer": self.model.tokenizer_hash} if self.model.tokenizer.prepends else {}),
        }

    @property
    def n_rows(self) -> int:
        """Tokens that statistics count."""
        return self.batches.n_counted

    def width(self, site: str) -> int:
        """Return a site's width."""
        return self.model.site(site).width

    def match(self, pattern: str) -> list[str]:
        """Return the paths of the sites that every token comes by."""
        return [site.path for site in select_recordable(self.model, pattern)]

    @property
    def device(self) -> str:
        """Where the model is."""
        return str(self.model.device)

    def forward_rows(self, most: int | None = None) -> int:
        """Return how many stimuli are shown."""
        if most is None or most >= self.n_rows:
            return self.batches.n_stimuli
        n_stimuli = n_rows = 0
        for batch in self.batches:
            n_stimuli, n_rows = n_stimuli + len(batch), n_rows + int(_count_mask(batch).sum())
            if n_rows >= most:
                break
        return n_stimuli

    def chunk_bytes(self, site: str) -> int:
        """Return what a forward pass holds, with the site's values as they come and those that count."""
        rows = self.batches.batch_size
        length = -(-self.batches.n_tokens // max(self.batches.n_stimuli, 1))
        return rows * count_forward_bytes(self.model, length) + 8 * rows * length * self.width(site)

    def chunks(self, sites: Sequence[str], start: int) -> Iterator[Rows]:
        """Yield the rows of every forward pass from number ``start`` on."""
        coming = self.batches.start_at(start * self.batches.batch_size)
        pieces = cut_pieces(coming, lambda _at, _batch: True, Start())
        return self.engine.map(_CountedRows(self.model, tuple(sites)), pieces, lambda _n: None)

    def first_tokens(self) -> Iterator[Tensor]:
        """Yield for every forward pass which of its rows are the first of their stimulus."""
        return map(_first_rows, self.batches)


@dataclass(frozen=True, eq=False)
class _CountedRows:
    """What is computed of a piece of a text: the rows of its tokens that statistics count."""

    model: LanguageModel
    sites: tuple[str, ...]

    def __call__(self, piece: Piece, tick: Tick) -> Rows:
        [batch] = piece.batches
        counted, seen = torch.from_numpy(_count_mask(batch)), Rows()

        def see(path: str, x: Tensor) -> None:
            seen[path] = x[counted.to(x.device)].float()

        self.model.watch(batch, list(self.sites), see)
        tick(piece.tokens)
        return seen


@checked
class RecordingSource(ActivationSource):
    """Activations of a recording, in memory or on disk.

    Args:
        recording: what ``record_corpus`` gave, or ``run(...).recording``.

    Raises:
        PatchclampError: sites whose rows are not those of the same tokens.
    """

    def __init__(self, recording: Recording | StoredRecording) -> None:
        self.recording = recording

    @property
    def subject(self) -> Mapping[str, str]:
        """Slug and hash of the model, as far as the recording knows."""
        subject = self.recording.provenance.get("subject") or {}
        known = subject if isinstance(subject, Mapping) else {"slug": subject}
        return {"slug": str(known.get("slug", "")), "hash": str(known.get("hash", ""))}

    @property
    def about(self) -> Mapping[str, Any]:
        """The recording's content hash."""
        return {"recording": self.recording.hash, "rows": self.n_rows}

    @property
    def n_rows(self) -> int:
        """Tokens that statistics count."""
        return self._rows

    @cached_property
    def _rows(self) -> int:
        return sum(int(_count_mask(part.stimuli).sum()) for part in self._parts([], 0))

    def width(self, site: str) -> int:
        """Return a site's width."""
        one_of("site of the recording", site, self.recording.sites)
        return self.recording.sites[site].width

    def match(self, pattern: str) -> list[str]:
        """Return the paths of the sites that are held; of an empty pattern the only one."""
        sites, wanted = list(self.recording.sites), [part.strip() for part in pattern.split(",") if part.strip()]
        if found := [path for path in sites if any(fnmatch.fnmatchcase(path, one) for one in wanted)]:
            return found
        if not wanted and len(sites) == 1:
            return sites
        raise PatchclampError(
            expected="a site of this recording",
            got=repr(pattern),
            remedy=f"It holds {', '.join(sites[:8])}.",
        )

    def chunks(self, sites: Sequence[str], start: int) -> Iterator[Rows]:
        """Yield the rows of every shard from number ``start`` on."""
        for part in self._parts(sites, start):
            counted = _count_mask(part.stimuli)
            rows: Rows = {}
            for site in sites:
                values = torch.as_tensor(np.asarray(part.to_numpy()[site], dtype=np.float32))
                if len(values) != len(counted):
                    raise PatchclampError(
                        expected="one row per token at every site",
                        got=f"{len(values)} rows of {len(counted)} tokens at {site}",
                        remedy="Choose a site that every token comes by.",
                    )
                rows[site] = values[torch.from_numpy(counted)]
            yield rows

    def first_tokens(self) -> Iterator[Tensor]:
        """Yield for every shard which of its rows are the first of their stimulus."""
        for part in self._parts([], 0):
            yield _first_rows(part.stimuli)

    def _parts(self, sites: Sequence[str], start: int) -> Iterator[Recording]:
        if isinstance(self.recording, StoredRecording):
            n = len(self.recording.bundle.pieces)
            return (self.recording.shard(i, list(sites)) for i in range(start, n))
        return iter([self.recording][start:])


def _first_rows(stimuli: Sequence[Shown]) -> Tensor:
    counts = [int(s.counted.sum()) for s in stimuli]
    return torch.cat([torch.arange(n) == 0 for n in counts]) if counts else torch.zeros(0, dtype=torch.bool)


def _count_mask(stimuli: Sequence[Shown]) -> np.ndarray:
    return np.concatenate([s.counted for s in stimuli]) if stimuli else np.zeros(0, dtype=bool)


@checked
class ArraySource(ActivationSource):
    """Read activations from arrays.

    Args:
        values: site path to ``(row, width)`` array, all with the same rows.
        chunk: rows given at once.

    Example:
        >>> ArraySource({"x": np.zeros((3, 2))}).n_rows
        3
    """

    def __init__(self, values: Mapping[str, Any], chunk: int = 8192) -> None:
        self.values = {site: torch.as_tensor(v) for site, v in values.items()}
        self.chunk = chunk
        if len({len(v) for v in self.values.values()}) != 1 or any(v.ndim != 2 for v in self.values.values()):
            raise PatchclampError(
                expected="arrays (row, width) with the same rows",
                got=", ".join(str(tuple(v.shape)) for v in self.values.values()) or "none",
                remedy="Give one row per token.",
            )

    @property
    def subject(self) -> Mapping[str, str]:
        """Nobody in particular."""
        return {"slug": "", "hash": ""}

    @property
    def about(self) -> Mapping[str, Any]:
        """Number of rows."""
        return {"rows": self.n_rows}

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.values.values())))

    def width(self, site: str) -> int:
        """Return an array's width."""
        return int(self.values[site].shape[1])

    def chunks(self, sites: Sequence[str], start: int) -> Iterator[Rows]:
        """Yield the rows, ``chunk`` at a time."""
        for i in range(start * self.chunk, self.n_rows, self.chunk):
            yield {site: self.values[site][i : i + self.chunk].float() for site in sites}


@dataclass(frozen=True)
class Position:
    """Where in the data a filling of the buffer begins.

    Args:
        filling: its number.
        turn: the pass over the source.
        chunk: the source's chunk that its first row comes from.
        skip: rows of that chunk that went before.
    """

    filling: int = 0
    turn: int = 0
    chunk: int = 0
    skip: int = 0

    def to_json(self) -> dict[str, int]:
        """Return it as JSON-ready data."""
        return asdict(self)


@dataclass(frozen=True)
class Filling:
    """A full buffer and the order in which it is read.

    Args:
        rows: site to ``(row, width)`` values, as they came.
        order: ``(row,)`` the order.
        batch_size: rows of a batch.
        begins: where it began.
        ends: where the next begins.
    """

    rows: Rows
    order: Tensor
    batch_size: int
    begins: Position
    ends: Position

    @property
    def n_batches(self) -> int:
        """Whole batches in it."""
        return len(self.order) // self.batch_size

    def batch(self, number: int) -> Rows:
        """Return a batch."""
        chosen = self.order[number * self.batch_size : (number + 1) * self.batch_size]
        return {site: rows[chosen] for site, rows in self.rows.items()}


class ShuffleBuffer:
    """Fill a bounded buffer with consecutive rows, mix them and hand them out in batches; what fills no batch is left.

    What batch follows which is a function of source and seed alone: filling f is rows f · N to (f + 1) · N of the
    passes laid end to end, in an order drawn with (seed, f).

    Args:
        source: where rows come from.
        sites: which sites.
        batch_size: rows of a batch.
        n_batches: batches of one filling.
        seed: of the order.
        passes: how often the source is gone through.
        device: where the buffer lies.

    Raises:
        PatchclampError: fewer rows than one batch.
    """

    def __init__(
        self,
        source: ActivationSource,
        sites: Sequence[str],
        *,
        batch_size: int,
        n_batches: int,
        seed: int = 0,
        passes: int = 1,
        device: str = "cpu",
    ) -> None:
        self.source, self.sites = source, list(dict.fromkeys(sites))
        self.batch_size, self.seed, self.passes, self.device = batch_size, seed, passes, device
        self.rows = source.n_rows * passes
        self.n_steps = self.rows // batch_size
        if not self.n_steps:
            raise PatchclampError(
                expected=f"at least one batch of {batch_size:,} activations",
                got=f"{self.rows:,} in all",
                remedy="Give more text, or a smaller --coder-batch.",
            )
        self.size = batch_size * min(n_batches, self.n_steps)

    def fillings(self, position: Position) -> Iterator[Filling]:
        """Yield the buffer, filling after filling; the rows of one are overwritten by the next.

        Raises:
            PatchclampError: NaN or infinite activations, with the site's name.
        """
        held = {site: torch.empty(self.size, self.source.width(site), device=self.device) for site in self.sites}
        stream = self.stream(position)
        pending: Rows = {}
        while (size := min(self.size, self.rows - position.filling * self.size)) >= self.batch_size:
            filled, at = 0, position
            while filled < size:
                if not pending:
                    at, pending = next(stream)
                n = min(size - filled, len(pending[self.sites[0]]))
                for site, rows in pending.items():
                    held[site][filled : filled + n] = rows[:n]
                filled += n
                at = replace(at, skip=at.skip + n)
                whole = n == len(pending[self.sites[0]])
                pending = {} if whole else {site: rows[n:] for site, rows in pending.items()}
            order = np.random.default_rng([self.seed, position.filling]).permutation(size)
            begins, position = position, replace(at, filling=position.filling + 1)
            yield Filling(held, torch.from_numpy(order).to(self.device), self.batch_size, begins, position)

    def stream(self, position: Position) -> Iterator[tuple[Position, Rows]]:
        """Yield the rows from a position on, chunk by chunk, each with where it begins."""
        at = position
        while at.turn < self.passes:
            for number, rows in enumerate(self.source.chunks(self.sites, at.chunk), at.chunk):
                self._check(rows)
                at = replace(at, chunk=number, skip=at.skip if number == at.chunk else 0)
                rest = {site: values[at.skip :] for site, values in rows.items()}
                if len(rest[self.sites[0]]):
                    yield at, rest
            at = replace(at, turn=at.turn + 1, chunk=0, skip=0)

    def _check(self, rows: Rows) -> None:
        for site, values in rows.items():
            if len(values) and not torch.isfinite(torch.stack(values.aminmax())).all():
                bad = (~torch.isfinite(values)).any(0).nonzero().flatten()[:3].tolist()
                raise PatchclampError(
                    expected="finite activations",
                    got=f"NaN or infinite ones at {site}, units {', '.join(map(str, bad))}",
                    remedy="Check the model and its --dtype.",
                )


@checked
def collect_activations(source: ActivationSource, site: str, most: int | None = None) -> Float[np.ndarray, "row width"]:
    """Collect a site's first rows into one array, for methods that need all at once.

    Args:
        source: where activations come from.
        site: its path.
        most: most rows; the default is all.

    Returns:
        ``(row, width)`` activations, float32.

    Raises:
        PatchclampError: NaN or infinite activations.

    Cost: memory rows × width × 4 bytes.

    Example:
        >>> collect_activations(ArraySource({"x": np.ones((3, 2))}), "x", 2).shape
        (2, 2)
    """
    n = source.n_rows if most is None else min(most, source.n_rows)
    buffer = ShuffleBuffer(source, [site], batch_size=max(n, 1), n_batches=1)
    collected = np.empty((n, source.width(site)), dtype=np.float32)
    filled = 0
    for _, rows in buffer.stream(Position()):
        part = rows[site][: n - filled].cpu().numpy()
        collected[filled : filled + len(part)] = part
        filled += len(part)
        if filled == n:
            break
    return collected
