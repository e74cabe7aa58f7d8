/* Dropout and Gumbel noise from the counter RNG: element i of the stream decides, whatever range it is computed in. */
#include "tensor/cpu/vector/math.h"
#include "tensor/cpu/vector/prototypes.h"

enum { COUNTERS = 64 };

/* words[4 i + k] is word k of counter first + i: elements 4 first .. of the stream, as ls_random_bits gives them.
 * Philox4x32-10 as in base/random.c, one counter a vector lane. */
static void philox_block(const ls_random *stream, uint32_t first, uint32_t words[4 * COUNTERS])
{
    const uint32_t key0 = (uint32_t)stream->seed, key1 = (uint32_t)(stream->seed >> 32);
    const uint32_t last = stream->purpose << 16 | (stream->op & 0xffff);
    for (uint32_t i = 0; i < COUNTERS; i++) {
        uint32_t x0 = first + i, x1 = stream->slot, x2 = stream->step, x3 = last, k0 = key0, k1 = key1;
        for (int round = 0; round < 10; round++) {
            uint64_t a = (uint64_t)x0 * UINT32_C(0xd2511f53), b = (uint64_t)x2 * UINT32_C(0xcd9e8d57);
            x0 = (uint32_t)(b >> 32) ^ x1 ^ k0;
            x2 = (uint32_t)(a >> 32) ^ x3 ^ k1;
            x1 = (uint32_t)b;
            x3 = (uint32_t)a;
            k0 += UINT32_C(0x9e3779b9);
            k1 += UINT32_C(0xbb67ae85);
        }
        words[4 * i] = x0;
        words[4 * i + 1] = x1;
        words[4 * i + 2] = x2;
        words[4 * i + 3] = x3;
    }
}

void KERNEL(dropout)(int64_t n, double p, const ls_random *stream, uint64_t first, const void *x_, void *y_,
                     bool accumulate)
{
    const element *x = x_;
    element *y = y_;
    const real scale = (real)(1 / (1 - p));
    /* uniform = (bits >> 8) / 2^24 >= p in integers */
    const int32_t threshold = (int32_t)ceil(p * 0x1p24);
    uint32_t words[4 * COUNTERS];
    for (int64_t done = 0; done < n;) {
        uint64_t at = first + (uint64_t)done;
        int64_t skip = (int64_t)(at & 3), count = at_most(n - done, 4 * COUNTERS - skip);
        philox_block(stream, (uint32_t)(at >> 2), words);
        INDEPENDENT for (int64_t i = 0; i < count; i++)
        {
            const real kept = load(x + done + i) * scale, old = accumulate ? load(y + done + i) : 0;
            const real value = (int32_t)(words[skip + i] >> 8) >= threshold ? kept : 0;
            y[done + i] = store(accumulate ? old + value : value);
        }
        done += count;
    }
}

/* u is an odd multiple of 2^-24: exact in f32, never 0 or 1, and as far from one as from the other. */
void KERNEL(gumbel)(int64_t n, double scale_, const ls_random *stream, uint64_t first, const void *x_, void *y_)
{
    const element *x = x_;
    element *y = y_;
    const real scale = (real)scale_;
    uint32_t words[4 * COUNTERS];
    for (int64_t done = 0; done < n;) {
        uint64_t at = first + (uint64_t)done;
        int64_t skip = (int64_t)(at & 3), count = at_most(n - done, 4 * COUNTERS - skip);
        philox_block(stream, (uint32_t)(at >> 2), words);
        INDEPENDENT for (int64_t i = 0; i < count; i++)
        {
            const real u = (real)(int32_t)(words[skip + i] >> 9 << 1 | 1) * (real)0x1p-24;
            y[done + i] = store((load(x + done + i) - log_of_normal(-log_of_normal(u))) * scale);
        }
        done += count;
    }
}
