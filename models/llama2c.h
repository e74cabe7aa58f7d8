/* Weights in llama2.c's first format ("legacy", version 0; karpathy/llama2.c, export.py), as its tinyllamas are
 * published. Little endian:
 *
 *     7 x int32    dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size (< 0: own head), seq_len
 *     f32 arrays   token embedding [V, D]; attention norm [L, D]; query [L, D, D]; key, value [L, kv, D]; output [L, D, D];
 *                  MLP norm [L, D]; gate (w1) [L, F, D]; down (w2) [L, D, F]; up (w3) [L, F, D]; final norm [D];
 *                  cos and sin tables [seq_len, D / heads / 2] each, not needed; head [V, D] where vocab_size < 0
 *
 * Matrices are [out, in] as ours. Rotary positions turn pairs (2j, 2j+1). There is no magic number: the file's size must
 * be exactly what its first seven numbers say. */
#pragma once
#include "models/transformer.h"

typedef struct ls_llama2c ls_llama2c;

/* Checks the file and fills *options. LS_EIO, LS_EFORMAT: what does not fit, with both numbers. */
ls_status ls_llama2c_open(ls_llama2c **file, const char *path, ls_transformer_options *options);
/* Fills flat[offset ..] of each parameter (of a model made from those options, laid out by ls_parameters_layout). */
ls_status ls_llama2c_read(ls_llama2c *file, const ls_parameter *parameters, int count, float *flat);
void ls_llama2c_close(ls_llama2c *file);
