#!/bin/sh
# Seconds from mpirun's start to the begin of step 1, and what an empty MPI program takes from start to end.
#
#     bench/dist/bench_start.sh RECIPE [RANKS [TURNS [KEY=VALUE...]]]        lockstep on PATH; RECIPE's run folder is not touched
#
# The begin is the birth of metrics.jsonl, the last thing made before the first step. TURNS (5) of each in alternation.
set -eu
recipe=$1 ranks=${2:-2} turns=${3:-5}
shift; [ $# -eq 0 ] || shift; [ $# -eq 0 ] || shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf '#include <mpi.h>\nint main(int c, char **v) { int given; MPI_Init_thread(&c, &v, MPI_THREAD_SERIALIZED, &given); MPI_Barrier(MPI_COMM_WORLD); return MPI_Finalize(); }\n' > "$work/empty.c"
mpicc -O2 -o "$work/empty" "$work/empty.c"
for turn in $(seq "$turns"); do
    begin=$(date +%s.%N)
    mpirun --bind-to none --oversubscribe -n "$ranks" lockstep train "$recipe" run="$work/run" max_steps=1 "$@" > "$work/said" 2>&1 || { cat "$work/said"; exit 1; }
    echo "$(stat -c %.9W "$work/run/metrics.jsonl") $begin" | awk '{ print $1 - $2 }' >> "$work/start"
    rm -r "$work/run"
    begin=$(date +%s.%N)
    mpirun --bind-to none --oversubscribe -n "$ranks" "$work/empty"
    echo "$(date +%s.%N) $begin" | awk '{ print $1 - $2 }' >> "$work/init"
done
for what in start init; do
    sort -n "$work/$what" | awk -v what=$what '{ t[NR] = $1 } END { printf "%-6s %.2f s (%.2f to %.2f)\n", what, t[int((NR + 1) / 2)], t[1], t[NR] }'
    name="start of $ranks ranks to their first step"
    [ $what = start ] || name="an empty MPI program of $ranks ranks, start to end"
    sort -n "$work/$what" | awk -v name="$name" '{ t[NR] = $1 } END { printf "{\"name\": \"%s\", \"value\": %.3f, \"unit\": \"s\", \"better\": \"lower\", \"note\": \"\"}\n", name, t[int((NR + 1) / 2)] }'
done
