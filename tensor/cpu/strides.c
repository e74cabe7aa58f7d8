/* Loops over strided operands, made as simple as their strides allow. */
#include "tensor/cpu/cpu.h"

int64_t ls_cpu_elements(const ls_strides *strides)
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

ls_strides ls_cpu_collapse(const ls_strides *in)
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

ls_cpu_cursor ls_cpu_cursor_at(const ls_strides *strides, int64_t row)
{
    ls_cpu_cursor cursor = {.strides = strides};
    for (int d = strides->ndim - 2; d >= 0; d--) {
        cursor.at[d] = row % strides->shape[d];
        row /= strides->shape[d];
        cursor.a += cursor.at[d] * strides->stride_a[d];
        cursor.b += cursor.at[d] * strides->stride_b[d];
    }
    return cursor;
}

void ls_cpu_cursor_next(ls_cpu_cursor *cursor)
{
    const ls_strides *s = cursor->strides;
    for (int d = s->ndim - 2; d >= 0; d--) {
        cursor->a += s->stride_a[d];
        cursor->b += s->stride_b[d];
        if (++cursor->at[d] < s->shape[d])
            return;
        cursor->a -= s->shape[d] * s->stride_a[d];
        cursor->b -= s->shape[d] * s->stride_b[d];
        cursor->at[d] = 0;
    }
}
