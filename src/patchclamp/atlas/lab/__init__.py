"""The model beside its atlas, for texts that the atlas has not seen.

What computes is imported where it is first used: an atlas that is served by itself needs no framework.
"""

import hashlib
import json
import shlex
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from patchclamp.atlas.lab import describe_messages as describing
from patchclamp.atlas.lab import explain_messages as explaining
from patchclamp.atlas.lab import messages
from patchclamp.atlas.lab.asked_graphs import PREFIX, AskedGraphs
from patchclamp.atlas.lab.job_queue import FairLock, Job, Worker
from patchclamp.atlas.lab.messages import MOST_CLAMPS, MOST_NEW
from patchclamp.atlas.read.attached_layers import part_bases
from patchclamp.atlas.read.attention import AttentionPage
from patchclamp.atlas.read.reader import NotFound, Reading, number_or_none
from patchclamp.atlas.read.responses import Source, TokenView
from patchclamp.core.checks import same_subject
from patchclamp.core.errors import PatchclampError
from patchclamp.core.graph import Graph
from patchclamp.core.plain_names import name_unit

MOST_RUNS = 200


class Lab:
    """Show texts to the model of an atlas.

    Args:
        model: the subject.
        atlas: its atlas.
        name: what loads the model (default: what the atlas was baked from).

    Raises:
        PatchclampError: another model's atlas.
    """

    def __init__(self, model: Any, atlas: Reading, name: str | None = None) -> None:
        from patchclamp.atlas.lab.describe_job import AskedDescriptions
        from patchclamp.atlas.lab.next_token import UnclampedRuns

        self.model = model
        self._attached: set[str] = set()
        self.check(atlas)
        self.name = name or usual_model(atlas)
        self.turns = FairLock()
        self.worker = Worker(self.turns)
        # A worker of its own: what takes a minute keeps no slider waiting.
        self.explainer = Worker(self.turns, longest_s=explaining.SLOWEST_S)
        self.asked = AskedGraphs()
        self.described = AskedDescriptions()
        self.unclamped_runs = UnclampedRuns()
        # Tokenizers of Hugging Face fail where two threads use one at once.
        self.words = FairLock()
        self._spelt: dict[int, TokenView] = {}
        self._runs: OrderedDict[str, messages.LabRun] = OrderedDict()
        self._keeping = threading.Lock()

    @property
    def loading(self) -> str:
        """What ``pc.load`` takes, as it is typed."""
        return f"{self.name!r}, prepend_bos=True" if self.model.tokenizer.prepends else repr(self.name)

    @property
    def loading_words(self) -> tuple[str, ...]:
        """What a command takes: the model's name, and the options that load it."""
        return (self.name, "--bos") if self.model.tokenizer.prepends else (self.name,)

    def check(self, atlas: Reading) -> None:
        """Refuse an atlas of another model.

        Raises:
            PatchclampError: it is one.
        """
        remedy = "Attach the model that it was baked from, or leave --model out."
        same_subject(self.model, atlas.about, what="an atlas", remedy=remedy, required=True)
        self.attach(atlas)

    def attach(self, atlas: Reading) -> None:
        """Make the dictionaries that an atlas keeps known to the model, those that were added meanwhile too."""
        for part in atlas.parts[1:]:
            if part.id not in self._attached:
                for site, basis in part_bases(atlas.rows, part.schema):
                    self.model.add_basis(basis, site)
                self._attached.add(part.id)

    def attach_dictionary(self, atlas: Reading, dictionary: Any) -> None:
        """Make a dictionary known to the model: one that an atlas has features of, but is too large to keep.

        Raises:
            PatchclampError: it is of another model, or not what the atlas's features of that name are of.
        """
        from patchclamp.evaluate.dictionary_metrics import check_subject
        from patchclamp.subjects.site_names import resolve_sites

        dictionary = resolve_sites(self.model, dictionary)
        check_subject(self.model, dictionary)
        kept = {
            (row[1], row[4]): hashed
            for part in atlas.parts[1:]
            for row, (hashed,) in zip(
                part.sites, atlas.rows(f"SELECT hash FROM {part.schema}.bases ORDER BY site"), strict=True
            )
        }
        for site, basis in dictionary.bases.items():
            if kept.get((site, basis.name), basis.hash) != basis.hash:
                raise PatchclampError(
                    expected=f"the dictionary that {site}/{basis.name} of this atlas was made with",
                    got="another of the same name",
                    remedy="`patchclamp info DIR` prints its hash; /runs says where the atlas's came from.",
                )
            self.model.add_basis(basis, site)

    # -- words --------------------------------------------------------------------------------------------------------

    def cut(self, text: str) -> Any:
        """Return a text as the model's stimulus.

        Raises:
            PatchclampError: no token, or more than the context holds.
        """
        with self.words:
            return self.model.tokenize(text, answered=True)

    def spell(self, id: int) -> TokenView:
        """Return a token as people read it."""
        if id not in self._spelt:
            with self.words:
                self._spelt[id] = TokenView(id, *self.model.tokenizer.spelling(id))
        return self._spelt[id]

    def tokens(self, text: str) -> messages.Tokens:
        """Return a text cut into the model's tokens."""
        stimulus = self.cut(text)
        spelt = [self.spell(int(id)) for id in stimulus.ids]
        return messages.Tokens(
            tokens=[one.text for one in spelt],
            ids=stimulus.ids.tolist(),
            special=np.flatnonzero(~stimulus.counted).tolist(),
            bytes=[i for i, one in enumerate(spelt) if one.bytes],
        )

    # -- answered at once ---------------------------------------------------------------------------------------------

    def trial(self, atlas: Reading, key: str, text: str) -> messages.Trial:
        """Return what a unit does along a text.

        Returns:
            messages.Trial: tokens, and the unit's activation at each.

        Raises:
            NotFound: the atlas has no such unit.
            PatchclampError: empty text, or one that is longer than the model's context.
        """
        from patchclamp.atlas.lab.clamps import encode_site, shown_values, unit_values

        named = atlas.key(atlas.index_of(key))
        stimulus, cut = self.cut(text), self.tokens(text)
        read = encode_site(self.model, named.site, named.basis)
        with self.turns.at_once():
            recording = self.model.run(stimulus, record=[read], logits=False).recording
            values = unit_values(self.model, named.site, named.basis, recording[read])
        return messages.Trial(
            key=str(named),
            tokens=cut.tokens,
            ids=cut.ids,
            acts=[number_or_none(a) for a in shown_values(values[:, named.index])],
            special=cut.special,
            bytes=cut.bytes,
            source=atlas.source(f".unit({str(named)!r})"),
        )

    def page(self, atlas: Reading) -> messages.LabPage:
        """Return what the model takes."""
        can = self.model.capabilities
        return messages.LabPage(
            attached=True,
            shows="texts",
            model=self.name,
            remedy="",
            context=self.model.context,
            generates=can.generate,
            differentiates=can.differentiate,
            most_clamps=MOST_CLAMPS,
            most_new=MOST_NEW,
            source=atlas.source(".page()"),
        )

    def rank(self, atlas: Reading, text: str, position: int, **asked: Any) -> messages.Ranking:
        """Return the atlas's units that do most at one token; see ``rank.rank``.

        Returns:
            messages.Ranking: the units, the largest first, with the question that they answer.
        """
        from patchclamp.atlas.lab.unit_ranking import rank

        stimulus = self.cut(text)
        shown = f".run({text!r}, record={list(dict.fromkeys(row[1] for row in atlas.sites))!r}, logits=False)"
        source = Source(atlas.base_run, "", f"pc.load({self.loading}){shown}")
        with self.turns.at_once():
            return rank(self.model, atlas, stimulus, position, spell=self.spell, source=source, **asked)

    def clampable(self, atlas: Reading, key: str) -> messages.ClampableUnit:
        """Return a unit that can be clamped, with its name.

        Raises:
            NotFound: there is none of that key.
            CannotIntervene: it can only be read.
        """
        from patchclamp.atlas.lab.clamps import known_unit

        found = known_unit(self.model, atlas, key)
        return messages.ClampableUnit(str(replace(found, subject=None)), name_unit(found))

    def next_tokens(self, text: str) -> explaining.NextTokens:
        """Return the likeliest next tokens of a prompt, and what explaining one of them takes.

        Raises:
            PatchclampError: no token, or more than the context holds.
        """
        from patchclamp.atlas.lab.explain_job import next_tokens

        return next_tokens(self, text)

    def pairs_cost(self, asked: explaining.CircuitAsked) -> explaining.PairsRead:
        """Return what pasted pairs are, and what finding a circuit over them takes.

        Raises:
            PatchclampError: lines that are no pairs, or none that the model can read.
        """
        from patchclamp.atlas.lab.explain_job import pairs_cost

        return pairs_cost(self, asked)

    def attention(self, atlas: Reading, text: str, layer: int, head: int | None = None) -> AttentionPage:
        """Return what the heads of a block attend to along a text.

        Returns:
            AttentionPage: one pattern per head.

        Raises:
            NotFound: no such block or head.
            PatchclampError: empty text, one that is too long, or a model without heads.
        """
        from patchclamp.atlas.lab.attention import attention_along

        stimulus = self.cut(text)
        path = f"blocks.{layer}.attn.pattern"
        python = f"pc.load({self.loading}).run({text!r}, record={path!r}, logits=False).recording[{path!r}]"
        with self.turns.at_once():
            return attention_along(
                self.model, stimulus, layer, head, spell=self.spell, source=Source(atlas.base_run, "", python)
            )

    # -- answered by the worker ---------------------------------------------------------------------------------------

    def run(self, atlas: Reading, asked: messages.RunAsked) -> Callable[[Job], None]:
        """Return what computes a run; see ``session``.

        Raises:
            NotFound: a clamp names a unit that the model has not.
            PatchclampError: what was asked cannot be done.
        """
        from patchclamp.atlas.lab.run_job import prepare

        return prepare(self, atlas, asked)

    def sets(self, atlas: Reading, asked: messages.SetsAsked) -> messages.Sets:
        """Return how many random sets there are to compare clamps or nodes with.

        Raises:
            NotFound: no such answer or unit.
            PatchclampError: neither clamps nor nodes, or nodes of no answer.
        """
        from patchclamp.atlas.lab.set_counts import sets_for_clamps, sets_for_nodes
        from patchclamp.atlas.lab.verify import case_of, over_pairs

        if asked.clamps:
            return sets_for_clamps(self.model, atlas, asked.clamps)
        if not asked.nodes:
            raise PatchclampError(expected="clamps, or nodes of an answer", got="neither", remedy="Name some.")
        graph = self.find_graph(atlas, asked.graph)
        n_positions = 1
        if not over_pairs(graph):
            with self.words:
                n_positions = len(case_of(self.model, graph).clean)
        return sets_for_nodes(self.model, graph, asked.nodes, n_positions)

    def verify(self, atlas: Reading, asked: messages.VerifyAsked) -> Callable[[Job], None]:
        """Return what replaces nodes of an explained answer, or its edges; see ``verify`` and ``verify_edges``.

        Raises:
            NotFound: the atlas has no such answer.
            PatchclampError: it cannot be asked again.
        """
        from patchclamp.atlas.lab.export import verify_as_python
        from patchclamp.atlas.lab.verify import case_of, cases_of, over_pairs, verify
        from patchclamp.atlas.lab.verify_edges import require_one, verify_edges

        if bool(asked.nodes) == bool(asked.edges):
            raise PatchclampError(
                expected="nodes, or edges", got="both" if asked.nodes else "neither", remedy="Ask for one of them."
            )
        graph = self.find_graph(atlas, asked.graph)
        case: Any = None
        if not over_pairs(graph):
            with self.words:
                case = case_of(self.model, graph, self.find_shown(atlas, graph))

        def work(job: Job) -> None:
            what = case
            if what is None:  # to read cases is to run them
                with job.turn(), self.words:
                    what = cases_of(self.model, graph)
            if asked.edges:
                job.tell(verify_edges(self.model, graph, asked.edges, require_one(what), turn=job.turn))
                job.tell(messages.Finished("", job.seconds, "", ""))
                return
            job.tell(
                verify(
                    self.model,
                    graph,
                    asked.nodes,
                    n_sets=asked.controls,
                    seed=asked.seed,
                    asked=what,
                    turn=job.turn,
                    progress=lambda done, n: job.tell(messages.Progressed(done, n)),
                )
            )
            remembered = self.asked.get(asked.graph)
            made = "" if remembered is None else remembered.python
            python = verify_as_python(self.loading, str(atlas.folder), asked, made)
            job.tell(messages.Finished("", job.seconds, python, ""))

        return work

    def find_shown(self, atlas: Reading, graph: Graph) -> dict[str, Any]:
        """Return what a graph's prompts stand for where they are no texts, by name."""
        return {}

    def explain(self, atlas: Reading, asked: explaining.ExplainAsked) -> Callable[[Job], None]:
        """Return what explains an answer; see ``explain_job``.

        Raises:
            PatchclampError: what was asked cannot be explained.
        """
        from patchclamp.atlas.lab.explain_job import prepare_explanation

        return prepare_explanation(self, atlas, asked)

    def find_circuit(self, atlas: Reading, asked: explaining.CircuitAsked) -> Callable[[Job], None]:
        """Return what finds a circuit over pasted pairs; see ``explain_job``.

        Raises:
            PatchclampError: lines that are no pairs.
        """
        from patchclamp.atlas.lab.explain_job import prepare_circuit

        return prepare_circuit(self, atlas, asked)

    def description_cost(self, atlas: Reading, key: str) -> describing.DescribeCost:
        """Return what describing a unit takes.

        Raises:
            NotFound: the atlas has no such unit.
        """
        from patchclamp.atlas.lab.describe_job import description_cost

        return description_cost(self, atlas, key)

    def describe(self, atlas: Reading, asked: describing.DescribeAsked) -> Callable[[Job], None]:
        """Return what describes a unit; see ``describe_job``.

        Raises:
            NotFound: the atlas has no such unit.
            PatchclampError: the text that was baked is there no more.
        """
        from patchclamp.atlas.lab.describe_job import prepare_description

        return prepare_description(self, atlas, asked)

    def find_graph(self, atlas: Reading, id: str) -> Graph:
        """Return an explained answer: a layer of the atlas, or one that was explained from the page.

        Raises:
            NotFound: there is none of that id, or it was forgotten.
        """
        if id.startswith(PREFIX):
            return self.asked.find(id).graph
        graph = next((layer.graph for layer in atlas.layers if layer.id == id and layer.graph), None)
        if graph is None:
            raise NotFound(expected="a graph of this atlas", got=repr(id[:80]), remedy="/api/graphs lists them.")
        return graph

    def id_of(self, asked: Any) -> str:
        """Return a question's id: the same for the same question to the same model."""
        text = json.dumps([self.model.hash, asdict(asked)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def keep(self, run: messages.LabRun) -> None:
        """Remember a run; one that was broken off never takes the place of a whole one."""
        with self._keeping:
            before = self._runs.pop(run.id, None)
            self._runs[run.id] = before if before is not None and before.finished and not run.finished else run
            while len(self._runs) > MOST_RUNS:
                self._runs.popitem(last=False)

    def find_run(self, id: str) -> messages.LabRun:
        """Return a run that was made.

        Raises:
            NotFound: none has that id, or it was made too long ago.
        """
        with self._keeping:
            run = self._runs.get(id)
        if run is None:
            raise NotFound(
                expected=f"one of the last {MOST_RUNS} runs of this server",
                got=repr(id[:80]),
                remedy="Ask again: the address of the page holds the question.",
            )
        return run


def without_model(atlas: Reading) -> messages.LabPage:
    """Return what is said where no model is attached, with the command that attaches it."""
    command = ["patchclamp", "atlas", "serve", str(atlas.folder), "--model", usual_model(atlas)]
    return messages.LabPage(
        attached=False,
        shows=messages.shown_by(str(atlas.about["modality"])),
        model="",
        remedy=shlex.join(command),
        context=None,
        generates=False,
        differentiates=False,
        most_clamps=MOST_CLAMPS,
        most_new=MOST_NEW,
        source=atlas.source(".page()"),
    )


def usual_model(atlas: Reading) -> str:
    """Return what loads the model that an atlas was baked from."""
    return str(atlas.runs[atlas.base_run].options.get("model", atlas.slug))
