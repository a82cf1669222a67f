"""Edges between single units at positions, one at a time: the run written out, with one reader's stream changed.

w(u@p → v@q) = (v(s) − v(s − δ_u at p)) · ∫ ∂m/∂v along r + α (v − r) of v's whole site.
"""

import numpy as np
import torch

from oracles import edges, hooks


class Net:
    """A GPT-2 or Llama, one prompt, and the prompt or the zeros whose values are the baseline."""

    def __init__(self, module, ids, other, m):
        self.module, self.ids, self.m = module, torch.tensor([ids]), m
        self.llama = hasattr(module, "model")
        table = module.get_input_embeddings().weight
        if self.llama:
            self.run, embed = edges.run_llama, lambda some: table[torch.tensor(some)]
        else:
            self.run, embed = edges.run, lambda some: edges.embedded(module, some)
        with torch.no_grad():
            self.embedded = embed(ids)
            self.reference = self.embedded.clone()
            if other is None:  # every word but the first, <bos>, is the mean word
                self.reference[1:] += table.mean(0) - table[torch.tensor(ids[1:])]
            else:
                self.reference = embed(other)
        self.other = None if other is None else torch.tensor([other])
        _, self.writes, self.streams = self.read(self.embedded)

    def read(self, embedded, reader=None, change=None):
        """Return m, all writes, and what every reader reads, one of them without a change."""
        streams = {}

        def see(v, stream, writes):
            streams[v] = stream - change if v == reader else stream
            return streams[v]

        with torch.no_grad():
            logits, writes = self.run(self.module, embedded, see)
            return float(self.m(logits[None, None])), writes, streams

    def block(self, l):
        return (self.module.model.layers if self.llama else self.module.transformer.h)[l]

    def down(self, l):
        return self.block(l).mlp.down_proj if self.llama else self.block(l).mlp.c_proj

    def activations(self, l, stream):
        kept = []
        norm = self.block(l).post_attention_layernorm if self.llama else self.block(l).ln_2
        handle = self.down(l).register_forward_pre_hook(lambda _, args: kept.append(args[0]))
        with torch.no_grad():
            self.block(l).mlp(norm(stream)[None])
        handle.remove()
        return kept[0][0]

    def path(self, l, kind):
        names = {("z", False): "attn.c_proj", ("act", False): "mlp.c_proj"}
        names |= {("z", True): "self_attn.o_proj", ("act", True): "mlp.down_proj"}
        return ("model.layers." if self.llama else "transformer.h.") + f"{l}.{names[kind, self.llama]}"

    def values(self, ids, l, kind):
        kept = []
        with torch.no_grad():
            hooks.called(self.module, ids, torch.arange(ids.shape[1])[None], [(self.path(l, kind), "in", kept.append)])
        return kept[0]

    def slope(self, l, kind, points=10):
        """Return the mean gradient at what a site's output projection reads and writes, ``(position, …)`` each."""
        n = self.values(self.ids, l, kind)
        r = torch.zeros_like(n) if self.other is None else self.values(self.other, l, kind)
        total, logical = [0.0, 0.0], torch.arange(n.shape[1])[None]
        for x, w in zip(*np.polynomial.legendre.leggauss(points), strict=True):
            site = (r + (x + 1) / 2 * (n - r)).requires_grad_()
            kept = []
            seen = [(self.path(l, kind), "in", lambda _, s=site: s), (self.path(l, kind), "out", kept.append)]
            logits = hooks.called(self.module, self.ids, logical, seen)
            found = torch.autograd.grad(self.m(logits), [site, kept[0]])
            total = [t + w / 2 * g[0] for t, g in zip(total, found, strict=True)]
        return total

    def delta(self, source):
        """Return what a source, ``(kind, block, index, position)`` or ``("input", position)``, adds to the stream."""
        if source[0] == "input":
            return (self.embedded - self.reference)[source[1]]
        kind, l, i, p = source
        if kind == "z":
            base = 0.0 if self.other is None else self.read(self.reference)[1][f"blocks.{l}.attn.z/heads/{i}"][p]
            return self.writes[f"blocks.{l}.attn.z/heads/{i}"][p] - base
        base = 0.0 if self.other is None else self.values(self.other, l, "act")[0, p, i]
        W = self.down(l).weight
        return (self.values(self.ids, l, "act")[0, p, i] - base) * (W[:, i] if self.llama else W[i]).detach()

    def whole(self, before):
        """Return the change of the stream from all inputs, and all heads and neurons that stand before a reader."""
        total = self.embedded - self.reference
        base = None if self.other is None else self.read(self.reference)[1]
        for key, write in self.writes.items():
            if ".attn.z" in key and before(int(key.split(".")[1]), "z"):
                total = total + write - (0.0 if base is None else base[key])
        for l in range(self.module.config.num_hidden_layers):
            if before(l, "act"):
                n = self.values(self.ids, l, "act")[0]
                r = torch.zeros_like(n) if self.other is None else self.values(self.other, l, "act")[0]
                W = self.down(l).weight.detach()
                total = total + (n - r) @ (W.T if self.llama else W)
        return total

    def response(self, target, slot, change):
        """Return what a target loses where it alone reads the stream without a change: of a head what it writes."""
        kind, l, i, q = target
        if kind == "act":
            stream = self.streams[f"blocks.{l}.mlp.pre/whole/0"]
            return (self.activations(l, stream) - self.activations(l, stream - change))[q, i]
        share = self.module.config.num_attention_heads // self.module.config.num_key_value_heads if self.llama else 1
        reader = f"blocks.{l}.attn.{slot}/heads/{i if slot == 'q' else i // share}"
        key = f"blocks.{l}.attn.z/heads/{i}"
        return (self.writes[key] - self.read(self.embedded, reader, change)[1][key])[q]

    def weight(self, target, slot, change):
        lost = self.response(target, slot, change)
        kind, l, i, q = target
        at_site, at_write = self.slope(l, kind)
        return float(lost * at_site[q, i] if kind == "act" else lost @ at_write[q])

    def measured(self, target, slot, change):
        """Return m(x) − m(x with the target as it responds)."""
        lost = self.response(target, slot, change)
        kind, l, i, q = target
        off = torch.zeros_like(self.values(self.ids, l, kind) if kind == "act" else self.embedded[None])
        off[0, q] = torch.eye(off.shape[-1], dtype=off.dtype)[i] * lost if kind == "act" else lost
        logical = torch.arange(self.ids.shape[1])[None]
        see = (self.path(l, kind), "in" if kind == "act" else "out", lambda x: x - off)
        with torch.no_grad():
            clean = self.m(hooks.called(self.module, self.ids, logical))
            return float(clean - self.m(hooks.called(self.module, self.ids, logical, [see])))

    def to_output(self, change):
        clean = self.read(self.embedded)[0]
        return clean - self.read(self.embedded, "final/whole/0", change)[0]
