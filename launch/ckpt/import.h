/* `lockstep ckpt import`: a foreign model becomes a folder that `generate`, `eval` and `model.from` read like a run's:
 *     OUT/recipe.yaml                      its `model` section
 *     OUT/tokenizer/FILE                   the tokenizer, copied
 *     OUT/checkpoints/step-00000000/       parameters as "model/NAME", f32, nothing else: no training can go on from it
 * OUT appears when everything is in it, by a rename; before, it is OUT.partial. */
#pragma once
#include "base/error.h"

/* `model`: a folder of Hugging Face's with config.json and safetensors, a .safetensors file with config.json beside it, or
 * a file of llama2.c's first format. tokenizer NULL: the folder's own, or none. LS_EEXIST: out is there. LS_ESTATE: the
 * tokenizer has not the model's number of tokens. Opens a world of one rank. */
ls_status ls_ckpt_import(const char *model, const char *tokenizer, const char *out);
