"""Edges against a GPT-2 written out, and against the sums that they must have in every family."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from every_family import CHOSEN
from oracles import edges as oracle
from patchclamp.ablate import edges as ablated
from patchclamp.attribute import edges as scorer
from patchclamp.attribute.edge_patching import patch_edges
from patchclamp.attribute.edges import attribute_edges, edge_memory
from patchclamp.attribute.prompt import attribute_nodes
from patchclamp.attribute.rules import Gradient
from patchclamp.core.edge_map import EdgeMap
from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.core.intervention import Intervention
from patchclamp.core.metric import Metric
from patchclamp.core.stimulus import Stimulus
from patchclamp.core.task import Case, Task
from patchclamp.subjects import residual_edges as pieces
from patchclamp.subjects.cases import ReadCase, ReadTask
from patchclamp.subjects.engine import Restart
from patchclamp.subjects.families.spec import family
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.residual_edges import edge_map, writes_of
from replacing import with_edges_kept

FAMILIES = ["gpt2", "llama", "gpt_neox", "gpt_neox_sequential", "gemma2", "opt"]
COVERED = [f.name for f in map(family, CHOSEN) if not f.sum_norms and "ssm.write" not in f.block]


def subject(name: str) -> LanguageModel:
    """Make a family's tiny model, in double precision where its experts can."""
    module = family(name).tiny()
    mixed = any(path.endswith("experts") for path, _ in module.named_modules())
    return LanguageModel(module if mixed else module.double(), name=f"tiny-{name}")


def asked(model: LanguageModel, lengths=(6, 6, 4), seed: int = 0) -> ReadTask:
    """Make pairs that differ from the second token to the middle, each with a metric of its own."""
    draw = np.random.default_rng(seed)
    clean = [draw.integers(1, 55, n) for n in lengths]
    corrupted = [np.concatenate([x[:1], draw.integers(1, 55, len(x) // 2), x[1 + len(x) // 2 :]]) for x in clean]
    metrics = tuple(Metric("logit_difference", (3 + i,), (9 + i, 20)) for i in range(len(lengths)))
    prompts = tuple(tuple(map(Stimulus.of, some)) for some in (clean, corrupted))
    ends = [[float(model.measure([x], m)[0]) for x, m in zip(some, metrics, strict=True)] for some in prompts]
    pairs = tuple(Case(f"x{i}", f"y{i}", (" a",), (" b",)) for i in range(len(lengths)))
    return ReadTask(Task(pairs), tuple(map(ReadCase, *prompts, metrics)), np.array(ends[0]), np.array(ends[1]))


@pytest.fixture(scope="module")
def gpt2():
    model = subject("gpt2")
    return model, asked(model), edge_map(model)


def written_out(model: LanguageModel, pairs: ReadTask, i: int):
    """Return the oracle's runner for a pair, the writes of both ends, and both embeddings."""

    def run(x, read):
        logits, writes = oracle.run(model.module, x, read)
        return pairs.metrics[i](logits[None, None])[0], writes

    x, y = (oracle.embedded(model.module, p[i].ids.tolist()) for p in (pairs.clean, pairs.counterpart))
    plain = [run(end, lambda v, stream, writes: stream) for end in (x, y)]
    np.testing.assert_allclose([m.item() for m, _ in plain], [pairs.m_clean[i], pairs.m_counterpart[i]], atol=1e-9)
    return run, plain[0][1], plain[1][1], x, y


def out_of(graph: EdgeMap, scores: np.ndarray) -> np.ndarray:
    """Return the sums over the edges out of each writer, pair by pair."""
    return np.stack([scores[:, graph.ends[:, 0] == u].sum(1) for u in range(len(graph.writers))], 1)


def gradients(run, x):
    """Return ∂m/∂(input of v) for every reader, ``(position, d_model)``."""
    leaves = {}

    def read(v, stream, writes):
        leaves[v] = torch.zeros_like(stream, requires_grad=True)
        return stream + leaves[v]

    m, _ = run(x, read)
    return dict(zip(leaves, torch.autograd.grad(m, list(leaves.values())), strict=True))


# -- which edges there are --------------------------------------------------------------------------------------------


def test_gpt2_small_has_32491_edges():
    assert (len(EdgeMap(12, 12, 12)), 15 * len(EdgeMap(12, 12, 12))) == (32_491, 487_365)


@pytest.mark.parametrize("graph", [EdgeMap(3, 4, 2), EdgeMap(3, 4, 4, parallel=True)], ids=["grouped", "parallel"])
def test_an_edge_runs_from_what_is_written_before(graph: EdgeMap):
    def when(key: str) -> tuple[int, int]:
        parts = key.split("/")[0].split(".")
        if parts[0] in ("embed", "final"):
            return (-1, 9) if parts[0] == "embed" else (9, 0)
        side = {"attn.z": 1, "mlp.write": 3, "mlp.pre": 0 if graph.parallel else 2}.get(".".join(parts[2:]), 0)
        return int(parts[1]), side

    wanted = {(u, v) for u in graph.writers for v in graph.readers if when(u) < when(v)}
    assert set(graph.parts) == wanted
    assert all(graph.index(*part) == i for i, part in enumerate(graph.parts))
    marks = np.random.default_rng(0).random((2, len(graph))) < 0.5
    assert (graph.dense(marks)[:, graph.ends[:, 1], graph.ends[:, 0]] == marks).all()
    assert graph.dense(marks).sum() == marks.sum()


def test_an_edge_backwards_is_refused():
    with pytest.raises(PatchclampError, match="one of"):
        EdgeMap(2, 2, 2).index("blocks.1.mlp.write/whole/0", "blocks.0.mlp.pre/whole/0")


@pytest.mark.parametrize("name", COVERED)
def test_writes_sum_to_the_stream(name: str):
    model = subject(name)
    pairs, graph = asked(model), edge_map(model)
    found = writes_of(model, pairs.clean[:2])
    for reader, n in enumerate(graph.seen):
        key = graph.readers[reader]
        layer = None if key.startswith("final") else int(key.split(".")[1])
        path = graph.stream(layer, mlp=".mlp." in key)
        # What is left is biases, which are the same at every place.
        rest = found.streams[path] - found.each[:, :n].sum(1)
        torch.testing.assert_close(rest, rest[:1, :1].expand_as(rest), atol=2e-5, rtol=0)


def test_edges_into_an_mlp_that_reads_what_attention_added_are_those_of_hooks():
    model = subject("gpt_neox_sequential")
    pairs, graph = asked(model, lengths=(5,)), edge_map(model)
    found = patch_edges(model, pairs)
    [clean, corrupted] = [writes_of(model, prompts).each[0] for prompts in (pairs.clean, pairs.counterpart)]
    for writer in ("embed/whole/0", *(f"blocks.0.attn.z/heads/{h}" for h in range(4))):
        change = (corrupted - clean)[graph.writers.index(writer)]
        norm = model.module.gpt_neox.layers[0].post_attention_layernorm
        handle = norm.register_forward_pre_hook(lambda _m, args, change=change: (args[0] + change,))
        m = float(model.measure(pairs.clean, pairs.metrics[0])[0])
        handle.remove()
        edge = graph.index(writer, "blocks.0.mlp.pre/whole/0")
        assert found.values[edge] == pytest.approx(pairs.m_clean[0] - m, abs=1e-9)
        assert abs(pairs.m_clean[0] - m) > 1e-3


def test_a_norm_that_was_taken_out_leaves_edges_as_they_are_measured():
    module = family("gpt2").tiny().double()
    for block in module.transformer.h:
        block.ln_1, block.ln_2 = torch.nn.Identity(), torch.nn.Identity()
    model = LanguageModel(module)
    pairs, graph = asked(model, lengths=(4,)), edge_map(model)
    everything = np.stack([np.ones(len(graph), bool), np.zeros(len(graph), bool)])
    whole, none = with_edges_kept(model, pairs, everything)
    assert (whole[0], none[0]) == pytest.approx((pairs.m_clean[0], pairs.m_counterpart[0]), rel=1e-9)
    assert np.isfinite(patch_edges(model, pairs).values).all()
    assert np.isfinite(attribute_edges(model, pairs, method=Gradient(("ln",))).values).all()


@pytest.mark.parametrize("bias", [True, False])
def test_a_bias_before_a_norm_belongs_to_no_head_so_such_edges_are_refused(bias: bool):
    config = family("gemma2").tiny().config
    config.attention_bias = bias
    model = LanguageModel(type(family("gemma2").tiny())(config))
    if not bias:
        assert len(edge_map(model))
        return
    with pytest.raises(CannotIntervene, match="adds a bias before a norm"):
        edge_map(model)


def test_a_norm_of_another_kind_after_attention_is_refused():
    class Other(torch.nn.Module):
        def forward(self, x):
            return x.tanh()

    module = family("gemma2").tiny()
    module.model.layers[1].post_attention_layernorm = Other()
    with pytest.raises(CannotIntervene, match="after the attention of block 1, a Other that computes something else"):
        edge_map(LanguageModel(module))


@pytest.mark.parametrize("name", ["bert", "jamba"])
def test_a_stream_that_is_no_sum_is_refused(name: str):
    with pytest.raises(CannotIntervene, match="sum of what"):
        edge_map(LanguageModel(family(name).tiny()))


# -- attribution ------------------------------------------------------------------------------------------------------


def test_eap_is_the_gradient_at_each_readers_own_input(gpt2):
    model, pairs, graph = gpt2
    found = attribute_edges(model, pairs)
    for i in range(len(pairs)):
        one = attribute_edges(model, pairs.subset(np.arange(len(pairs)) == i), by_position=True)
        run, clean, corrupted, x, _ = written_out(model, pairs, i)
        at_x = gradients(run, x)
        wanted = torch.stack([((clean[u] - corrupted[u]) * at_x[v]).sum(-1) for u, v in graph.parts]).detach()
        np.testing.assert_allclose(one.values.reshape(wanted.shape), wanted, atol=1e-10)
        u, v = graph.parts[5]
        assert one.score(f"{u}@2->{v}@2") == pytest.approx(float(wanted[5, 2]), abs=1e-10)
        np.testing.assert_allclose(found.per_case[i], wanted.sum(1), atol=1e-10)


def test_positions_of_prompts_of_several_lengths_are_refused(gpt2):
    for score in (attribute_edges, patch_edges):
        with pytest.raises(PatchclampError, match="pairs of one length"):
            score(*gpt2[:2], by_position=True)


def test_eap_ig_takes_the_mean_gradient_between_the_embeddings(gpt2):
    model, pairs, graph = gpt2
    found = attribute_edges(model, pairs, method="eap_ig", steps=3)
    points, weights = np.polynomial.legendre.leggauss(3)
    run, clean, corrupted, x, y = written_out(model, pairs, 1)
    wanted = np.zeros(len(graph))
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        between = gradients(run, (y + point * (x - y)).detach())
        wanted += weight * np.array([((clean[u] - corrupted[u]) * between[v]).sum().item() for u, v in graph.parts])
    np.testing.assert_allclose(found.per_case[1], wanted, atol=1e-10)
    assert found.provenance.options["steps"] == 3


RULES = {"plain": (), "relp": ("ln", "identity", "half")}


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        *((name, rules) for name in FAMILIES for rules in RULES.values()),
        ("gpt2", ("ah",)),
        ("llama", ("ln", "direct")),
        ("qwen3_moe", ()),
    ],
)
def test_edges_out_of_a_node_sum_to_its_attribution(name: str, rules: tuple[str, ...]):
    model = subject(name)
    pairs = asked(model)
    out = out_of(edge_map(model), attribute_edges(model, pairs, method=Gradient(rules)).per_case)
    for i, metric in enumerate(pairs.metrics):
        nodes = attribute_nodes(
            model,
            pairs.clean[i],
            metric,
            corrupted=pairs.counterpart[i],
            method=Gradient(rules),
            levels=["node"],
        )
        wanted = np.concatenate([nodes.matrix(b.site, b.basis).sum(0) for b in nodes.units.blocks])
        np.testing.assert_allclose(out[i], wanted, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("method", ["eap", "eap_ig"])
@pytest.mark.parametrize("name", FAMILIES)
def test_edges_sum_to_what_their_ends_are_attributed_by_the_same_gradients(name: str, method: str):
    model = subject(name)
    pairs, graph = asked(model, lengths=(5,)), edge_map(model)
    found = attribute_edges(model, pairs, method=method, steps=2)
    points, weights = np.polynomial.legendre.leggauss(2)
    path = zip((points + 1) / 2, weights / 2, strict=True) if method == "eap_ig" else [(1.0, 1.0)]
    # All MLPs and the logits, and some queries, keys and values.
    some = [v for v, key in enumerate(graph.readers) if "attn" not in key]
    some += np.random.default_rng(0).choice(len(graph.readers) - 1, 8, replace=False).tolist()
    into, out = np.zeros(len(some)), np.zeros(len(graph.writers))
    clean, corrupted = (writes_of(model, p) for p in (pairs.clean, pairs.counterpart))
    for point, weight in path:
        one = Point(model, graph, pairs, clean.streams, corrupted.streams, point)
        into += weight * np.array([one.into(reader) for reader in some])
        out += weight * one.out_of()
    own = np.array([found.values[graph.ends[:, 1] == v].sum() for v in some])
    np.testing.assert_allclose(own, into, atol=1e-4 * np.abs(into).max())
    np.testing.assert_allclose(out_of(graph, found.per_case)[0], out, atol=1e-4 * np.abs(out).max())


class Point:
    """Plain gradients at one point of the path, of heads' queries one by one: the others' gradients are cut."""

    def __init__(self, model, graph, pairs, clean, corrupted, alpha: float) -> None:
        self.model, self.graph, self.prompt, self.metric = model, graph, pairs.counterpart, pairs.metrics[0]
        first = graph.stream(0)
        self.start = Restart(0, corrupted[first] + alpha * (clean[first] - corrupted[first]))
        sites = [f"blocks.{i}.{kind}" for i in range(graph.n_layers) for kind in ("resid_in", "attn.z", "mlp.write")]
        if not graph.parallel:
            sites += [f"blocks.{i}.resid_mid" for i in range(graph.n_layers)]
        self.sites = [*sites, graph.stream(None)]
        self.gradients = self.differentiated([])
        values = [model.run(p, record=self.sites).recording for p in (pairs.clean, pairs.counterpart)]
        self.change = {path: values[0][path] - values[1][path] for path in self.sites}
        self.streams = self.first_order() if model.family.exit_norms else self.change

    def differentiated(self, interventions):
        found = self.model.differentiate(
            self.prompt, self.metric, self.sites, interventions=interventions, restart=self.start
        )
        self.values = found.values
        return found.gradients

    def first_order(self):
        """Follow the stream with what attention adds linearised at its exit norms, position by position."""
        streams = {self.graph.stream(0): self.change[self.graph.stream(0)]}
        for i in range(self.graph.n_layers):
            block = self.model.module.model.layers[i]
            projected = block.self_attn.o_proj
            y, dy = (projected(x[f"blocks.{i}.attn.z"]).detach() for x in (self.values, self.change))
            norm = block.post_attention_layernorm
            bent = [torch.autograd.functional.jacobian(norm, a) @ b for a, b in zip(y, dy, strict=True)]
            streams[f"blocks.{i}.resid_mid"] = streams[f"blocks.{i}.resid_in"] + torch.stack(bent)
            after = streams[f"blocks.{i}.resid_mid"] + self.change[f"blocks.{i}.mlp.write"]
            streams[self.graph.stream(i + 1 if i + 1 < self.graph.n_layers else None)] = after
        return streams

    def into(self, reader: int) -> float:
        """Return δ(stream) · ∂m/∂(input of one reader): of all paths through its block the others are cut off."""
        graph, key = self.graph, self.graph.readers[reader]
        if key.startswith("final"):
            return float((self.streams[graph.stream(None)] * self.gradients[graph.stream(None)]).sum())
        path, (_, head) = key.split("/")[0], key.split("/")[1:]
        layer, mlp = int(path.split(".")[1]), ".mlp." in path
        cuts = {site: list(range(place.stop - place.start)) for site, place in graph.slots(layer).items()}
        if not mlp:
            cuts[path].remove(int(head))
        changes = [cut(self.model.site(site), heads) for site, heads in cuts.items() if heads]
        if graph.parallel and not mlp:
            changes.append(cut(self.model.site(f"blocks.{layer}.mlp.pre"), None))
        found = self.differentiated(changes)
        stream = graph.stream(layer, mlp=mlp)
        last = layer == graph.n_layers - 1
        passed = (
            f"blocks.{layer}.resid_mid" if not (mlp or graph.parallel) else graph.stream(None if last else layer + 1)
        )
        return float((self.streams[stream] * (found[stream] - found[passed])).sum())

    def out_of(self) -> np.ndarray:
        """Return δ(write) · ∂m/∂(write) of every writer, a head's at its z."""
        products = {path: (self.change[path] * self.gradients[path]).sum(0) for path in self.sites}
        found = [products[self.graph.stream(0)].sum()[None]]
        for i in range(self.graph.n_layers):
            found.append(products[f"blocks.{i}.attn.z"].unflatten(0, (self.graph.n_heads, -1)).sum(-1))
            found.append(products[f"blocks.{i}.mlp.write"].sum()[None])
        return torch.cat(found).numpy()


def cut(site, heads: list[int] | None) -> Intervention:
    """Leave values as they are, and let no gradient pass through some heads, or through anything."""
    mask = torch.zeros(site.width, dtype=torch.bool)
    if heads is None:
        mask[:] = True
    else:
        mask.view(site.n_heads, -1)[heads] = True
    return Intervention(site.path, "call", fn=lambda x: torch.where(mask, x.detach(), x))


# -- measured, one by one and together --------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["noise", "denoise"])
def test_exact_edges_are_paths_patched_by_hand(gpt2, direction: str):
    model, _, graph = gpt2
    pairs = asked(model, lengths=(4,))
    found = patch_edges(model, pairs, direction=direction, batch_size=50)
    apart = patch_edges(model, pairs, direction=direction, by_position=True).values.reshape(len(graph), -1)
    run, clean, corrupted, x, y = written_out(model, pairs, 0)
    start, sign = (x, 1) if direction == "noise" else (y, -1)
    base = pairs.m_clean[0] if direction == "noise" else pairs.m_counterpart[0]
    chosen = np.random.default_rng(0).choice(len(graph), 40, replace=False)
    with torch.no_grad():
        for spot in (None, 2):
            for i in chosen:
                u, v = graph.parts[i]
                change = sign * (corrupted[u] - clean[u])
                if spot is not None:
                    change[torch.arange(len(change)) != spot] = 0
                m, _ = run(start, lambda w, stream, writes, v=v, c=change: stream + c if w == v else stream)
                measured = found.values[i] if spot is None else apart[i, spot]
                assert measured == pytest.approx(sign * (base - float(m)), abs=1e-9)


def test_a_network_with_some_edges_is_the_one_written_out(gpt2):
    model, pairs, graph = gpt2
    draw = np.random.default_rng(1)
    kept = np.stack([draw.random(len(graph)) < share for share in (0.1, 0.5, 0.9)])
    found = with_edges_kept(model, pairs, kept)
    for i in (0, 2):
        run, _, corrupted, x, _ = written_out(model, pairs, i)
        for s, marks in enumerate(kept):
            left_out = {part for part, mark in zip(graph.parts, marks, strict=True) if not mark}

            def read(v, stream, writes, left_out=left_out, corrupted=corrupted):
                return stream - sum((w - corrupted[u] for u, w in writes.items() if (u, v) in left_out), 0.0)

            with torch.no_grad():
                assert found[s, i] == pytest.approx(float(run(x, read)[0]), abs=1e-9)


@pytest.mark.parametrize("name", [*FAMILIES, "gptj", "qwen3_moe"])
def test_all_edges_are_the_clean_run_none_the_corrupted_and_one_left_out_its_patch(name: str):
    model = subject(name)
    pairs, graph = asked(model, lengths=(4, 3)), edge_map(model)
    some = np.random.default_rng(2).choice(len(graph), 8, replace=False)
    without = np.ones((len(some), len(graph)), dtype=bool)
    without[np.arange(len(some)), some] = False
    found = with_edges_kept(
        model, pairs, np.concatenate([np.ones_like(without[:1]), ~np.ones_like(without[:1]), without])
    )
    np.testing.assert_allclose(found[0], pairs.m_clean, atol=2e-5)
    np.testing.assert_allclose(found[1], pairs.m_counterpart, atol=2e-5)
    exact = patch_edges(model, pairs).per_case
    assert exact.std() > 0.01
    np.testing.assert_allclose(pairs.m_clean - found[2:], exact[:, some].T, atol=5e-5)


def test_neither_batches_nor_company_change_what_is_measured(gpt2, monkeypatch):
    model, pairs, graph = gpt2
    kept = np.random.default_rng(3).random((2, len(graph))) < 0.5
    together, scores = with_edges_kept(model, pairs, kept), attribute_edges(model, pairs).per_case
    for where, budget in ((pieces, "MEMORY"), (pieces, "PROJECTED"), (ablated, "SETS_MEMORY")):
        monkeypatch.setattr(where, budget, 1)
    np.testing.assert_allclose(with_edges_kept(model, pairs, kept), together, atol=1e-10)
    np.testing.assert_allclose(with_edges_kept(model, pairs, kept[1]), together[1], atol=1e-10)
    np.testing.assert_allclose(attribute_edges(model, pairs).per_case, scores, atol=1e-10)


def test_the_mean_over_other_pairs_can_stand_for_what_is_left_out(gpt2):
    model, pairs, graph = gpt2
    others = asked(model, lengths=(6, 4, 6, 5), seed=5)
    means = (*others.clean, *others.counterpart)
    ends = with_edges_kept(model, pairs, np.stack([np.ones(len(graph), bool), np.zeros(len(graph), bool)]), means=means)
    np.testing.assert_allclose(ends[0], pairs.m_clean, atol=1e-9)
    # With nothing kept all prompts of one length are one network's constant, whatever they say.
    read = tuple(replace(one, metric=pairs.metrics[0]) for one in pairs.read[:2])
    same = ReadTask(Task(pairs.task.cases[:2]), read, pairs.m_clean[:2], pairs.m_counterpart[:2])
    nothing = with_edges_kept(model, same, np.zeros(len(graph), bool), means=means)
    assert nothing[0] == pytest.approx(nothing[1], abs=1e-12)
    assert abs(nothing[0] - pairs.m_counterpart[0]) > 1e-3


def test_a_mean_stands_for_as_many_positions_as_it_has(gpt2):
    model, pairs, graph = gpt2
    with pytest.raises(PatchclampError, match="stimuli of 6 tokens"):
        with_edges_kept(model, pairs, np.ones(len(graph), bool), means=asked(model, lengths=(5, 4)).clean)


def test_marks_must_be_those_of_the_models_edges(gpt2):
    model, pairs, graph = gpt2
    with pytest.raises(PatchclampError, match="262 edges"):
        with_edges_kept(model, pairs, np.ones(len(graph) - 1, bool))


@pytest.mark.parametrize(
    "wrong", [{"method": "activation_patching"}, {"steps": 0}, {"method": "relp", "rules": ("magic",)}]
)
def test_unknown_methods_and_rules_are_refused(gpt2, wrong):
    with pytest.raises(PatchclampError):
        attribute_edges(*gpt2[:2], **wrong)


def test_a_direction_must_be_known(gpt2):
    with pytest.raises(PatchclampError, match="direction among noise, denoise"):
        patch_edges(*gpt2[:2], direction="both")


def test_progress_counts_to_the_end_and_a_circuit_holds_the_mean(gpt2):
    model, pairs, graph = gpt2
    seen: list[tuple[int, int]] = []
    found = attribute_edges(
        model, pairs, method="eap_ig", steps=2, progress=lambda done, total: seen.append((done, total))
    )
    assert (seen[-1], len(seen)) == ((6, 6), 4)
    assert (found.level, found.method, found.parts) == ("edge", "eap_ig", graph.parts)
    np.testing.assert_allclose(found.values, found.per_case.mean(0))
    assert found.provenance.extra["cases"] == pairs.ids
    assert found.provenance.subject_hash == model.hash


def test_scores_that_do_not_fit_are_refused_before_anything_runs(gpt2, monkeypatch):
    model, pairs, graph = gpt2
    pairs = pairs.subset(np.array([True, True, False]))
    needed = edge_memory(model, pairs, by_position=True)
    # The scores of both pairs, and twice as many while a batch, which here is both, is computed.
    more = 3 * 4 * len(graph) * (sum(map(len, pairs.clean)) - 2)
    assert needed - edge_memory(model, pairs) == pytest.approx(more, abs=1)
    monkeypatch.setattr(scorer, "free_memory", lambda: needed - 1)
    with pytest.raises(PatchclampError, match="fewer pairs"):
        attribute_edges(model, pairs, by_position=True)
    attribute_edges(model, pairs)
