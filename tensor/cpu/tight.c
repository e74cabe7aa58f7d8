/* See tight.h. */
#include "tensor/cpu/tight.h"

#include <stddef.h>

#if defined(__x86_64__)
extern const ls_tight_kernels ls_tight_kernels_tight;
#endif

int64_t ls_tight_panel_bytes(int64_t k)
{
    enum { LINE = 64, RAW_UNIT = 64 };
    return (k / LS_TIGHT_UNITS + LINE - 1) / LINE * LINE + k * RAW_UNIT;
}

const ls_tight_kernels *ls_tight_kernels_for(ls_numerics level)
{
#if defined(__x86_64__)
    if (level == LS_NUMERICS_AVX512_BF16 && __builtin_cpu_supports("avx512vbmi"))
        return &ls_tight_kernels_tight;
#endif
    (void)level;
    return NULL;
}
