/* The inside of a tape, shared by tape.c, backward.c and recompute.c. Operators and everything above see tensor.h.
 *
 *   records      nodes, tensors, uses of parameters      | taken upwards, all forgotten by ls_tape_reset
 *   activations  data of results, what forward saves,    | taken upwards; recompute scopes and backward give back
 *                scratch                                 | what they took, as their lives nest
 *   host         what the host writes or reads: indices, | the same; the one arena of both on the CPU
 *                labels, losses of rows                  |
 *   gradients    one block a gradient                    | lives do not nest: blocks go back to a list of blocks of
 *                                                        | the same size (pool.h), so depth does not add memory;
 *                                                        | also results that are let go and made again (remake.c)
 * Activations and gradients are the device's memory, records and host the host's: work on a device is only queued, so
 * what the host touches must not be where a kernel may still read or write (tensor/device.h). */
#pragma once
#include "tensor/ops.h"
#include "tensor/pool.h"

/* A parameter on this tape. `tensor` comes first: a tensor with a parameter is its use. */
typedef struct ls_use {
    ls_tensor tensor;
    int64_t first;        /* number of the node that used it first; -1: not recorded yet */
    struct ls_use *older; /* stack in the order of first use: ls_backward pops it */
} ls_use_record;

typedef struct ls_gradient_request {
    void *block; /* NULL: not asked for */
    ls_type type;
    bool direct; /* the block is in[i]->grad itself; otherwise it is added there after the node's backward */
} ls_gradient_request;

/* Where recording stands; the backward of a recompute scope sets it aside and starts anew. */
typedef struct {
    ls_node *last;
    int64_t number;           /* of the next node */
    uint32_t random_operator; /* number of the next one */
    int no_grad;              /* depth of no-grad scopes */
    int unrecorded;           /* depth of recompute scopes in forward: gradients will be wanted, nodes are not kept */
    bool replaying;           /* in a recompute scope's backward: no parameter can be used for the first time */
} ls_tape_position;

struct ls_tape {
    ls_device *device;
    ls_arena *records, *activations, *gradients, *host;
    ls_arena *shared; /* that device and host both reach, for ls_tape_read_later; the activations on a CPU */
    ls_pool pool;

    ls_status status; /* the first error, and its sentence */
    char sentence[1024];
    ls_tensor harmless; /* what operators return after it */
    double zeros[16];

    uint64_t seed;
    uint32_t step, slot;
    int64_t grain, grains; /* ls_tape_fold */
    ls_tape_position now;

    ls_use_record **uses; /* open addressing by the parameter's address; never walked, so addresses do not show */
    int64_t uses_room, uses_count;
    ls_use_record *newest_use;
    ls_gradient_place place; /* NULL: gradients of parameters lie in the pool as well */
    void *place_context;

    double flops;
    ls_trace *trace; /* NULL: nobody asked where the time goes */
};

/* Takes from an arena of the tape; NULL raises LS_EMEM. */
void *ls_tape_take(ls_tape *tape, ls_arena *arena, size_t bytes);
/* Makes the current sentence the tape's sticky error, with the operator's name in front. */
void ls_tape_raise_operator(ls_tape *tape, ls_status code, const char *operator_name);
/* A tensor without data. LS_ESHAPE (raised, NULL): a size below 0, too many axes. */
ls_tensor *ls_tape_tensor(ls_tape *tape, ls_type type, int ndim, const int64_t *shape);
/* Node with room for its inputs, outputs and attributes; inputs and attributes are copied. NULL: no memory (raised). */
ls_node *ls_tape_node(ls_tape *tape, const ls_op *op, int inputs, ls_tensor *const *in, const void *attributes,
                      size_t attribute_bytes, int outputs);
/* Notes first uses of parameters; true if any input needs a gradient that backward will ask for. */
bool ls_tape_consume(ls_tape *tape, int inputs, ls_tensor *const *in);
/* Puts a finished node at the end of the tape, and makes it the maker of its outputs. */
void ls_tape_record(ls_tape *tape, ls_node *node);

/* ---- remake.c ---- */

/* The block of a result that can be made again, and `out` marked so; NULL: none such (or no memory, and the arena's sticky
 * error). */
void *ls_tape_take_apart(ls_node *node, ls_tensor *out);
/* Its data was let go, or became the place of a sum. */
bool ls_is_gone(const ls_tensor *x);
/* After a node's backward. */
void ls_let_go_again(ls_node *node);

/* Walks back from `node` to the first one, leaving each input's gradient in place. With `ready`, hands parameters over.
 */
void ls_tape_walk(ls_tape *tape, ls_node *node, ls_gradient_ready ready, void *context);
/* Ends the event of a node's forward or backward: its flops since `flops`, its bytes by the shapes of what it reads and
 * writes. */
void ls_tape_trace_node(const ls_node *node, bool backward, int64_t begin, double flops);
/* No output has an element: there is nothing to compute, and the gradient of every input is 0. */
bool ls_node_is_empty(const ls_node *node);
/* Bytes of a tensor's gradient; of rows, those of the gradient that is there. */
size_t ls_gradient_bytes(const ls_tensor *x);
/* A block of the gradients; NULL raises LS_EMEM. */
void *ls_tape_take_gradient(ls_tape *tape, size_t bytes);
/* For x's gradient in its own type: its place outside the tape where it has one that is free, or such a block. */
void *ls_tape_take_gradient_of(ls_tape *tape, ls_tensor *x);
bool ls_has_sparse_rows(const ls_tensor *x);
size_t ls_row_gradient_bytes(const ls_row_gradient *rows, ls_type type);
