/* `lockstep ckpt import`: a foreign model becomes a folder that `generate`, `eval` and `model.from` read like a run's:
 *     OUT/recipe.yaml                      its `model` section
 *     OUT/tokenizer/FILE                   the tokenizer, copied
 *     OUT/checkpoints/step-00000000/       parameters as "model/NAME", f32, nothing else: no training can go on from it
 * OUT appears when everything is in it, by a rename; before, it is OUT.partial. */
#pragma once
#include "base/state.h"
#include "checkpoint/disk.h"

/* `model`: a folder of Hugging Face's with config.json and safetensors, a .safetensors file with config.json beside it, or
 * a file of llama2.c's first format. tokenizer NULL: the folder's own, or none. LS_EEXIST: out is there. LS_ESTATE: the
 * tokenizer has not the model's number of tokens. Opens a world of one rank. */
ls_status ls_ckpt_import(const char *model, const char *tokenizer, const char *out);

/* A folder without config.json, or a file named .safetensors, .pt, .pth or .npz: tensors of no known network. */
bool ls_ckpt_is_tensors(const char *path);
/* OUT/checkpoints/step-00000000/ holds them under their names, each in its own type; nothing else is in OUT. LS_EFORMAT: a type
 * that checkpoints have not, by name. */
ls_status ls_ckpt_import_tensors(const char *path, const char *out);

/* What both share: OUT.partial; LS_EEXIST where it or OUT is there. And the checkpoint of step 0, saved by a world of one rank. */
ls_status ls_ckpt_plan(char partial[LS_PATH], const char *out);
ls_status ls_ckpt_save(ls_state_tree *tree, const char *folder, const char *recipe);
