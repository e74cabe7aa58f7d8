#!/usr/bin/env python3
"""Makes tests/golden/sentencepiece.json: a small BPE with byte_fallback as Llama-2's and Mistral's tokenizer.json have it, in each of the
ways in which such files put blanks, and the ids that Hugging Face's `tokenizers` gives. tests/datasets/test_sentencepiece.c compares.

    python3 -m venv VENV && VENV/bin/pip install tokenizers==0.23.3
    VENV/bin/python tests/golden/make_sentencepiece_golden.py"""
import json
import pathlib

import tokenizers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

ROOT = pathlib.Path(__file__).resolve().parents[2]
MARK = "\u2581"
PREPEND = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": MARK}, {"type": "Replace", "pattern": {"String": " "}, "content": MARK}]}
DECODER = {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": MARK}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
                                            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}


def metaspace(**members):
    return {"type": "Metaspace", "replacement": MARK, **members}


FORMS = {
    "llama-2": (PREPEND, None, DECODER),
    "always": (None, metaspace(prepend_scheme="always", split=False), metaspace(prepend_scheme="always", split=False)),
    "first": (None, metaspace(prepend_scheme="first", split=False), DECODER),
    "never": (None, metaspace(prepend_scheme="never", split=False), None),
    "split": (None, metaspace(prepend_scheme="always", split=True), DECODER),
    "old": (None, metaspace(add_prefix_space=True), DECODER),
}
TEXTS = ["", " ", "  ", "a", " a", "Hello world", "hello  world   again", "   three in front", "behind   ", "one\ntwo\n\nthree\t4", "18 - 3*2 = 12.50",
         "It's the ship's, isn't it?", "\u82b3\u82b3\u4e70\u4e86\u4e00\u672c\u4e66", "na\u00efve caf\u00e9 \U0001f600!", MARK, MARK + "a" + MARK + MARK + "b", "<0x41> is A", "a</s>b", "<s>a", "<s> a", "x <s>", "</s></s>",
         "\u00e9\u0301 \u200b\u00a0.", "thethethethe the"]


def model():
    """A few hundred pieces of two books, behind the special tokens and 256 bytes; some reach over runs of blanks."""
    lines = (ROOT / "data-sets/tinyshakespeare/input.txt").read_text()[:60000].replace("\n", "  ").split("  ")
    rows = [json.loads(line)["question"] for line in (ROOT / "data-sets/gsm8k/train.jsonl").read_text().splitlines()[:150]]
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(MARK, "always", True)
    trained.train_from_iterator([*lines, *rows, "a  b    c        d  e    f"], trainers.BpeTrainer(vocab_size=420, show_progress=False))
    found = json.loads(trained.to_str())["model"]
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *sorted(found["vocab"], key=found["vocab"].get)]
    merges = [" ".join(merge) if isinstance(merge, list) else merge for merge in found["merges"]]
    names += [MARK * 2, MARK * 4]
    merges += [f"{MARK} {MARK}", f"{MARK * 2} {MARK * 2}"]
    return {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": True,
            "byte_fallback": True, "ignore_merges": False, "vocab": {name: number for number, name in enumerate(names)}, "merges": merges}


def main():
    bpe = model()
    added = [{"id": number, "content": name, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
             for number, name in enumerate(["<unk>", "<s>", "</s>"])]
    golden = {"made_by": f"tests/golden/make_sentencepiece_golden.py, tokenizers {tokenizers.__version__}", "model": bpe, "added_tokens": added, "forms": []}
    for name, (normalizer, pre_tokenizer, decoder) in FORMS.items():
        parts = {"normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "decoder": decoder}
        peer = Tokenizer.from_str(json.dumps({"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, **parts, "post_processor": None, "model": bpe}))
        golden["forms"].append({"name": name, **parts, "rows": [{"text": text, "ids": peer.encode(text, add_special_tokens=False).ids} for text in TEXTS]})
    (ROOT / "tests/golden/sentencepiece.json").write_text(json.dumps(golden, separators=(",", ":")).replace('{"text"', '\n{"text"').replace('"merges"', '\n"merges"') + "\n")
    print(len(bpe["vocab"]), "tokens", {form["name"]: len({tuple(row["ids"]) for row in form["rows"]}) for form in golden["forms"]})


if __name__ == "__main__":
    main()
