/* `lockstep ckpt export`: the model of a run, of one of its checkpoints, or of an imported folder, as a folder of
 * Hugging Face's that transformers loads (AutoModelForCausalLM.from_pretrained): DIR/config.json                the
 * architecture: gpt2, llama, mistral, qwen2 or qwen3 (models/hugging_face) DIR/model.safetensors          every
 * parameter under its name there, or DIR/model-00001-of-00003.safetensors and so on with DIR/model.safetensors.index.json,
 * which says what is where DIR/tokenizer.json, ...        the model's tokenizer, where it has that form DIR
 * appears when everything is in it, by a rename; before, it is DIR.partial. */
#pragma once
#include "base/error.h"
#include "checkpoint/foreign/foreign.h"

typedef struct {
    ls_foreign_type type; /* F32, BF16, F16: numbers are rounded to it, to nearest, ties to even */
    bool averaged;        /* the averaged weights (ema.decay) */
    int64_t shard_bytes;  /* most bytes of tensors in one file; a larger tensor has a file of its own. 0: one file */
} ls_ckpt_export_options;

/* LS_EEXIST: `out` is there. LS_ERECIPE: transformers has no architecture of these options. LS_ENUMERIC: a weight is
 * beyond the type. What is missing: ls_model_folder_open. */
ls_status ls_ckpt_export(const char *folder, const char *out, const ls_ckpt_export_options *options);
