#!/bin/sh
# The same recipe as 1 rank x 2 threads, 2 x 1 and 4 x 2 (more threads than cores must cost little): median seconds of a
# step without the first, and steps/s against 1 x 2. Turns in alternation.
#
#     bench/dist/bench_layouts.sh RECIPE [TURNS [KEY=VALUE...]]      lockstep on PATH; RECIPE's run folder is not touched
set -eu
recipe=$1 turns=${2:-3}
shift; [ $# -eq 0 ] || shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
turn=0
while [ $turn -lt "$turns" ]; do
    for layout in 1x2 2x1 4x2; do
        mpirun --bind-to none --oversubscribe -n "${layout%x*}" lockstep train "$recipe" run="$work/run" threads="${layout#*x}" "$@" > "$work/said" 2>&1 ||
            { cat "$work/said"; exit 1; }
        sed -n '2,$s/.*"seconds": \([0-9.]*\).*/\1/p' "$work/run/metrics.jsonl" >> "$work/$layout"
        rm -r "$work/run"
    done
    turn=$((turn + 1))
done
for layout in 1x2 2x1 4x2; do
    sort -n "$work/$layout" | awk '{ t[NR] = $1 } END { print t[int((NR + 1) / 2)], t[1], t[NR] }' > "$work/median"
    [ $layout != 1x2 ] || cp "$work/median" "$work/first"
    paste "$work/median" "$work/first" | awk -v l=$layout '{ printf "%s  %.3f s a step (%.3f to %.3f)  %.3f steps/s  %.2f of 1x2\n", l, $1, $2, $3, 1 / $1, $4 / $1
        printf "{\"name\": \"%s ranks x threads against 1x2\", \"value\": %.4f, \"unit\": \"x\", \"better\": \"higher\", \"note\": \"%.3f s a step\"}\n", l, $4 / $1, $1 }'
done
