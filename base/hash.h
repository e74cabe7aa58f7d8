/* Hashes (XXH3, seeded so that zeros never verify) of bytes, and of numbers with every NaN made the same.
 *
 * The hash of a tensor is made of the hashes of its chunks of LS_CHUNK elements, so ranks that hold different chunks
 * can work it out together and no sharding shows:
 *     chunk hash  = XXH3_64(canonical bytes of the chunk, seed = LS_HASH_SEED + chunk index)
 *     tensor hash = XXH3_64(name '\0', type, ndim, shape, then the chunk hashes in order; seed = LS_HASH_SEED)  */
#pragma once
#include "base/type.h"

#define LS_HASH_SEED UINT64_C(0x6c6f636b73746570) /* "lockstep" */

typedef struct ls_hasher ls_hasher;

uint64_t ls_hash_bytes(const void *bytes, size_t size, uint64_t seed);
/* Hash of `count` numbers; NaNs of a float type are hashed as one canonical NaN. */
uint64_t ls_hash_numbers(ls_type type, const void *data, int64_t count, uint64_t seed);
/* One hash for each chunk of `count` numbers, `first_chunk` being the index of the first one in its tensor. */
void ls_hash_chunks(ls_type type, const void *data, int64_t count, int64_t first_chunk, uint64_t *hashes);
uint64_t ls_hash_tensor(const char *name, ls_type type, int ndim, const int64_t *shape, const uint64_t *chunk_hashes,
                        int64_t chunks);

/* Bytes that arrive in pieces. ls_hasher_create returns NULL when there is no memory. */
ls_hasher *ls_hasher_create(uint64_t seed);
void ls_hasher_add(ls_hasher *hasher, const void *bytes, size_t size);
uint64_t ls_hasher_digest(const ls_hasher *hasher);
void ls_hasher_free(ls_hasher *hasher);
