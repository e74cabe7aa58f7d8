/* See fuzz.h. */
#include "tests/tensor/fuzz.h"

#include "tests/tensor/reference_device.h"

#include <stdlib.h>
#include <string.h>

static const char *const kind_names[FUZZ_KINDS] = {[FUZZ_ODD] = "drawn, odd sizes",
                                                   [FUZZ_ONES] = "drawn, mostly 1",
                                                   [FUZZ_LONG] = "drawn, one long axis",
                                                   [FUZZ_EMPTY] = "drawn, an empty axis"};

int64_t fuzz_below(fuzz *f, int64_t n)
{
    return (int64_t)ls_random_below(&f->stream, f->drawn++, (uint64_t)n);
}

static int64_t draw_size(fuzz *f, bool special)
{
    static const int64_t odd[] = {1, 2, 3, 5, 7};
    switch (f->kind) {
    case FUZZ_ONES: return fuzz_below(f, 4) ? 1 : 2 + fuzz_below(f, 2);
    case FUZZ_LONG: return special ? 33 + 2 * fuzz_below(f, 33) : 1 + fuzz_below(f, 3);
    default: return odd[fuzz_below(f, 5)];
    }
}

static int64_t take(fuzz *f, int64_t size, int64_t least)
{
    size = size > f->room ? f->room : size;
    size = size < least ? least : size;
    f->room /= size ? size : 1;
    return size;
}

int64_t fuzz_size_from(fuzz *f, int64_t least)
{
    const bool special = f->kind == FUZZ_LONG && f->asked++ == f->special;
    return take(f, draw_size(f, special), least);
}

int64_t fuzz_size(fuzz *f)
{
    if (f->kind != FUZZ_EMPTY)
        return fuzz_size_from(f, 1);
    const bool empty = f->asked++ == f->special;
    const int64_t size = take(f, draw_size(f, false), 1);
    return empty ? 0 : size;
}

/* FNV-1a */
static uint32_t number_of(const char *name)
{
    uint32_t hash = 2166136261u;
    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * 16777619u;
    return hash;
}

operator_case fuzz_case(const char *name, void (*draw)(fuzz *f, operator_case *c), int number)
{
    const fuzz start = {
        .stream = {.seed = 41, .slot = number_of(name), .step = (uint32_t)number, .purpose = LS_RANDOM_TASK},
        .kind = (fuzz_kind)(number % FUZZ_KINDS),
        .room = 240};
    operator_case c = {0};
    fuzz f = start;
    f.special = (int)fuzz_below(&f, 6);
    draw(&f, &c);
    while (f.kind >= FUZZ_LONG && f.special >= f.asked && f.asked) { /* there are fewer sizes than that */
        const int special = f.special % f.asked;
        f = start;
        f.drawn = 1;
        f.special = special;
        c = (operator_case){0};
        draw(&f, &c);
    }
    c.what = kind_names[f.kind];
    c.argument[CASE_SEED] = 1 + number_of(name) / 2 + number;
    return c;
}

void fuzz_fill(const operator_case *c, int input, double low, double high, ls_type type, void *data)
{
    const ls_random stream = {
        .seed = (uint64_t)llabs(c->argument[CASE_SEED]), .slot = (uint32_t)input, .purpose = LS_RANDOM_TASK};
    int64_t n = 1;
    for (int i = 0; i < c->in[input].ndim; i++)
        n *= c->in[input].shape[i];
    int64_t *place = calloc((size_t)n + 1, sizeof *place);
    for (int64_t i = 0; i < n; i++) { /* Fisher & Yates */
        const int64_t j = (int64_t)ls_random_below(&stream, (uint64_t)(2 * i), (uint64_t)(i + 1));
        place[i] = place[j];
        place[j] = i;
    }
    for (int64_t i = 0; i < n; i++) {
        const double off = 0.25 + 0.5 * (double)ls_random_uniform(&stream, (uint64_t)(2 * i + 1));
        const float value = (float)(low + (high - low) * ((double)place[i] + off) / (double)n);
        uint16_t rounded;
        reference_put(LS_BF16, &rounded, 0, (double)value);
        reference_put(type, data, i, c->argument[CASE_SEED] < 0 ? reference_get(LS_BF16, &rounded, 0) : (double)value);
    }
    free(place);
}

/* ---- shared draws ---- */

void fuzz_append(operator_case *c, int input, int64_t size)
{
    c->in[input].shape[c->in[input].ndim++] = size;
}

static void draw_axes(fuzz *f, operator_case *c, int least)
{
    for (int64_t axes = least + fuzz_below(f, 4 - least); axes > 0; axes--)
        fuzz_append(c, 0, fuzz_size(f));
}

void draw_any(fuzz *f, operator_case *c)
{
    draw_axes(f, c, f->kind == FUZZ_EMPTY ? 1 : 0);
}

void draw_rows(fuzz *f, operator_case *c)
{
    draw_axes(f, c, 1);
}

void draw_axis(fuzz *f, operator_case *c)
{
    draw_rows(f, c);
    c->argument[0] = fuzz_below(f, 2 * c->in[0].ndim) - c->in[0].ndim;
}

void draw_same(fuzz *f, operator_case *c)
{
    draw_rows(f, c);
    c->in[1] = c->in[0];
}

/* b is a with axes left out in front; then axes of one or the other become 1. */
void draw_broadcast(fuzz *f, operator_case *c)
{
    draw_any(f, c);
    const int missing = (int)fuzz_below(f, c->in[0].ndim + 1);
    for (int i = missing; i < c->in[0].ndim; i++) {
        const int64_t size = c->in[0].shape[i], which = fuzz_below(f, 4);
        fuzz_append(c, 1, which == 0 ? 1 : size);
        c->in[0].shape[i] = which == 1 ? 1 : size;
    }
    if (fuzz_below(f, 2)) {
        operator_case other = *c;
        c->in[0] = other.in[1];
        c->in[1] = other.in[0];
    }
}
