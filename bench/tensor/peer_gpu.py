#!/usr/bin/env python3
"""PyTorch on the kernels of bench_gpu: milliseconds of each, under the same name.

usage: peer_gpu.py [--device cpu] [--least SECONDS] SPEC ...      for example "matmul m=8192 n=768 k=768"

The operation that a PyTorch user would call, in bf16, eager; gradients by its own backward functions where it has them, else by
autograd over the one operation (its forward is then not in the time). Kernels that are not one operation of PyTorch's are left out."""
import argparse, json, statistics, sys, time

import torch
import torch.nn.functional as F

BF16 = torch.bfloat16


def numbers(*shape, dtype=BF16):
    return torch.randn(*shape, dtype=torch.float32, device=DEVICE).mul_(0.02).to(dtype)


def backward_of(forward, *leaves):
    """A call that computes the leaves' gradients again."""
    leaves = [leaf.requires_grad_() for leaf in leaves]
    y = forward(*leaves)
    slope = torch.ones_like(y)
    return lambda: torch.autograd.grad(y, leaves, slope, retain_graph=True)


def matmul(m, n, k):
    x, w = numbers(m, k), numbers(n, k)
    return lambda: F.linear(x, w)


def matmul_gelu(m, n, k):
    x, w, bias = numbers(m, k), numbers(n, k), numbers(n)
    return lambda: F.gelu(F.linear(x, w, bias), approximate="tanh")


def matmul_slope(m, n, k):
    x, w = numbers(m, k), numbers(k, n)
    return lambda: x @ w


def matmul_weight(m, n, k):
    a, b, total = numbers(k, m), numbers(k, n), numbers(m, n, dtype=torch.float32)
    return lambda: total.add_(a.T @ b)


def heads_of(batch, tokens, heads, kv_heads, width):
    q, k, v = numbers(batch, heads, tokens, width), numbers(batch, kv_heads, tokens, width), numbers(batch, kv_heads, tokens, width)
    return (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=heads != kv_heads)), (q, k, v)


def attention(**sizes):
    forward, qkv = heads_of(**sizes)
    return lambda: forward(*qkv)


def attention_backward(**sizes):
    forward, qkv = heads_of(**sizes)
    return backward_of(forward, *qkv)


def cross_entropy(rows, width, vocabulary):
    x, w = numbers(rows, width).requires_grad_(), numbers(vocabulary, width).requires_grad_()
    labels = torch.arange(rows, device=DEVICE) * 7919 % vocabulary
    return lambda: torch.autograd.grad(F.cross_entropy(F.linear(x, w), labels, reduction="sum"), (x, w))


def add(n):
    x, y = numbers(n), numbers(n)
    return lambda: x.add_(y)


def gated(n):
    gate, x = numbers(n), numbers(n)
    return lambda: F.silu(gate) * x


def gated_backward(n):
    return backward_of(lambda gate, x: F.silu(gate) * x, numbers(n), numbers(n))


def activation(n):
    x = numbers(n)
    return lambda: F.gelu(x, approximate="tanh")


def activation_slope(n):
    return backward_of(lambda x: F.gelu(x, approximate="tanh"), numbers(n))


def norm(rows, width):
    x, gain = numbers(rows, width), numbers(width)
    return lambda: F.rms_norm(x, (width,), gain, 1e-5)


def norm_backward(rows, width):
    return backward_of(lambda x, gain: F.rms_norm(x, (width,), gain, 1e-5), numbers(rows, width), numbers(width))


def sum_rows(rows, width):
    x = numbers(rows, width)
    return lambda: x.sum(0, dtype=torch.float32)


def embedding(rows, width, vocabulary):
    x, index = numbers(vocabulary, width), torch.arange(rows, device=DEVICE) * 7919 % vocabulary
    return lambda: F.embedding(index, x)


def embedding_gradient(rows, width, vocabulary):
    index = torch.arange(rows, device=DEVICE) * 7919 % vocabulary
    return backward_of(lambda x: F.embedding(index, x), numbers(vocabulary, width))


def convolution(batch, side, channels, outputs, window, stride):
    """x, w, dy, channels last, and what PyTorch's two functions are told of the geometry."""
    out = (side + 2 * (window // 2) - window) // stride + 1
    shapes = (batch, channels, side, side), (outputs, channels, window, window), (batch, outputs, out, out)
    return [numbers(*shape).to(memory_format=torch.channels_last) for shape in shapes], ([stride] * 2, [window // 2] * 2, [1, 1])


def conv(**sizes):
    (x, w, _), geometry = convolution(**sizes)
    return lambda: F.conv2d(x, w, None, *geometry)


def conv_gradient(which, sizes):
    (x, w, slope), geometry = convolution(**sizes)
    return lambda: torch.ops.aten.convolution_backward(slope, x, w, None, *geometry, False, [0, 0], 1, which)[0 if which[0] else 1]


def conv_input(**sizes):
    return conv_gradient([True, False, False], sizes)


def conv_weight(**sizes):
    return conv_gradient([False, True, False], sizes)


def adamw(n):
    x = numbers(n, dtype=torch.float32)
    x.grad = numbers(n, dtype=torch.float32)
    return torch.optim.AdamW([x], lr=1e-4, fused=True).step


def squares(n):
    x = numbers(n, dtype=torch.float32)
    return lambda: torch.linalg.vector_norm(x)


def wait():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def seconds_of(call, least):
    calls = 1
    while True:
        wait()
        begin = time.perf_counter()
        for _ in range(calls):
            call()
        wait()
        took = time.perf_counter() - begin
        if took >= least:
            return took / calls
        calls *= 2


def main():
    global DEVICE
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("specs", nargs="+")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--least", type=float, default=0.1)
    given = parser.parse_args()
    DEVICE = given.device
    for spec in given.specs:
        kind, *sizes = spec.split()
        make = globals().get(kind) if kind in KINDS else None
        if make is None:
            print(f"peer_gpu.py: left out: {kind}", file=sys.stderr)
            continue
        call = make(**{key: int(value) for key, value in (size.split("=") for size in sizes)})
        seconds_of(call, 0)
        value = 1e3 * statistics.median(seconds_of(call, given.least) for _ in range(5))
        print(json.dumps(dict(name=spec, value=value, unit="ms", better="lower", note="PyTorch eager")), flush=True)
        del call
        if DEVICE == "cuda":
            torch.cuda.empty_cache()


KINDS = {"matmul", "matmul_gelu", "matmul_slope", "matmul_weight", "attention", "attention_backward", "cross_entropy", "add", "gated", "gated_backward", "activation", "activation_slope",
         "norm", "norm_backward", "sum_rows", "embedding", "embedding_gradient", "conv", "conv_input", "conv_weight", "adamw", "squares"}

if __name__ == "__main__":
    main()
