#!/bin/sh
# build/bench/text, the data set of the step benchmarks: Tiny Shakespeare, packed; made once. lockstep on PATH.
set -eu
cd "$(dirname "$0")/../.."
[ ! -d build/bench/text ] || exit 0
mkdir -p build/bench
lockstep data tokenizer --vocabulary 1024 --out build/bench/tokenizer.json data-sets/tinyshakespeare/input.txt
lockstep data pack --tokenizer build/bench/tokenizer.json --out build/bench/text data-sets/tinyshakespeare/input.txt
