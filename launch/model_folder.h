/* A trained or imported language model, opened from its folder for `generate` and `eval`:
 *     FOLDER/recipe.yaml                 its `model` section says what the network is
 *     FOLDER/checkpoints/step-N/         the newest whole one; entries "model/NAME", of averaged weights "ema/NAME"
 *     FOLDER/tokenizer/ or tokenizer.json
 *     FOLDER/template                    name of the template it was trained on, if any
 * or as transformers saves it (config.json, model.safetensors, tokenizer.json: train/foreign_weights.h).
 * FOLDER may also be one checkpoint of a run, runs/x/checkpoints/step-00000100 or runs/x/checkpoints/best. Weights are the f32 masters and compute
 * is f32, whatever the training's precision. Nothing is ever written. */
#pragma once
#include "datasets/template.h"
#include "models/transformer.h"

#include <limits.h>

typedef struct {
    char home[PATH_MAX];       /* the folder with recipe.yaml */
    char template_name[32];    /* "": documents, or not known */
    ls_transformer_options options;
    ls_transformer *model;
    ls_tokenizer *tokenizer;
    ls_team *team;
    ls_device *device;
    float *weights;            /* the flat buffer all parameters point into */
    int64_t elements;
} ls_model_folder;

/* threads 0: OMP_NUM_THREADS, else the cores divided by the ranks of the node. `averaged`: the running average of the weights (ema.decay). LS_ENOTFOUND, LS_ESTATE: what is missing or does not fit, by name. Close
 * also after a failure. */
ls_status ls_model_folder_open(ls_model_folder *folder, const char *path, int threads, bool averaged, int node_ranks);
/* The weights alone, for `ckpt export`: no device, and a tokenizer only where there is one that can be read. */
ls_status ls_model_folder_open_weights(ls_model_folder *folder, const char *path, bool averaged);
void ls_model_folder_close(ls_model_folder *folder);

/* Appends the ids of a text to go on with: begin-of-text where the tokenizer has one, then the text. An empty one of a
 * tokenizer without that is its end-of-text, which is what stood between the documents it was trained on. */
ls_status ls_model_folder_prompt(const ls_model_folder *folder, const char *text, size_t bytes, ls_ids *ids);
/* Appends the ids of a question to be answered, as `template` has packed prompts: the ids that stood before a response. */
ls_status ls_model_folder_question(const ls_model_folder *folder, const ls_template *template, const char *text, size_t bytes,
                                   ls_ids *ids);
ls_status ls_model_folder_append(ls_ids *ids, int32_t id); /* LS_EMEM */
/* The text of ids [prompt, count) behind ids [0, prompt), malloc'ed, NUL-terminated. Decoded together, because a token's
 * text may depend on whether one stands before it (a leading space). */
ls_status ls_model_folder_text(const ls_model_folder *folder, const int32_t *id, int64_t prompt, int64_t count, char **text,
                               size_t *bytes);
