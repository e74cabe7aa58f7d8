"""Makes convnet.json, convnet-wide.json, convnet-large.json, vit.json and vit-mean.json beside this file: what PyTorch computes, in float64,
for small nets on a step of several grains.

    /tmp/venv/bin/python tests/golden/make_golden_vision.py        (the environment of make_golden.py)

tests/models/test_golden_vision.c holds lockstep's nets against these files: logits in training and in evaluation, every
gradient, the losses of 20 optimiser steps, and the running statistics after them. A step is the sum over its grains, each
normalised by its own batch statistics, which PyTorch folds into the running ones grain by grain. Pixels and initial
weights come from a formula. The nets are written from their papers with PyTorch's own operators.
"""
import json
import math
import pathlib

import torch
import torch.nn.functional as F
from make_golden import initial, numbers, rounded

STEPS, SMOOTHING = 20, 0.1


def convnet_shapes(o, height, width, channels, classes):
    def conv(place, suffix, window, inputs, outputs):
        yield f"{place}/conv{suffix}/weight", (outputs, window, window, inputs)
        for name in ("gain", "bias") + (("running_mean", "running_variance") if o["norm"] == "batch" else ()):
            yield f"{place}/norm{suffix}/{name}", (outputs,)

    yield from conv("stem", "", 7 if o["stem"] == "large" else 3, channels, o["widths"][0])
    before = o["widths"][0]
    for s, (blocks, outputs) in enumerate(zip(o["blocks"], o["widths"])):
        for b in range(blocks):
            place = f"stages/{s}/{b}"
            yield from conv(place, "1", 3, before, outputs)
            yield from conv(place, "2", 3, outputs, outputs)
            if o["shortcut"] == "projection" and (before != outputs or (s > 0 and b == 0)):
                yield from conv(place, "_shortcut", 1, before, outputs)
            before = outputs
    yield "head/weight", (classes, before)
    yield "head/bias", (classes,)


def convnet_logits(o, p, x, training):
    """x [B, H, W, C]; He et al. 2016."""

    def conv_norm(x, place, suffix, stride=1):
        w = p[f"{place}/conv{suffix}/weight"].permute(0, 3, 1, 2)
        x = F.conv2d(x, w, stride=stride, padding=w.shape[-1] // 2)
        gain, bias = p[f"{place}/norm{suffix}/gain"], p[f"{place}/norm{suffix}/bias"]
        if o["norm"] == "group":
            return F.group_norm(x, o["groups"], gain, bias, o["norm_eps"])
        mean, variance = p[f"{place}/norm{suffix}/running_mean"], p[f"{place}/norm{suffix}/running_variance"]
        return F.batch_norm(x, mean, variance, gain, bias, training, o["norm_momentum"], o["norm_eps"])

    x = x.permute(0, 3, 1, 2)
    if o["stem"] == "large":
        x = F.max_pool2d(F.relu(conv_norm(x, "stem", "", 2)), 3, 2, 1)
    else:
        x = F.relu(conv_norm(x, "stem", ""))
    for s, blocks in enumerate(o["blocks"]):
        for b in range(blocks):
            place, stride = f"stages/{s}/{b}", 2 if s > 0 and b == 0 else 1
            h = F.relu(conv_norm(x, place, "1", stride))
            h = conv_norm(h, place, "2")
            if f"{place}/conv_shortcut/weight" in p:
                x = conv_norm(x, place, "_shortcut", stride)
            else:
                x = F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, h.shape[1] - x.shape[1]))
            x = F.relu(h + x)
    return F.linear(x.mean((2, 3)), p["head/weight"], p["head/bias"])


def vit_shapes(o, height, width, channels, classes):
    D, P, class_token = o["width"], o["patch"], o["pool"] == "class"
    yield "patch/weight", (D, P, P, channels)
    yield "patch/bias", (D,)
    if class_token:
        yield "class_token", (1, D)
    yield "position", ((height // P) * (width // P) + class_token, D)
    for i in range(o["layers"]):
        for name, out, columns in (("attention_norm", None, D), ("attention/query", D, D), ("attention/key", D, D), ("attention/value", D, D),
                                   ("attention/output", D, D), ("mlp_norm", None, D), ("mlp/up", o["hidden"], D), ("mlp/down", D, o["hidden"])):
            yield f"blocks/{i}/{name}/" + ("weight" if out else "gain"), (out, columns) if out else (columns,)
            yield f"blocks/{i}/{name}/bias", (out or columns,)
    for name, shape in (("final_norm/gain", (D,)), ("final_norm/bias", (D,)), ("head/weight", (classes, D)), ("head/bias", (classes,))):
        yield name, shape


def vit_logits(o, p, x, training):
    """x [B, H, W, C]; Dosovitskiy et al. 2021, equations 1 to 4."""
    D, P, H = o["width"], o["patch"], o["heads"]
    B, height, width, C = x.shape
    squares = x.reshape(B, height // P, P, width // P, P, C).permute(0, 1, 3, 2, 4, 5).reshape(B, -1, P * P * C)
    x = F.linear(squares, p["patch/weight"].reshape(D, -1), p["patch/bias"])
    if o["pool"] == "class":
        x = torch.cat([p["class_token"].expand(B, 1, D), x], 1)
    x = x + p["position"]

    def norm(x, name):
        return F.layer_norm(x, (D,), p[name + "/gain"], p[name + "/bias"], o["norm_eps"])

    def linear(x, name):
        return F.linear(x, p[name + "/weight"], p[name + "/bias"])

    for i in range(o["layers"]):
        b = f"blocks/{i}/"
        h = norm(x, b + "attention_norm")
        q, k, v = (linear(h, b + "attention/" + n).view(B, -1, H, D // H).transpose(1, 2) for n in ("query", "key", "value"))
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, -1, D)
        x = x + linear(h, b + "attention/output")
        x = x + linear(F.gelu(linear(norm(x, b + "mlp_norm"), b + "mlp/up")), b + "mlp/down")
    x = norm(x, "final_norm")
    return linear(x[:, 0] if o["pool"] == "class" else x.mean(1), "head")


def is_statistic(name):
    return "/running_" in name


def golden(path, family, o, shape, images, grains, optimizer):
    shapes, logits_of = (convnet_shapes, convnet_logits) if family == "convnet" else (vit_shapes, vit_logits)
    height, width, channels, classes = shape
    p = {name: initial(i, name, s) for i, (name, s) in enumerate(shapes(o, *shape))}
    for name in filter(is_statistic, p):
        p[name] = p[name].detach()
    learnt = {name: t for name, t in p.items() if not is_statistic(name)}
    at = torch.arange(grains * images).view(grains, images)
    labels, mixed, share = (at * 5 + 1) % classes, (at * 3 + at // 2) % classes, 0.5 + (at % 4) / 8  # exact in f32
    pixels = [torch.tensor(4 * numbers(1000 + g, images * height * width * channels)).view(images, height, width, channels) for g in range(grains)]
    one_hot = F.one_hot(labels, classes) * share[..., None] + F.one_hot(mixed, classes) * (1 - share[..., None])
    targets = (1 - SMOOTHING) * one_hot + SMOOTHING / classes

    def step_loss(logits):
        return sum(F.cross_entropy(z, t, reduction="sum") for z, t in zip(logits, targets)) / (grains * images)

    with torch.no_grad():
        evaluated = [logits_of(o, p, x, False) for x in pixels]
        first = {name: t.clone() for name, t in p.items() if is_statistic(name)}
        trained = [logits_of(o, p, x, True) for x in pixels]
        for name in first:
            p[name].copy_(first[name])
    file = {"made_by": f"tests/golden/make_golden_vision.py, PyTorch {torch.__version__}, float64", "family": family, "options": o, "shape": shape,
            "images": images, "grains": grains, "labels": labels.flatten().tolist(), "mixed_labels": mixed.flatten().tolist(),
            "share": share.flatten().tolist(), "smoothing": SMOOTHING, "logits": rounded(torch.cat(trained)), "logits_evaluated": rounded(torch.cat(evaluated))}

    decayed = [t for name, t in learnt.items() if t.dim() > 1 and name not in ("position", "class_token")]
    rest = [t for t in learnt.values() if not any(t is d for d in decayed)]
    groups = [{"params": decayed, "weight_decay": optimizer["weight_decay"]}, {"params": rest, "weight_decay": 0.0}]
    if optimizer["name"] == "adamw":
        rule = torch.optim.AdamW(groups, lr=optimizer["lr"], betas=optimizer["betas"], eps=optimizer["eps"])
    else:
        rule = torch.optim.SGD(groups, lr=optimizer["lr"], momentum=optimizer["momentum"], nesterov=optimizer["nesterov"])
    curve, rates = [], []
    for step in range(STEPS):
        rule.zero_grad()
        loss = step_loss([logits_of(o, p, x, True) for x in pixels])
        loss.backward()
        if step == 0:
            file["gradients"] = {name: rounded(t.grad) for name, t in learnt.items()}
        rates.append(optimizer["lr"] * (0.55 + 0.45 * math.cos(math.pi * step / STEPS)))
        for group in rule.param_groups:
            group["lr"] = rates[-1]
        rule.step()
        curve.append(loss.item())
    file["optimizer"] = optimizer | {"rates": rates, "loss": curve}
    file["statistics"] = {name: rounded(t) for name, t in p.items() if is_statistic(name)}
    path = pathlib.Path(__file__).with_name(path)
    path.write_text(json.dumps(file, separators=(",", ":")).replace('],"', '],\n"') + "\n")
    print(path.name, path.stat().st_size, "bytes; loss", curve[0], "to", curve[-1])


if __name__ == "__main__":
    sgd = {"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": False, "weight_decay": 1e-2}
    adamw = {"name": "adamw", "lr": 0.01, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
    golden("convnet.json", "convnet", {"stem": "small", "blocks": [1, 2], "widths": [6, 10], "shortcut": "pad", "norm": "batch", "groups": 1, "norm_eps": 1e-5,
                                       "norm_momentum": 0.1}, (9, 7, 2, 7), 5, 3, sgd)
    golden("convnet-wide.json", "convnet", {"stem": "small", "blocks": [1], "widths": [32], "shortcut": "pad", "norm": "group", "groups": 4, "norm_eps": 1e-5,
                                            "norm_momentum": 0.1}, (9, 10, 2, 5), 4, 2, sgd)  # wide enough for tensor/cpu/winograd.c
    golden("convnet-large.json", "convnet", {"stem": "large", "blocks": [1, 1], "widths": [6, 8], "shortcut": "projection", "norm": "group", "groups": 2,
                                             "norm_eps": 1e-5, "norm_momentum": 0.1}, (19, 21, 3, 5), 3, 2, sgd | {"nesterov": True})
    golden("vit.json", "vit", {"patch": 4, "layers": 2, "width": 16, "heads": 4, "hidden": 40, "pool": "class", "norm_eps": 1e-6}, (8, 12, 3, 7), 5, 3, adamw)
    golden("vit-mean.json", "vit", {"patch": 3, "layers": 1, "width": 12, "heads": 3, "hidden": 24, "pool": "mean", "norm_eps": 1e-6}, (9, 6, 1, 5), 4, 2, adamw)
