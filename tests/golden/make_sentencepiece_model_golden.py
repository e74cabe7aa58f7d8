#!/usr/bin/env python3
"""Makes a small tokenizer.model as Llama 2's is (BPE with byte_fallback, the identity normalizer), which is a seed of the fuzz target too, and
tests/golden/sentencepiece-model.json: the ids that SentencePiece itself gives. tests/datasets/test_sentencepiece_model.c compares.

    python3 -m venv VENV && VENV/bin/pip install sentencepiece==0.2.3
    VENV/bin/python tests/golden/make_sentencepiece_model_golden.py"""
import io
import json
import pathlib

import sentencepiece

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "tests/fuzz/seeds/tokenizer/sentencepiece.model"
TEXTS = ["", " ", "  ", "a", " a", "Hello world", "hello  world   again", "   three in front", "behind   ", "one\ntwo\n\nthree\t4", "18 - 3*2 = 12.50",
         "It's the ship's, isn't it?", "\u82b3\u82b3\u4e70\u4e86\u4e00\u672c\u4e66", "na\u00efve caf\u00e9 \U0001f600!", "\u2581", "\u2581a\u2581\u2581b", "<0x41> is A", "a</s>b", "<s> a",
         "\u00e9\u0301 \u200b\u00a0.", "thethethethe the", "call <tool>", "aaaaaaaaaaaaaaa", "x" * 300, "line\r\nline"]


def rows():
    text = (ROOT / "data-sets/tinyshakespeare/input.txt").read_text()[:60000]
    yield from (line for line in text.split("\n") if line)
    for line in (ROOT / "data-sets/gsm8k/train.jsonl").read_text().splitlines()[:150]:
        yield json.loads(line)["question"]


def main():
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=rows(), model_writer=made, model_type="bpe", vocab_size=440, byte_fallback=True,
                                             normalization_rule_name="identity", remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, split_digits=True,
                                             character_coverage=0.9999, user_defined_symbols=["<tool>"], num_threads=1, minloglevel=2)
    MODEL.write_bytes(made.getvalue())
    model = sentencepiece.SentencePieceProcessor(model_proto=made.getvalue())
    golden = {"made_by": f"tests/golden/make_sentencepiece_model_golden.py, sentencepiece {sentencepiece.__version__}", "size": model.vocab_size(),
              "rows": [{"text": text, "ids": model.encode(text)} for text in TEXTS]}
    (ROOT / "tests/golden/sentencepiece-model.json").write_text(json.dumps(golden, separators=(",", ":")).replace('{"text"', '\n{"text"') + "\n")
    print(model.vocab_size(), "pieces,", MODEL.stat().st_size, "bytes,", len({tuple(row["ids"]) for row in golden["rows"]}), "different rows")


if __name__ == "__main__":
    main()
