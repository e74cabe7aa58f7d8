/* Walking over the rows of strided operands. */
#include "tensor/cpu/cpu.h"

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
