/* NCCL under the reducer (docs/gpu.md): gradients of CUDA devices go from device to device, beside backward. Built where NVIDIA's
 * NCCL is (cmake/cuda.cmake), and against the double of tests/cudahost/ for the tests; a program links it whole
 * (ls_link_device), or has dist/nccl/absent.c in its place. */
#pragma once
#include "dist/reduce.h"

/* exact: the fixed tree over grains, as everywhere; the same bits on any number of ranks. fast: NCCL's own sums, whose
 * order is its affair; the same bits on the same ranks, schedule and NCCL only. */
typedef enum { LS_NCCL_EXACT, LS_NCCL_FAST } ls_nccl_mode;

typedef struct ls_nccl ls_nccl;

/* Whether this program has it. */
bool ls_nccl_present(void);
/* Collective. `device` is this rank's CUDA device, which no other rank has; it must outlive the communicator. LS_EIO where
 * NCCL or CUDA refuses, with their words; LS_ENOTFOUND: this program has no NCCL. */
ls_status ls_nccl_open(ls_nccl **nccl, ls_world *world, ls_device *device, ls_nccl_mode mode);
/* After the reducers that use it. */
void ls_nccl_close(ls_nccl *nccl);
/* For ls_reduce_options. */
const ls_exchange *ls_nccl_exchange(const ls_nccl *nccl);
/* The library in use: "2.28.3". */
const char *ls_nccl_version(const ls_nccl *nccl);
