#!/usr/bin/env bash
# Three hosts with a network between them (network.sh): a run over a slow link that loses packets, a run whose cable is pulled, and the
# doctor on both. usage: test_network.sh SOURCE LOCKSTEP
set -uo pipefail
source=$1 lockstep=$2
. "$source/tests/launch/network/network.sh"
. "$source/tests/launch/sequences.sh"
why=$(network_missing)
[ -z "$why" ] || { echo "skipped: the tests on a network of hosts: $why"; exit 77; }
network_alone "$0" "$@" # everything that is started here ends with it

folder=$(mktemp -d "${TMPDIR:-/tmp}/lockstep-test-network-XXXXXX")
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
failed=0
fail() { echo "FAILED: $*"; failed=1; }
say() { printf '%3d s  %s\n' "$SECONDS" "$*"; }
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

sequences_texts
{ "$lockstep" data tokenizer --vocabulary 300 --field text --out tokenizer.json texts.jsonl &&
  "$lockstep" data pack --text text --tokenizer tokenizer.json --out data texts.jsonl; } >setup.log 2>&1 || { cat setup.log; exit 1; }
sequences_recipe 200
printf 'node0%d slots=1\n' 1 2 3 > hosts
network_start "$folder/network" 3 || { echo "the network did not come up"; exit 1; }
say "three hosts are up"
steps_done() { grep -cs '"loss"' "runs/$1/metrics.jsonl" || [ -e "runs/$1/metrics.jsonl" ] || echo 0; }
hash() { "$lockstep" ckpt hash "runs/$1"; }
over_hosts() { "$lockstep" launch mpirun recipe.yaml -n 3 --hostfile hosts guard.deadline="$1" run="runs/$2"; }
"$lockstep" train recipe.yaml > alone.log 2>&1 || { cat alone.log; exit 1; }
want=$(hash alone)

# Packets beyond a short queue are lost; TCP sends them again.
network_shape node02 200mbit 5ms
mpirun --hostfile hosts -n 3 "$lockstep" doctor --folder . > doctor.log 2>&1
grep -q '^warn  network   node02 exchanges at ' doctor.log || { fail "the doctor does not see the slow link"; cat doctor.log; }
over_hosts 60 slow > slow.log 2>&1 || { fail "over a slow link"; tail -n 30 slow.log; }
[ "$(hash slow)" = "$want" ] || fail "a slow link changes bits"
tc -s qdisc show dev node02 | grep -q 'dropped [1-9]' || fail "no packet was lost: the link was not slow"
say "over a slow link: $(tc -s qdisc show dev node02 | grep -o 'dropped [0-9]*') packets of what node02 was sent"
network_straighten node02

# Nobody tells the hosts: each finds that the others are silent, and Open MPI's mpirun waits for the one it cannot reach.
over_hosts 3 cut > cut.log 2>&1 & child=$!
until [ "$(steps_done cut)" -ge 60 ] || ! kill -0 $child; do sleep 0.05; done
network_link node03 down
say "node03 is cut off"
wait $child || fail "a run that was cut in two did not go on"
said() { grep -q "$1" cut.log || { fail "not said: $1"; tail -n 40 cut.log; }; }
said 'ERROR world: rank . (node0.) did not come to '
said 'mpirun stood still for 20 s after a rank had ended the job; does it reach all hosts?'
said 'node03 does not answer: 2 rank(s) instead of 3, the same bits'
said 'start 2: 2 rank(s) from step '
[ "$(hash cut)" = "$want" ] || fail "other bits after the cut"
network_link node03 up
for _ in $(seq 100); do
  left=$(ps -eo stat,args | grep -E '^[^Z].*(orted|lockstep train|mpirun)' | grep -v grep) || break
  sleep 0.2
done
[ -z "$left" ] || fail "left running: $left"
[ "$failed" = 0 ] && say "in the bits of one rank alone: $want"
exit "$failed"
