#!/usr/bin/env python3
"""Writes the generated arithmetic that recipes/arithmetic-*.yaml and recipes/math learn: `a op b op c =`, from left to right.

usage: scripts/arithmetic.py FOLDER [--rows 30000] [--rl 5000] [--test 500] [--steps 0.4] [--seed 1] [--small]

FOLDER/sft.jsonl   demonstrations: with steps (47+38=85;85*2=170#170) a share --steps of them, the bare answer (#170) the others
FOLDER/rl.jsonl    questions with gold answers, for grpo, ppo and rejection
FOLDER/test.jsonl  questions; none of their texts is in the other two, whatever the seed
Two operations on numbers 10 to 99, factors 2 to 9. --small: five on 1 to 9, factors 2 to 5, no result outside 0 to 49; a model of a
tenth of a million parameters learns these steps in minutes."""
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


def small_question(r, operations=5):
    x = r.randint(1, 9)
    text, steps = str(x), []
    while len(steps) < operations:
        op = r.choice("+-*")
        b = r.randint(2, 5) if op == "*" else r.randint(1, 9)
        y = x + b if op == "+" else x - b if op == "-" else x * b
        if 0 <= y <= 49:
            text += f"{op}{b}"
            steps.append(f"{x}{op}{b}={y}")
            x = y
    return text + "=", ";".join(steps), f"#{x}"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", type=Path)
    p.add_argument("--rows", type=int, default=30000)
    p.add_argument("--rl", type=int, default=5000)
    p.add_argument("--test", type=int, default=500)
    p.add_argument("--steps", type=float, default=0.4)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--small", action="store_true")
    a = p.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    ask = small_question if a.small else question
    tests, r = {}, random.Random(999)
    while len(tests) < a.test:
        text, _, answer = ask(r)
        tests[text] = answer

    def others(r, count):
        while count:
            text, steps, answer = ask(r)
            if text not in tests:
                yield text, steps, answer
                count -= 1

    def write(name, rows):
        (a.folder / name).write_text("".join(json.dumps({"prompt": p, "response": q}) + "\n" for p, q in rows))

    r = random.Random(a.seed)
    write("sft.jsonl", [(p, s + q if r.random() < a.steps else q) for p, s, q in others(r, a.rows)])
    write("rl.jsonl", [(p, q) for p, _, q in others(r, a.rl)])
    write("test.jsonl", sorted(tests.items()))


main()
