#!/usr/bin/env python3
"""PyTorch on the image work of bench_step: seconds of a training step.

usage: peer_images.py SHAPE [--compile] [--channels-last] [--steps N]

SHAPE resnet18-cifar, resnet20-cifar or vit-s16: the nets of peer_classify.py at the sizes of SHAPE.yaml, on random images that are
in memory already; mean cross-entropy, gradients set to None, one backward for the whole batch, fused SGD with Nesterov
momentum or fused AdamW with clipping. --channels-last lays images and
weights out so, --compile is torch.compile of the net. Figures have the names that bench_step gives its own."""
import argparse
import json
import statistics
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

from peer_classify import Vit, convnet

NET = dict(stem="small", norm="batch", norm_eps=1e-5, norm_momentum=0.1, zero_last_gain=False, shortcut="pad")
SHAPES = {
    "resnet18-cifar": (64, 32, dict(NET, blocks=[2, 2, 2, 2], widths=[64, 128, 256, 512], shortcut="projection")),
    "resnet20-cifar": (64, 32, dict(NET, blocks=[3, 3, 3], widths=[16, 32, 64])),
    "vit-s16": (16, 224, dict(width=384, heads=6, patch=16, layers=12, hidden=0, pool="class", dropout=0.0, norm_eps=1e-6, init_std=0)),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--grains", default="1,4", help="names of ours to stand beside")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--channels-last", action="store_true")
    given = parser.parse_args()
    images, side, options = SHAPES[given.shape]
    torch.manual_seed(1)
    torch.set_num_interop_threads(1)
    vit = given.shape.startswith("vit")
    net = Vit(options, (3, side, side), 10) if vit else convnet(options, (3, side, side), 10)
    x, labels = torch.rand(images, 3, side, side), torch.randint(10, (images,))
    if given.channels_last:
        net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    weights = list(net.parameters())
    if vit:
        rule = torch.optim.AdamW(weights, lr=5e-4, betas=(0.9, 0.99), weight_decay=0.05, fused=True)
    else:
        rule = torch.optim.SGD(weights, lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True)
    run = torch.compile(net) if given.compile else net
    seconds = []
    for step in range(given.steps + 1):  # one to warm up
        begin = time.perf_counter()
        loss = F.cross_entropy(run(x), labels)
        loss.backward()
        if vit:
            nn.utils.clip_grad_norm_(weights, 1.0, foreach=True)
        rule.step()
        rule.zero_grad(set_to_none=True)
        loss = loss.item()
        seconds.append(time.perf_counter() - begin)
    how = " ".join(["compiled" if given.compile else "eager"] + ["channels last"] * given.channels_last)
    note = f"{how}; steps {', '.join(f'{s:.2f}' for s in seconds[1:])} s; loss {loss:.3f}"
    for grains in given.grains.split(","):
        print(json.dumps(dict(name=f"{given.shape} f32 {images} images G={grains}", value=images / statistics.median(seconds[1:]), unit="images/s",
                              better="higher", note=note)), flush=True)


if __name__ == "__main__":
    main()
