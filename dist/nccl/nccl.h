/* NCCL under the reducer (docs/gpu.md): gradients of CUDA devices go from device to device, beside backward. Built where NVIDIA's
 * NCCL is (cmake/cuda.cmake) into a module that is loaded when it is asked for (dist/nccl/load.c); tests link it whole, against
 * the double of tests/cudahost/. */
#pragma once
#include "dist/reduce.h"

/* exact: the fixed tree over grains, as everywhere; the same bits on any number of ranks. fast: NCCL's own sums, whose
 * order is its affair; the same bits on the same ranks, schedule and NCCL only. */
typedef enum { LS_NCCL_EXACT, LS_NCCL_FAST } ls_nccl_mode;

/* NCCL's version, 22809 for 2.28.9. Local. LS_ENOTFOUND: this build has none. */
ls_status ls_nccl_version(int *version);

/* Collective; for ls_reduce_options. `device` is this rank's CUDA device, which no other rank has; it must outlive the exchange.
 * LS_ENOTFOUND: some rank's build has no NCCL. LS_EIO where NCCL or CUDA refuses, with their words. */
ls_status ls_nccl_open(ls_exchange **exchange, ls_world *world, ls_device *device, ls_nccl_mode mode);
