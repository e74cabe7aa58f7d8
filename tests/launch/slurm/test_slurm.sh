#!/usr/bin/env bash
# The shipped job scripts, submitted unchanged to a real Slurm (cluster.sh), side by side: each ends in the bits of a run that
# nobody disturbed. usage: test_slurm.sh SOURCE LOCKSTEP SLOW_LOCKSTEP
set -uo pipefail
source=$1 lockstep=$2 slow=$3
. "$source/tests/launch/slurm/cluster.sh"
. "$source/tests/launch/sequences.sh"
why=$(cluster_missing)
[ -z "$why" ] || { echo "skipped: the tests on a real Slurm: $why"; exit 77; }

folder=$(mktemp -d "${TMPDIR:-/tmp}/lockstep-test-slurm-XXXXXX")
chmod 755 "$folder"
trap 'cluster_stop; rm -rf "$folder"' EXIT
cd "$folder" || exit 1
failed=0
fail() { echo "FAILED: $*"; failed=1; }
templates=$source/launch/slurm steps=300
say() { printf '%3d s  %s\n' "$SECONDS" "$*"; }

sequences_texts
"$lockstep" data tokenizer --vocabulary 300 --field text --out tokenizer.json texts.jsonl >setup.log 2>&1 || { cat setup.log; exit 1; }
pack="$lockstep data pack --text text --tokenizer tokenizer.json --out data texts.jsonl"
sequences_recipe "$steps"

cluster_start "$folder/cluster" || exit 1
say "four nodes are up"

# job NAME [SBATCH OPTION...]: submits launch/slurm/NAME with the recipe and a run folder of that name
job() {
  local script=$1 run=$2 pause=$3
  shift 3
  LOCKSTEP=$slow LS_TEST_PAUSE_MS=$pause sbatch --parsable --job-name="$run" "$@" "$templates/$script.sbatch" recipe.yaml run="runs/$run"
}
state() { scontrol show job "$1" -o 2>/dev/null | grep -o ' JobState=[A-Z_]*' | cut -d= -f2 | sort -u | tr '\n' ' '; }
restarts() { scontrol show job "$1" -o | grep -o 'Restarts=[0-9]*' | cut -d= -f2; }
steps_done() { grep -cs '"loss"' "runs/$1/metrics.jsonl" || [ -e "runs/$1/metrics.jsonl" ] || echo 0; }
# until_true COMMAND: waits for it, at most two minutes
until_true() { local i; for i in $(seq 600); do eval "$@" && return 0; sleep 0.2; done; fail "never: $*"; tail -n 15 ./*.log; squeue; return 1; }
hash() { "$lockstep" ckpt hash "runs/$1"; }

# The chain packs the data that the others read, so it goes first; its trained run is the undisturbed one.
chain=$(LOCKSTEP=$lockstep TRAIN="--nodes=1 --ntasks-per-node=1" "$templates/chain.sh" "$pack" recipe.yaml "$lockstep ckpt verify runs/alone > verified") || fail "chain.sh"
say "submitted: $chain"
until_true '[ "$(steps_done alone)" -gt 0 ]' || cat ./*.log

ended=$(job many-nodes ended 0 --nodes=2 --ntasks-per-node=2)
seeds=$(LOCKSTEP=$lockstep RUNS=runs/seeds sbatch --parsable --array=3-4 --ntasks-per-node=1 "$templates/seeds.sbatch" recipe.yaml)
preempted=$(job preemptible preempted 20 --partition=low --nodes=1 --ntasks-per-node=2)
killed=$(job many-nodes killed 20 --nodes=2 --ntasks-per-node=1 --partition=spare)
LOCKSTEP=$slow LS_TEST_PAUSE_MS=20 "$slow" launch slurm recipe.yaml --ntasks-per-node 2 --job-name fallen --submit "run=runs/fallen" > submitted || fail "launch slurm --submit"
fallen=$(grep -o '[0-9]*$' submitted)
withdrawn=$(job single-node withdrawn 20 --ntasks-per-node=2)
lone=$(job many-nodes lone 20 --nodes=2 --ntasks-per-node=1)
# One minute is less than the two that the script asks for between signal and limit: the signal comes at Slurm's next look.
limited=$(job single-node limited 50 --ntasks-per-node=2 --time=1)

until_true '[ "$(steps_done preempted)" -ge 40 ]' && sbatch --parsable --partition=high --exclusive --wrap "sleep 1" >/dev/null && say "preempting"
until_true '[ "$(steps_done killed)" -ge 60 ]' && cluster_kill n4 && say "n4 is dead"
until_true '[ "$(steps_done fallen)" -ge 60 ]' && scancel --signal=KILL "$fallen.0" && say "ranks are killed"
until_true '[ "$(steps_done lone)" -ge 60 ]' && node=$(grep -o 'rank 1/2 n[13]' runs/lone/log/rank-0001.log | tail -n 1) &&
  cluster_kill_process "${node##* }" "$(cat runs/lone/log/rank-0001.pid)" && say "rank 1 is killed on ${node##* }"
until_true '[ "$(steps_done withdrawn)" -ge 60 ]' && scontrol requeue "$withdrawn" && say "put back by hand"
srun --partition=spare --mpi=none --ntasks=2 "$lockstep" train recipe.yaml run=runs/lonely > lonely.log 2>&1 && fail "two lone ranks trained"
[ ! -e runs/lonely ] || fail "two lone ranks in one run folder"
# The doctor over two nodes; /var/tmp is each node's own, as a run folder must not be.
srun --partition=spare --mpi=pmix --nodes=2 --ntasks-per-node=1 "$lockstep" doctor recipe.yaml --folder /var/tmp > doctor.log 2>&1
grep -q '^ok    binding   2 rank(s) x . thread(s) on 2 node(s)' doctor.log && grep -q '^fail  disk      rank 1 on n. does not see what rank 0 wrote into /var/tmp' doctor.log ||
  { fail "doctor over two nodes"; cat doctor.log; }

# what becomes of them
ended_well() { # ended_well NAME JOB: it comes to its end
  local what=
  until_true "what=\$(state $2); case \$what in *FAILED*|*CANCELLED*|*NODE_FAIL*|*TIMEOUT*|'COMPLETED ') true ;; *) false ;; esac" || return
  say "$1: $(state "$2")restarts $(restarts "$2" | tr '\n' ' ')"
  [ "$(state "$2")" = "COMPLETED " ] || { fail "$1 is $(state "$2")"; cat "$1"-*.log; }
}
ended_well ended "$ended"
ended_well seeds "$seeds"
ended_well preempted "$preempted"
ended_well killed "$killed"
ended_well fallen "$fallen"
ended_well lone "$lone"
ended_well withdrawn "$withdrawn"
ended_well limited "$limited"
until_true '[ -e verified ]'

want=$(hash alone)
[ ${#want} -ge 16 ] || fail "no hash of the undisturbed run: $want"
for run in ended seeds/seed-3 preempted killed fallen lone withdrawn limited; do
  [ "$(hash $run)" = "$want" ] || fail "$run: other bits than the undisturbed run"
done
[ "$(hash seeds/seed-4)" != "$want" ] || fail "seed 4 gives the bits of seed 3: the comparison cannot fail"
for run in preempted killed fallen lone withdrawn limited; do
  [ "$(restarts "${!run}")" -ge 1 ] || fail "$run was never put back into the queue"
  grep -q 'resuming from' "$run"-*.log || fail "$run began anew instead of going on"
done
for run in preempted withdrawn limited; do
  grep -q 'stopped by a signal .* checkpoint written' "$run"-*.log || fail "$run: no checkpoint at the signal"
done
[ -e runs/killed/log/rank-0001.log ] || fail "no log of rank 1"

cluster_stop
cluster=
left=$(ps -eo pid,stat,args | grep -F "$folder" | grep -v grep)
[ -z "$left" ] || fail "left running: $left"
[ "$failed" = 0 ] && say "all in the bits of one undisturbed rank: $want"
exit "$failed"
