/* Sorting rows of (key, place) on the device by Batcher's bitonic network: its comparisons depend on the length alone,
 * and pairs differ by their places at least, so there is one result. */
#pragma once
#include "tensor/cuda/cuda.cuh"

typedef struct {
    int64_t rows, length, padded; /* padded: the next power of two */
    uint64_t *key;                /* [rows, padded], ascending in the end; what is past length is greater than all */
    int32_t *place;
} ls_order;

/* Room for the pairs; those of [0, length) are the caller's to fill. */
ls_order ls_order_begin(ls_cuda_call &call, int64_t rows, int64_t length);
void ls_order_sort(ls_cuda_call &call, const ls_order *order);
