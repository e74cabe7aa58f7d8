"""Makes gpt2.json, llama.json and qwen.json beside this file: what PyTorch computes, in float64, for three tiny models,
the last with all that the llama style has by option.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch numpy
    /tmp/venv/bin/python tests/golden/make_golden.py

tests/models/test_golden.c holds lockstep's models against these files: logits, every gradient, and the losses of 20
AdamW steps with clipping and a schedule. Initial weights come from a formula (numbers() here and there), so they are
not stored. The models below are written from their papers with PyTorch's own operators, not from lockstep's code.
"""
import json
import math
import pathlib

import numpy
import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
torch.manual_seed(0)
STEPS, CLIP, PEAK_LR, WARMUP, BETAS, EPS, DECAY = 20, 0.5, 0.02, 5, (0.9, 0.95), 1e-8, 0.1


def numbers(parameter, count):
    """24-bit uniform numbers in [-0.5, 0.5) from (parameter, index): a 32-bit integer mix."""
    h = (numpy.arange(count, dtype=numpy.uint64) + numpy.uint64((parameter + 1) * 1000003)) & numpy.uint64(0xFFFFFFFF)
    for multiplier in (0x7FEB352D, 0x846CA68B):
        h ^= h >> numpy.uint64(16)
        h = (h * numpy.uint64(multiplier)) & numpy.uint64(0xFFFFFFFF)
    h ^= h >> numpy.uint64(16)
    return (h >> numpy.uint64(8)).astype(numpy.float64) / 2**24 - 0.5


def initial(number, name, shape):
    u = numbers(number, math.prod(shape))
    one, small = name.endswith(("gain", "running_variance")), name.endswith(("bias", "running_mean"))
    value = 1 + 0.2 * u if one else 0.2 * u if small else 0.5 * u
    return torch.tensor(value.astype(numpy.float32).astype(numpy.float64).reshape(shape), requires_grad=True)


def head_width(o):
    return o.get("head_width") or o["width"] // o["heads"]


def shapes(o):
    D, F_, V, d = o["width"], o["hidden"], o["vocabulary"], head_width(o)
    q, kv = o["heads"] * d, o["kv_heads"] * d
    gpt2 = o["style"] == "gpt2"
    yield "embedding/token/weight", (V, D)
    if gpt2:
        yield "embedding/position/weight", (o["context"], D)
    for i in range(o["layers"]):
        rows = [("attention_norm", None, D), ("attention/query", q, D), ("attention/key", kv, D), ("attention/value", kv, D)]
        rows += [("attention/query_norm", None, d), ("attention/key_norm", None, d)] if o.get("qk_norm") else []
        rows += [("attention/output", D, q), ("mlp_norm", None, D)]
        rows += [("mlp/up", F_, D), ("mlp/down", D, F_)] if gpt2 else [("mlp/gate", F_, D), ("mlp/up", F_, D), ("mlp/down", D, F_)]
        for name, out, width in rows:
            yield f"blocks/{i}/{name}/" + ("weight" if out else "gain"), (out, width) if out else (width,)
            if gpt2 or (o.get("qkv_bias") and name in ("attention/query", "attention/key", "attention/value")):
                yield f"blocks/{i}/{name}/bias", (out or width,)
    yield "final_norm/gain", (D,)
    if gpt2:
        yield "final_norm/bias", (D,)
    if not o["tied"]:
        yield "head/weight", (V, D)


def frequencies(o, d):
    """Llama 3.1's, section 3.2 and the reference code that came with it."""
    plain = o["rope_base"] ** (-torch.arange(0, d, 2) / d)
    if "rope_factor" not in o:
        return plain
    wave = 2 * math.pi / plain
    low, high = (o["rope_original_context"] / o[f"rope_{end}_freq_factor"] for end in ("low", "high"))
    share = (o["rope_original_context"] / wave - o["rope_low_freq_factor"]) / (o["rope_high_freq_factor"] - o["rope_low_freq_factor"])
    between = (1 - share) * plain / o["rope_factor"] + share * plain
    assert (wave < high).any() and (wave > low).any() and ((wave >= high) & (wave <= low)).any(), "all three kinds"
    return torch.where(wave < high, plain, torch.where(wave > low, plain / o["rope_factor"], between))


def rotate_halves(x, positions, frequency):
    """x [B, T, H, d]: pairs (j, j + d/2), Hugging Face's order."""
    d = x.shape[-1]
    angle = positions[..., None] * frequency
    cos, sin = angle.cos()[:, :, None], angle.sin()[:, :, None]
    a, b = x[..., : d // 2], x[..., d // 2 :]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def logits_of(o, p, ids, positions, segments):
    gpt2, D, H, kv = o["style"] == "gpt2", o["width"], o["heads"], o["kv_heads"]
    d, (B, T) = head_width(o), ids.shape

    def norm(x, name):
        if gpt2:
            return F.layer_norm(x, (D,), p[name + "/gain"], p[name + "/bias"], o["norm_eps"])
        return F.rms_norm(x, (D,), p[name + "/gain"], o["norm_eps"])

    def linear(x, name):
        return F.linear(x, p[name + "/weight"], p.get(name + "/bias"))

    mask = (segments[:, :, None] == segments[:, None, :]) & torch.ones(T, T, dtype=torch.bool).tril()
    if o.get("window"):
        mask &= ~torch.ones(T, T, dtype=torch.bool).tril(-o["window"])
    x = p["embedding/token/weight"][ids]
    if gpt2:
        x = x + p["embedding/position/weight"][positions]
    for i in range(o["layers"]):
        b = f"blocks/{i}/"
        h = norm(x, b + "attention_norm")
        q, k, v = (linear(h, b + "attention/" + n).view(B, T, heads, d) for n, heads in (("query", H), ("key", kv), ("value", kv)))
        if o.get("qk_norm"):
            q, k = (F.rms_norm(t, (d,), p[f"{b}attention/{n}_norm/gain"], o["norm_eps"]) for t, n in ((q, "query"), (k, "key")))
        if not gpt2:
            q, k = (rotate_halves(t, positions, frequencies(o, d)) for t in (q, k))
        q, k, v = (t.transpose(1, 2) for t in (q, k.repeat_interleave(H // kv, 2), v.repeat_interleave(H // kv, 2)))
        h = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None])
        x = x + linear(h.transpose(1, 2).reshape(B, T, H * d), b + "attention/output")
        h = norm(x, b + "mlp_norm")
        if gpt2:
            h = F.gelu(linear(h, b + "mlp/up"), approximate="tanh")
        else:
            h = F.silu(linear(h, b + "mlp/gate")) * linear(h, b + "mlp/up")
        x = x + linear(h, b + "mlp/down")
    return F.linear(norm(x, "final_norm"), p["embedding/token/weight" if o["tied"] else "head/weight"])


def learning_rate(step):
    """Linear warm-up, then a cosine to a tenth."""
    if step <= WARMUP:
        return PEAK_LR * step / WARMUP
    return PEAK_LR * (0.1 + 0.45 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP))))


def rounded(tensor):
    return [float(f"{x:.10g}") for x in tensor.detach().flatten().tolist()]


def golden(o, rows, tokens, name=None):
    p = {name: initial(i, name, shape) for i, (name, shape) in enumerate(shapes(o))}
    at = torch.arange(rows * tokens).view(rows, tokens)
    ids, labels = (at * 7 + at // 5) % o["vocabulary"], (at * 11 + 3) % o["vocabulary"]
    labels[at % 4 == 1] = -1  # masked
    weights = torch.where(at % 3 == 0, 0.5, 1.0)
    cut = tokens // 3  # the last row is packed from two, positions begin anew
    segments, positions = torch.zeros_like(at), torch.arange(tokens).repeat(rows, 1)
    segments[-1, cut:] = 1
    positions[-1, cut:] -= cut

    def loss_of(logits):
        each = F.cross_entropy(logits.view(-1, o["vocabulary"]), labels.view(-1), ignore_index=-1, reduction="none")
        return (each * weights.view(-1)).sum() / (labels >= 0).sum()

    logits = logits_of(o, p, ids, positions, segments)
    loss = loss_of(logits)
    loss.backward()
    file = {"made_by": f"tests/golden/make_golden.py, PyTorch {torch.__version__}, float64", "options": o, "rows": rows, "tokens": tokens,
            "ids": ids.flatten().tolist(), "labels": labels.flatten().tolist(), "weights": weights.flatten().tolist(),
            "segments": segments.flatten().tolist(), "positions": positions.flatten().tolist(), "loss": loss.item(), "logits": rounded(logits),
            "gradients": {name: rounded(t.grad) for name, t in p.items()}}

    groups = [{"params": [t for t in p.values() if t.dim() > 1], "weight_decay": DECAY}, {"params": [t for t in p.values() if t.dim() == 1], "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=PEAK_LR, betas=BETAS, eps=EPS)
    curve, norms = [], []
    for step in range(1, STEPS + 1):
        adamw.zero_grad()
        loss = loss_of(logits_of(o, p, ids, positions, segments))
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(p.values(), CLIP).item())
        for group in adamw.param_groups:
            group["lr"] = learning_rate(step)
        adamw.step()
        curve.append(loss.item())
    file["adamw"] = {"betas": BETAS, "eps": EPS, "weight_decay": DECAY, "clip": CLIP, "lr": [learning_rate(s) for s in range(1, STEPS + 1)],
                     "loss": curve, "grad_norm": norms}
    path = pathlib.Path(__file__).with_name((name or o["style"]) + ".json")
    path.write_text(json.dumps(file, separators=(",", ":")).replace('],"', '],\n"') + "\n")
    print(path.name, path.stat().st_size, "bytes; loss", curve[0], "to", curve[-1], "norms", norms[0], norms[-1])


if __name__ == "__main__":
    golden({"style": "gpt2", "vocabulary": 37, "layers": 2, "width": 16, "heads": 4, "kv_heads": 4, "hidden": 40, "context": 16, "tied": True,
            "rope_base": 10000.0, "norm_eps": 1e-5}, rows=2, tokens=13)
    golden({"style": "llama", "vocabulary": 41, "layers": 2, "width": 24, "heads": 6, "kv_heads": 2, "hidden": 28, "context": 16, "tied": False,
            "rope_base": 500.0, "norm_eps": 1e-5}, rows=3, tokens=12)
    golden({"style": "llama", "vocabulary": 41, "layers": 2, "width": 20, "heads": 6, "kv_heads": 2, "hidden": 28, "context": 16, "tied": True,
            "head_width": 8, "qkv_bias": True, "qk_norm": True, "window": 5, "rope_base": 500.0, "rope_scaling": "llama3", "rope_factor": 4.0,
            "rope_low_freq_factor": 1.0, "rope_high_freq_factor": 4.0, "rope_original_context": 256, "norm_eps": 1e-6}, rows=3, tokens=12, name="qwen")
