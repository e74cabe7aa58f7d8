#!/usr/bin/env python3
"""llama.cpp on the work of bench_generate: new tokens a second of the GPT-2 124M shape, greedy, a prompt of 16 tokens a row.

usage: peer_llama.py f32|bf16 BATCH [--tokens N] [--turns N] [--threads N]      after bench/models/llama_cpp.sh

A GGUF file with random weights is written to build/bench and kept: matrices in the type, norms and biases f32, as llama.cpp's own
conversion does. Its C interface is called through llama-cpp-python's ctypes: one llama_decode for the prompts of all rows, then one for
a token of each; the likeliest token is found with numpy, a twentieth of a millisecond a row. The cache is f16, attention as llama.cpp
chooses, as it comes. Figures have the names of bench_generate."""
import argparse, json, os, statistics, time
from pathlib import Path

import gguf
import numpy as np
import llama_cpp as llama

V, D, L, H, C, PROMPT = 50257, 768, 12, 12, 1024, 16


def write_model(path, kind):
    random = np.random.default_rng(0)
    to = gguf.GGUFWriter(path, "gpt2")
    to.add_context_length(C)
    to.add_embedding_length(D)
    to.add_block_count(L)
    to.add_feed_forward_length(4 * D)
    to.add_head_count(H)
    to.add_layer_norm_eps(1e-5)
    to.add_tokenizer_model("no_vocab")
    to.add_vocab_size(V)

    def matrix(name, *shape, f32=False):
        x = (random.standard_normal(shape, dtype=np.float32) * 0.02)
        if kind == "bf16" and not f32:
            to.add_tensor(name, gguf.quants.quantize(x, gguf.GGMLQuantizationType.BF16), raw_dtype=gguf.GGMLQuantizationType.BF16)
        else:
            to.add_tensor(name, x)

    def vector(name, n, value):
        to.add_tensor(name, np.full(n, value, np.float32))

    matrix("token_embd.weight", V, D)
    matrix("position_embd.weight", C, D, f32=True)
    for at in ["output_norm"] + [f"blk.{i}.{norm}" for i in range(L) for norm in ("attn_norm", "ffn_norm")]:
        vector(at + ".weight", D, 1)
        vector(at + ".bias", D, 0)
    for i in range(L):
        for name, rows, columns in (("attn_qkv", 3 * D, D), ("attn_output", D, D), ("ffn_up", 4 * D, D), ("ffn_down", D, 4 * D)):
            matrix(f"blk.{i}.{name}.weight", rows, columns)
            vector(f"blk.{i}.{name}.bias", rows, 0)
    to.write_header_to_file()
    to.write_kv_data_to_file()
    to.write_tensors_to_file()
    to.close()


class Generator:
    def __init__(self, path, rows, tokens, threads):
        llama.llama_log_set(quiet, None)
        llama.llama_backend_init()
        self.model = llama.llama_model_load_from_file(str(path).encode(), llama.llama_model_default_params())
        if not self.model:
            raise SystemExit(f"peer_llama: llama.cpp does not read {path}; delete it and try again")
        options = llama.llama_context_default_params()
        options.n_ctx = rows * 256 * -(-(PROMPT + tokens) // 256)
        options.n_batch = options.n_ubatch = rows * PROMPT
        options.n_seq_max = rows
        options.n_threads = options.n_threads_batch = threads
        self.context = llama.llama_init_from_model(self.model, options)
        self.batch = llama.llama_batch_init(rows * PROMPT, 0, 1)
        self.rows = rows

    def decode(self, ids, at):
        """ids [rows, n] at positions from `at` on; the likeliest next token of each row."""
        rows, n = ids.shape
        b = self.batch
        b.n_tokens = rows * n
        for r in range(rows):
            for t in range(n):
                i = r * n + t
                b.token[i], b.pos[i], b.n_seq_id[i], b.logits[i] = int(ids[r, t]), at + t, 1, t == n - 1
                b.seq_id[i][0] = r
        if llama.llama_decode(self.context, b):
            raise SystemExit("peer_llama: llama_decode failed")
        return np.array([np.ctypeslib.as_array(llama.llama_get_logits_ith(self.context, r * n + n - 1), (V,)).argmax() for r in range(rows)])[:, None]

    def generate(self, ids, tokens):
        llama.llama_memory_clear(llama.llama_get_memory(self.context), True)
        at, got = 0, []
        for _ in range(tokens):
            new = self.decode(ids, at)
            at += ids.shape[1]
            ids = new
            got.append(new)
        return np.concatenate(got, 1)


@llama.llama_log_callback
def quiet(level, text, data):
    pass


def main():
    p = argparse.ArgumentParser()
    p.add_argument("type", choices=["f32", "bf16"])
    p.add_argument("batch", type=int)
    p.add_argument("--tokens", type=int, default=64)
    p.add_argument("--turns", type=int, default=3)
    p.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "2")))
    a = p.parse_args()
    path = Path(f"build/bench/gpt2-124m-{a.type}.gguf")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_model(path.with_suffix(".partial"), a.type)
        path.with_suffix(".partial").rename(path)
    g = Generator(path, a.batch, a.tokens, a.threads)
    ids = (np.arange(a.batch * PROMPT) * 31 % V).reshape(a.batch, PROMPT)
    g.generate(ids, 4)
    rates = []
    for _ in range(a.turns):
        begin = time.perf_counter()
        g.generate(ids, a.tokens)
        rates.append(a.batch * a.tokens / (time.perf_counter() - begin))
    print(json.dumps({"name": f"generate gpt2-124m {a.type} batch {a.batch}", "value": statistics.median(rates), "unit": "tokens/s",
                      "better": "higher", "note": ""}))


main()
