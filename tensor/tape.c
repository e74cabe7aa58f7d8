/* The tape: leaves, scopes, the sticky error, and ls_apply, through which every operator runs and is recorded.
 * Its memory is drawn in tape.h. What it must never do: take from the heap after ls_tape_create. */
#include "tensor/tape.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- life ---- */

static void forget(ls_tape *tape)
{
    ls_arena_release(tape->records, 0);
    ls_arena_release(tape->activations, 0);
    ls_arena_release(tape->gradients, 0);
    ls_arena_release(tape->host, 0);
    ls_arena_release(tape->shared, 0);
    ls_pool_reset(&tape->pool);
    tape->status = LS_OK;
    tape->sentence[0] = '\0';
    tape->now = (ls_tape_position){0};
    tape->uses = NULL;
    tape->uses_room = tape->uses_count = 0;
    tape->newest_use = NULL;
    tape->place = NULL;
    /* All sizes 1: model code may divide by them before anybody asks for the status. */
    tape->harmless = (ls_tensor){.count = 1, .data = tape->zeros};
    for (int i = 0; i < LS_MAX_DIMS; i++)
        tape->harmless.shape[i] = 1;
}

static ls_status take_blocks(void *device, size_t bytes, void **block)
{
    return ((ls_device *)device)->reserve(device, bytes, block);
}

static void give_blocks(void *device, void *block, size_t bytes)
{
    ((ls_device *)device)->release(device, block, bytes);
}

static ls_status take_shared(void *device, size_t bytes, void **block)
{
    return ((ls_device *)device)->allocate(device, bytes, block);
}

/* Memory for tensors: a device's own, or addresses of the host. */
static ls_status tensor_arena(ls_tape *tape, const char *name, size_t bytes, ls_arena **arena)
{
    const ls_arena_source source = {tape->device, take_blocks, give_blocks};
    return tape->device->synchronize ? ls_arena_create_in_blocks(arena, name, bytes, &source) : ls_arena_create(arena, name, bytes);
}

ls_status ls_tape_create(ls_tape **out, ls_device *device, size_t arena_bytes)
{
    *out = NULL;
    ls_tape *tape = calloc(1, sizeof *tape);
    if (!tape)
        return ls_fail(LS_EMEM, "tape: no memory for its header");
    tape->device = device;
    ls_status status = ls_arena_create(&tape->records, "tape records", arena_bytes / 4 + (1u << 20));
    if (status == LS_OK)
        status = tensor_arena(tape, "tape activations", arena_bytes, &tape->activations);
    if (status == LS_OK)
        status = tensor_arena(tape, "tape gradients", arena_bytes, &tape->gradients);
    tape->host = tape->shared = tape->activations;
    if (status == LS_OK && device->synchronize)
        status = ls_arena_create(&tape->host, "tape arrays of the host", arena_bytes);
    if (status == LS_OK && device->synchronize)
        status = ls_arena_create_in_blocks(&tape->shared, "tape results for the host", arena_bytes, &(ls_arena_source){device, take_shared, give_blocks});
    if (status != LS_OK) {
        ls_tape_free(tape);
        return status;
    }
    tape->pool = (ls_pool){.blocks = tape->gradients, .records = tape->records};
    forget(tape);
    *out = tape;
    return LS_OK;
}

void ls_tape_free(ls_tape *tape)
{
    if (!tape)
        return;
    if (tape->host != tape->activations)
        ls_arena_free(tape->host);
    if (tape->shared != tape->activations)
        ls_arena_free(tape->shared);
    ls_arena_free(tape->gradients);
    ls_arena_free(tape->activations);
    ls_arena_free(tape->records);
    free(tape);
}

void ls_tape_reset(ls_tape *tape, uint64_t seed, uint32_t step, uint32_t slot)
{
    forget(tape);
    tape->seed = seed;
    tape->step = step;
    tape->slot = slot;
    tape->grain = 0;
    tape->grains = 1;
}

void ls_tape_places(ls_tape *tape, ls_gradient_place place, void *context)
{
    tape->place = place;
    tape->place_context = context;
}

void ls_tape_fold(ls_tape *tape, int64_t grain, int64_t grains)
{
    tape->grain = grain;
    tape->grains = grains;
}

/* ---- errors ---- */

ls_status ls_tape_status(const ls_tape *tape)
{
    return ls_fail_copy(tape->status, tape->sentence);
}

static void keep_first(ls_tape *tape, ls_status code)
{
    if (tape->status != LS_OK)
        return;
    tape->status = code;
    snprintf(tape->sentence, sizeof tape->sentence, "%s", ls_fail_sentence());
}

ls_status ls_tape_raise(ls_tape *tape, ls_status code, const char *format, ...)
{
    char text[sizeof tape->sentence];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ls_fail(code, "%s", text);
    keep_first(tape, code);
    return code;
}

void ls_tape_raise_operator(ls_tape *tape, ls_status code, const char *operator_name)
{
    ls_fail_at(code, "operator %s", operator_name);
    keep_first(tape, code);
}

/* ---- small questions ---- */

ls_arena *ls_tape_arena(ls_tape *tape)
{
    return tape->host;
}

ls_status ls_tape_wait(ls_tape *tape)
{
    const ls_status status = ls_device_wait(tape->device);
    if (status != LS_OK)
        keep_first(tape, status);
    return ls_tape_status(tape);
}

const void *ls_tape_read_bytes(ls_tape *tape, const void *data, size_t bytes)
{
    ls_device *device = tape->device;
    if (ls_tape_status(tape) != LS_OK || !device->synchronize)
        return tape->status == LS_OK ? data : NULL;
    void *copy = ls_tape_take(tape, tape->host, bytes);
    if (copy)
        device->move(device, bytes, data, copy);
    return copy && ls_tape_wait(tape) == LS_OK ? copy : NULL;
}

const void *ls_tape_read(ls_tape *tape, const ls_tensor *x)
{
    return ls_tape_read_bytes(tape, x->data, (size_t)x->count * ls_type_size(x->type));
}

const void *ls_tape_read_later(ls_tape *tape, const ls_tensor *x)
{
    const size_t bytes = (size_t)x->count * ls_type_size(x->type);
    if (ls_tape_status(tape) != LS_OK)
        return NULL;
    void *copy = ls_tape_take(tape, tape->shared, bytes);
    if (copy)
        tape->device->move(tape->device, bytes, x->data, copy);
    return copy;
}

double ls_tape_number(ls_tape *tape, const ls_tensor *x)
{
    const void *data = ls_tape_read_bytes(tape, x->data, ls_type_size(x->type));
    if (!data)
        return 0;
    return x->type == LS_F64 ? *(const double *)data : (double)*(const float *)data;
}

ls_tape_mark ls_tape_marked(const ls_tape *tape)
{
    return (ls_tape_mark){ls_arena_mark(tape->activations), ls_arena_mark(tape->host)};
}

void ls_tape_release(ls_tape *tape, ls_tape_mark mark)
{
    ls_arena_release(tape->activations, mark.activations);
    ls_arena_release(tape->host, mark.host);
}

ls_device *ls_tape_device(ls_tape *tape)
{
    return tape->device;
}

ls_random ls_tape_random(ls_tape *tape, ls_random_purpose purpose)
{
    if (tape->now.random_operator > UINT16_MAX)
        ls_tape_raise(tape, LS_EARG, "more than %d random operators in one forward pass: their numbers have 16 bits",
                      UINT16_MAX + 1);
    return (ls_random){.seed = tape->seed,
                       .slot = tape->slot,
                       .step = tape->step,
                       .purpose = (uint32_t)purpose,
                       .op = tape->now.random_operator++ & UINT16_MAX};
}

void ls_tape_count_flops(ls_tape *tape, double flops)
{
    tape->flops += flops;
}

double ls_tape_flops(const ls_tape *tape)
{
    return tape->flops;
}

void ls_tape_trace(ls_tape *tape, ls_trace *trace)
{
    tape->trace = trace;
}

size_t ls_tape_memory(const ls_tape *tape)
{
    const size_t host = tape->host != tape->activations ? ls_arena_high(tape->host) : 0;
    return ls_arena_high(tape->records) + ls_arena_high(tape->activations) + ls_arena_high(tape->gradients) + host;
}

void ls_no_grad_begin(ls_tape *tape)
{
    tape->now.no_grad++;
}

void ls_no_grad_end(ls_tape *tape)
{
    if (tape->now.no_grad == 0)
        ls_tape_raise(tape, LS_EARG, "ls_no_grad_end without its ls_no_grad_begin");
    else
        tape->now.no_grad--;
}

bool ls_tape_in_no_grad(const ls_tape *tape)
{
    return tape->now.no_grad > 0;
}

/* ---- tensors ---- */

void *ls_tape_take(ls_tape *tape, ls_arena *arena, size_t bytes)
{
    void *block = ls_arena_take(arena, bytes);
    if (!block)
        keep_first(tape, ls_arena_status(arena));
    return block;
}

static ls_type wide(ls_type type)
{
    return type == LS_F64 ? LS_F64 : LS_F32;
}

/* Product of the sizes, or -1 with a sentence. The limit keeps bytes and flops far from overflow; it holds for the sizes
 * that are not 0 alone too, as their products are taken on the way. */
static int64_t checked_count(int ndim, const int64_t *shape)
{
    const int64_t limit = INT64_C(1) << 48;
    if (ndim < 0 || ndim > LS_MAX_DIMS) {
        ls_fail(LS_ESHAPE, "a tensor of %d axes; there may be 0 to %d", ndim, LS_MAX_DIMS);
        return -1;
    }
    int64_t volume = 1;
    bool empty = false;
    for (int i = 0; i < ndim; i++) {
        if (shape[i] < 0 || shape[i] > limit / volume) {
            ls_fail(LS_ESHAPE, "axis %d has size %lld; sizes are not negative, and a tensor has at most 2^48 elements",
                    i, (long long)shape[i]);
            return -1;
        }
        empty |= shape[i] == 0;
        volume *= shape[i] ? shape[i] : 1;
    }
    return empty ? 0 : volume;
}

ls_tensor *ls_tape_tensor(ls_tape *tape, ls_type type, int ndim, const int64_t *shape)
{
    int64_t count = checked_count(ndim, shape);
    if (count < 0) {
        keep_first(tape, LS_ESHAPE);
        return NULL;
    }
    ls_tensor *tensor = ls_tape_take(tape, tape->records, sizeof *tensor);
    if (!tensor)
        return NULL;
    *tensor = (ls_tensor){.type = type, .grad_type = type, .ndim = ndim, .count = count};
    for (int i = 0; i < ndim; i++) /* a scalar's shape may be NULL */
        tensor->shape[i] = shape[i];
    return tensor;
}

static ls_tensor *leaf(ls_tape *tape, ls_type type, int ndim, const int64_t *shape, const void *data)
{
    if (tape->status != LS_OK)
        return &tape->harmless;
    ls_tensor *tensor = ls_tape_tensor(tape, type, ndim, shape);
    if (!tensor)
        return &tape->harmless;
    if (!data && tensor->count) {
        ls_tape_raise(tape, LS_EARG, "a constant or variable without data");
        return &tape->harmless;
    }
    /* read only: operators write their outputs alone */
    tensor->data = data ? (void *)(uintptr_t)data : tape->zeros;
    return tensor;
}

ls_tensor *ls_constant(ls_tape *tape, ls_type type, int ndim, const int64_t *shape, const void *data)
{
    return leaf(tape, type, ndim, shape, data);
}

ls_tensor *ls_variable(ls_tape *tape, ls_type type, int ndim, const int64_t *shape, void *data)
{
    ls_tensor *tensor = leaf(tape, type, ndim, shape, data);
    if (tensor != &tape->harmless) {
        tensor->needs_grad = true;
        tensor->grad_type = wide(type);
    }
    return tensor;
}

/* ---- parameters ---- */

static int64_t place_of(ls_use_record *const *uses, int64_t room, const ls_parameter *parameter)
{
    uint64_t place = ((uint64_t)(uintptr_t)parameter >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 20;
    int64_t at = (int64_t)(place % (uint64_t)room);
    while (uses[at] && uses[at]->tensor.parameter != parameter)
        at = at + 1 == room ? 0 : at + 1;
    return at;
}

/* Keeps the table at most half full. The old one stays in the records until the reset: all together twice the last. */
static bool make_room(ls_tape *tape)
{
    if (tape->uses_count * 2 < tape->uses_room)
        return true;
    int64_t room = tape->uses_room ? tape->uses_room * 2 : 256;
    ls_use_record **uses = ls_tape_take(tape, tape->records, (size_t)room * sizeof *uses);
    if (!uses)
        return false;
    memset(uses, 0, (size_t)room * sizeof *uses);
    for (int64_t i = 0; i < tape->uses_room; i++)
        if (tape->uses[i])
            uses[place_of(uses, room, tape->uses[i]->tensor.parameter)] = tape->uses[i];
    tape->uses = uses;
    tape->uses_room = room;
    return true;
}

ls_tensor *ls_use(ls_tape *tape, const ls_parameter *parameter)
{
    if (tape->status != LS_OK || !make_room(tape))
        return &tape->harmless;
    int64_t at = place_of(tape->uses, tape->uses_room, parameter);
    if (tape->uses[at])
        return &tape->uses[at]->tensor;
    int64_t count = checked_count(parameter->ndim, parameter->shape);
    if (count < 1 || !parameter->data) {
        ls_tape_raise(tape, LS_EARG, "parameter %s: %s", parameter->name,
                      count < 0    ? ls_fail_sentence()
                      : count == 0 ? "it has no elements; each of its sizes must be at least 1"
                                   : "it has no data; ls_parameters_bind gives it");
        return &tape->harmless;
    }
    if (parameter->sparse_rows && parameter->ndim != 2) {
        ls_tape_raise(tape, LS_ESHAPE, "parameter %s: sparse rows need [rows, width], it has %d axes", parameter->name,
                      parameter->ndim);
        return &tape->harmless;
    }
    ls_use_record *use = ls_tape_take(tape, tape->records, sizeof *use);
    if (!use)
        return &tape->harmless;
    *use = (ls_use_record){.first = -1,
                           .tensor = {.type = parameter->type,
                                      .grad_type = wide(parameter->type),
                                      .count = count,
                                      .ndim = parameter->ndim,
                                      .data = parameter->data,
                                      .needs_grad = !parameter->frozen,
                                      .parameter = parameter}};
    memcpy(use->tensor.shape, parameter->shape, sizeof use->tensor.shape);
    tape->uses[at] = use;
    tape->uses_count++;
    return &use->tensor;
}

/* ---- recording ---- */

ls_node *ls_tape_node(ls_tape *tape, const ls_op *op, int inputs, ls_tensor *const *in, const void *attributes,
                      size_t attribute_bytes, int outputs)
{
    size_t pointers = (size_t)(inputs + outputs) * sizeof(ls_tensor *);
    size_t requests = (size_t)inputs * sizeof(ls_gradient_request);
    char *block = ls_tape_take(tape, tape->records, sizeof(ls_node) + pointers + requests);
    void *copy = attribute_bytes ? ls_tape_take(tape, tape->records, attribute_bytes) : NULL;
    if (!block || (attribute_bytes && !copy))
        return NULL;
    ls_node *node = (ls_node *)(void *)block;
    *node = (ls_node){.op = op, .tape = tape, .inputs = inputs, .outputs = outputs, .attributes = copy};
    node->in = (ls_tensor **)(void *)(block + sizeof(ls_node));
    node->out = node->in + inputs;
    node->requests = (ls_gradient_request *)(void *)(block + sizeof(ls_node) + pointers);
    memset(block + sizeof(ls_node), 0, pointers + requests);
    if (inputs)
        memcpy(node->in, in, (size_t)inputs * sizeof *in);
    if (copy)
        memcpy(copy, attributes, attribute_bytes);
    return node;
}

static void note_first_use(ls_tape *tape, ls_use_record *use)
{
    if (use->first >= 0)
        return;
    if (tape->now.replaying) {
        ls_tape_raise(tape, LS_EARG,
                      "recompute: parameter %s was used in backward but not in forward; the scope's "
                      "function must do the same each time",
                      use->tensor.parameter->name);
        return;
    }
    use->first = tape->now.number;
    use->older = tape->newest_use;
    tape->newest_use = use;
}

bool ls_tape_consume(ls_tape *tape, int inputs, ls_tensor *const *in)
{
    bool needs_grad = false;
    for (int i = 0; i < inputs && !tape->now.no_grad; i++) {
        if (!in[i] || !in[i]->needs_grad)
            continue;
        needs_grad = true;
        if (in[i]->parameter)
            note_first_use(tape, (ls_use_record *)in[i]);
    }
    return needs_grad;
}

void ls_tape_record(ls_tape *tape, ls_node *node)
{
    node->previous = tape->now.last;
    node->number = tape->now.number++;
    tape->now.last = node;
    for (int i = 0; i < node->outputs; i++)
        node->out[i]->node = node;
}

static double tensor_bytes(const ls_tensor *x)
{
    return (double)x->count * (double)ls_type_size(x->type);
}

/* Forward reads its inputs and writes its outputs; backward reads both and the outputs' gradients, and writes those
 * of the inputs that need one. What an operator does beyond that (a second pass, a transposed copy) is its waste. A
 * parameter that is not multiplied is at most as much as the result: rows of a table were looked up. */
static double node_bytes(const ls_node *node, bool backward, bool multiplied)
{
    double outputs = 0, inputs = 0;
    const double times = backward ? 2 : 1; /* values, and gradients of the same size */
    for (int i = 0; i < node->outputs; i++)
        outputs += times * tensor_bytes(node->out[i]);
    for (int i = 0; i < node->inputs; i++) {
        const ls_tensor *x = node->in[i];
        if (!x)
            continue;
        const double bytes = tensor_bytes(x) + (backward && x->needs_grad ? (double)ls_gradient_bytes(x) : 0);
        inputs += x->parameter && !multiplied && bytes > outputs ? outputs : bytes;
    }
    return node->op->forward ? inputs + outputs : 0; /* a view moves nothing */
}

void ls_tape_trace_node(const ls_node *node, bool backward, int64_t begin, double flops)
{
    const double own = node->tape->flops - flops;
    ls_trace_end(node->tape->trace, LS_TRACE_MAIN, backward ? LS_TRACE_BACKWARD : LS_TRACE_FORWARD, node->op->name,
                 begin, own, node_bytes(node, backward, own > 0));
}

bool ls_node_is_empty(const ls_node *node)
{
    for (int i = 0; i < node->outputs; i++)
        if (node->out[i]->count)
            return false;
    return true;
}

static ls_status take_result(ls_node *node, ls_tensor *out)
{
    const ls_tape *tape = node->tape;
    out->data = ls_tape_take_apart(node, out);
    if (out->apart)
        return ls_arena_status(tape->gradients);
    out->data = ls_arena_take(tape->activations, (size_t)out->count * ls_type_size(out->type));
    return out->data ? LS_OK : ls_arena_status(tape->activations);
}

/* Shape rule, memory for the outputs, forward. */
static bool run(ls_node *node)
{
    ls_tape *tape = node->tape;
    const int64_t begin = node->op->forward ? ls_trace_begin(tape->trace) : 0;
    const double flops = tape->flops;
    ls_status status = node->op->shape(node);
    for (int i = 0; i < node->outputs && status == LS_OK; i++) {
        ls_tensor *out = node->out[i];
        out->grad_type = out->type;
        out->count = checked_count(out->ndim, out->shape);
        if (out->count < 0)
            status = LS_ESHAPE;
        else if (!out->data)
            status = take_result(node, out);
    }
    if (status == LS_OK && node->op->forward && !ls_node_is_empty(node))
        status = node->op->forward(node, tape->device);
    if (begin)
        ls_tape_trace_node(node, false, begin, flops);
    if (status != LS_OK)
        ls_tape_raise_operator(tape, status, node->op->name);
    return tape->status == LS_OK;
}

static ls_node *apply(ls_tape *tape, const ls_op *op, int inputs, ls_tensor *const *in, const void *attributes,
                      size_t attribute_bytes, int outputs)
{
    if (tape->status != LS_OK)
        return NULL;
    for (int i = 0; i < inputs; i++)
        if (ls_is_gone(in[i])) {
            ls_tape_raise(tape, LS_EARG, "operator %s: input %d was let go before; let it go after its last use", op->name, i);
            return NULL;
        }
    ls_node *node = ls_tape_node(tape, op, inputs, in, attributes, attribute_bytes, outputs);
    if (!node)
        return NULL;
    for (int i = 0; i < outputs; i++) {
        node->out[i] = ls_tape_tensor(tape, LS_F32, 0, NULL);
        if (!node->out[i])
            return NULL;
    }
    bool needs_grad = op->backward && ls_tape_consume(tape, inputs, in);
    node->recorded = needs_grad && !tape->now.unrecorded;
    if (!run(node))
        return NULL;
    for (int i = 0; i < outputs; i++)
        node->out[i]->needs_grad = needs_grad;
    if (node->recorded)
        ls_tape_record(tape, node);
    return node;
}

ls_tensor *ls_apply(ls_tape *tape, const ls_op *op, int inputs, ls_tensor *const *in, const void *attributes,
                    size_t attribute_bytes, int outputs, ls_tensor **out)
{
    const ls_node *node = apply(tape, op, inputs, in, attributes, attribute_bytes, outputs);
    for (int i = 0; out && i < outputs; i++)
        out[i] = node ? node->out[i] : &tape->harmless;
    return node ? node->out[0] : &tape->harmless;
}
