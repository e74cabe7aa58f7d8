/* Tensors and the tape (define-by-run autograd).
 *
 * An operator (ops.h) computes at once and records itself; ls_backward walks back. All tensors of a tape live in its
 * arena until ls_tape_reset, which the training loop calls for every grain: a step takes nothing from the heap.
 * Errors are sticky: after the first one operators return a harmless tensor and do nothing; the loop asks
 * ls_tape_status() once a step, so model code checks nothing. A tape belongs to one thread. */
#pragma once
#include "base/trace.h"
#include "tensor/device.h"

typedef struct ls_tape ls_tape;
typedef struct ls_tensor ls_tensor;

struct ls_parameter;

/* Read the fields; only the tape writes them. Dense and row-major.
 *
 * A size may be 0, as in PyTorch: a grain may keep no token, a batch of a branch may have no row. Such a tensor has no
 * element, its `data` is not NULL and may not be read. Sums over nothing are 0, attention to no key too, the mean of
 * nothing is NaN; the gradient in an empty input is empty and that through an empty result is 0. What is not defined
 * without an element is refused by name (LS_ESHAPE, sticky): the greatest or least along an empty axis, grids without
 * positions or channels, a loss of rows over no class, the statistics of a batch norm without rows. Parameters have at
 * least one element.
 * tests/tensor/test_fuzz.c holds every operator to it. */
struct ls_tensor {
    ls_type type;
    ls_type grad_type;  /* of `grad`: the tensor's own for results; f32 (f64) for variables and parameters */
    int ndim;
    int64_t shape[LS_MAX_DIMS];
    int64_t count;      /* product of shape */
    void *data;
    void *grad;         /* complete once backward has passed all uses; NULL: none. Results lose it when backward has passed them */
    bool needs_grad;
    void *place;                          /* of a parameter's gradient outside the tape, while it is made there (ls_tape_places) */
    bool apart, let_go;                   /* data has a block of its own; it was let go (ls_let_go), and data is NULL meanwhile */
    struct ls_node *node;                 /* who made it; NULL for leaves and where nothing was recorded */
    const struct ls_parameter *parameter; /* NULL: not a parameter */
};

/* A trainable tensor: a view into flat buffers that train/ (or a test) owns. `data` is what forward reads. */
typedef struct ls_parameter {
    const char *name;       /* "blocks/0/attention/query/weight" */
    int ndim;
    int64_t shape[LS_MAX_DIMS];
    int64_t count;
    int64_t offset;         /* of its first element in the flat buffer, a multiple of LS_CHUNK */
    int number;             /* in order of creation: the slot of LS_RANDOM_INIT */
    ls_type type;           /* of the working copy: f32, bf16 or f16 (never for ndim <= 1), f64 in checks */
    void *data;             /* working copy */
    bool frozen, no_decay;
    const struct ls_parameter *copy_of; /* begins with this one's values, however that begins (a frozen reference); NULL: by itself */
    const char *source, *source_name; /* folder that its first values come from instead of model.from, and its name there; NULL: as the others */
    bool always_new;        /* it begins as `init` says even where weights begin from elsewhere */
    bool may_be_new;        /* weights that begin from elsewhere need not have it: it then begins as `init` says */
    bool statistic;         /* a running statistic (batch norm): it has no gradient and no optimiser; see ls_tape_fold */
    bool sparse_rows;       /* [rows, width]: its gradient is an ls_row_gradient; only embedding and gather may use it */
    double momentum;        /* of a statistic: its share of each new grain */
    double lr_scale;
    struct { enum { LS_INIT_ZEROS, LS_INIT_ONES, LS_INIT_NORMAL } kind; double std; } init;
} ls_parameter;

/* The gradient of a parameter with `sparse_rows`: the rows that were looked up, each once, ascending. A row that is not
 * listed has none, which is another thing than zeros: it takes no part in a sum, and the optimiser leaves it alone. */
typedef struct {
    int64_t count, width;
    int32_t *row; /* [count] */
    void *vector;       /* [count, width] f32 (f64): sums over the places of a row, in ascending order */
} ls_row_gradient;

/* Called in backward when `parameter`'s gradient is complete (all its uses are behind): gradient is f32 (f64), dense,
 * [parameter->count], or an ls_row_gradient; it may be overwritten and is gone when the call returns. */
typedef void (*ls_gradient_ready)(void *context, const ls_parameter *parameter, void *gradient);

/* Where a parameter's gradient (f32, dense) may be made, so that it need not be copied when it is complete: memory of
 * [parameter->count] that is the tape's until `ready` gets it; NULL: nowhere. */
typedef float *(*ls_gradient_place)(void *context, const ls_parameter *parameter);

/* `arena_bytes` limits the tensors of one forward pass, and the gradients of its backward as well; both are addresses,
 * memory only once written. The device must outlive the tape. */
ls_status ls_tape_create(ls_tape **tape, ls_device *device, size_t arena_bytes);
void ls_tape_free(ls_tape *tape);
/* Forgets all tensors and the sticky error. (step, slot) feed the counter RNG: slot is the grain's first sample. */
void ls_tape_reset(ls_tape *tape, uint64_t seed, uint32_t step, uint32_t slot);
/* Asks `place` for each dense gradient of a parameter that is f32, until the next reset. */
void ls_tape_places(ls_tape *tape, ls_gradient_place place, void *context);
/* Where the forward pass stands in its step, for running statistics. Folding grain statistics s_0 .. s_{G-1} in grain order,
 * r <- (1 - m) r + m s_g, is r (1 - m)^G + sum_g m (1 - m)^(G-1-g) s_g; so each grain hands its term of the sum to `ready` as
 * if it were the statistic's gradient, the fixed tree adds the terms as it adds gradients, and the step's end adds r's
 * part. Clipping and the loss's scale leave them alone. After a reset: grain 0 of 1. */
void ls_tape_fold(ls_tape *tape, int64_t grain, int64_t grains);
ls_status ls_tape_status(const ls_tape *tape); /* LS_OK or the first error, its sentence set again for this thread */
ls_status ls_tape_raise(ls_tape *tape, ls_status code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Waits until the device has computed all of it, and then as above. Results are read by ls_tape_read. */
ls_status ls_tape_wait(ls_tape *tape);
/* What stands in a tensor of the tape, for the host; waits. On the CPU the tensor's own memory, else a copy in the arena. NULL: an
 * error, which is on the tape. */
const void *ls_tape_read(ls_tape *tape, const ls_tensor *x);
/* The same for when the device was waited for next (ls_tape_wait, ls_tape_number; ls_tape_read for another tensor): until then the
 * host does not look there. It stays until the reset. NULL: an error, which is on the tape. */
const void *ls_tape_read_later(ls_tape *tape, const ls_tensor *x);
/* The first number of one that is f32 or f64; 0 after an error. */
double ls_tape_number(ls_tape *tape, const ls_tensor *x);
/* The same of any memory of the device: a gradient given to `ready`, what an operator saved. */
const void *ls_tape_read_bytes(ls_tape *tape, const void *data, size_t bytes);
ls_arena *ls_tape_arena(ls_tape *tape); /* the host's memory, for arrays that it makes */
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
 * 1 / (unmasked tokens of the step). `ready` may be NULL (then ls_tensor.grad of the parameters' tensors is kept).
 * A parameter is handed to `ready` as soon as the node of its FIRST use is behind, so one used twice (a tied head) comes
 * once, with the sum; parameters come in the reverse order of first use. One that the loss does not depend on does not
 * come at all. Errors: LS_ESHAPE loss is not one element; LS_EARG it depends on nothing that needs a gradient. */
void ls_backward(ls_tape *tape, ls_tensor *loss, double dloss, ls_gradient_ready ready, void *context);

/* Scopes nest; each begin has its end. In a no-grad scope operators compute but record nothing, dropout is off, and
 * results stay until the reset as always. */
void ls_no_grad_begin(ls_tape *tape);
void ls_no_grad_end(ls_tape *tape);
bool ls_tape_in_no_grad(const ls_tape *tape);
/* Recompute scope (activation checkpointing, Chen et al. 2016): runs f(context, x) keeping only x and the result;
 * backward runs f again with the same random numbers and goes back through it. The context is copied. f may use
 * parameters and constants freely, must do the same each time, and leaves nothing behind but its result: tensors that
 * it keeps elsewhere are gone. Gradients are those of f(context, x) called plainly, bit for bit. */
typedef ls_tensor *(*ls_recompute_body)(void *context, ls_tape *tape, ls_tensor *x);
ls_tensor *ls_recompute(ls_tape *tape, ls_recompute_body f, void *context, size_t context_bytes, ls_tensor *x);

/* Forward reads x no more. If x is quick to make again (norms, activations, products of elements: operators that set
 * node->remake), its memory goes back now, and backward makes it again where it is read, the same bits; else nothing
 * happens. x must have no view (reshape). An operator that gets x after that raises LS_EARG. */
void ls_let_go(ls_tape *tape, ls_tensor *x);

/* Arithmetic done since the tape was made, forward and backward, recomputation included: matmul, attention,
 * cross-entropy. Operators add to it. */
void ls_tape_count_flops(ls_tape *tape, double flops);
double ls_tape_flops(const ls_tape *tape);
/* Each operator's forward and backward becomes an event on the trace's main lane; NULL: none does. */
void ls_tape_trace(ls_tape *tape, ls_trace *trace);
/* The most bytes that tensors and gradients ever took together: for the estimate and the metrics. */
size_t ls_tape_memory(const ls_tape *tape);
