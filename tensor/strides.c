/* Loops over strided operands, made as simple as their strides allow. */
#include "tensor/strides.h"

int64_t ls_strides_elements(const ls_strides *strides)
{
    int64_t count = 1;
    for (int d = 0; d < strides->ndim; d++)
        count *= strides->shape[d];
    return count;
}

static bool mergeable(int64_t outer, int64_t inner, int64_t length)
{
    return outer == inner * length;
}

ls_strides ls_strides_collapse(const ls_strides *in)
{
    ls_strides out = {0};
    for (int d = 0; d < in->ndim; d++) {
        if (in->shape[d] == 1)
            continue;
        int last = out.ndim - 1;
        if (last >= 0 && mergeable(out.stride_a[last], in->stride_a[d], in->shape[d]) &&
            mergeable(out.stride_b[last], in->stride_b[d], in->shape[d])) {
            out.shape[last] *= in->shape[d];
        } else {
            last = out.ndim++;
            out.shape[last] = in->shape[d];
        }
        out.stride_a[last] = in->stride_a[d];
        out.stride_b[last] = in->stride_b[d];
    }
    if (out.ndim == 0) {
        out.ndim = 1;
        out.shape[0] = 1;
    }
    return out;
}
