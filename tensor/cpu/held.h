/* Packed weights that are kept from one product to the next while the weights do not change (ls_hold_weights, ls_hold_for_decoding in
 * tensor/device.h): a grain after the first then packs none of them, for its layers' results or for their gradients. */
#pragma once
#include "tensor/cpu/product.h"

typedef struct ls_held ls_held;

/* What is packed: a right side of columns by k numbers, as it is stored. */
typedef struct {
    const void *data;
    int64_t columns, k, ld;
    ls_type type;
    bool along_k;
} ls_held_side;

ls_held *ls_held_create(size_t most); /* bytes of all that is kept. NULL: no memory */
void ls_held_free(ls_held *held);

/* ls_hold_weights; `packed` is what all of them take as panels. Returns that, or 0: too much, nothing is held. */
size_t ls_held_begin(ls_held *held, size_t packed);
void ls_held_end(ls_held *held);

/* Room of `bytes`, which follow from the side, for its panels, 64 bytes aligned, the same place in each call between begin and end. *filled: they are there, as the caller
 * left them at its first call since begin. NULL: nothing is held, or there is no room. One thread at a time. */
void *ls_held_panels(ls_held *held, const ls_held_side *side, size_t bytes, bool *filled);
