/* What the model tests stand on: a model made from options, bound to flat buffers, with a device and a tape. */
#pragma once
#include "models/parameters.h"
#include "models/transformer.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    ls_team *team;
    ls_device *device;
    ls_tape *tape;
    ls_transformer *model; /* NULL: the test's own */
    ls_parameter *parameters;
    int count;
    int64_t elements; /* of the flat buffers */
    float *master;    /* f32 weights; zeros to begin with */
    void *working;    /* what forward reads: master itself in f32 */
    ls_type compute;
} workbench;

static inline workbench workbench_without_model(ls_type compute, int threads)
{
    workbench w = {.compute = compute};
    cr_assert_eq(ls_team_create(&w.team, threads, 1), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_device_create_cpu(&w.device, w.team), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_tape_create(&w.tape, w.device, (size_t)1 << 34), LS_OK, "%s", ls_fail_sentence());
    return w;
}

/* Gives w->parameters their flat buffers. */
static inline void workbench_bind(workbench *w)
{
    w->elements = ls_parameters_layout(w->parameters, w->count);
    w->master = calloc((size_t)w->elements, sizeof *w->master);
    w->working = w->compute == LS_F32 ? w->master : calloc((size_t)w->elements, ls_type_size(w->compute));
    ls_parameters_bind(w->parameters, w->count, w->compute, w->working, w->master);
}

static inline workbench workbench_of(const ls_transformer_options *options, ls_type compute, int threads)
{
    workbench w = workbench_without_model(compute, threads);
    cr_assert_eq(ls_transformer_create(&w.model, options), LS_OK, "%s", ls_fail_sentence());
    w.count = ls_transformer_parameters(w.model, &w.parameters);
    workbench_bind(&w);
    return w;
}

/* After the masters were written. */
static inline void workbench_load(workbench *w)
{
    if (w->compute != LS_F32)
        w->device->cast(w->device, LS_F32, w->compute, w->elements, w->master, w->working);
}

static inline void workbench_done(workbench *w)
{
    if (w->compute != LS_F32)
        free(w->working);
    free(w->master);
    ls_transformer_free(w->model);
    ls_tape_free(w->tape);
    w->device->free(w->device);
    ls_team_free(w->team);
}

/* `path` in the source tree. */
static inline const char *source_path(const char *path)
{
    static char whole[4096];
    const char *root = getenv("LS_SOURCE");
    snprintf(whole, sizeof whole, "%s/%s", root ? root : ".", path);
    return whole;
}

static inline json_t *json_of(const char *path)
{
    json_error_t error;
    json_t *root = json_load_file(source_path(path), 0, &error);
    cr_assert_not_null(root, "%s: line %d: %s", path, error.line, error.text);
    return root;
}

static inline double json_number_at(const json_t *array, size_t i)
{
    return json_number_value(json_array_get(array, i));
}
