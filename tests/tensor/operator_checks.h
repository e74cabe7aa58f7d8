/* What is checked of one case of an operator's description. Each check reports what is off and goes on. */
#pragma once
#include "tests/tensor/operators.h"

/* Value and gradients of a case, in f64; the gradients are those of check_weighted_sum. */
typedef struct {
    double *value, *gradient[OPERATOR_INPUTS];
    int64_t count;
} operator_outcome;
operator_outcome operator_run(const operator_description *d, const operator_case *c, ls_device *on, ls_type type);
void operator_outcome_free(operator_outcome *o);

/* f for every case of every description. */
void operator_for_each_case(void (*f)(const operator_description *d, const operator_case *c));

/* Sum of result times fixed weights, so that each element of the result gets a gradient of its own. */
ls_tensor *check_weighted_sum(ls_tape *tape, ls_tensor *y);
/* Types of the inputs where the others are `type`: gains may differ. */
void operator_input_types(const operator_description *d, ls_type type, ls_type *types);

/* In f64 on `device` the value is the description's, to 1e-12. */
void check_value(const operator_description *d, const operator_case *c, ls_device *device);
/* In f64 on `device` the gradients are difference quotients (of d->gradient_of where there is one), to 1e-6. */
void check_gradient(const operator_description *d, const operator_case *c, ls_device *device);
/* Value and gradients in `type` on `device` are those in f64 on the naive device, to `bound`. */
void check_agreement(const operator_description *d, const operator_case *c, ls_device *device, ls_type type,
                     double bound);
/* How far the gradients are from the quotients of the value itself: for descriptions with gradient_of. */
double distance_from_own_gradient(const operator_description *d, const operator_case *c, ls_device *device);
