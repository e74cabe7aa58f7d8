/* Warp shuffles, votes and __syncwarp. All lanes named in the mask that have not exited must come to the same call with
 * the same mask; a lane that reads from one that did not come is reported (CUDA calls the value undefined). */
#ifndef CUDAHOST_WARP_H
#define CUDAHOST_WARP_H

#include <string.h>
#include <cudahost/kernel.h>

extern "C" {
/* The bits that lane `source` of the calling warp brought to this call. */
uint64_t cudahost_shuffle(unsigned mask, uint64_t bits, int source, const char *file, int line);
/* The lanes of `mask` whose predicate is not 0. */
unsigned cudahost_ballot(unsigned mask, int predicate, const char *file, int line);
void cudahost_syncwarp(unsigned mask, const char *file, int line);
unsigned cudahost_activemask(void);
int cudahost_lane(void);
/* All lanes of the warp meet; the last one to come calls meet(payloads) with what each lane brought. */
void cudahost_collective(void *payload, void (*meet)(void **payloads), const char *file, int line);
}

namespace cudahost
{
template <class T> static inline T shuffle(unsigned mask, T value, int source, const char *file, int line)
{
    static_assert(sizeof(T) <= sizeof(uint64_t), "shuffles take values of up to 8 bytes");
    uint64_t bits = 0;
    __builtin_memcpy(&bits, &value, sizeof value);
    bits = cudahost_shuffle(mask, bits, source, file, line);
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}
} // namespace cudahost

/* The rules for `width` are those of the programming guide: the warp is cut into sections of width lanes; a source
 * beyond the section's ends gives the lane's own value. */
template <class T> static inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, CUDAHOST_HERE)
{
    int lane = cudahost_lane();
    return cudahost::shuffle(mask, value, (lane & ~(width - 1)) | (source & (width - 1)), file, line);
}

template <class T> static inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, CUDAHOST_HERE)
{
    int lane = cudahost_lane(), first = lane & ~(width - 1);
    return cudahost::shuffle(mask, value, lane - (int)delta < first ? lane : lane - (int)delta, file, line);
}

template <class T>
static inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, CUDAHOST_HERE)
{
    int lane = cudahost_lane(), last = lane | (width - 1);
    return cudahost::shuffle(mask, value, lane + (int)delta > last ? lane : lane + (int)delta, file, line);
}

template <class T> static inline T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, CUDAHOST_HERE)
{
    int lane = cudahost_lane(), last = lane | (width - 1);
    return cudahost::shuffle(mask, value, (lane ^ lanes) > last ? lane : lane ^ lanes, file, line);
}

static inline unsigned __ballot_sync(unsigned mask, int predicate, CUDAHOST_HERE)
{
    return cudahost_ballot(mask, predicate, file, line);
}

static inline int __any_sync(unsigned mask, int predicate, CUDAHOST_HERE)
{
    return cudahost_ballot(mask, predicate, file, line) != 0;
}

static inline int __all_sync(unsigned mask, int predicate, CUDAHOST_HERE)
{
    return cudahost_ballot(mask, !predicate, file, line) == 0;
}

static inline void __syncwarp(unsigned mask = 0xffffffffu, CUDAHOST_HERE)
{
    cudahost_syncwarp(mask, file, line);
}

static inline unsigned __activemask()
{
    return cudahost_activemask();
}

#endif
