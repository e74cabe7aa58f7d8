#!/usr/bin/env python3
"""Writes the generated arithmetic that recipes/arithmetic-*.yaml learn: `a op b op c =`, from left to right.

usage: scripts/arithmetic.py FOLDER [--rows 30000] [--steps 0.4] [--seed 1]

FOLDER/sft.jsonl   demonstrations: with steps (47+38=85;85*2=170#170) a share --steps of them, the bare answer (#170) the others
FOLDER/rl.jsonl    5,000 questions with gold answers, for grpo and rejection
FOLDER/test.jsonl  500 questions; none of their texts is in the other two
Numbers are 10 to 99, factors 2 to 9."""
import argparse, json, random
from pathlib import Path


def question(r):
    x = r.randint(10, 99)
    text, steps = str(x), []
    for op in (r.choice("+-*"), r.choice("+-*")):
        b = r.randint(2, 9) if op == "*" else r.randint(10, 99)
        y = x + b if op == "+" else x - b if op == "-" else x * b
        text += f"{op}{b}"
        steps.append(f"{x}{op}{b}={y}")
        x = y
    return text + "=", ";".join(steps), f"#{x}"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", type=Path)
    p.add_argument("--rows", type=int, default=30000)
    p.add_argument("--steps", type=float, default=0.4)
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    tests, r = {}, random.Random(999)
    while len(tests) < 500:
        text, _, answer = question(r)
        tests[text] = answer

    def others(r, count):
        while count:
            text, steps, answer = question(r)
            if text not in tests:
                yield text, steps, answer
                count -= 1

    def write(name, rows):
        (a.folder / name).write_text("".join(json.dumps({"prompt": p, "response": q}) + "\n" for p, q in rows))

    r = random.Random(a.seed)
    write("sft.jsonl", [(p, s + q if r.random() < a.steps else q) for p, s, q in others(r, a.rows)])
    write("rl.jsonl", [(p, q) for p, _, q in others(r, 5000)])
    write("test.jsonl", sorted(tests.items()))


main()
