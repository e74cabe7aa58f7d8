/* Language models in the form of Hugging Face's transformers: config.json, and how their tensors are called. Nothing
 * here opens a file of weights: this says where in one a parameter of ours is, and who reads it goes there.
 *
 *     model_type  our transformer
 *     gpt2        style: gpt2. Matrices stand transposed ("Conv1D"), query, key and value in one
 *     llama       style: llama; rope_scaling none, linear, llama3; head tied or not
 *     mistral     llama with a sliding window
 *     qwen2       llama with biases on query, key and value
 *     qwen3       llama with a norm on each head's queries and keys, heads of any width
 * What a config asks for and lockstep does not do is refused by its key; a key that is not known is refused unless it
 * is null. Dropout of a config is not taken: it belongs to a training, not to the weights. */
#pragma once
#include "models/transformer.h"

/* Options of the model that config.json describes; `name` stands for the file in errors. What is not the network's
 * (from, dropout, recompute) is 0. LS_EFORMAT: file and key, what is asked, what to do. */
ls_status ls_hugging_face_read(const char *name, const char *text, size_t bytes, ls_transformer_options *options);

/* config.json for these options (with 0s resolved; ls_transformer_config), malloc'ed; dtype "float32", "bfloat16" or
 * "float16"; ids of begin- and end-of-text, -1: none. LS_ERECIPE: no architecture there has these options together. */
ls_status ls_hugging_face_write(const ls_transformer_options *options, const char *dtype, int32_t bos, int32_t eos,
                                char **text);

/* Where a parameter [rows, columns] (a vector: [rows]) is: in the tensor `name` of shape `shape`, as its rows
 * [first, first + rows), or where that is transposed as its columns. */
typedef struct {
    char name[128];
    int ndim;
    int64_t shape[2];
    bool transposed;
    int64_t first;
    int64_t turn; /* rows come in heads of so many, whose pairs (2j, 2j+1) stand there as halves (j, j + turn/2); 0: as
                     they are */
} ls_weight_place;

/* Element of that tensor where [row, column] of the parameter stands; a vector has column 0. */
int64_t ls_weight_place_index(const ls_weight_place *place, int64_t row, int64_t column);
/* LS_ENOTFOUND: the model has no such parameter there. */
ls_status ls_hugging_face_place(const ls_transformer_options *options, const ls_parameter *parameter,
                                ls_weight_place *place);
/* Tensors that files hold beside the weights and that say nothing: causal masks, tables of angles, and where the head
 * is tied the head's copy (*tied_copy: to be compared with the embedding). False: unknown. */
bool ls_hugging_face_ignored(const ls_transformer_options *options, const char *name, bool *tied_copy);
/* GPT-2's first files leave out "transformer." in front of each name: the name without it, or NULL where there is none.
 */
const char *ls_hugging_face_short_name(const ls_transformer_options *options, const char *name);
