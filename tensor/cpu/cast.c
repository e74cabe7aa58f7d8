/* Casts. bf16 and f16 <-> f32 run at memory speed; all other pairs (checks, masks, counts) go element by element. */
#include "tensor/cpu/cpu.h"

#include <string.h>

typedef enum { COPY, NARROW, WIDEN, EACH } manner;

typedef struct {
    ls_device *device;
    manner how; /* of its own: compared as a pair, types just stored stop a core until all its stores are through */
    ls_type from, to;
    const char *x;
    char *y;
} cast;

static int64_t read_integer(ls_type type, const char *x)
{
    int32_t i32;
    int64_t i64;
    switch (type) {
    case LS_I32: memcpy(&i32, x, sizeof i32); return i32;
    case LS_I64: memcpy(&i64, x, sizeof i64); return i64;
    default: return (uint8_t)*x;
    }
}

static bool is_integer(ls_type type)
{
    return type == LS_I32 || type == LS_I64 || type == LS_U8;
}

static double read_number(const cast *c, const char *x)
{
    float f32;
    double f64;
    switch (c->from) {
    case LS_F32: memcpy(&f32, x, sizeof f32); return f32;
    case LS_BF16:
    case LS_F16: ls_cpu_kernels_of(c->device, c->from)->widen(1, x, &f32); return f32;
    case LS_F64: memcpy(&f64, x, sizeof f64); return f64;
    default: return (double)read_integer(c->from, x);
    }
}

static void write_integer(ls_type type, int64_t value, char *y)
{
    const int32_t i32 = (int32_t)value;
    switch (type) {
    case LS_I32: memcpy(y, &i32, sizeof i32); break;
    case LS_I64: memcpy(y, &value, sizeof value); break;
    default: *y = (char)(uint8_t)value; break;
    }
}

static void convert(const cast *c, const char *x, char *y)
{
    if (is_integer(c->from) && is_integer(c->to)) {
        write_integer(c->to, read_integer(c->from, x), y);
        return;
    }
    const double value = read_number(c, x);
    const float f32 = (float)value;
    switch (c->to) {
    case LS_F32: memcpy(y, &f32, sizeof f32); break;
    case LS_BF16:
    case LS_F16: ls_cpu_kernels_of(c->device, c->to)->narrow(1, &f32, y); break;
    case LS_F64: memcpy(y, &value, sizeof value); break;
    default: write_integer(c->to, (int64_t)value, y); break;
    }
}

static manner manner_of(ls_type from, ls_type to)
{
    if (from == to)
        return COPY;
    if (from == LS_F32 && ls_type_is_narrow(to))
        return NARROW;
    return ls_type_is_narrow(from) && to == LS_F32 ? WIDEN : EACH;
}

static void cast_range(void *context, int64_t begin, int64_t end)
{
    const cast *c = context;
    const int64_t n = end - begin;
    switch (c->how) {
    case NARROW: ls_cpu_kernels_of(c->device, c->to)->narrow(n, (const float *)(const void *)c->x + begin, (uint16_t *)(void *)c->y + begin); return;
    case WIDEN: ls_cpu_kernels_of(c->device, c->from)->widen(n, (const uint16_t *)(const void *)c->x + begin, (float *)(void *)c->y + begin); return;
    default: break;
    }
    const size_t from = ls_type_size(c->from), to = ls_type_size(c->to);
    const char *x = c->x + (size_t)begin * from;
    char *y = c->y + (size_t)begin * to;
    if (c->how == COPY) {
        memcpy(y, x, (size_t)n * from);
        return;
    }
    for (int64_t i = 0; i < n; i++, x += from, y += to)
        convert(c, x, y);
}

void ls_cpu_cast(ls_device *device, ls_type from, ls_type to, int64_t n, const void *x, void *y)
{
    cast c = {device, manner_of(from, to), from, to, x, y};
    ls_cpu_ranges(device, n, LS_CPU_PIECE, 1, cast_range, &c);
}
