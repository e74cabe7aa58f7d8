#!/usr/bin/env bash
# The true CUDA program: it holds code for each target, with matrix instructions in attention; on a machine with a device its
# tests run, elsewhere it must say that there is none, and the rest is skipped (exit 77).
# usage: cuda_hardware.sh PROGRAM
set -uo pipefail
program=$1

fail() { echo "FAILED: $*"; exit 1; }

if command -v cuobjdump >/dev/null; then
  for target in sm_80 sm_90; do
    cuobjdump --list-elf "$program" | grep -q "$target" || fail "no code for $target in $program"
  done
  cuobjdump --list-ptx "$program" | grep -q sm_90 || fail "no PTX in $program"
else
  for target in sm_80 sm_90; do # the compiler leaves its arguments in each kernel's notes
    LC_ALL=C grep -qa -- "$target" "$program" || fail "no code for $target in $program"
  done
fi

said=$(python3 "$LS_SOURCE/tests/tensor/cuda_instructions.py" "$program" 80 90) || fail "attention is not on tensor cores:"$'\n'"$said"

if [ -e /dev/nvidia0 ]; then
  exec "$program" --jobs 1
fi
said=$("$program" --jobs 1 2>&1) && fail "its tests pass, and there is no device"
grep -q 'cuda: no device here' <<<"$said" || fail "no device, and it does not say so: ${said:0:2000}"
echo "skipped: the tests on a CUDA device: there is none (no /dev/nvidia0); code for sm_80 and sm_90 is there, attention on tensor cores"
exit 77
