/* XXH3 over bytes and canonical numbers. Little-endian, as everything lockstep writes. See hash.h. */
#define XXH_STATIC_LINKING_ONLY /* the state's size: hashing must not reach the heap */
#include "base/hash.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

uint64_t ls_hash_bytes(const void *bytes, size_t size, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes, size, seed);
}

/* Bits of the numbers' magnitude above `infinity` are NaNs. One loop a width, branch-free so that it runs at memory
 * speed: NaNs are rare, and only then are the numbers copied. */
#define CANONICAL(type, bits, infinity, canonical)                                                                     \
    static bool has_nan_##type(const uint##bits##_t *x, int64_t count)                                                 \
    {                                                                                                                  \
        uint##bits##_t found = 0;                                                                                      \
        for (int64_t i = 0; i < count; i++)                                                                            \
            found |= (uint##bits##_t)((uint##bits##_t)(x[i] & (UINT##bits##_MAX >> 1)) > (infinity));                  \
        return found != 0;                                                                                             \
    }                                                                                                                  \
    static void copy_canonical_##type(const uint##bits##_t *x, int64_t count, uint##bits##_t *y)                       \
    {                                                                                                                  \
        for (int64_t i = 0; i < count; i++)                                                                            \
            y[i] = (uint##bits##_t)(x[i] & (UINT##bits##_MAX >> 1)) > (infinity) ? (canonical) : x[i];                 \
    }
CANONICAL(bf16, 16, UINT16_C(0x7f80), UINT16_C(0x7fc0))
CANONICAL(f16, 16, UINT16_C(0x7c00), UINT16_C(0x7e00))
CANONICAL(f32, 32, UINT32_C(0x7f800000), UINT32_C(0x7fc00000))
CANONICAL(f64, 64, UINT64_C(0x7ff0000000000000), UINT64_C(0x7ff8000000000000))

static bool has_nan(ls_type type, const void *data, int64_t count)
{
    switch (type) {
    case LS_F32: return has_nan_f32(data, count);
    case LS_BF16: return has_nan_bf16(data, count);
    case LS_F16: return has_nan_f16(data, count);
    case LS_F64: return has_nan_f64(data, count);
    default: return false;
    }
}

static void copy_canonical(ls_type type, const void *data, int64_t count, void *out)
{
    switch (type) {
    case LS_F32: copy_canonical_f32(data, count, out); break;
    case LS_BF16: copy_canonical_bf16(data, count, out); break;
    case LS_F16: copy_canonical_f16(data, count, out); break;
    case LS_F64: copy_canonical_f64(data, count, out); break;
    default: memcpy(out, data, (size_t)count * ls_type_size(type)); break;
    }
}

uint64_t ls_hash_numbers(ls_type type, const void *data, int64_t count, uint64_t seed)
{
    size_t size = ls_type_size(type);
    if (!has_nan(type, data, count))
        return XXH3_64bits_withSeed(data, (size_t)count * size, seed);

    uint64_t piece[512];
    int64_t step = (int64_t)(sizeof piece / size);
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_64bits_reset_withSeed(&state, seed);
    for (int64_t begin = 0; begin < count; begin += step) {
        int64_t n = count - begin < step ? count - begin : step;
        copy_canonical(type, (const char *)data + (size_t)begin * size, n, piece);
        XXH3_64bits_update(&state, piece, (size_t)n * size);
    }
    return XXH3_64bits_digest(&state);
}

void ls_hash_chunks(ls_type type, const void *data, int64_t count, int64_t first_chunk, uint64_t *hashes)
{
    size_t size = ls_type_size(type);
    for (int64_t begin = 0, chunk = 0; begin < count; begin += LS_CHUNK, chunk++) {
        int64_t n = count - begin < LS_CHUNK ? count - begin : LS_CHUNK;
        hashes[chunk] = ls_hash_numbers(type, (const char *)data + (size_t)begin * size, n,
                                        LS_HASH_SEED + (uint64_t)(first_chunk + chunk));
    }
}

uint64_t ls_hash_tensor(const char *name, ls_type type, int ndim, const int64_t *shape, const uint64_t *chunk_hashes,
                        int64_t chunks)
{
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_64bits_reset_withSeed(&state, LS_HASH_SEED);
    const int32_t head[2] = {(int32_t)type, ndim};
    XXH3_64bits_update(&state, name, strlen(name) + 1);
    XXH3_64bits_update(&state, head, sizeof head);
    XXH3_64bits_update(&state, shape, (size_t)ndim * sizeof *shape);
    XXH3_64bits_update(&state, chunk_hashes, (size_t)chunks * sizeof *chunk_hashes);
    return XXH3_64bits_digest(&state);
}

struct ls_hasher {
    XXH3_state_t *state;
};

ls_hasher *ls_hasher_create(uint64_t seed)
{
    ls_hasher *hasher = calloc(1, sizeof *hasher);
    if (!hasher)
        return NULL;
    hasher->state = XXH3_createState(); /* aligned to 64, which calloc is not */
    if (!hasher->state) {
        free(hasher);
        return NULL;
    }
    XXH3_64bits_reset_withSeed(hasher->state, seed);
    return hasher;
}

void ls_hasher_add(ls_hasher *hasher, const void *bytes, size_t size)
{
    XXH3_64bits_update(hasher->state, bytes, size);
}

uint64_t ls_hasher_digest(const ls_hasher *hasher)
{
    return XXH3_64bits_digest(hasher->state);
}

void ls_hasher_free(ls_hasher *hasher)
{
    if (!hasher)
        return;
    XXH3_freeState(hasher->state);
    free(hasher);
}
