/* Operators against PyTorch's of the same meaning (tests/golden/make_operator_golden.py): values, and gradients of the
 * sum of the result times fixed weights, in f64. */
#include "tensor/ops_image.h"
#include "tests/tensor/operator_checks.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int ndim;
    int64_t shape[LS_MAX_DIMS], count;
    double *data;
} array;

static array array_of(const json_t *row)
{
    const json_t *shape = json_object_get(row, "shape"), *data = json_object_get(row, "data");
    array a = {.ndim = (int)json_array_size(shape), .count = (int64_t)json_array_size(data)};
    for (int i = 0; i < a.ndim; i++)
        a.shape[i] = json_integer_value(json_array_get(shape, (size_t)i));
    a.data = calloc((size_t)a.count + 1, sizeof *a.data);
    for (int64_t i = 0; i < a.count; i++) {
        const json_t *number = json_array_get(data, (size_t)i);
        a.data[i] = json_is_string(number) ? NAN : json_number_value(number);
    }
    return a;
}

/* Numbers of a list of the row on the tape's arena; NULL: there is none. */
static float *floats(ls_tape *tape, const json_t *row, const char *key, int64_t *n)
{
    const json_t *list = json_object_get(row, key);
    *n = (int64_t)json_array_size(list);
    float *out = *n ? ls_arena_array(ls_tape_arena(tape), float, *n) : NULL;
    for (int64_t i = 0; i < *n; i++)
        out[i] = (float)json_number_value(json_array_get(list, (size_t)i));
    return out;
}

static int64_t integer(const json_t *row, const char *key)
{
    const json_t *value = json_object_get(row, key);
    return json_is_true(value) ? 1 : json_integer_value(value);
}

static void integers(const json_t *row, const char *key, int64_t *out)
{
    const json_t *list = json_object_get(row, key);
    for (size_t i = 0; i < json_array_size(list); i++)
        out[i] = json_integer_value(json_array_get(list, i));
}

static ls_tensor *segments(ls_tape *tape, const json_t *row, ls_tensor *x, bool mean)
{
    int64_t ids[16];
    int32_t small[16];
    integers(row, "index", ids);
    for (int64_t i = 0; i < x->shape[0]; i++)
        small[i] = (int32_t)ids[i];
    return (mean ? ls_segment_mean : ls_segment_sum)(tape, x, x->shape[0], small, integer(row, "segments"));
}

static ls_tensor *build(ls_tape *tape, const json_t *row, ls_tensor **in, int32_t **index)
{
    const char *name = json_string_value(json_object_get(row, "name"));
    int64_t n, classes, size[3] = {0};
    const float *weights = floats(tape, row, "weights", &n), *pos_weights = floats(tape, row, "pos_weights", &classes);
    integers(row, "size", size);
    if (!strcmp(name, "mse_sum"))
        return ls_mse_sum(tape, in[0], in[1], n, weights);
    if (!strcmp(name, "bce_with_logits_sum"))
        return ls_bce_with_logits_sum(tape, in[0], in[1], n, weights, pos_weights);
    if (!strcmp(name, "kl_sum"))
        return ls_kl_sum(tape, in[0], in[1], n, weights);
    if (!strcmp(name, "soft_cross_entropy_sum"))
        return ls_soft_cross_entropy_sum(tape, in[0], in[1], json_number_value(json_object_get(row, "smoothing")),
                                         weights, NULL);
    if (!strcmp(name, "kl_of_logits_sum"))
        return ls_kl_of_logits_sum(tape, in[0], in[1], weights, NULL);
    if (!strcmp(name, "cosine_similarity"))
        return ls_cosine_similarity(tape, in[0], in[1], json_number_value(json_object_get(row, "eps")));
    if (!strcmp(name, "sort"))
        return ls_sort(tape, in[0], integer(row, "descending") != 0, index);
    if (!strcmp(name, "top_k"))
        return ls_top_k(tape, in[0], integer(row, "k"), index);
    if (!strcmp(name, "cumulative_sum"))
        return ls_cumulative_sum(tape, in[0], (int)integer(row, "axis"));
    if (!strncmp(name, "segment", 7))
        return segments(tape, row, in[0], !strcmp(name, "segment_mean"));
    if (!strcmp(name, "upsampling"))
        return ls_upsampling(tape, in[0], (ls_upsampling_kind)integer(row, "kind"), size);
    cr_assert_fail("%s: no such operator here", name);
    return NULL;
}

static void compare(const char *name, size_t number, const char *what, const double *got, const array *want)
{
    for (int64_t i = 0; i < want->count; i++)
        cr_assert((isnan(got[i]) && isnan(want->data[i])) ||
                      fabs(got[i] - want->data[i]) <= 1e-12 * (1 + fabs(want->data[i])),
                  "case %d, %s: %s %d is %.17g, PyTorch has %.17g", (int)number, name, what, (int)i, got[i],
                  want->data[i]);
}

static void check_row(ls_tape *tape, const json_t *row, size_t number)
{
    const char *name = json_string_value(json_object_get(row, "name"));
    const json_t *inputs = json_object_get(row, "inputs"), *gradients = json_object_get(row, "gradients");
    array in[2] = {{0}}, want = array_of(json_object_get(row, "value"));
    ls_tensor *tensors[2] = {0};
    int32_t *index = NULL;
    ls_tape_reset(tape, 1, 1, 1);
    for (size_t i = 0; i < json_array_size(inputs); i++) {
        in[i] = array_of(json_array_get(inputs, i));
        tensors[i] = ls_variable(tape, LS_F64, in[i].ndim, in[i].shape, in[i].data);
    }
    ls_tensor *y = build(tape, row, tensors, &index);
    cr_assert_eq(ls_tape_status(tape), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(y->count, want.count, "%s", name);
    for (int i = 0; i < y->ndim; i++)
        cr_assert_eq(y->shape[i], want.shape[i], "%s", name);
    compare(name, number, "element", y->data, &want);
    const json_t *places = json_object_get(row, "index");
    for (int64_t i = 0; index && places && i < y->count; i++)
        cr_assert_eq(index[i], (int32_t)json_integer_value(json_array_get(places, (size_t)i)), "case %d, %s: index %d",
                     (int)number, name, (int)i);
    if (gradients)
        ls_backward(tape, check_weighted_sum(tape, y), 1, NULL, NULL);
    for (size_t i = 0; i < json_array_size(gradients); i++) {
        array gradient = array_of(json_array_get(gradients, i));
        compare(name, number, i ? "gradient of input 1 at" : "gradient of input 0 at", tensors[i]->grad, &gradient);
        free(gradient.data);
    }
    free(in[0].data), free(in[1].data), free(want.data);
}

Test(operators_golden, values_and_gradients_are_those_of_pytorch)
{
    ls_team *team;
    ls_device *device;
    ls_tape *tape;
    cr_assert_eq(ls_team_create(&team, 2, 1), LS_OK);
    cr_assert_eq(ls_device_create_cpu(&device, team), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_tape_create(&tape, device, 1 << 24), LS_OK);
    char path[4096];
    const char *source = getenv("LS_SOURCE");
    snprintf(path, sizeof path, "%s/tests/golden/operators.json", source ? source : ".");
    json_t *rows = json_load_file(path, 0, NULL);
    cr_assert_gt(json_array_size(rows), 30, "%s", path);
    for (size_t i = 0; i < json_array_size(rows); i++)
        check_row(tape, json_array_get(rows, i), i);
    json_decref(rows);
    ls_tape_free(tape);
    device->free(device);
    ls_team_free(team);
}
