/* One description an operator: the value check, the float64 gradient check and the bench are made from it.
 * To have an operator tested, add a row to its family in operators/; nothing else. */
#pragma once
#include "tensor/ops.h"

enum { OPERATOR_INPUTS = 3 };

typedef struct {
    const char *what; /* what is special here, for messages; NULL ends a list of cases */
    struct {
        int ndim;
        int64_t shape[LS_MAX_DIMS];
    } in[OPERATOR_INPUTS];
    int64_t argument[4]; /* what the builder makes of it: an axis, k, flags */
} operator_case;

typedef struct {
    const char *name;
    int inputs;
    unsigned gains;   /* bit i: input i stays f32 where the others are bf16 */
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

    const operator_case *cases;
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
/* Fills input `input` with its numbers, the same for each type (they are exact in bf16). */
void operator_fill(const operator_description *d, const operator_case *c, int input, ls_type type, void *data);
