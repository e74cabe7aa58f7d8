"""Makes sft.json beside this file: the losses of supervised fine-tuning as transformers has them, of the same weights, rows and order
as `lockstep train` takes, on GSM8K and on CMATH.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch transformers tokenizers safetensors
    PATH=$PWD/build/release/launch:$PATH OMP_NUM_THREADS=1 /tmp/venv/bin/python tests/golden/make_sft_golden.py [gsm8k] [cmath]

From lockstep comes the vocabulary (data tokenizer), nothing else. Texts become ids by the tokenizers library, rows come in the order of
the sampler (a Feistel network over Philox, written here once more from datasets/sampler.h), the model is LlamaForCausalLM in float64
from tests/data/stories260K/hf, a step is torch.optim.AdamW behind clip_grad_norm_. tests/train/test_sft_golden.c runs the recipe and compares.
"""
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import tokenizers
import torch
import transformers

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
MODEL = ROOT / "tests/data/stories260K/hf"
SEED, GRAIN, GRAINS, EVERY = 5, 4, 2, 10
OPTIMIZER = {"lr": 1e-3, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
WARMUP, LEAST, CLIP = 4, 0.1, 1.0
LONGEST = 600  # bytes of a line: what is longer is left out
# fields, training file, its first so many lines, held-out file, its first (last) so many lines, steps
SETS = {"gsm8k": ("question", "answer", "data-sets/gsm8k/train.jsonl", 60, "data-sets/gsm8k/test.jsonl", 24, 10),
        "cmath": ("input", "golden", "data-sets/cmath/cmath_dev.jsonl", 120, "data-sets/cmath/cmath_dev.jsonl", -24, 20)}
SHUFFLE = 3  # base/random.h


def philox(counter, key):
    """Philox4x32-10 (Salmon et al. 2011)."""
    c, k = list(counter), list(key)
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c[0], 1 << 32)
        high1, low1 = divmod(0xCD9E8D57 * c[2], 1 << 32)
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def place(seed, epoch, rows, i):
    """The row at position i of an epoch."""
    half = 3
    while rows > 1 << 2 * half:
        half += 1
    mask = (1 << half) - 1
    while True:
        left, right = i >> half, i & mask
        for turn in range(8):
            bits = philox((right // 4, 0, epoch, SHUFFLE << 16 | turn), (seed & 0xFFFFFFFF, seed >> 32))[right % 4]
            left, right = right, left ^ (bits & mask)
        i = left << half | right
        if i < rows:
            return i


def lines(path, count):
    rows = [row for row in (ROOT / path).read_text().splitlines() if len(row.encode()) < LONGEST]
    return rows[:count] if count > 0 else rows[count:]


def encoded(rows, prompt, response, tokenizer):
    """Ids and labels of a row: the question and a newline, then the answer and end-of-text, which alone are learnt."""
    end = tokenizer.token_to_id("<|endoftext|>")
    out = []
    for row in map(json.loads, rows):
        question = tokenizer.encode(row[prompt] + "\n").ids
        answer = tokenizer.encode(row[response]).ids + [end]
        out.append((question + answer, [-100] * len(question) + answer))
    return out


def loss_sum(model, rows):
    """Nats over all learnt tokens, and how many they are. Rows are padded at the end, which a causal mask never looks at."""
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in rows])
    labels = torch.tensor([labels + [-100] * (longest - len(labels)) for _, labels in rows])[:, 1:]
    logits = model(ids).logits[:, :-1]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum", ignore_index=-100), int((labels >= 0).sum())


def held_out(model, rows):
    with torch.no_grad():
        parts = [loss_sum(model, [row]) for row in rows]
    return sum(loss.item() for loss, _ in parts) / sum(count for _, count in parts)


def rate(step, steps):
    """transformers' get_cosine_with_min_lr_schedule_with_warmup, but for a first step that is not 0."""
    if step < WARMUP:
        return (step + 1) / WARMUP
    return LEAST + (1 - LEAST) * (1 + math.cos(math.pi * (step - WARMUP) / (steps - WARMUP))) / 2


def curve(prompt, response, train, held, steps, tokenizer):
    model = transformers.AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32, attn_implementation="eager").double()
    train, held = (encoded(rows, prompt, response, tokenizer) for rows in (train, held))
    adamw = torch.optim.AdamW([{"params": [p for p in model.parameters() if p.dim() > 1]},
                               {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0}], **OPTIMIZER)
    result = {"losses": [], "norms": [], "counted": [], "held_out": [held_out(model, held)]}
    for step in range(steps):
        positions = range(step * GRAIN * GRAINS, (step + 1) * GRAIN * GRAINS)
        rows = [train[place(SEED, p // len(train), len(train), p % len(train))] for p in positions]
        for group in adamw.param_groups:
            group["lr"] = OPTIMIZER["lr"] * rate(step, steps)
        adamw.zero_grad()
        total, count = loss_sum(model, rows)
        (total / count).backward()
        result["norms"].append(torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP).item())
        adamw.step()
        result["losses"].append(total.item() / count)
        result["counted"].append(count)
        if (step + 1) % EVERY == 0:
            result["held_out"].append(held_out(model, held))
    return result


def main():
    kept = json.loads((HERE / "sft.json").read_text()) if sys.argv[1:] else {}
    golden = {**kept, "made_by": f"tests/golden/make_sft_golden.py, transformers {transformers.__version__}, PyTorch {torch.__version__}"}
    for name in sys.argv[1:] or SETS:
        prompt, response, source, train, held_source, held, steps = SETS[name]
        train, held = lines(source, train), lines(held_source, held)
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "train.jsonl").write_text("\n".join(train) + "\n")
            subprocess.run(["lockstep", "data", "tokenizer", "--vocabulary", "512", "--field", f"{prompt},{response}", "--out", "tokenizer.json", "train.jsonl"],
                           cwd=folder, check=True)
            tokenizer = tokenizers.Tokenizer.from_file(f"{folder}/tokenizer.json")
        golden[name] = curve(prompt, response, train, held, steps, tokenizer)
        print(name, {key: values[:3] + values[-1:] for key, values in golden[name].items()})
    (HERE / "sft.json").write_text(json.dumps(golden, indent=1).replace(",\n   ", ", ") + "\n")


if __name__ == "__main__":
    main()
