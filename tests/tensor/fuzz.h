/* Cases of operators, and drawing them at random: sizes and numbers come from the counter RNG under a fixed seed and
 * the description's name, so a run always sees the same ones and a new description does not move the others'. */
#pragma once
#include "tensor/ops.h"

enum {
    OPERATOR_INPUTS = 3,
    CASE_SEED = 4 /* seed of a drawn case's numbers, < 0: rounded to bf16; 0: a written case */
};

typedef struct {
    const char *what; /* what is special here, for messages; NULL ends a list of cases */
    struct {
        int ndim;
        int64_t shape[LS_MAX_DIMS];
    } in[OPERATOR_INPUTS];
    int64_t argument[5]; /* what the builder makes of it: an axis, k, flags; the last is CASE_SEED */
} operator_case;

typedef enum {
    FUZZ_ODD,   /* sizes 1, 2, 3, 5, 7 */
    FUZZ_ONES,  /* most are 1 */
    FUZZ_LONG,  /* one is 33 to 97 */
    FUZZ_EMPTY, /* one is 0 */
    FUZZ_KINDS
} fuzz_kind;

typedef struct {
    ls_random stream;
    uint64_t drawn;
    fuzz_kind kind;
    int asked, special; /* the long or empty size is the one asked for as number `special` */
    int64_t room;       /* elements left: the product of the sizes asked for stays below a few hundred */
} fuzz;

/* A size of an axis; 0 in an empty case. */
int64_t fuzz_size(fuzz *f);
/* One that may not be empty, at least `least`. */
int64_t fuzz_size_from(fuzz *f, int64_t least);
/* A choice of 0 .. n - 1; n at least 1. */
int64_t fuzz_below(fuzz *f, int64_t n);

/* Case `number` of a description that has `draw`: its kind is number % FUZZ_KINDS. */
operator_case fuzz_case(const char *name, void (*draw)(fuzz *f, operator_case *c), int number);

/* Numbers of a drawn case's input: a shuffled grid from low to high, each a little off its place, so that no two are
 * closer than half a step: no ties, and no difference quotient that steps over one. Exact in f32. */
void fuzz_fill(const operator_case *c, int input, double low, double high, ls_type type, void *data);

/* Draws that several operators share. */
void draw_any(fuzz *f, operator_case *c);       /* input 0: any shape, a scalar too */
void draw_rows(fuzz *f, operator_case *c);      /* input 0: at least one axis */
void draw_axis(fuzz *f, operator_case *c);      /* the same, and argument 0 is an axis, counted from either end */
void draw_same(fuzz *f, operator_case *c);      /* inputs 0 and 1: one shape, at least one axis */
void draw_broadcast(fuzz *f, operator_case *c); /* inputs 0 and 1 by NumPy's rule */
/* Appends an axis to input `input`. */
void fuzz_append(operator_case *c, int input, int64_t size);
