/* Checks and strides shared by the shape rules. See shapes.h. */
#include "tensor/ops/shapes.h"
#include "tensor/tape.h"

#include <stdio.h>
#include <string.h>

ls_shape_text ls_describe(const ls_tensor *x)
{
    ls_shape_text out;
    int used = snprintf(out.text, sizeof out.text, "%s [", ls_type_name(x->type));
    for (int i = 0; i < x->ndim && used < (int)sizeof out.text; i++)
        used +=
            snprintf(out.text + used, sizeof out.text - (size_t)used, i ? ", %lld" : "%lld", (long long)x->shape[i]);
    if (used < (int)sizeof out.text - 1)
        strcpy(out.text + used, "]");
    return out;
}

static bool is_float(ls_type type)
{
    return type == LS_F32 || type == LS_F64 || ls_type_is_narrow(type);
}

ls_status ls_check_types_gains(const ls_node *node, int from)
{
    const ls_tensor *first = node->in[0];
    if (!is_float(first->type))
        return ls_fail(LS_ETYPE, "input 0 is %s; operators compute in f32, bf16 or f16", ls_describe(first).text);
    for (int i = 1; i < node->inputs; i++) {
        const ls_tensor *x = node->in[i];
        if (!x || x->type == first->type || (i >= from && ls_type_is_narrow(first->type) && x->type == LS_F32))
            continue;
        return ls_fail(LS_ETYPE, "input 0 is %s, but input %d is %s; cast one of them", ls_describe(first).text, i,
                       ls_describe(x).text);
    }
    return LS_OK;
}

ls_status ls_check_types(const ls_node *node)
{
    return ls_check_types_gains(node, node->inputs);
}

ls_status ls_check_pair(const ls_node *node)
{
    const ls_tensor *a = node->in[0], *b = node->in[1];
    ls_status status = ls_check_types(node);
    if (status != LS_OK)
        return status;
    bool same = a->ndim == b->ndim;
    for (int i = 0; same && i < a->ndim; i++)
        same = a->shape[i] == b->shape[i];
    return same ? LS_OK
                : ls_fail(LS_ESHAPE, "%s and %s: they must have one shape", ls_describe(a).text, ls_describe(b).text);
}

ls_status ls_check_axis(const ls_tensor *x, int *axis)
{
    int given = *axis;
    if (given < 0)
        *axis += x->ndim;
    if (*axis < 0 || *axis >= x->ndim)
        return ls_fail(LS_ESHAPE, "axis %d of %s: it has %d axes", given, ls_describe(x).text, x->ndim);
    return LS_OK;
}

void ls_set_shape(ls_tensor *out, ls_type type, int ndim, const int64_t *shape)
{
    out->type = type;
    out->ndim = ndim;
    for (int i = 0; i < ndim; i++)
        out->shape[i] = shape[i];
}

ls_status ls_shape_like_input(ls_node *node)
{
    const ls_tensor *x = node->in[0];
    ls_set_shape(node->out[0], x->type, x->ndim, x->shape);
    return ls_check_types(node);
}

int64_t ls_extent(const ls_tensor *x, int begin, int end)
{
    int64_t product = 1;
    for (int i = begin; i < end; i++)
        product *= x->shape[i];
    return product;
}

ls_type ls_wide_type(ls_type type)
{
    return type == LS_F64 ? LS_F64 : LS_F32;
}

ls_status ls_give_losses(const ls_node *node, ls_type type, int64_t rows, const void *losses, float *to)
{
    if (!to || rows == 0)
        return LS_OK;
    const void *read = ls_tape_read_bytes(node->tape, losses, (size_t)rows * ls_type_size(type));
    if (!read)
        return ls_tape_status(node->tape);
    for (int64_t r = 0; r < rows; r++)
        to[r] = type == LS_F64 ? (float)((const double *)read)[r] : ((const float *)read)[r];
    return LS_OK;
}

void ls_dense_strides(int ndim, const int64_t *shape, int64_t *stride)
{
    int64_t product = 1;
    for (int i = ndim - 1; i >= 0; i--) {
        stride[i] = product;
        product *= shape[i];
    }
}

void *ls_copy_array(ls_tape *tape, const void *array, int64_t count, size_t element_bytes)
{
    if (ls_tape_status(tape) != LS_OK)
        return NULL;
    if (count < 0 || (!array && count)) {
        ls_tape_raise(tape, LS_EARG, "an operator was given an array of %lld elements%s", (long long)count,
                      array ? "" : " that is NULL");
        return NULL;
    }
    size_t bytes = (size_t)count * element_bytes;
    void *copy = ls_arena_take(ls_tape_arena(tape), bytes);
    if (!copy && ls_arena_status(ls_tape_arena(tape)) != LS_OK)
        ls_tape_raise(tape, LS_EMEM, "%s", ls_fail_sentence());
    if (copy && bytes) /* 0 bytes have a place too: NULL means an error */
        memcpy(copy, array, bytes);
    return copy;
}

const void *ls_keep_array(ls_tape *tape, const void *array, int64_t count, size_t element_bytes)
{
    const ls_device *device = tape->device;
    if (array && count > 0 && device->is_prefetched && device->is_prefetched(device, array))
        return array;
    return ls_copy_array(tape, array, count, element_bytes);
}

static void *take(ls_arena *arena, size_t bytes)
{
    void *block = ls_arena_take(arena, bytes);
    if (!block)
        ls_arena_status(arena); /* its sentence; the caller returns LS_EMEM */
    return block;
}

void *ls_node_take(const ls_node *node, size_t bytes)
{
    return take(node->tape->activations, bytes);
}

void *ls_node_take_host(const ls_node *node, size_t bytes)
{
    return take(node->tape->host, bytes);
}
