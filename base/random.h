/* Counter random numbers: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
 *
 * A number is a pure function of where it is used; nothing is stored, so there is nothing to restore:
 *     key     = seed (64 bits)
 *     counter = {element/4, slot, step, purpose << 16 | operator}      (32 bits each)
 * `slot` is the sample's place in the step's global batch (not its id: a sampler may draw a sample twice), `operator`
 * numbers the random operators of one forward pass in order. */
#pragma once
#include "base/type.h"

/* Numbers are part of the result: never renumber, only append. */
typedef enum {
    LS_RANDOM_INIT = 1,     /* weights; slot = parameter number */
    LS_RANDOM_DROPOUT = 2,
    LS_RANDOM_SHUFFLE = 3,  /* sampler; step = epoch */
    LS_RANDOM_MIXTURE = 4,  /* which data set a slot draws from */
    LS_RANDOM_SAMPLE = 5,   /* generation; slot = row, step = token position */
    LS_RANDOM_DATA = 6,     /* packers: splits, tokenizer sampling */
    LS_RANDOM_TASK = 7,     /* a task's own draws */
    LS_RANDOM_AUGMENT = 8,  /* images before training (datasets/augment.h) */
    LS_RANDOM_GUMBEL = 9,   /* ls_gumbel_softmax */
} ls_random_purpose;

/* One stream: fix everything but the element number. */
typedef struct {
    uint64_t seed;
    uint32_t slot, step, purpose, op;
} ls_random;

void ls_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);
uint32_t ls_random_bits(const ls_random *stream, uint64_t element);
/* Uniform in [0, 1), 24 bits: exact in f32. */
float ls_random_uniform(const ls_random *stream, uint64_t element);
/* Uniform integer in [0, bound) without modulo bias worth noticing (64-bit multiply-shift); bound >= 1. */
uint64_t ls_random_below(const ls_random *stream, uint64_t element, uint64_t bound);
/* Standard normal (Box-Muller on two uniforms, own log and cos: the same bits everywhere). */
float ls_random_normal(const ls_random *stream, uint64_t element);
/* The same numbers for elements first .. first + count - 1, four to a block: about four times as fast. */
void ls_random_normals(const ls_random *stream, uint64_t first, int64_t count, float *out);
