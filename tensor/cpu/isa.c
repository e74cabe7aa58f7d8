/* The instruction-set level, chosen once a process.
 *
 *     level         processor must have          own kernels      oneDNN may use
 *     generic       x86-64 (SSE2)                generic          SSE4.1
 *     avx2          AVX2, FMA, F16C              avx2             AVX2
 *     avx512        AVX-512 F, BW, DQ, VL        avx512           AVX512_CORE
 *     avx512_bf16   the same and AVX512_BF16     avx512           AVX512_CORE_BF16
 *
 * Own vector kernels give the same bits on every level (tests/tensor/test_kernels.c), matrix products on avx2 and up
 * (test_product.c): `generic` has no fused multiply-add, and avx512_bf16 multiplies bf16 operands in pairs (product.h).
 * oneDNN's sums differ on each, hence the id.
 * Raise KERNELS whenever a change alters any bit of any own kernel. */
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/onednn.h"

#include <pthread.h>
#include <stdio.h>

#define KERNELS "10"

static const char *const names[] = {"native", "generic", "avx2", "avx512", "avx512_bf16"};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static ls_numerics pinned = LS_NUMERICS_NATIVE; /* NATIVE: not chosen yet */
static char id[96];

ls_numerics ls_cpu_best_level(void)
{
#if defined(__x86_64__)
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("f16c"))
        return LS_NUMERICS_GENERIC;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
        return LS_NUMERICS_AVX2;
    return __builtin_cpu_supports("avx512bf16") ? LS_NUMERICS_AVX512_BF16 : LS_NUMERICS_AVX512;
#else
    return LS_NUMERICS_GENERIC;
#endif
}

ls_status ls_numerics_pin(ls_numerics level)
{
    ls_numerics best = ls_cpu_best_level();
    if ((unsigned)level > LS_NUMERICS_AVX512_BF16)
        return ls_fail(LS_EARG, "numerics: level %d is unknown; choose one of " LS_NUMERICS_CHOICES, (int)level);
    if (level > best)
        return ls_fail(LS_EARG, "numerics: %s is asked for, but this processor has only %s; choose %s or lower",
                       names[level], names[best], names[best]);
    if (level == LS_NUMERICS_NATIVE)
        level = best;
    ls_status status = LS_OK;
    pthread_mutex_lock(&lock);
    if (pinned == LS_NUMERICS_NATIVE) {
        pinned = level;
        ls_onednn_limit(level);
        snprintf(id, sizeof id, "cpu %s onednn-%s kernels-" KERNELS, names[level], ls_onednn_version());
    } else if (pinned != level) {
        status = ls_fail(LS_EARG, "numerics: %s is asked for, but this process computes with %s already; start a new one",
                         names[level], names[pinned]);
    }
    pthread_mutex_unlock(&lock);
    return status;
}

ls_numerics ls_numerics_level(void)
{
    pthread_mutex_lock(&lock);
    ls_numerics level = pinned;
    pthread_mutex_unlock(&lock);
    if (level != LS_NUMERICS_NATIVE)
        return level;
    ls_numerics_pin(LS_NUMERICS_NATIVE); /* loses only to another thread's pin, which then holds */
    return ls_numerics_level();
}

const char *ls_numerics_id(void)
{
    ls_numerics_level();
    return id;
}
