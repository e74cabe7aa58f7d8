#!/usr/bin/env python3
"""The peer of bench_tokenizer: Hugging Face's `tokenizers` on one core, same texts, same vocabularies, MB/s by CPU time.

    VENV/bin/python bench/datasets/peer_tokenizer.py TOKENIZER.json [CHINESE.json ...]

TOKENIZER.json is what `lockstep data tokenizer --vocabulary 4096 --field question,answer` wrote for GSM8K."""
import json
import os
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import tokenizers  # noqa: E402
from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: E402


def measure(name, tokenizer, texts):
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    for turn in ("first pass", "warm"):
        begin = time.thread_time()
        ids = sum(len(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts)
        print(f"{name + ', ' + turn:44} {megabytes:7.2f} MB  {ids:8} ids  {megabytes / (time.thread_time() - begin):7.1f} MB/s")


def main():
    rows = [json.loads(line) for line in open("data-sets/gsm8k/train.jsonl", encoding="utf-8")]
    books = [json.load(open(path, encoding="utf-8")) for path in sys.argv[2:]]
    poems = [poem for book in books for poem in (book if isinstance(book, list) else [book])]
    print(f"tokenizers {tokenizers.__version__}, one core")
    measure("gsm8k, 4096", Tokenizer.from_file(sys.argv[1]), [text for row in rows for text in (row["question"], row["answer"])])
    gpt2 = Tokenizer(models.BPE.from_file("tests/data/gpt2-tokenizer/encoder.json", "tests/data/gpt2-tokenizer/vocab.bpe"))
    gpt2.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if poems:
        measure("chinese-poetry, GPT-2", gpt2, ["".join(line + "\n" for line in poem.get("paragraphs") or poem["content"]) for poem in poems])


main()
