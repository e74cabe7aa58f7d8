/* One description an operator: the value check, the float64 gradient check, the same on drawn shapes, and the bench are
 * made from it.
 * To have an operator tested, add a row to its family in operators/; nothing else. */
#pragma once
#include "tensor/ops.h"
#include "tests/tensor/fuzz.h"


typedef struct {
    const char *name;
    int inputs;
    unsigned gains;   /* bit i: input i stays f32 where the others are bf16 or f16 */
    bool rounds;      /* its result is bf16 when the input is f32 */
    double low, high; /* inputs are uniform in between; both 0: -1 to 1 */

    /* One of three ways to build it. */
    ls_tensor *(*one)(ls_tape *tape, ls_tensor *x);
    ls_tensor *(*two)(ls_tape *tape, ls_tensor *a, ls_tensor *b);
    ls_tensor *(*build)(ls_tape *tape, ls_tensor *const *in, const operator_case *c);

    /* The value in f64: of one element, of two with broadcasting, or the whole result from dense inputs. */
    double (*value_one)(double x);
    double (*value_two)(double a, double b);
    void (*value)(const operator_case *c, const double *const *in, double *out);

    /* What the gradient is that of, where it is not that of the value (a step's stand-in, straight-through): computed as
     * `value` is. NULL: of the value. The tests see to it that a description names one only where the value itself has
     * another gradient. */
    void (*gradient_of)(const operator_case *c, const double *const *in, double *out);

    const operator_case *cases;
    /* Draws shapes and arguments that the operator takes; c->what and what it does not set are 0. Ask for sizes with
     * fuzz.h, in one call for each size that is free. */
    void (*draw)(fuzz *f, operator_case *c);
    operator_case bench;
    double (*flops)(const operator_case *c); /* NULL: the bench shows GB/s */
} operator_description;

/* Each family ends with a row whose name is NULL, the list with NULL. */
extern const operator_description *const operator_families[];

ls_tensor *operator_build(const operator_description *d, const operator_case *c, ls_tape *tape, ls_tensor *const *in);
/* The reference value of `out`, a result of the case, from inputs in f64. */
void operator_value(const operator_description *d, const operator_case *c, const double *const *in,
                    const ls_tensor *out, double *value);
int64_t operator_input_count(const operator_case *c, int input);
/* Fills input `input` with its numbers, the same for each type: exact in bf16 in the written cases; in drawn ones exact
 * in f32, and no two of an input close to each other. */
void operator_fill(const operator_description *d, const operator_case *c, int input, ls_type type, void *data);
