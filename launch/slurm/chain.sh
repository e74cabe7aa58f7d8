#!/bin/bash
# Pack, train, evaluate: three jobs, each waiting for the one before to end well (a training job that is requeued on the way
# keeps its number, so the chain waits for it).
# usage: chain.sh 'PACK COMMAND' RECIPE 'EVALUATE COMMAND' [KEY.PATH=VALUE...]
#   launch/slurm/chain.sh 'lockstep data pack --text text --tokenizer tokenizer.json --out data/mine mine.jsonl' \
#     my.yaml 'lockstep eval runs/mine --gsm8k test.jsonl'
# Options for sbatch go into its environment (SBATCH_PARTITION, SBATCH_ACCOUNT, ...), those of the training job alone into
# TRAIN, e.g. TRAIN='--nodes=8 --time=12:00:00'. docs/cluster.md
set -euo pipefail
[ $# -ge 3 ] || { sed -n '4,8p' "$0" >&2; exit 2; }
here=$(dirname "$0") pack=$1 recipe=$2 evaluate=$3
shift 3
one() { sbatch --parsable --ntasks=1 --open-mode=append --output=%x-%j.log "$@"; }
after() { echo "--dependency=afterok:$1 --kill-on-invalid-dep=yes"; }

packed=$(one --job-name=lockstep-pack --wrap "$pack")
# shellcheck disable=SC2046,SC2086 # lists of options
trained=$(sbatch --parsable $(after "${packed%%;*}") ${TRAIN:-} "$here/many-nodes.sbatch" "$recipe" "$@")
# shellcheck disable=SC2046
evaluated=$(one --job-name=lockstep-evaluate $(after "${trained%%;*}") --wrap "$evaluate")
echo "pack $packed, train $trained, evaluate $evaluated"
