/* What attention's kernels on tensor cores share, T being bf16 or f16: tiles of 64 queries and 64 keys, four warps of 16 rows each, products
 * of 16 x 16 x 16 by WMMA, added in f32.
 *
 * Which lane holds which element of a fragment is not specified, but it is the same for all accumulators. So a warp loads
 * a table of places as an accumulator once; from then on each lane knows the place of each element that it holds, and what is done by element (masks, exponentials, scaling of rows) stays in registers. */
#pragma once
#include "tensor/cuda/attention.cuh"

#include <mma.h>

enum { LS_TENSOR_TILE = 64, LS_TENSOR_ROWS = 16, LS_TENSOR_THREADS = 128, LS_TENSOR_WARPS = 4, LS_TENSOR_WIDEST = 128 };
/* Rows in shared memory: numbers from one to the next. 16 bytes more than whole lines, so that 8 rows lie in 8 banks. */
enum { LS_TENSOR_SQUARE = LS_TENSOR_TILE + 8 /* T */, LS_TENSOR_SCORES = LS_TENSOR_TILE + 4 /* f32 */ };

template <typename T> using ls_tensor_job = ls_attention_job<T>;
template <typename T> using ls_left = nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, 16, 16, 16, T, nvcuda::wmma::row_major>;
template <typename T> using ls_right = nvcuda::wmma::fragment<nvcuda::wmma::matrix_b, 16, 16, 16, T, nvcuda::wmma::row_major>;
template <typename T> using ls_right_turned = nvcuda::wmma::fragment<nvcuda::wmma::matrix_b, 16, 16, 16, T, nvcuda::wmma::col_major>;
typedef nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float> ls_sums;
enum { LS_HELD = 8 }; /* elements of an accumulator in a lane */

/* Blocks that a multiprocessor must have room for: it says how many registers a thread may have, 170 or 255. */
#define LS_TENSOR_BLOCKS(width) ((width) <= 64 ? 3 : 2)

/* One launch for each width that rows are filled up to: F<32, T>, F<64, T> or F<128, T>. */
#define LS_TENSOR_WIDTHS(width, T, F, ...)                                                                              \
    do {                                                                                                               \
        if ((width) <= 32)                                                                                             \
            F<32, T>(__VA_ARGS__);                                                                                     \
        else if ((width) <= 64)                                                                                        \
            F<64, T>(__VA_ARGS__);                                                                                     \
        else                                                                                                           \
            F<128, T>(__VA_ARGS__);                                                                                    \
    } while (0)

static __host__ __device__ constexpr int ls_tensor_stride(int width)
{
    return width + 8;
}

/* Bytes of `arrays` tiles of 64 rows. */
static __host__ __device__ constexpr size_t ls_tensor_bytes(int width, int arrays)
{
    return (size_t)arrays * LS_TENSOR_TILE * ls_tensor_stride(width) * 2;
}

/* Rows begin + r of q's or k's shape, at(begin + r) being the first element, into shared rows; those past the end, and what
 * is past the width, are zeros. `packs`: every row begins at a multiple of 16 bytes and is whole packs. */
template <int WIDTH, typename T, typename At> static __device__ inline void ls_tensor_load(const ls_tensor_job<T> &job, const T *from, At at, int64_t begin, int64_t end, T *to)
{
    enum { PACK = 8, PACKS = WIDTH / PACK };
    if (job.packs) {
#pragma unroll 4 /* more would not fit into registers */
        for (int n = 0; n < LS_TENSOR_TILE * PACKS / LS_TENSOR_THREADS; n++) {
            const int item = n * LS_TENSOR_THREADS + (int)threadIdx.x, r = item / PACKS, d = item % PACKS * PACK;
            uint4 value = make_uint4(0, 0, 0, 0);
            if (begin + r < end && d < job.width)
                value = *reinterpret_cast<const uint4 *>(from + at(begin + r) + d);
            *reinterpret_cast<uint4 *>(to + r * ls_tensor_stride(WIDTH) + d) = value;
        }
        return;
    }
    for (int item = (int)threadIdx.x; item < LS_TENSOR_TILE * WIDTH; item += LS_TENSOR_THREADS) {
        const int r = item / WIDTH, d = item % WIDTH;
        to[r * ls_tensor_stride(WIDTH) + d] = begin + r < end && d < job.width ? from[at(begin + r) + d] : (T)0.0f;
    }
}

/* The places of the LS_HELD elements that this lane holds of an accumulator, a byte each: row * 16 + column. `room`: 256
 * floats of the warp's own. */
static __device__ inline uint64_t ls_tensor_places(float *room)
{
    ls_sums number;
    uint64_t places = 0;
    for (int at = (int)threadIdx.x % LS_WARP; at < 256; at += LS_WARP)
        room[at] = (float)at;
    __syncwarp();
    nvcuda::wmma::load_matrix_sync(number, room, 16, nvcuda::wmma::mem_row_major);
    __syncwarp();
#pragma unroll
    for (int i = 0; i < LS_HELD; i++)
        places |= (uint64_t)number.x[i] << 8 * i;
    return places;
}

static __device__ inline int ls_tensor_row(uint64_t places, int i)
{
    return (int)(places >> (8 * i + 4)) & 15;
}

static __device__ inline int ls_tensor_column(uint64_t places, int i)
{
    return (int)(places >> 8 * i) & 15;
}

/* sees(i) for i of [0, n), a bit each; asked one after the other, so that the answers to come need no registers. */
template <typename Sees> static __device__ inline unsigned ls_tensor_seen(int n, bool whole, Sees sees)
{
    unsigned seen = 0;
    if (whole)
        return 0xffffffffu;
#pragma unroll 1
    for (int i = 0; i < n; i++)
        seen |= (unsigned)sees(i) << i;
    return seen;
}

/* Does every query of [q, q_end) see every key of [k, k_end)? Asked of whole runs, so that few are asked one by one. */
template <typename T> static __device__ inline bool ls_tensor_whole(const ls_tensor_job<T> &job, const ls_attention_tile &tile, int64_t q, int64_t q_end, int64_t k, int64_t k_end)
{
    return !job.masked && !(job.causal && k_end - 1 > q + tile.position) && !(job.window && k <= q_end - 1 + tile.position - job.window);
}

/* 16 x 16 of left right', rows of both being WIDTH long. */
template <int WIDTH, typename T> static __device__ inline void ls_tensor_dots(const T *left, const T *right, ls_sums &sums)
{
    ls_left<T> a;
    ls_right_turned<T> b;
    nvcuda::wmma::fill_fragment(sums, 0.0f);
#pragma unroll 2
    for (int d = 0; d < WIDTH; d += 16) {
        nvcuda::wmma::load_matrix_sync(a, left + d, ls_tensor_stride(WIDTH));
        nvcuda::wmma::load_matrix_sync(b, right + d, ls_tensor_stride(WIDTH));
        nvcuda::wmma::mma_sync(sums, a, b, sums);
    }
}

/* sums[WIDTH / 16] += square [16, 64] rows [64, WIDTH], in ascending order. */
template <int WIDTH, typename T> static __device__ inline void ls_tensor_add(const T *square, const T *rows, ls_sums *sums)
{
    ls_left<T> a;
    ls_right<T> b;
#pragma unroll 1
    for (int n = 0; n < LS_TENSOR_TILE; n += 16) {
        nvcuda::wmma::load_matrix_sync(a, square + n, LS_TENSOR_SQUARE);
#pragma unroll
        for (int d = 0; d < WIDTH / 16; d++) {
            nvcuda::wmma::load_matrix_sync(b, rows + n * ls_tensor_stride(WIDTH) + d * 16, ls_tensor_stride(WIDTH));
            nvcuda::wmma::mma_sync(sums[d], a, b, sums[d]);
        }
    }
}

/* put(r, d, value) for the warp's 16 rows of WIDTH sums, through `room` (16 * 36 floats of its own). */
template <int WIDTH, typename Put> static __device__ inline void ls_tensor_out(float *room, const ls_sums *sums, Put put)
{
    enum { PART = 32, STRIDE = PART + 4 };
    const int lane = (int)threadIdx.x % LS_WARP;
#pragma unroll
    for (int d = 0; d < WIDTH; d += PART) {
        __syncwarp();
        nvcuda::wmma::store_matrix_sync(room, sums[d / 16], STRIDE, nvcuda::wmma::mem_row_major);
        nvcuda::wmma::store_matrix_sync(room + 16, sums[d / 16 + 1], STRIDE, nvcuda::wmma::mem_row_major);
        __syncwarp();
        for (int r = 0; r < LS_TENSOR_ROWS; r++)
            put(r, d + lane, room[r * STRIDE + lane]);
    }
}

/* Whether all rows of a call's arrays can be read by packs. */
template <typename T> static inline bool ls_tensor_packs(const ls_tensor_job<T> &job)
{
    const uintptr_t all = reinterpret_cast<uintptr_t>(job.q) | reinterpret_cast<uintptr_t>(job.k) | reinterpret_cast<uintptr_t>(job.v) | reinterpret_cast<uintptr_t>(job.dout);
    return job.width % 8 == 0 && all % 16 == 0;
}
