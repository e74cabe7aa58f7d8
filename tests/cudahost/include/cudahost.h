/* What the emulation tells a test, beyond CUDA's own functions. Environment, read at the first call:
 *     CUDAHOST_SEED      order of streams, blocks and threads (0: in-order blocks, streams as late as possible)
 *     CUDAHOST_CHECK     0 turns the checks of accesses off
 *     CUDAHOST_DEVICES   devices that cudaGetDeviceCount counts (8)
 *     CUDAHOST_MEMORY    bytes of device memory (4 GiB) */
#ifndef CUDAHOST_H
#define CUDAHOST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The sentence of the last fault that the emulation reported, also written to stderr; "" if there was none. */
const char *cudahost_report(void);

/* Goes on after a sticky error, as a new process would: faults and errors are forgotten, queued work is dropped. */
void cudahost_forget(void);

/* Chooses the order from now on. All work must be done (cudaDeviceSynchronize). */
void cudahost_seed(uint64_t seed);

/* Marks part of a device allocation as not to be touched (an arena's free part), or as usable again and undefined
 * (filled with NaN). Both ends are rounded inwards to multiples of 256 bytes. */
void cudahost_poison(void *address, size_t bytes);
void cudahost_unpoison(void *address, size_t bytes);

/* From now on cuBLASLt's heuristic finds no algorithm for anything (as a real one may for any shape), or finds them again. */
void cudahost_cublaslt_refuse(int refuse);
/* The same of cuDNN. */
void cudahost_cudnn_refuse(int refuse);

#ifdef __cplusplus
}
#endif
#endif
