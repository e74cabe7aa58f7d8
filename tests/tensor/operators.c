/* The families of operator descriptions, and what the tests and the bench ask of a description. */
#include "tests/tensor/operators.h"

#include "tests/tensor/reference_device.h"

extern const operator_description operators_elementwise[], operators_reductions[], operators_linear[],
    operators_choosing[], operators_norms[], operators_attention[], operators_loss[], operators_moving[],
    operators_example[], operators_grids[], operators_losses[], operators_spiking[], operators_random[];

const operator_description *const operator_families[] = {
    operators_elementwise, operators_reductions, operators_linear, operators_choosing, operators_norms,
    operators_attention,   operators_loss,       operators_moving, operators_example,  operators_grids,
    operators_losses,      operators_spiking,    operators_random, NULL,
};

ls_tensor *operator_build(const operator_description *d, const operator_case *c, ls_tape *tape, ls_tensor *const *in)
{
    if (d->one)
        return d->one(tape, in[0]);
    return d->two ? d->two(tape, in[0], in[1]) : d->build(tape, in, c);
}

int64_t operator_input_count(const operator_case *c, int input)
{
    int64_t count = 1;
    for (int i = 0; i < c->in[input].ndim; i++)
        count *= c->in[input].shape[i];
    return count;
}

/* The element of input `input` that element i of `out` is made from, by NumPy's rule. */
static double broadcast(const operator_case *c, int input, const double *data, const ls_tensor *out, int64_t i)
{
    int64_t at = 0, stride = 1;
    for (int axis = out->ndim - 1; axis >= 0; axis--) {
        int own = axis - (out->ndim - c->in[input].ndim);
        if (own >= 0) {
            at += (c->in[input].shape[own] == 1 ? 0 : i % out->shape[axis]) * stride;
            stride *= c->in[input].shape[own];
        }
        i /= out->shape[axis];
    }
    return data[at];
}

void operator_value(const operator_description *d, const operator_case *c, const double *const *in,
                    const ls_tensor *out, double *value)
{
    if (d->value) {
        d->value(c, in, value);
        return;
    }
    for (int64_t i = 0; i < out->count; i++)
        value[i] = d->value_one ? d->value_one(in[0][i])
                                : d->value_two(broadcast(c, 0, in[0], out, i), broadcast(c, 1, in[1], out, i));
}

void operator_fill(const operator_description *d, const operator_case *c, int input, ls_type type, void *data)
{
    const ls_random stream = {.seed = 11, .slot = (uint32_t)input, .purpose = LS_RANDOM_TASK};
    double low = d->low, high = d->high;
    if (low == 0 && high == 0)
        low = -1, high = 1;
    if (c->argument[CASE_SEED]) {
        fuzz_fill(c, input, low, high, type, data);
        return;
    }
    for (int64_t i = 0; i < operator_input_count(c, input); i++) {
        uint16_t rounded;
        reference_put(LS_BF16, &rounded, 0, low + (high - low) * (double)ls_random_uniform(&stream, (uint64_t)i));
        reference_put(type, data, i, reference_get(LS_BF16, &rounded, 0));
    }
}
