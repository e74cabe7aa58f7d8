/* Tensors and the tape (define-by-run autograd).
 *
 * An operator (ops.h) computes at once and records itself; ls_backward walks back. All tensors of a tape live in its
 * arena until ls_tape_reset, which the training loop calls for every grain: a step takes nothing from the heap.
 * Errors are sticky: after the first one operators return a harmless tensor and do nothing; the loop asks
 * ls_tape_status() once a step, so model code checks nothing. A tape belongs to one thread. */
#pragma once
#include "tensor/device.h"

typedef struct ls_tape ls_tape;
typedef struct ls_tensor ls_tensor;

/* Read the fields; only the tape writes them. Dense, row-major. */
struct ls_tensor {
    ls_type type;
    int ndim;
    int64_t shape[LS_MAX_DIMS];
    int64_t count;      /* product of shape */
    void *data;
    void *grad;         /* after its use in backward; NULL: none. Activations: own type; leaves and parameters: f32 (f64) */
    bool needs_grad;
    struct ls_node *node; /* who made it; NULL for leaves */
};

/* A trainable tensor: a view into flat buffers that train/ (or a test) owns. `data` is what forward reads. */
typedef struct ls_parameter {
    const char *name;       /* "blocks/0/attention/query/weight" */
    int ndim;
    int64_t shape[LS_MAX_DIMS];
    int64_t count;
    int64_t offset;         /* of its first element in the flat buffer, a multiple of LS_CHUNK */
    int number;             /* in order of creation: the slot of LS_RANDOM_INIT */
    ls_type type;           /* of the working copy: f32, bf16 (never for ndim <= 1), f64 in checks */
    void *data;             /* working copy */
    bool frozen, no_decay;
    double lr_scale;
    struct { enum { LS_INIT_ZEROS, LS_INIT_ONES, LS_INIT_NORMAL } kind; double std; } init;
} ls_parameter;

/* Called in backward when `parameter`'s gradient is complete (all its uses are behind): gradient is f32 (f64), dense,
 * [parameter->count]; it may be overwritten and is gone when the call returns. */
typedef void (*ls_gradient_ready)(void *context, const ls_parameter *parameter, void *gradient);

ls_status ls_tape_create(ls_tape **tape, ls_device *device, size_t arena_bytes);
void ls_tape_free(ls_tape *tape);
/* Forgets all tensors and the sticky error. (step, slot) feed the counter RNG: slot is the grain's first sample. */
void ls_tape_reset(ls_tape *tape, uint64_t seed, uint32_t step, uint32_t slot);
ls_status ls_tape_status(const ls_tape *tape); /* LS_OK or the first error, its sentence set again for this thread */
ls_status ls_tape_raise(ls_tape *tape, ls_status code, const char *format, ...) __attribute__((format(printf, 3, 4)));
ls_arena *ls_tape_arena(ls_tape *tape);
ls_device *ls_tape_device(ls_tape *tape);
/* The next random operator's stream: {seed, slot, step, purpose, operator number of this forward pass}. */
ls_random ls_tape_random(ls_tape *tape, ls_random_purpose purpose);

/* Leaves. The data is read in place and must live until the reset. */
ls_tensor *ls_constant(ls_tape *tape, ls_type type, int ndim, const int64_t *shape, const void *data);
ls_tensor *ls_variable(ls_tape *tape, ls_type type, int ndim, const int64_t *shape, void *data); /* its grad stays readable */
ls_tensor *ls_use(ls_tape *tape, const ls_parameter *parameter);
#define LS_SHAPE(...) (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[]){__VA_ARGS__}
/* e.g. ls_constant(tape, LS_F32, LS_SHAPE(rows, width), data) */

/* From `loss` (one element) back to all leaves that need a gradient; dloss is the gradient of the loss itself, e.g.
 * 1 / (unmasked tokens of the step). `ready` may be NULL (then ls_tensor.grad of the parameters' tensors is kept). */
void ls_backward(ls_tape *tape, ls_tensor *loss, double dloss, ls_gradient_ready ready, void *context);

/* Scopes nest; each begin has its end. */
void ls_no_grad_begin(ls_tape *tape);
void ls_no_grad_end(ls_tape *tape);
/* Recompute scope (activation checkpointing, Chen et al. 2016): runs f(context, x) keeping only x; backward runs f
 * again with the same random operators and goes back through it. f may use parameters and constants freely. */
typedef ls_tensor *(*ls_recompute_body)(void *context, ls_tape *tape, ls_tensor *x);
ls_tensor *ls_recompute(ls_tape *tape, ls_recompute_body f, void *context, size_t context_bytes, ls_tensor *x);

/* Per-operator time, for the profile and the bench: NULL unless switched on. */
void ls_tape_count_flops(ls_tape *tape, double flops);
double ls_tape_flops(const ls_tape *tape); /* since the tape was made: matmul, attention, cross-entropy */
