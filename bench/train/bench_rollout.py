#!/usr/bin/env python3
"""How busy a rollout keeps the cores: iterations of task grpo from random weights, which draw every answer to its full length.

usage: bench/train/bench_rollout.py [--steps N] [--threads N]      lockstep on PATH, in the repository's root

The share is `rollout_busy` (docs/generation.md): processor time over time x threads, of drawing, judging and measuring together;
the first iteration, which takes the memory, is left out. The 100M shape is that of GPT-2 with
14 blocks and a token for each byte; it draws 16 answers at once, the small one 32."""
import argparse, json, shutil, statistics, subprocess
from pathlib import Path

ROOT = Path("build/bench")
SHAPES = {"gpt2-100m": dict(model="{style: gpt2, layers: 14, width: 768, heads: 12}", group=4, tokens=48, grains=4),
          "llama-0.3m": dict(model="{style: llama, layers: 3, width: 96, heads: 4, hidden: 256, tied: true, context: 128}", group=8, tokens=48, grains=32)}


def lockstep(*arguments):
    done = subprocess.run(["lockstep", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + f"bench_rollout: lockstep {arguments[0]} ended with code {done.returncode}")


def make_prompts():
    """Questions of scripts/arithmetic.py, a byte a token; made once."""
    data = ROOT / "questions"
    if not (data / "rl").exists():
        subprocess.run(["scripts/arithmetic.py", data, "--rows", "10"], check=True)
        lockstep("data", "tokenizer", "--vocabulary", 257, "--field", "prompt,response", "--out", data / "tokenizer.json", data / "sft.jsonl")
        lockstep("data", "pack", "--prompt", "prompt", "--response", "response", "-t", data / "tokenizer.json", "-o", data / "rl", data / "rl.jsonl")
    return data / "rl"


def measure(name, shape, prompts, steps, threads):
    recipe, run = ROOT / f"rollout-{name}.yaml", ROOT / f"rollout-{name}"
    recipe.write_text(f"task: grpo\nrun: {run}\nseed: 1\nmodel: {shape['model']}\ndata: {{train: {prompts}}}\n"
                      f"grpo: {{group: {shape['group']}, max_tokens: {shape['tokens']}}}\nbatch: {{grain: 4, grains: {shape['grains']}, tokens: 96}}\n"
                      f"optimizer: {{lr: 0}}\nmax_steps: {steps + 1}\nthreads: {threads}\ncheckpoint: {{every: 0}}\n")
    shutil.rmtree(run, ignore_errors=True)
    lockstep("train", recipe)
    rows = [row for row in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if "train_rollout_busy" in row][1:]
    share, seconds = (statistics.median(row[f"train_rollout_{what}"] for row in rows) for what in ("busy", "seconds"))
    print(json.dumps({"name": f"rollout {name}, {threads} threads, cores busy", "value": 100 * share, "unit": "%", "better": "higher",
                      "note": f"{seconds:.2f} s a rollout"}), flush=True)
    shutil.rmtree(run)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--steps", type=int, default=3)
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    ROOT.mkdir(parents=True, exist_ok=True)
    prompts = make_prompts()
    for name, shape in SHAPES.items():
        measure(name, shape, prompts, a.steps * (1 if name == "gpt2-100m" else 10), a.threads)


main()
