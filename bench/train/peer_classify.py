"""Trains a classify recipe in PyTorch: the peer of `lockstep train` in bench/accept/images.

    python bench/train/peer_classify.py RECIPE.yaml SEED        RECIPE.yaml: a resolved one, RUN/recipe.yaml

Same net, initial distribution, optimiser, schedule, batches and augmentation by meaning; its own random numbers. A step is the
mean loss over its grains' images, each grain with batch statistics of its own. Prints one JSON object: accuracy, loss, seconds.
Images come from lockstep's data sets through h5py, which is also a test that others can read them.
"""
import json
import math
import pathlib
import re
import sys
import time

import h5py
import numpy
import torch
import torch.nn as nn
import torch.nn.functional as F


def value(text):
    """One value of a resolved recipe: a number, true or false, a list of numbers, one data set's folder, or text."""
    source = re.fullmatch(r"\[\{path: ([^,]*), weight: [^,]*\}\]", text)
    try:
        return source[1] if source else json.loads(text)
    except ValueError:
        return text.strip("\"'")


def read_recipe(path):
    """`key: value` lines and one level of sections: what lockstep writes."""
    recipe, section = {}, None
    for line in pathlib.Path(path).read_text().splitlines():
        key, _, rest = line.strip().partition(":")
        if not line.startswith(" ") and not rest.strip():
            section = recipe.setdefault(key, {})
        elif line.startswith(" "):
            section[key] = value(rest.strip())
        else:
            recipe[key] = value(rest.strip())
    return recipe


def read_images(folder):
    """pixels [N, C, H, W] in 0 .. 1, labels [N], classes, mean and deviation [C]"""
    with h5py.File(pathlib.Path(folder) / "dataset.h5") as about:
        shape = [int(about.attrs[key]) for key in ("height", "width", "channels")]
        classes, mean, deviation = int(about.attrs["classes"]), about["mean"][:], about["deviation"][:]
    pixels, labels = [], []
    for path in sorted(pathlib.Path(folder).glob("shard-*.h5")):
        with h5py.File(path) as shard:
            pixels.append(shard["pixels"][:].reshape(-1, *shape))
            labels.append(shard["label"][:])
    pixels = torch.tensor(numpy.concatenate(pixels)).permute(0, 3, 1, 2).float() / 255
    return pixels, torch.tensor(numpy.concatenate(labels)).long(), classes, torch.tensor(mean).float(), torch.tensor(deviation).float()


class Block(nn.Module):
    def __init__(self, o, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.norm1 = conv(inputs, outputs, 3, stride), norm(o, outputs)
        self.conv2, self.norm2 = conv(outputs, outputs, 3, 1), norm(o, outputs)
        if o["zero_last_gain"]:
            nn.init.zeros_(self.norm2.weight)
        projected = o["shortcut"] == "projection" and (stride > 1 or inputs != outputs)
        self.shortcut = nn.Sequential(conv(inputs, outputs, 1, stride), norm(o, outputs)) if projected else None
        self.stride, self.padded = stride, outputs - inputs

    def forward(self, x):
        h = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        x = self.shortcut(x) if self.shortcut else F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.padded))
        return F.relu(h + x)


def conv(inputs, outputs, window, stride):
    c = nn.Conv2d(inputs, outputs, window, stride, window // 2, bias=False)
    nn.init.normal_(c.weight, 0, math.sqrt(2 / (window * window * outputs)))
    return c


def norm(o, width):
    if o["norm"] == "group":
        return nn.GroupNorm(o["groups"], width, o["norm_eps"])
    return nn.BatchNorm2d(width, o["norm_eps"], o["norm_momentum"])


def convnet(o, shape, classes):
    large = o["stem"] == "large"
    width = o["widths"][0]
    layers = [conv(shape[0], width, 7 if large else 3, 2 if large else 1), norm(o, width), nn.ReLU()] + ([nn.MaxPool2d(3, 2, 1)] if large else [])
    for s, (blocks, outputs) in enumerate(zip(o["blocks"], o["widths"])):
        for b in range(blocks):
            layers.append(Block(o, width, outputs, 2 if s and not b else 1))
            width = outputs
    head = nn.Linear(width, classes)
    nn.init.normal_(head.weight, 0, math.sqrt(1 / (3 * width)))
    nn.init.zeros_(head.bias)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


class Vit(nn.Module):
    def __init__(self, o, shape, classes):
        super().__init__()
        C, H, W = shape
        D, self.heads, self.patch = o["width"], o["heads"], o["patch"]
        self.class_pool, self.dropout = o["pool"] == "class", o["dropout"]
        hidden = o["hidden"] or 4 * D
        tokens = (H // self.patch) * (W // self.patch) + self.class_pool
        self.embed = nn.Conv2d(C, D, self.patch, self.patch)
        self.class_token = nn.Parameter(torch.empty(1, 1, D)) if self.class_pool else None
        self.position = nn.Parameter(torch.empty(1, tokens, D))
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"norm1": nn.LayerNorm(D, o["norm_eps"]), "qkv": nn.Linear(D, 3 * D), "out": nn.Linear(D, D),
                           "norm2": nn.LayerNorm(D, o["norm_eps"]), "up": nn.Linear(D, hidden), "down": nn.Linear(hidden, D)})
            for _ in range(o["layers"]))
        self.norm, self.head = nn.LayerNorm(D, o["norm_eps"]), nn.Linear(D, classes)
        for name, p in self.named_parameters():
            place = name in ("class_token", "position")
            if place or p.dim() > 1:
                nn.init.normal_(p, 0, o["init_std"] or (0.5 if place else 1 / math.sqrt(p[0].numel())))
            elif name.endswith("bias"):
                nn.init.zeros_(p)

    def forward(self, x):
        drop = lambda t: F.dropout(t, self.dropout, self.training)
        x = self.embed(x).flatten(2).transpose(1, 2)
        if self.class_pool:
            x = torch.cat([self.class_token.expand(len(x), -1, -1), x], 1)
        x = drop(x + self.position)
        B, T, D = x.shape
        for b in self.blocks:
            q, k, v = b["qkv"](b["norm1"](x)).view(B, T, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
            x = x + drop(b["out"](F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, T, D)))
            x = x + drop(b["down"](F.gelu(b["up"](b["norm2"](x)))))
        return self.head(self.norm(x[:, 0]) if self.class_pool else self.norm(x).mean(1))


def learning_rate(o, step, steps):
    if step < o["warmup"]:
        return o["lr"] * (step + 1) / o["warmup"]
    end, low = o["decay_steps"] or steps, o["min_lr_ratio"]
    x = min(1, max(0, (step - o["warmup"]) / max(1, end - o["warmup"])))
    factor = {"constant": 1, "linear": 1 - (1 - low) * x, "cosine": low + (1 - low) * 0.5 * (1 + math.cos(math.pi * x))}[o["schedule"]]
    return o["lr"] * factor


def optimizer_of(o, net):
    decayed = [p for name, p in net.named_parameters() if p.dim() > 1 and name not in ("class_token", "position")]
    rest = [p for name, p in net.named_parameters() if not (p.dim() > 1 and name not in ("class_token", "position"))]
    groups = [{"params": decayed, "weight_decay": o["weight_decay"]}, {"params": rest, "weight_decay": 0.0}]
    if o["name"] == "sgd":
        return torch.optim.SGD(groups, lr=o["lr"], momentum=o["momentum"], nesterov=o["nesterov"])
    if o["name"] == "adamw":
        return torch.optim.AdamW(groups, lr=o["lr"], betas=o["betas"], eps=o["eps"])
    sys.exit(f"optimizer.name: {o['name']} has no peer here")


def augment(o, x, mean, deviation):
    """x [B, C, H, W] in 0 .. 1; normalised."""
    H, W, crop = x.shape[2], x.shape[3], o["crop"]
    if crop:
        padded = F.pad(x, (crop,) * 4, mode="reflect" if o["pad"] == "reflect" else "constant")
        places = torch.randint(0, 2 * crop + 1, (len(x), 2)).tolist()
        x = torch.stack([image[:, top : top + H, left : left + W] for image, (top, left) in zip(padded, places)])
    if o["flip"]:
        x = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(3), x)
    if o["brightness"] or o["contrast"] or o["saturation"]:
        sys.exit("augment: colours have no peer here")
    return (x - mean[:, None, None]) / deviation[:, None, None]


def mixed(o, x, targets):
    """Rows of one grain in pairs, `shift` apart (datasets/augment.h)."""
    if not o["mixup"] or len(x) < 2:
        return x, targets
    share = torch.distributions.Beta(o["mixup"], o["mixup"]).sample((len(x),))
    shift = int(torch.randint(1, len(x), ()))
    other, other_targets = x.roll(-shift, 0), targets.roll(-shift, 0)
    return share[:, None, None, None] * x + (1 - share[:, None, None, None]) * other, share[:, None] * targets + (1 - share[:, None]) * other_targets


def main():
    recipe, seed = read_recipe(sys.argv[1]), int(sys.argv[2])
    torch.manual_seed(seed)
    pixels, labels, classes, mean, deviation = read_images(recipe["data"]["train"])
    test_pixels, test_labels = read_images(recipe["data"]["eval"])[:2]
    build = {"convnet": convnet, "vit": Vit}[recipe["model"]["family"]]
    net = build(recipe["model"], pixels.shape[1:], classes)
    o, rule = recipe["optimizer"], optimizer_of(recipe["optimizer"], net)
    smoothing, grain = recipe["classify"]["label_smoothing"], recipe["batch"]["grain"]
    step_rows, epochs = grain * recipe["batch"]["grains"], recipe["data"]["epochs"]
    order = torch.cat([torch.randperm(len(pixels)) for _ in range(epochs)])
    begin, steps = time.perf_counter(), math.ceil(len(order) / step_rows)
    net.train()
    for step in range(steps):
        rows = order[step * step_rows : (step + 1) * step_rows]
        rule.zero_grad(set_to_none=True)
        for part in rows.split(grain):
            targets = F.one_hot(labels[part], classes).float()
            x, targets = mixed(recipe["augment"], augment(recipe["augment"], pixels[part], mean, deviation), targets)
            targets = (1 - smoothing) * targets + smoothing / classes
            (F.cross_entropy(net(x), targets, reduction="sum") / len(rows)).backward()
        if o["clip_norm"]:
            nn.utils.clip_grad_norm_(net.parameters(), o["clip_norm"])
        for group in rule.param_groups:
            group["lr"] = learning_rate(o, step, steps)
        rule.step()
    seconds = time.perf_counter() - begin
    net.eval()
    with torch.no_grad():
        x = (test_pixels - mean[:, None, None]) / deviation[:, None, None]
        logits = torch.cat([net(part) for part in x.split(100)])
    accuracy = (logits.argmax(1) == test_labels).float().mean().item()
    print(json.dumps({"seed": seed, "accuracy": accuracy, "loss": F.cross_entropy(logits, test_labels).item(), "seconds": round(seconds, 2)}))


if __name__ == "__main__":
    main()
