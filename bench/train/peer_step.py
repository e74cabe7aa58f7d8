#!/usr/bin/env python3
"""PyTorch on the work of bench_step: seconds of a training step, and memory.

usage: peer_step.py SHAPE TYPE [--compile] [--rows N --tokens N] [--steps N] [--memory] [--autocast] [--device cuda]

SHAPE gpt2-124m, gpt2-1.5b or llama-12m, TYPE f32 or bf16. PyTorch as its users run it at its best on a CPU: scaled_dot_product_attention,
AdamW(fused=True), clip_grad_norm_(foreach=True), gradients set to None, one backward for the whole batch (PyTorch has no
grains: it stands beside ours at every G); with --compile, torch.compile of model and loss. TYPE bf16: weights in bf16, f32
masters and moments updated by the same fused AdamW; with --autocast f32 weights under torch.autocast instead.
Figures have the names that bench_step gives its own."""
import argparse, json, resource, statistics, time

import torch
import torch.nn.functional as F
from torch import nn

SHAPES = {
    "gpt2-124m": dict(style="gpt2", vocabulary=50257, layers=12, width=768, heads=12, hidden=3072, rows=4, tokens=256),
    "gpt2-1.5b": dict(style="gpt2", vocabulary=50257, layers=48, width=1600, heads=25, hidden=6400, rows=8, tokens=1024),
    "llama-12m": dict(style="llama", vocabulary=4096, layers=6, width=384, heads=6, hidden=1024, rows=8, tokens=256),
}


class RMSNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return F.rms_norm(x, self.gain.shape, self.gain, 1e-5)


def turn(x, cos, sin):
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Block(nn.Module):
    def __init__(self, s):
        super().__init__()
        gpt2, width = s["style"] == "gpt2", s["width"]
        self.heads, self.gpt2 = s["heads"], gpt2
        norm = (lambda: nn.LayerNorm(width)) if gpt2 else (lambda: RMSNorm(width))
        self.attention_norm, self.mlp_norm = norm(), norm()
        self.qkv, self.output = nn.Linear(width, 3 * width, bias=gpt2), nn.Linear(width, width, bias=gpt2)
        self.up, self.down = nn.Linear(width, s["hidden"], bias=gpt2), nn.Linear(s["hidden"], width, bias=gpt2)
        self.gate = None if gpt2 else nn.Linear(width, s["hidden"], bias=False)

    def forward(self, x, cos, sin):
        B, T, D = x.shape
        q, k, v = (p.view(B, T, self.heads, D // self.heads).transpose(1, 2) for p in self.qkv(self.attention_norm(x)).split(D, 2))
        if not self.gpt2:
            q, k = turn(q, cos, sin), turn(k, cos, sin)
        h = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.output(h.transpose(1, 2).reshape(B, T, D))
        h = self.mlp_norm(x)
        h = F.gelu(self.up(h), approximate="tanh") if self.gpt2 else F.silu(self.gate(h)) * self.up(h)
        return x + self.down(h)


class Model(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.token = nn.Embedding(s["vocabulary"], s["width"])
        self.position = nn.Embedding(s["tokens"], s["width"]) if s["style"] == "gpt2" else None
        self.blocks = nn.ModuleList(Block(s) for _ in range(s["layers"]))
        self.norm = nn.LayerNorm(s["width"]) if s["style"] == "gpt2" else RMSNorm(s["width"])
        half = s["width"] // s["heads"] // 2
        angle = torch.arange(s["tokens"])[:, None] * 10000.0 ** (-torch.arange(half) / half)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        for name, p in self.named_parameters():
            if p.ndim > 1:
                nn.init.normal_(p, std=0.02)

    def forward(self, ids, labels):
        x = self.token(ids)
        if self.position is not None:
            x = x + self.position.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        logits = F.linear(self.norm(x), self.token.weight)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), labels.view(-1))


def resident():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def figure(name, value, unit, better="higher", note=""):
    print(json.dumps(dict(name=name, value=value, unit=unit, better=better, note=note)), flush=True)


class Trainer:
    """One step: forward, backward, clip, AdamW. With bf16 weights the f32 masters are what AdamW updates."""

    def __init__(self, shape, kind, autocast, compiled, device):
        torch.manual_seed(1)
        self.model, self.autocast, self.device = Model(shape).to(device), autocast and kind == "bf16", device
        self.count = sum(p.numel() for p in self.model.parameters())
        self.weights = list(self.model.parameters())
        self.masters = self.weights
        if kind == "bf16" and not autocast:
            self.masters = [p.detach().clone().requires_grad_() for p in self.weights]
            self.model.to(torch.bfloat16)
            self.weights = list(self.model.parameters())
        decay = [p for p in self.masters if p.ndim > 1], [p for p in self.masters if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW([dict(params=decay[0], weight_decay=0.1), dict(params=decay[1], weight_decay=0.0)],
                                           lr=3e-4, betas=(0.9, 0.95), fused=True)
        self.loss = torch.compile(self.model) if compiled else self.model
        data = torch.randint(shape["vocabulary"], (shape["rows"], shape["tokens"] + 1)).to(device)
        self.ids, self.labels = data[:, :-1].contiguous(), data[:, 1:].contiguous()

    def step(self):
        with torch.autocast(self.device, torch.bfloat16, enabled=self.autocast):
            loss = self.loss(self.ids, self.labels)
        loss.backward()
        if self.masters is not self.weights:
            for master, weight in zip(self.masters, self.weights):
                master.grad, weight.grad = weight.grad.float(), None
        torch.nn.utils.clip_grad_norm_(self.masters, 1.0, foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.masters is not self.weights:
            with torch.no_grad():
                torch._foreach_copy_(self.weights, self.masters)
        return loss.item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("type", choices=["f32", "bf16"])
    parser.add_argument("--rows", type=int)
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--grains", default="1,4", help="names of ours to stand beside")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--autocast", action="store_true")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--memory", action="store_true", help="print memory instead of speed")
    given = parser.parse_args()
    shape = dict(SHAPES[given.shape])
    shape["rows"], shape["tokens"] = given.rows or shape["rows"], given.tokens or shape["tokens"]
    torch.set_num_interop_threads(1)
    before = resident()
    trainer = Trainer(shape, given.type, given.autocast, given.compile, given.device)
    seconds = []
    for step in range(given.steps + 1):  # one to warm up
        begin = time.perf_counter()
        loss = trainer.step()
        seconds.append(time.perf_counter() - begin)
    how = ("compiled" if given.compile else "eager") + (", autocast" if given.autocast else "")
    tokens = shape["rows"] * shape["tokens"]
    for grains in given.grains.split(","):
        name = f"{given.shape} {given.type} {shape['rows']} x {shape['tokens']} G={grains}"
        if given.memory:
            total, floor = resident() - before, 16 * trainer.count / 2**20
            figure(f"{name} memory beyond 16 B a parameter", total - floor, "MiB", "lower", how)
            figure(f"{name} memory in all", total, "MiB", "lower", how)
        else:
            note = f"{how}; steps {', '.join(f'{s:.2f}' for s in seconds[1:])} s; loss {loss:.3f}"
            figure(name, tokens / statistics.median(seconds[1:]), "tokens/s", "higher", note)


if __name__ == "__main__":
    main()
