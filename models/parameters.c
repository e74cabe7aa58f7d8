/* Layout, binding and initial values of parameters. See parameters.h. */
#include "models/parameters.h"

#include "base/random.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { NAME_ROOM = 64 };

ls_status ls_parameter_list_make(ls_parameter_list *list, int room)
{
    *list = (ls_parameter_list){.room = room};
    list->all = calloc((size_t)room, sizeof *list->all);
    list->names = calloc((size_t)room, NAME_ROOM);
    return list->all && list->names ? LS_OK : ls_fail(LS_EMEM, "no memory for the names of %d parameters", room);
}

void ls_parameter_list_free(ls_parameter_list *list)
{
    free(list->all);
    free(list->names);
    *list = (ls_parameter_list){0};
}

ls_parameter *ls_parameter_list_add(ls_parameter_list *list, int ndim, const int64_t *shape, double std, const char *name, ...)
{
    char *text = list->names + (size_t)list->count * NAME_ROOM;
    va_list args;
    va_start(args, name);
    vsnprintf(text, NAME_ROOM, name, args);
    va_end(args);
    ls_parameter *p = &list->all[list->count++];
    *p = (ls_parameter){.name = text, .ndim = ndim, .count = 1, .lr_scale = 1, .no_decay = ndim <= 1};
    for (int i = 0; i < ndim; i++) {
        p->shape[i] = shape[i];
        p->count *= shape[i];
    }
    p->init.kind = std < 0 ? LS_INIT_ONES : std > 0 ? LS_INIT_NORMAL : LS_INIT_ZEROS;
    p->init.std = std;
    return p;
}

static int64_t whole_chunks(int64_t count)
{
    return (count + LS_CHUNK - 1) / LS_CHUNK * LS_CHUNK;
}

int64_t ls_parameters_layout(ls_parameter *parameters, int count)
{
    int64_t elements = 0;
    for (int frozen = 0; frozen <= 1; frozen++)
        for (int i = 0; i < count; i++) {
            if (parameters[i].frozen != frozen)
                continue;
            parameters[i].number = i;
            parameters[i].offset = elements;
            elements += whole_chunks(parameters[i].count);
        }
    return elements;
}

void ls_parameters_bind(ls_parameter *parameters, int count, ls_type compute, void *working, float *master_f32)
{
    for (int i = 0; i < count; i++) {
        ls_parameter *p = &parameters[i];
        const bool master = p->ndim <= 1 && ls_type_is_narrow(compute);
        p->type = master ? LS_F32 : compute;
        p->data = master ? (void *)(master_f32 + p->offset) : (void *)((char *)working + (size_t)p->offset * ls_type_size(compute));
    }
}

/* Elements [from, to) of one parameter. The element number is the place in the tensor, so any slice can be made alone. */
static void fill(const ls_parameter *p, uint64_t seed, int64_t from, int64_t to, float *out)
{
    p = p->copy_of ? p->copy_of : p;
    const ls_random stream = {.seed = seed, .slot = (uint32_t)p->number, .purpose = LS_RANDOM_INIT};
    const float std = (float)p->init.std;
    if (p->init.kind == LS_INIT_NORMAL)
        ls_random_normals(&stream, (uint64_t)from, to - from, out);
    for (int64_t i = 0; i < to - from; i++)
        out[i] = p->init.kind == LS_INIT_NORMAL ? std * out[i] : p->init.kind == LS_INIT_ONES ? 1.0f : 0.0f;
}

void ls_parameters_init(const ls_parameter *parameters, int count, uint64_t seed, int64_t begin, int64_t held, float *out)
{
    for (int64_t i = 0; i < held; i++)
        out[i] = 0.0f; /* the padding between tensors */
    for (int i = 0; i < count; i++) {
        const ls_parameter *p = &parameters[i];
        const int64_t from = p->offset > begin ? p->offset : begin;
        const int64_t end = p->offset + p->count, to = end < begin + held ? end : begin + held;
        if (from < to)
            fill(p, seed, from - p->offset, to - p->offset, out + (from - begin));
    }
}
