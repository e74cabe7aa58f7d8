/* The tape: when gradients are handed over, what scopes do, errors, an operator of one's own, memory.
 * On the naive device, so that a failure here is the tape's. */
#include "tensor/tape.h"
#include "tests/tensor/reference_device.h"
#include "tests/tensor/small_model.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static ls_tape *make_tape(size_t bytes)
{
    ls_tape *tape;
    cr_assert_eq(ls_tape_create(&tape, reference_device(), bytes), LS_OK);
    ls_tape_reset(tape, 1, 0, 0);
    return tape;
}

static small_model make_model(ls_type type, int layers, bool tied, bool recompute, double dropout)
{
    small_model model = {.type = type, .layers = layers, .tied = tied, .recompute = recompute, .dropout = dropout};
    small_model_create(&model);
    ls_tape *tape = make_tape(1 << 26);
    cr_assert_eq(small_model_step(&model, tape), LS_OK, "%s", ls_fail_sentence());
    ls_tape_free(tape);
    return model;
}

/* ---- handing over ---- */

Test(tape, each_parameter_comes_once_in_reverse_order_of_first_use)
{
    small_model model = make_model(LS_F64, 2, false, false, 0);
    cr_assert_eq(model.came, model.parameters);
    for (int i = 0; i < model.came; i++)
        cr_expect_eq(model.order[i], model.parameters - 1 - i, "%s came as number %d", model.name[model.order[i]], i);
    small_model_free(&model);
}

Test(tape, a_tied_parameter_comes_once_and_last_with_the_sum_of_its_uses)
{
    small_model tied = make_model(LS_F64, 1, true, false, 0), untied = {.type = LS_F64, .layers = 1};
    small_model_create(&untied);
    int head = untied.parameters - 1;
    memcpy(untied.parameter[head].data, tied.parameter[0].data, (size_t)untied.parameter[head].count * sizeof(double));
    ls_tape *tape = make_tape(1 << 26);
    cr_assert_eq(small_model_step(&untied, tape), LS_OK);
    cr_assert_eq(tied.calls[0], 1);
    cr_assert_eq(tied.order[tied.came - 1], 0);
    const double *sum = tied.gradient[0], *first = untied.gradient[0], *second = untied.gradient[head];
    double largest = 0;
    for (int64_t i = 0; i < tied.parameter[0].count; i++) {
        cr_assert_float_eq(sum[i], first[i] + second[i], 1e-14, "element %ld", (long)i);
        largest = fmax(largest, fmin(fabs(first[i]), fabs(second[i])));
    }
    cr_assert_gt(largest, 1e-4, "both uses count");
    ls_tape_free(tape);
    small_model_free(&tied);
    small_model_free(&untied);
}

Test(tape, parameters_get_f32_and_results_their_own_type)
{
    small_model model = make_model(LS_BF16, 1, true, false, 0), exact = make_model(LS_F64, 1, true, false, 0);
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < model.parameter[0].count; i++) {
        difference += pow((double)((float *)model.gradient[0])[i] - ((double *)exact.gradient[0])[i], 2);
        norm += pow(((double *)exact.gradient[0])[i], 2);
    }
    cr_assert_lt(sqrt(difference / norm), 3e-2);
    cr_assert_gt(sqrt(difference / norm), 1e-5, "bf16 was really used");
    small_model_free(&model);
    small_model_free(&exact);
}

Test(tape, a_frozen_parameter_does_not_come_and_one_beside_the_loss_neither)
{
    float a[] = {1, 2}, b[] = {3, 4}, c[] = {5, 6};
    ls_parameter frozen = {.name = "a", .ndim = 1, .shape = {2}, .count = 2, .data = a, .frozen = true};
    ls_parameter used = {.name = "b", .ndim = 1, .shape = {2}, .count = 2, .data = b};
    ls_parameter beside = {.name = "c", .ndim = 1, .shape = {2}, .count = 2, .data = c};
    ls_tape *tape = make_tape(1 << 20);
    ls_tensor *y = ls_mul(tape, ls_use(tape, &frozen), ls_use(tape, &used));
    ls_exp(tape, ls_use(tape, &beside));
    ls_backward(tape, ls_sum(tape, y, LS_ALL), 2, NULL, NULL);
    cr_assert_eq(ls_tape_status(tape), LS_OK, "%s", ls_fail_sentence());
    cr_assert_null(ls_use(tape, &frozen)->grad);
    cr_assert_null(ls_use(tape, &beside)->grad);
    const float *gradient = ls_use(tape, &used)->grad;
    cr_assert_eq(gradient[0], 2);
    cr_assert_eq(gradient[1], 4);
    ls_tape_free(tape);
}

Test(tape, a_variable_sums_over_its_uses_and_over_backwards)
{
    double x[] = {3};
    ls_tape *tape = make_tape(1 << 20);
    ls_tensor *v = ls_variable(tape, LS_F64, LS_SHAPE(1), x);
    ls_tensor *loss = ls_sum(tape, ls_add(tape, ls_add(tape, ls_mul(tape, v, v), v), v), LS_ALL); /* x^2 + 2x */
    ls_backward(tape, loss, 1, NULL, NULL);
    cr_assert_eq(*(double *)v->grad, 8);
    ls_backward(tape, loss, 0.5, NULL, NULL);
    cr_assert_eq(*(double *)v->grad, 12);
    ls_tape_free(tape);
}

/* ---- scopes ---- */

Test(tape, recompute_gives_the_bits_of_the_plain_call_with_dropout_inside)
{
    small_model plain = make_model(LS_F32, 3, true, false, 0.2), scoped = make_model(LS_F32, 3, true, true, 0.2);
    const char *first = NULL;
    cr_assert(small_model_same_gradients(&plain, &scoped, &first), "%s differs", first);
    cr_assert_eq(plain.loss, scoped.loss);
    small_model other = make_model(LS_F32, 3, true, true, 0.1); /* the test can fail: dropout matters */
    cr_assert_not(small_model_same_gradients(&plain, &other, &first));
    for (int i = 0; i < scoped.parameters; i++)
        cr_assert_eq(scoped.calls[i], 1, "%s came %d times", scoped.name[i], scoped.calls[i]);
    small_model_free(&plain);
    small_model_free(&scoped);
    small_model_free(&other);
}

static size_t forward_bytes(small_model *model)
{
    ls_tape *tape = make_tape(1 << 26);
    small_model_loss(model, tape);
    size_t bytes = ls_arena_used(ls_tape_arena(tape));
    ls_tape_free(tape);
    return bytes;
}

Test(tape, recompute_keeps_one_result_a_scope)
{
    small_model few = make_model(LS_F32, 1, true, true, 0), many = make_model(LS_F32, 5, true, true, 0);
    const size_t result = 2 * 24 * 32 * sizeof(float), scopes = 4;
    cr_assert_lt(forward_bytes(&many) - forward_bytes(&few), scopes * result * 3 / 2);
    many.recompute = few.recompute = false;
    cr_assert_gt(forward_bytes(&many) - forward_bytes(&few), scopes * result * 5);
    small_model_free(&few);
    small_model_free(&many);
}

static ls_tensor *inner_scope(void *context, ls_tape *tape, ls_tensor *x)
{
    return ls_dropout(tape, ls_mul(tape, x, ls_use(tape, *(ls_parameter **)context)), 0.5);
}

static ls_tensor *outer_scope(void *context, ls_tape *tape, ls_tensor *x)
{
    ls_tensor *y = ls_exp(tape, ls_dropout(tape, x, 0.5));
    y = ls_recompute(tape, inner_scope, context, sizeof(ls_parameter *), y);
    return ls_add(tape, ls_dropout(tape, y, 0.5), x);
}

Test(tape, recompute_scopes_nest)
{
    double w[4] = {0.5, -1, 2, 1.5}, x[4] = {0.1, 0.2, -0.3, 0.4}, want[2][4];
    ls_parameter parameter = {.name = "w", .ndim = 1, .shape = {4}, .count = 4, .type = LS_F64, .data = w};
    ls_parameter *context = &parameter;
    for (int scoped = 0; scoped < 2; scoped++) {
        ls_tape *tape = make_tape(1 << 20);
        ls_tape_reset(tape, 3, 0, 0);
        ls_tensor *v = ls_variable(tape, LS_F64, LS_SHAPE(4), x);
        ls_tensor *y = ls_square(tape, v);
        y = scoped ? ls_recompute(tape, outer_scope, &context, sizeof context, y) : outer_scope(&context, tape, y);
        ls_backward(tape, ls_sum(tape, ls_square(tape, y), LS_ALL), 1, NULL, NULL);
        cr_assert_eq(ls_tape_status(tape), LS_OK, "%s", ls_fail_sentence());
        const double *gradient[] = {v->grad, ls_use(tape, &parameter)->grad};
        for (int i = 0; i < 2; i++) {
            if (!scoped)
                memcpy(want[i], gradient[i], sizeof want[i]);
            cr_assert_eq(memcmp(gradient[i], want[i], sizeof want[i]), 0);
        }
        ls_tape_free(tape);
    }
}

Test(tape, no_grad_records_nothing_and_turns_dropout_off)
{
    double x[] = {1, 2};
    ls_tape *tape = make_tape(1 << 20);
    ls_tensor *v = ls_variable(tape, LS_F64, LS_SHAPE(2), x);
    ls_no_grad_begin(tape);
    ls_no_grad_begin(tape);
    ls_no_grad_end(tape);
    ls_tensor *y = ls_exp(tape, v);
    cr_assert_eq(ls_dropout(tape, y, 0.5), y);
    ls_no_grad_end(tape);
    cr_assert_null(tape->now.last);
    cr_assert_not(y->needs_grad);
    cr_assert_eq(((double *)y->data)[0], exp(1));
    ls_tensor *z = ls_mul(tape, y, v); /* y counts as a constant */
    ls_backward(tape, ls_sum(tape, z, LS_ALL), 1, NULL, NULL);
    cr_assert_eq(((double *)v->grad)[1], exp(2));
    cr_assert_eq(ls_tape_status(tape), LS_OK);
    ls_no_grad_end(tape);
    cr_assert_eq(ls_tape_status(tape), LS_EARG, "one end too many");
    ls_tape_free(tape);
}

Test(tape, stop_gradient_stops)
{
    double x[] = {3};
    ls_tape *tape = make_tape(1 << 20);
    ls_tensor *v = ls_variable(tape, LS_F64, LS_SHAPE(1), x);
    ls_tensor *y = ls_mul(tape, v, ls_stop_gradient(tape, ls_square(tape, v)));
    ls_backward(tape, ls_sum(tape, y, LS_ALL), 1, NULL, NULL);
    cr_assert_eq(*(double *)v->grad, 9);
    ls_tape_free(tape);
}

Test(tape, random_operators_depend_on_step_slot_and_their_number)
{
    double x[64], got[4][64];
    for (int i = 0; i < 64; i++)
        x[i] = 1;
    ls_tape *tape = make_tape(1 << 20);
    for (int i = 0; i < 4; i++) {
        ls_tape_reset(tape, 7, i == 1, i == 2);
        ls_tensor *v = ls_constant(tape, LS_F64, LS_SHAPE(64), x), *y = ls_dropout(tape, v, 0.5);
        memcpy(got[i], i == 3 ? ls_dropout(tape, v, 0.5)->data : y->data, sizeof got[i]);
    }
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < i; j++)
            cr_expect_neq(memcmp(got[i], got[j], sizeof got[i]), 0, "%d and %d drew the same", i, j);
    ls_tape_free(tape);
}

/* ---- errors ---- */

static void never(void *context, const ls_parameter *parameter, void *gradient)
{
    (void)context, (void)gradient;
    cr_assert_fail("%s was handed over after an error", parameter->name);
}

Test(tape, the_first_error_sticks_and_operators_do_nothing_after_it)
{
    float data[6] = {0};
    ls_parameter parameter = {.name = "w", .ndim = 2, .shape = {2, 3}, .count = 6, .data = data};
    ls_tape *tape = make_tape(1 << 20);
    ls_tensor *a = ls_use(tape, &parameter), *b = ls_constant(tape, LS_F32, LS_SHAPE(2, 3), data);
    ls_tensor *c = ls_matmul(tape, a, b, false, false); /* [2, 3] x [2, 3] */
    size_t used = ls_arena_used(tape->records);
    ls_tensor *d = ls_softmax(tape, ls_concat(tape, 2, (ls_tensor *[]){c, a}, 7)); /* wrong as well, but later */
    int32_t *index;
    ls_top_k(tape, d, 1, &index);
    cr_assert_eq(index[0], 0);
    ls_backward(tape, ls_sum(tape, d, LS_ALL), 1, never, NULL);
    cr_assert_eq(ls_arena_used(tape->records), used);
    ls_fail_clear();
    cr_assert_eq(ls_tape_status(tape), LS_ESHAPE);
    cr_assert_str_eq(ls_fail_sentence(), "operator matmul: f32 [2, 3] and f32 [2, 3]: inner sizes 3 and 2 differ");
    ls_tape_reset(tape, 1, 0, 0);
    cr_assert_eq(ls_tape_status(tape), LS_OK);
    ls_tape_free(tape);
}

/* Runs one wrong call on a fresh tape and compares its sentence. */
static void expect_error(ls_status code, const char *part, void (*call)(ls_tape *tape, ls_tensor *x))
{
    float data[6] = {0};
    ls_tape *tape = make_tape(1 << 20);
    call(tape, ls_constant(tape, LS_F32, LS_SHAPE(2, 3), data));
    cr_expect_eq(ls_tape_status(tape), code, "%s: %s", part, ls_status_name(ls_tape_status(tape)));
    cr_expect(strstr(ls_fail_sentence(), part), "'%s' is not in: %s", part, ls_fail_sentence());
    ls_tape_free(tape);
}

static void wrong_id(ls_tape *tape, ls_tensor *x)
{
    ls_embedding(tape, x, (const int32_t[]){1, 0, 5, 1}, LS_SHAPE(4));
}

static void wrong_label(ls_tape *tape, ls_tensor *x)
{
    ls_cross_entropy_sum(tape, x, x, (const int32_t[]){-1, 2}, NULL, NULL);
}

static void wrong_type(ls_tape *tape, ls_tensor *x)
{
    ls_add(tape, x, ls_cast(tape, x, LS_BF16));
}

static void wrong_broadcast(ls_tape *tape, ls_tensor *x)
{
    ls_add(tape, x, ls_reshape(tape, x, LS_SHAPE(3, 2)));
}

static void wrong_reshape(ls_tape *tape, ls_tensor *x)
{
    ls_reshape(tape, x, LS_SHAPE(4, 2));
}

static void wrong_narrow(ls_tape *tape, ls_tensor *x)
{
    ls_narrow(tape, x, -1, 2, 2);
}

static void wrong_segments(ls_tape *tape, ls_tensor *x)
{
    x = ls_reshape(tape, x, LS_SHAPE(1, 3, 1, 2));
    ls_cross_attention(tape, x, x, x, NULL, (const int32_t[]){1, 0, -1});
}

static void no_mask(ls_tape *tape, ls_tensor *x)
{
    x = ls_reshape(tape, x, LS_SHAPE(1, 3, 1, 2));
    ls_masked_attention(tape, x, x, x, NULL);
}

static void wrong_loss(ls_tape *tape, ls_tensor *x)
{
    ls_backward(tape, x, 1, NULL, NULL);
}

static void constant_loss(ls_tape *tape, ls_tensor *x)
{
    ls_backward(tape, ls_sum(tape, x, LS_ALL), 1, NULL, NULL);
}

static void too_large(ls_tape *tape, ls_tensor *x)
{
    static float data[600][600];
    ls_exp(tape, ls_constant(tape, LS_F32, LS_SHAPE(600, 600), data));
    (void)x;
}

Test(tape, errors_say_what_where_and_what_to_do)
{
    expect_error(LS_EARG, "operator embedding: id 5 at place 2 of 4: it must be in 0 to 1", wrong_id);
    expect_error(LS_EARG, "label 2 of row 1: the vocabulary has 2", wrong_label);
    expect_error(LS_ETYPE, "input 0 is f32 [2, 3], but input 1 is bf16 [2, 3]; cast one of them", wrong_type);
    expect_error(LS_ESHAPE, "f32 [2, 3] and f32 [3, 2]: sizes 2 and 3", wrong_broadcast);
    expect_error(LS_ESHAPE, "f32 [2, 3] to f32 [4, 2]: the number of elements must stay", wrong_reshape);
    expect_error(LS_ESHAPE, "elements 2 to 3 of axis 1, which has 3", wrong_narrow);
    expect_error(LS_EARG, "row 0: key 1 is of segment 0 after one of 1", wrong_segments);
    expect_error(LS_EARG, "masked_attention: there is no mask", no_mask);
    expect_error(LS_ESHAPE, "the loss has 6 elements", wrong_loss);
    expect_error(LS_EARG, "depends on nothing that needs a gradient", constant_loss);
    expect_error(LS_EMEM, "tape activations: 1440000 bytes asked for", too_large);
}

/* ---- an operator of one's own: the very example of docs/adding-an-operator.md ---- */

/* Huber's loss of each element: x^2 / 2 where |x| <= delta, else delta (|x| - delta / 2). */
typedef struct {
    double delta;
} huber_attributes;

static ls_status huber_shape(ls_node *node)
{
    const huber_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    ls_tensor *y = node->out[0];
    if (x->type != LS_F64)
        return ls_fail(LS_ETYPE, "x is %s; this example knows f64 only", ls_type_name(x->type));
    if (!(at->delta > 0))
        return ls_fail(LS_EARG, "delta is %g, it must be above 0", at->delta);
    y->type = x->type;
    y->ndim = x->ndim;
    memcpy(y->shape, x->shape, sizeof y->shape);
    return LS_OK;
}

static ls_status huber_forward(ls_node *node, ls_device *device)
{
    const double delta = ((huber_attributes *)node->attributes)->delta, *x = node->in[0]->data;
    double *y = node->out[0]->data;
    for (int64_t i = 0; i < node->in[0]->count; i++)
        y[i] = fabs(x[i]) <= delta ? x[i] * x[i] / 2 : delta * (fabs(x[i]) - delta / 2);
    (void)device;
    return LS_OK;
}

static ls_status huber_backward(ls_node *node, ls_device *device)
{
    const double delta = ((huber_attributes *)node->attributes)->delta, *x = node->in[0]->data,
                 *dy = node->out[0]->grad;
    double *dx = ls_gradient(node, 0);
    for (int64_t i = 0; dx && i < node->in[0]->count; i++)
        dx[i] += dy[i] * (fabs(x[i]) <= delta ? x[i] : copysign(delta, x[i]));
    (void)device;
    return LS_OK;
}

static const ls_op huber_op = {"huber", huber_shape, huber_forward, huber_backward};

static ls_tensor *huber(ls_tape *tape, ls_tensor *x, double delta)
{
    const huber_attributes at = {delta};
    return ls_apply(tape, &huber_op, 1, &x, &at, sizeof at, 1, NULL);
}

Test(tape, runs_an_operator_of_ones_own)
{
    double x[] = {-3, -0.5, 0.25, 2};
    ls_tape *tape = make_tape(1 << 20);
    ls_tensor *v = ls_variable(tape, LS_F64, LS_SHAPE(4), x);
    ls_tensor *loss = ls_sum(tape, huber(tape, ls_scale(tape, v, 2, 0), 1), LS_ALL);
    ls_backward(tape, loss, 1, NULL, NULL);
    cr_assert_eq(ls_tape_status(tape), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(*(double *)loss->data, 5.5 + 0.5 + 0.125 + 3.5);
    const double want[] = {-2, -2, 1, 2};
    cr_assert_eq(memcmp(v->grad, want, sizeof want), 0);
    huber(tape, v, 0);
    cr_assert_eq(ls_tape_status(tape), LS_EARG);
    cr_assert_str_eq(ls_fail_sentence(), "operator huber: delta is 0, it must be above 0");
    ls_tape_free(tape);
}

/* ---- memory and arithmetic ---- */

Test(tape, depth_adds_no_gradient_memory)
{
    size_t high[2];
    for (int deep = 0; deep < 2; deep++) {
        small_model model = {.type = LS_F32, .layers = deep ? 6 : 2, .tied = true, .lets_go = true};
        small_model_create(&model);
        ls_tape *tape = make_tape(1 << 26);
        cr_assert_eq(small_model_step(&model, tape), LS_OK);
        high[deep] = ls_arena_high(tape->gradients);
        ls_tape_free(tape);
        small_model_free(&model);
    }
    cr_assert_eq(high[0], high[1]);
}

static float *one_place(void *context, const ls_parameter *parameter)
{
    (void)parameter;
    return context;
}

static void copy_gradient(void *context, const ls_parameter *parameter, void *gradient)
{
    memcpy(context, gradient, (size_t)parameter->count * sizeof(float));
}

/* Bytes that a block more adds to a step. */
static size_t block_bytes(bool lets_go)
{
    size_t bytes[2];
    for (int deep = 0; deep < 2; deep++) {
        small_model model = {.type = LS_F32, .layers = deep ? 3 : 2, .tied = true, .lets_go = lets_go};
        small_model_create(&model);
        ls_tape *tape = make_tape(1 << 26);
        cr_assert_eq(small_model_step(&model, tape), LS_OK);
        bytes[deep] = ls_arena_high(tape->activations) + ls_arena_high(tape->gradients);
        ls_tape_free(tape);
        small_model_free(&model);
    }
    return bytes[1] - bytes[0];
}

Test(tape, letting_go_gives_the_bits_of_keeping_also_in_recompute_scopes)
{
    for (int recompute = 0; recompute < 2; recompute++) {
        small_model keeps = {.type = LS_F32, .layers = 3, .tied = true, .recompute = recompute, .dropout = 0.2}, goes = keeps;
        goes.lets_go = true;
        small_model_create(&keeps);
        small_model_create(&goes);
        ls_tape *tape = make_tape(1 << 26);
        cr_assert_eq(small_model_step(&keeps, tape), LS_OK, "%s", ls_fail_sentence());
        cr_assert_eq(small_model_step(&goes, tape), LS_OK, "%s", ls_fail_sentence());
        const char *first = NULL;
        cr_expect(small_model_same_gradients(&keeps, &goes, &first), "%s differs", first);
        cr_expect_eq(keeps.loss, goes.loss);
        ls_tape_free(tape);
        small_model_free(&keeps);
        small_model_free(&goes);
    }
}

Test(tape, gradients_made_outside_have_the_bits_of_those_inside)
{
    for (int tied = 0; tied < 2; tied++)
        for (ls_type type = LS_F32; type <= LS_F16; type = stored_after(type)) {
            small_model inside = {.type = type, .layers = 2, .tied = tied, .recompute = tied}, outside = inside;
            outside.places = true;
            small_model_create(&inside);
            small_model_create(&outside);
            ls_tape *tape = make_tape(1 << 26);
            const char *first = NULL;
            for (int step = 0; step < 2; step++) {
                cr_assert_eq(small_model_step(&inside, tape), LS_OK, "%s", ls_fail_sentence());
                cr_assert_eq(small_model_step(&outside, tape), LS_OK, "%s", ls_fail_sentence());
                cr_expect(small_model_same_gradients(&inside, &outside, &first), "%s differs", first);
                cr_expect_eq(outside.in_place, outside.parameters);
            }
            ls_tape_free(tape);
            small_model_free(&inside);
            small_model_free(&outside);
        }
}

/* Both losses make a gradient of the one head in forward: the first has the place, the other a block, and the sum lies in
 * either. */
Test(tape, two_gradients_of_one_parameter_in_forward_share_no_memory)
{
    float w[6] = {1, -1, 0.5f, 2, 1, -2}, x[4] = {1, 2, -1, 0.5f}, place[6];
    ls_parameter head = {.name = "w", .ndim = 2, .shape = {3, 2}, .count = 6, .data = w};
    float sums[2][6];
    for (int outside = 0; outside < 2; outside++) {
        ls_tape *tape = make_tape(1 << 20);
        if (outside)
            ls_tape_places(tape, one_place, place);
        ls_tensor *v = ls_constant(tape, LS_F32, LS_SHAPE(2, 2), x);
        ls_tensor *a = ls_cross_entropy_sum(tape, v, ls_use(tape, &head), (const int32_t[]){0, 1}, NULL, NULL);
        ls_tensor *b = ls_cross_entropy_sum(tape, v, ls_use(tape, &head), (const int32_t[]){2, 0}, NULL, NULL);
        ls_backward(tape, ls_add(tape, a, b), 1, copy_gradient, sums[outside]);
        cr_assert_eq(ls_tape_status(tape), LS_OK, "%s", ls_fail_sentence());
        ls_tape_free(tape);
    }
    cr_expect_eq(memcmp(sums[0], sums[1], sizeof sums[0]), 0);
}

/* A norm twice [48, 32], an activation and its square [48, 48], and the two sums. */
Test(tape, what_is_let_go_or_added_in_place_takes_no_memory)
{
    const size_t least = 48 * (2 * 32 + 2 * 48 + 2 * 32) * sizeof(float);
    cr_assert_geq(block_bytes(false) - block_bytes(true), least);
}

Test(tape, what_was_let_go_can_be_made_again_for_a_second_backward_but_not_used)
{
    float x[8] = {1, 2, 3, 4, 5, 6, 7, 9}, gain[4] = {1, -1, 2, 0.5f}, once[4];
    ls_tape *tape = make_tape(1 << 20);
    ls_tensor *g = ls_variable(tape, LS_F32, LS_SHAPE(4), gain), *v = ls_constant(tape, LS_F32, LS_SHAPE(2, 4), x);
    ls_tensor *h = ls_rms_norm(tape, v, g, 1e-5), *loss = ls_sum(tape, ls_square(tape, h), LS_ALL);
    ls_let_go(tape, h);
    ls_let_go(tape, v); /* not the tape's: nothing happens */
    ls_backward(tape, loss, 1, NULL, NULL);
    memcpy(once, g->grad, sizeof once);
    ls_backward(tape, loss, 1, NULL, NULL);
    for (int i = 0; i < 4; i++)
        cr_expect_eq(((float *)g->grad)[i], 2 * once[i]);
    cr_assert_eq(ls_tape_status(tape), LS_OK, "%s", ls_fail_sentence());
    ls_exp(tape, h);
    cr_assert_eq(ls_tape_status(tape), LS_EARG);
    cr_assert_str_eq(ls_fail_sentence(), "operator exp: input 0 was let go before; let it go after its last use");
    ls_tape_free(tape);
}

Test(tape, counts_the_arithmetic_of_matrix_products)
{
    float x[6] = {0}, w[12] = {0};
    ls_tape *tape = make_tape(1 << 20);
    ls_tensor *a = ls_constant(tape, LS_F32, LS_SHAPE(2, 3), x), *b = ls_variable(tape, LS_F32, LS_SHAPE(4, 3), w);
    ls_tensor *y = ls_linear(tape, a, b, NULL, LS_ACT_NONE);
    cr_assert_eq(ls_tape_flops(tape), 2 * 2 * 3 * 4);
    ls_backward(tape, ls_sum(tape, y, LS_ALL), 1, NULL, NULL);
    cr_assert_eq(ls_tape_flops(tape), 2 * 2 * 2 * 3 * 4, "x needs no gradient: one product more, not two");
    ls_tape_free(tape);
}
