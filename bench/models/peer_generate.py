#!/usr/bin/env python3
"""PyTorch on the work of bench_generate: new tokens a second of the GPT-2 124M shape, greedy, a prompt of 16 tokens.

usage: peer_generate.py f32|bf16 BATCH [--tokens N] [--turns N] [--transformers]

A loop over a preallocated key/value cache with scaled_dot_product_attention, one product for q, k and v, inference mode; with
--transformers the generate() of Hugging Face's GPT2LMHeadModel with its own cache. Figures have the names of bench_generate."""
import argparse, json, statistics, time

import torch
import torch.nn.functional as F

V, D, L, H, C, PROMPT = 50257, 768, 12, 12, 1024, 16


class Loop:
    def __init__(self, dtype, batch):
        def w(*shape):
            return (torch.randn(*shape) * 0.02).to(dtype)

        self.token, self.position, self.final = w(V, D), w(C, D), (w(D), w(D))
        self.blocks = [dict(n1=(w(D), w(D)), qkv=(w(3 * D, D), w(3 * D)), out=(w(D, D), w(D)), n2=(w(D), w(D)),
                            up=(w(4 * D, D), w(4 * D)), down=(w(D, 4 * D), w(D))) for _ in range(L)]
        self.keys, self.values = ([torch.zeros(batch, H, C, D // H, dtype=dtype) for _ in range(L)] for _ in range(2))

    def logits(self, ids, at):
        B, n = ids.shape
        x = self.token[ids] + self.position[at:at + n]
        for b, keys, values in zip(self.blocks, self.keys, self.values):
            q, k, v = F.linear(F.layer_norm(x, (D,), *b["n1"]), *b["qkv"]).view(B, n, 3, H, D // H).permute(2, 0, 3, 1, 4)
            keys[:, :, at:at + n] = k
            values[:, :, at:at + n] = v
            h = F.scaled_dot_product_attention(q, keys[:, :, :at + n], values[:, :, :at + n], is_causal=n > 1)
            x = x + F.linear(h.transpose(1, 2).reshape(B, n, D), *b["out"])
            x = x + F.linear(F.gelu(F.linear(F.layer_norm(x, (D,), *b["n2"]), *b["up"]), approximate="tanh"), *b["down"])
        return F.linear(F.layer_norm(x[:, -1], (D,), *self.final), self.token)

    @torch.inference_mode()
    def generate(self, ids, tokens):
        at, got = 0, []
        for _ in range(tokens):
            logits = self.logits(ids, at)
            at += ids.shape[1]
            ids = logits.argmax(-1, keepdim=True)
            got.append(ids)
        return torch.cat(got, 1)


def hugging_face(dtype):
    from transformers import GPT2Config, GPT2LMHeadModel
    model = GPT2LMHeadModel(GPT2Config(bos_token_id=None, eos_token_id=None)).to(dtype).eval()
    return lambda ids, n: model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=n, min_new_tokens=n, do_sample=False, pad_token_id=0)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("type", choices=["f32", "bf16"])
    p.add_argument("batch", type=int)
    p.add_argument("--tokens", type=int, default=64)
    p.add_argument("--turns", type=int, default=3)
    p.add_argument("--transformers", action="store_true")
    a = p.parse_args()
    torch.manual_seed(0)
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[a.type]
    generate = hugging_face(dtype) if a.transformers else Loop(dtype, a.batch).generate
    ids = (torch.arange(a.batch * PROMPT) * 31 % V).view(a.batch, PROMPT)
    generate(ids, 4)
    rates = []
    for _ in range(a.turns):
        begin = time.perf_counter()
        generate(ids, a.tokens)
        rates.append(a.batch * a.tokens / (time.perf_counter() - begin))
    print(json.dumps({"name": f"generate gpt2-124m {a.type} batch {a.batch}", "value": statistics.median(rates), "unit": "tokens/s",
                      "better": "higher", "note": ""}))


main()
