#!/usr/bin/env python3
"""Makes tests/golden/tokenizer.json: what Hugging Face's `tokenizers` makes of GSM8K, of a page of every script of
Unicode, of every character, and of added tokens. tests/datasets/test_tokenizer_peer.c compares lockstep with it.

    python3 -m venv VENV && VENV/bin/pip install tokenizers==0.23.3
    VENV/bin/python tests/golden/make_tokenizer_golden.py [build/release/lockstep]

With a lockstep it also trains with that and lets Hugging Face's library read the file that it wrote: the vocabulary must
be the one that Hugging Face's own trainer finds, and the ids the same."""
import json
import pathlib
import platform
import subprocess
import sys
import tempfile
import unicodedata

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

ROOT = pathlib.Path(__file__).resolve().parents[2]
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = {
    "gpt2": None,  # ByteLevel's own
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + REST,
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + REST,
}
SCALARS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
ASSIGNED = [c for c in SCALARS if unicodedata.category(chr(c)) != "Cn"]


class Hash:
    """FNV-1a over 32-bit numbers instead of bytes."""

    def __init__(self):
        self.value = 0xCBF29CE484222325

    def add(self, numbers):
        for number in numbers:
            self.value = ((self.value ^ number) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
        self.value = ((self.value ^ 0xFFFFFFFF) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF  # the end of a text

    def text(self):
        return f"{self.value:016x}"


def hash_of(lists):
    hashed = Hash()
    for numbers in lists:
        hashed.add(numbers)
    return hashed.text()


def gsm8k():
    rows = [json.loads(line) for line in open(ROOT / "data-sets/gsm8k/train.jsonl", encoding="utf-8")]
    return [text for row in rows for text in (row["question"], row["answer"])]


def page_of_scripts():
    """A line for each script (the first word of its characters' names): letters, numbers and marks of each category."""
    scripts = {}
    for c in ASSIGNED:
        category, words = unicodedata.category(chr(c)), unicodedata.name(chr(c), "").split(" ")
        if category[0] in "LNM" and words[0]:
            name = " ".join(words[:2]) if words[0] == "OLD" else words[0]
            scripts.setdefault(name, {}).setdefault(category, []).append(chr(c))
    return [
        name.title() + ":" + "".join(" " + "".join(c[:8]) + " " + "".join(c[-4:]) for _, c in sorted(script.items()))
        for name, script in scripts.items()
    ]


def ranges(codes):
    found = []
    for code in codes:
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return found


def class_of_pattern(pattern):
    """The characters that the expression matches in Hugging Face's library."""
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    matched = []
    for code in ASSIGNED:
        if len(split.pre_tokenize_str("\ufffc" + chr(code) + "\ufffc")) == 3:
            matched.append(code)
    return matched


def normal_forms():
    """Hashes of form C, one for each 4096 characters: alone, and between marks of a high and a low combining class."""
    form, blocks = normalizers.NFC(), {}
    for code in ASSIGNED:
        probe = chr(code) + "a\u0345" + chr(code) + "\u0334\u0301"
        blocks.setdefault(code // 4096, []).append([ord(c) for c in form.normalize_str(probe)])
    return {str(block): hash_of(lists) for block, lists in blocks.items()}


def train(pattern, texts):
    tokenizer = Tokenizer(models.BPE())
    if pattern == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    if PATTERNS[pattern]:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(PATTERNS[pattern]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=4096, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    return tokenizer


def ids_of(tokenizer, texts):
    return [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]


def vocabulary_hash(tokenizer_json):
    model = tokenizer_json["model"]
    keys = sorted(model["vocab"], key=model["vocab"].get)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return hash_of([[ord(c) for c in key] for key in keys + merges])


def describe(tokenizer, texts, page):
    """Texts are hashed by the thousand, lines of the page one by one."""
    return {
        "gsm8k": [hash_of(ids_of(tokenizer, texts[at:at + 1000])) for at in range(0, len(texts), 1000)],
        "page": [hash_of([ids]) for ids in ids_of(tokenizer, page)],
    }


def added_tokens():
    """A tokenizer of bytes alone with every kind of added token, and what it makes of texts that hold them."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<|end|>", normalized=False), AddedToken("<|e", normalized=False)])
    tokenizer.add_tokens([
        AddedToken("<tool>", normalized=False), AddedToken("<tool><call>", normalized=False),
        AddedToken("caf\u00e9", normalized=True), AddedToken("<tool", normalized=True)])
    texts = ["", "plain", "<|end|>", "a<|end|>b<|e nd", "<|en<|end|><|end|>", "<tool><call><tool>", "x<tool><tool><cal",
             "cafe\u0301 caf\u00e9 cafe", "<tool <tool> e\u0301", "<|end|>cafe\u0301<tool><|e", "\u00e9<|e\u0301", "<", "<|end|"]
    rows = []
    for specials in (True, False):
        tokenizer.encode_special_tokens = not specials
        rows += [{"text": text, "specials": specials, "ids": tokenizer.encode(text, add_special_tokens=False).ids} for text in texts]
    tokenizer.encode_special_tokens = False
    return {"tokenizer": tokenizer.to_str(), "rows": rows}


def check_lockstep(lockstep, pattern, peer, texts, page):
    """The file that lockstep writes, in Hugging Face's hands."""
    with tempfile.TemporaryDirectory() as folder:
        path = folder + "/tokenizer.json"
        subprocess.run([lockstep, "data", "tokenizer", "--vocabulary", "4096", "--pattern", pattern, "--field", "question,answer",
                        "--out", path, str(ROOT / "data-sets/gsm8k/train.jsonl")], check=True)
        written = Tokenizer.from_file(path)
        assert vocabulary_hash(json.load(open(path, encoding="utf-8"))) == vocabulary_hash(json.loads(peer.to_str())), pattern
        assert ids_of(written, texts + page) == ids_of(peer, texts + page), pattern
        assert written.decode(ids_of(written, page)[0]) == page[0], pattern
    print(f"{pattern}: lockstep's tokenizer.json is read by tokenizers {tokenizers.__version__}, same vocabulary, same ids")


def main():
    texts, page = gsm8k(), page_of_scripts()
    gpt2 = Tokenizer(models.BPE.from_file(str(ROOT / "tests/data/gpt2-tokenizer/encoder.json"),
                                          str(ROOT / "tests/data/gpt2-tokenizer/vocab.bpe")))
    gpt2.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    llama3 = Tokenizer.from_file(str(ROOT / "tests/data/tiny-tokenizers/llama3-style/tokenizer.json"))
    golden = {
        "made_with": f"tokenizers {tokenizers.__version__}, Python {platform.python_version()}, Unicode {unicodedata.unidata_version}",
        "page": page,
        "unassigned": ranges([c for c in SCALARS if unicodedata.category(chr(c)) == "Cn"]),
        "letters": ranges(class_of_pattern(r"\p{L}")),
        "numbers": ranges(class_of_pattern(r"\p{N}")),
        "blanks": ranges(class_of_pattern(r"\s")),
        "normal_forms": normal_forms(),
        "added": added_tokens(),
        "gpt2": describe(gpt2, texts, page) | {"page_ids": ids_of(gpt2, page)},
        "llama3_style": describe(llama3, texts, page),
        "trained": {},
    }
    for pattern in PATTERNS:
        peer = train(pattern, texts)
        golden["trained"][pattern] = {"vocabulary": vocabulary_hash(json.loads(peer.to_str()))} | describe(peer, texts, page)
        if len(sys.argv) > 1:
            check_lockstep(sys.argv[1], pattern, peer, texts, page)
    with open(ROOT / "tests/golden/tokenizer.json", "w", encoding="utf-8") as file:
        # One member a line, so that a change is a readable difference.
        file.write("{\n" + ",\n".join(json.dumps(key) + ": " + json.dumps(value, ensure_ascii=True, separators=(",", ":"))
                                      for key, value in golden.items()) + "\n}\n")


if __name__ == "__main__":
    main()
