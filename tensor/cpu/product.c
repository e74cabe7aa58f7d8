/* Which level's kernels compute. See product.h, softmax_tile.h and winograd.h. */
#include "tensor/cpu/product.h"
#include "tensor/cpu/softmax_tile.h"
#include "tensor/cpu/winograd.h"

extern const ls_product_kernels ls_product_kernels_generic;
extern const ls_softmax_tile_kernels ls_softmax_tile_kernels_generic;
extern const ls_winograd_kernels ls_winograd_kernels_generic;
#if defined(__x86_64__)
extern const ls_product_kernels ls_product_kernels_avx2, ls_product_kernels_avx512, ls_product_kernels_bf16;
extern const ls_winograd_kernels ls_winograd_kernels_avx2, ls_winograd_kernels_avx512;
extern const ls_softmax_tile_kernels ls_softmax_tile_kernels_avx2, ls_softmax_tile_kernels_avx512,
    ls_softmax_tile_kernels_bf16;
#endif

const ls_product_kernels *ls_product_kernels_of(ls_numerics level)
{
#if defined(__x86_64__)
    if (level >= LS_NUMERICS_AVX512)
        return &ls_product_kernels_avx512;
    if (level == LS_NUMERICS_AVX2)
        return &ls_product_kernels_avx2;
#endif
    (void)level;
    return &ls_product_kernels_generic;
}

const ls_product_kernels *ls_product_kernels_for(ls_numerics level, ls_type type)
{
#if defined(__x86_64__)
    if (level == LS_NUMERICS_AVX512_BF16 && type == LS_BF16)
        return &ls_product_kernels_bf16;
#endif
    (void)type;
    return ls_product_kernels_of(level);
}

const ls_softmax_tile_kernels *ls_softmax_tile_kernels_of(ls_numerics level)
{
#if defined(__x86_64__)
    if (level >= LS_NUMERICS_AVX512)
        return &ls_softmax_tile_kernels_avx512;
    if (level == LS_NUMERICS_AVX2)
        return &ls_softmax_tile_kernels_avx2;
#endif
    (void)level;
    return &ls_softmax_tile_kernels_generic;
}

const ls_winograd_kernels *ls_winograd_kernels_of(ls_numerics level)
{
#if defined(__x86_64__)
    if (level >= LS_NUMERICS_AVX512)
        return &ls_winograd_kernels_avx512;
    if (level == LS_NUMERICS_AVX2)
        return &ls_winograd_kernels_avx2;
#endif
    (void)level;
    return &ls_winograd_kernels_generic;
}

const ls_softmax_tile_kernels *ls_softmax_tile_kernels_for(ls_numerics level, ls_type type)
{
#if defined(__x86_64__)
    if (level == LS_NUMERICS_AVX512_BF16 && type == LS_BF16)
        return &ls_softmax_tile_kernels_bf16;
#endif
    (void)type;
    return ls_softmax_tile_kernels_of(level);
}
