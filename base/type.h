/* Element types of tensors, files and state, and the few integer limits every layer shares. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Numbers are part of the checkpoint and shard formats: never renumber, only append. */
typedef enum {
    LS_F32 = 0,
    LS_BF16 = 1, /* stored as uint16_t: the upper half of an f32 */
    LS_F64 = 2,  /* gradient checks only; no recipe can ask for it */
    LS_I32 = 3,
    LS_I64 = 4,
    LS_U8 = 5,
    LS_F16 = 6,  /* stored as uint16_t: IEEE binary16 (base/half.h) */
} ls_type;

enum {
    LS_MAX_DIMS = 6,
    /* Every tensor starts a new chunk of this many elements. Sharding slices, hashes and norms are made of
     * whole chunks, so none of them can see how many ranks there are (design: "Norms, metrics, evaluation"). */
    LS_CHUNK = 4096,
};

/* Bytes of one element. */
size_t ls_type_size(ls_type type);
/* Weights and activations that are stored in 16 bits, and computed in f32. */
static inline bool ls_type_is_narrow(ls_type type)
{
    return type == LS_BF16 || type == LS_F16;
}
/* "f32", "bf16", ... */
const char *ls_type_name(ls_type type);
