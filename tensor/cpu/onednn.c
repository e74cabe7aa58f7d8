/* What oneDNN is told about instruction sets, and what it is. See onednn.h. */
#include "tensor/cpu/onednn.h"

#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>

void ls_onednn_limit(ls_numerics level)
{
    /* Never `all`: a processor newer than our levels (AMX, VNNI) must not compute other bits under the same id. */
    static const dnnl_cpu_isa_t isa[] = {
        [LS_NUMERICS_GENERIC] = dnnl_cpu_isa_sse41,
        [LS_NUMERICS_AVX2] = dnnl_cpu_isa_avx2,
        [LS_NUMERICS_AVX512] = dnnl_cpu_isa_avx512_core,
        [LS_NUMERICS_AVX512_BF16] = dnnl_cpu_isa_avx512_core_bf16,
    };
    dnnl_set_max_cpu_isa(isa[level]);
}

const char *ls_onednn_version(void)
{
    static char text[32];
    const dnnl_version_t *version = dnnl_version();
    snprintf(text, sizeof text, "%d.%d.%d", version->major, version->minor, version->patch);
    return text;
}
