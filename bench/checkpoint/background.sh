#!/bin/sh
# What a checkpoint of GPT-2's smallest model costs training: beside it, and in one call. Arguments: see bench_background.c.
set -eu
cd "$(dirname "$0")/../.."
PATH="$PWD/build/release/launch:$PATH" bench/train/text.sh
uptime
exec build/release/bench/checkpoint_bench_background bench/train/gpt2-124m.yaml "$@"
