#!/usr/bin/env python3
"""Makes small SentencePiece models, which are seeds of the fuzz target too, and tests/golden/sentencepiece-model.json: the ids that SentencePiece
itself gives. tests/datasets/test_sentencepiece_model.c compares.

    sentencepiece.model     BPE with byte_fallback and the identity normalizer, as Llama 2's
    unigram.model           the same, unigram
    unigram-rules.model     unigram with <unk>, rules that replace characters, blanks taken away: as T5's, whose rules have 240 kB
    bpe-rules.model         BPE, byte_fallback, the same rules

    python3 -m venv VENV && VENV/bin/pip install sentencepiece==0.2.3
    VENV/bin/python tests/golden/make_sentencepiece_model_golden.py"""
import io
import json
import pathlib
import tempfile

import sentencepiece

ROOT = pathlib.Path(__file__).resolve().parents[2]
SEEDS = ROOT / "tests/fuzz/seeds/tokenizer"
# fullwidth A and 1, e with acute in two characters and in one, ligature ffi, three dots, soft hyphen to nothing, tab, newline and U+3000 to a blank, a
# character to two blanks around x
RULES = (("FF21", "41"), ("FF11", "31"), ("65 301", "E9"), ("FB03", "66 66 69"), ("2026", "2E 2E 2E"), ("AD", ""), ("9", "20"), ("A", "20"), ("3000", "20"), ("2715", "20 78 20"))
TEXTS = ["", " ", "  ", "a", " a", "Hello world", "hello  world   again", "   three in front", "behind   ", "one\ntwo\n\nthree\t4", "18 - 3*2 = 12.50",
         "It's the ship's, isn't it?", "\u82b3\u82b3\u4e70\u4e86\u4e00\u672c\u4e66", "na\u00efve caf\u00e9 \U0001f600!", "\u2581", "\u2581a\u2581\u2581b", "<0x41> is A", "a</s>b", "<s> a",
         "\u00e9\u0301 \u200b\u00a0.", "thethethethe the", "call <tool>", "\uff21\uff11 e\u0301\u2026 o\ufb03ce", "\u2715 \u2715", " \u3000\t a\u00ad\u00ad b \u2581", "\u2581 \n", "unhappily reconsidering everything",
         "\u82b3\u4e70 a \u82b3", "aaaaaaaaaaaaaaa", "x" * 300, "line\r\nline"]


def rows():
    text = (ROOT / "data-sets/tinyshakespeare/input.txt").read_text()[:60000]
    yield from (line for line in text.split("\n") if line)
    for line in (ROOT / "data-sets/gsm8k/train.jsonl").read_text().splitlines()[:150]:
        yield json.loads(line)["question"]


def train(name, **how):
    """Trains one, unless it is there: its bytes are a seed, and a newer trainer's may be others."""
    path = SEEDS / name
    if not path.exists():
        made = io.BytesIO()
        with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
            rules.write("".join(f"{a}\t{b}\n" for a, b in RULES))
            rules.flush()
            rules = {"normalization_rule_tsv": rules.name} if "rules" in name else {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
            sentencepiece.SentencePieceTrainer.train(sentence_iterator=rows(), model_writer=made, allow_whitespace_only_pieces=True, split_digits=True,
                                                     character_coverage=0.9999, num_threads=1, minloglevel=2, **rules, **how)
        path.write_bytes(made.getvalue())
    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    more = (ROOT / "data-sets/gsm8k/train.jsonl").read_text().splitlines()[400:408]  # not those that the trainer saw
    texts = TEXTS + [json.loads(line)["question"] for line in more]
    texts = texts if name == "sentencepiece.model" else [text for text in texts if "<tool>" not in text]
    print(name, model.vocab_size(), "pieces,", path.stat().st_size, "bytes,", len({tuple(model.encode(text)) for text in texts}), "different rows")
    return {"file": name, "size": model.vocab_size(), "rows": [{"text": text, "ids": model.encode(text)} for text in texts]}


def main():
    models = [train("sentencepiece.model", model_type="bpe", vocab_size=440, byte_fallback=True, user_defined_symbols=["<tool>"]),
              train("unigram.model", model_type="unigram", vocab_size=520, byte_fallback=True),
              train("unigram-rules.model", model_type="unigram", vocab_size=300), train("bpe-rules.model", model_type="bpe", vocab_size=420, byte_fallback=True)]
    golden = {"made_by": f"tests/golden/make_sentencepiece_model_golden.py, sentencepiece {sentencepiece.__version__}", "models": models}
    text = json.dumps(golden, separators=(",", ":")).replace('{"text"', '\n{"text"').replace('{"file"', '\n{"file"')
    (ROOT / "tests/golden/sentencepiece-model.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
