# What runs of the shell tests train, to be sourced: texts that a small network learns quickly, and a recipe for them.

sequences_texts() { # texts.jsonl here
  for i in $(seq 120); do echo "{\"text\": \"$(seq -s ' ' "$i" $((i + i % 17 + 4)))\"}"; done > texts.jsonl
}

sequences_recipe() { # sequences_recipe STEPS: recipe.yaml here, of data in `data`, its run in runs/alone
  cat > recipe.yaml <<R
task: pretrain
run: runs/alone
seed: 3
data: {train: data}
model: {style: llama, layers: 2, width: 32, heads: 4, kv_heads: 2, hidden: 64}
batch: {grain: 2, grains: 6, tokens: 32}
optimizer: {lr: 0.02, schedule: constant}
max_steps: $1
checkpoint: {every: 25}
R
}
