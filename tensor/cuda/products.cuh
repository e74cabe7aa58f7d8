/* Matrix products by cuBLASLt: what tensor/cuda/matmul.cu asks for, and what the device keeps for it. */
#pragma once
#include "tensor/cuda/cuda.cuh"

/* A product with every array on the device. d has c's type, rows and stride; d may be c. */
typedef struct {
    const ls_matmul_args *args; /* shapes and types; its pointers are not looked at */
    ls_type type_d;
    int64_t ldd, stride_d;
    bool accumulate;            /* + c */
    const void *a, *b, *c, *bias; /* bias [may be NULL] of d's type */
    void *d;
} ls_cuda_product;

/* Queues it; false: the library has no kernel for these shapes and strides (or is not there), and nothing was done. That
 * answer, and every bit of the result, depend on shapes and types alone. */
bool ls_cuda_library_product(ls_cuda_call &call, const ls_cuda_product *product);
/* Whether it would not be refused, without doing it. */
bool ls_cuda_library_takes(ls_cuda_call &call, const ls_cuda_product *product);
void ls_cuda_library_free(ls_cuda *cuda);

/* The array, or a copy of it in scratch that begins where the libraries' quick kernels want it. */
enum { LS_CUDA_ALIGN = 16 };
const void *ls_cuda_aligned(ls_cuda_call &call, const void *array, size_t bytes);

/* Shapes and algorithms by a number, of products and of convolutions: FNV-1a, which goes on from h and begins at LS_CUDA_HASH. */
#define LS_CUDA_HASH UINT64_C(0xcbf29ce484222325)
static inline uint64_t ls_cuda_hash(uint64_t h, const void *bytes, size_t n)
{
    const unsigned char *at = static_cast<const unsigned char *>(bytes);
    for (size_t i = 0; i < n; i++)
        h = (h ^ at[i]) * 0x100000001b3u;
    return h;
}

/* Functions of the table, and the text of its numerics id. */
ls_status ls_cuda_use_tf32(ls_device *device, bool tf32);
int64_t ls_cuda_choices(const ls_device *device, ls_device_choice *choice, int64_t most);
void ls_cuda_name_numerics(ls_cuda *cuda);
