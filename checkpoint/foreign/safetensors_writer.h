/* Writes one safetensors file (format: safetensors.c), tensor after tensor, so that no more than a piece of one is in
 * memory. The file is whole when ls_safetensors_end says LS_OK; before, it is not to be used. */
#pragma once
#include "checkpoint/foreign/foreign.h"

typedef struct ls_safetensors_writer ls_safetensors_writer;

/* A new file with a header for `count` tensors: name, type (F32, F16, BF16), ndim and shape of each are read. The data
 * comes in the order given here. LS_EARG: another type. LS_EEXIST, LS_EIO, LS_ESPACE, LS_EMEM. */
ls_status ls_safetensors_begin(ls_safetensors_writer **writer, const char *path, const ls_foreign_tensor *tensors,
                               int count);
/* The next `count` numbers of the tensor at hand, rounded to its type, to nearest, ties to even; a tensor that is full
 * gives way to the next. LS_ENUMERIC: a finite number is beyond what F16 or BF16 can hold. LS_EARG: more than there is
 * place for. */
ls_status ls_safetensors_put(ls_safetensors_writer *writer, const float *numbers, int64_t count);
/* Syncs and closes the file. LS_ESTATE: numbers are missing. Frees the writer in any case; NULL is no error. */
ls_status ls_safetensors_end(ls_safetensors_writer *writer);
