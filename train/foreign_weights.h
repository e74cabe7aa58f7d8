/* A language model as Hugging Face's transformers keep one: config.json, and weights in safetensors. Where the two
 * formats meet: checkpoint/foreign knows tensors, models/hugging_face knows names. Files are mapped, so a rank that
 * takes its own slice of each parameter reads only those pages. */
#pragma once
#include "checkpoint/foreign/foreign.h"
#include "models/hugging_face/hugging_face.h"

/* A folder with config.json, or a .safetensors file that has one beside it. False for a run folder or an imported one.
 */
bool ls_foreign_is_model(const char *path);
/* What its config.json says. LS_ENOTFOUND, LS_EIO, LS_EFORMAT: file and key. */
ls_status ls_foreign_options(const char *path, ls_transformer_options *options);
/* Opens its weights for a model made from `options`. LS_EFORMAT: a tensor that is missing, of another shape or type, or
 * one that belongs to no parameter; by name, before anything is read. */
ls_status ls_foreign_weights_open(ls_foreign **weights, const char *path, const ls_transformer_options *options,
                                  const ls_parameter *parameters, int count);
/* The same for the model that its own config.json describes, whatever of it will be read. */
ls_status ls_foreign_model_open(ls_foreign **weights, const char *path, ls_transformer_options *options);
/* Elements [first, first + count) of one parameter, as f32. LS_ENOTFOUND: it is none of such a model's. LS_EFORMAT: it
 * has another shape there. */
ls_status ls_foreign_weights_read(const ls_foreign *weights, const ls_transformer_options *options,
                                  const ls_parameter *parameter, int64_t first, int64_t count, float *to);
