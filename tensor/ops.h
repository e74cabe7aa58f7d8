/* Operators. Results live on the tape's arena. Arrays given beside tensors (ids, labels, weights, positions, segments,
 * conditions, shapes) are copied and may be gone after the call. B batch, T positions, D width, V vocabulary.
 * Types: all inputs of an operator have one type, which is the result's; gains and biases may be f32 beside bf16 or f16.
 * Sticky errors: LS_ESHAPE with both shapes, LS_ETYPE with both types. Every operator here has one test description
 * (tests/tensor/operators.c) for values, float64 gradients and the bench. */
#pragma once
#include "tensor/tensor.h"

/* Elementwise, broadcasting as NumPy: shapes are aligned at the last axis, 1 repeats. */
ls_tensor *ls_add(ls_tape *tape, ls_tensor *a, ls_tensor *b);
/* a + b, of equal shapes, in b's place where it can be (b is a result and no view): nobody may use b afterwards (LS_EARG),
 * and the backward of b's maker does not read it, which holds for products without activation, sums and dropout. */
ls_tensor *ls_add_in_place(ls_tape *tape, ls_tensor *a, ls_tensor *b);
ls_tensor *ls_sub(ls_tape *tape, ls_tensor *a, ls_tensor *b);
ls_tensor *ls_mul(ls_tape *tape, ls_tensor *a, ls_tensor *b);
ls_tensor *ls_div(ls_tape *tape, ls_tensor *a, ls_tensor *b);
ls_tensor *ls_min(ls_tape *tape, ls_tensor *a, ls_tensor *b);
ls_tensor *ls_max(ls_tape *tape, ls_tensor *a, ls_tensor *b);
/* A gated linear unit: activation(gate) x, of equal shapes (Shazeer 2020). */
ls_tensor *ls_gated(ls_tape *tape, ls_activation activation, ls_tensor *gate, ls_tensor *x);
ls_tensor *ls_where(ls_tape *tape, const uint8_t *condition, ls_tensor *a, ls_tensor *b); /* same shapes */

ls_tensor *ls_exp(ls_tape *tape, ls_tensor *x);
ls_tensor *ls_log(ls_tape *tape, ls_tensor *x);
ls_tensor *ls_sqrt(ls_tape *tape, ls_tensor *x);
ls_tensor *ls_tanh(ls_tape *tape, ls_tensor *x);
ls_tensor *ls_sigmoid(ls_tape *tape, ls_tensor *x);
ls_tensor *ls_softplus(ls_tape *tape, ls_tensor *x);
ls_tensor *ls_relu(ls_tape *tape, ls_tensor *x);
ls_tensor *ls_gelu(ls_tape *tape, ls_tensor *x);      /* x Phi(x), erf form */
ls_tensor *ls_gelu_tanh(ls_tape *tape, ls_tensor *x); /* GPT-2's form */
ls_tensor *ls_silu(ls_tape *tape, ls_tensor *x);
ls_tensor *ls_abs(ls_tape *tape, ls_tensor *x);
ls_tensor *ls_neg(ls_tape *tape, ls_tensor *x);
ls_tensor *ls_square(ls_tape *tape, ls_tensor *x);
ls_tensor *ls_scale(ls_tape *tape, ls_tensor *x, double a, double b); /* a x + b */
ls_tensor *ls_clamp(ls_tape *tape, ls_tensor *x, double low, double high);
ls_tensor *ls_cast(ls_tape *tape, ls_tensor *x, ls_type type);

/* Reductions over one axis (negative counts from the end), or over all (LS_ALL), without keeping it. */
enum { LS_ALL = 100 };
ls_tensor *ls_sum(ls_tape *tape, ls_tensor *x, int axis);
ls_tensor *ls_mean(ls_tape *tape, ls_tensor *x, int axis);
ls_tensor *ls_reduce_max(ls_tape *tape, ls_tensor *x, int axis);
ls_tensor *ls_reduce_min(ls_tape *tape, ls_tensor *x, int axis);
ls_tensor *ls_norm(ls_tape *tape, ls_tensor *x, int axis); /* Euclidean; gradient 0 at 0 */
/* y_i = x_0 + .. + x_i along an axis, each sum one chain in f64, rounded where it passes. */
ls_tensor *ls_cumulative_sum(ls_tape *tape, ls_tensor *x, int axis);

/* [..., m, k] x [..., k, n]; either last two axes may be transposed first. Leading axes equal, or absent in b. */
ls_tensor *ls_matmul(ls_tape *tape, ls_tensor *a, ls_tensor *b, bool trans_a, bool trans_b);
/* act(x w^T + bias): x [..., in], w [out, in] as PyTorch stores it, bias [out] or NULL. */
ls_tensor *ls_linear(ls_tape *tape, ls_tensor *x, ls_tensor *w, ls_tensor *bias, ls_activation act);
/* Rows of table [V, D] by ids [n], as a tensor of shape (..., D). LS_EARG: an id outside [0, V). */
ls_tensor *ls_embedding(ls_tape *tape, ls_tensor *table, const int32_t *ids, int ndim, const int64_t *shape);

/* Over the last axis. */
ls_tensor *ls_softmax(ls_tape *tape, ls_tensor *x);
ls_tensor *ls_log_softmax(ls_tape *tape, ls_tensor *x);
ls_tensor *ls_layer_norm(ls_tape *tape, ls_tensor *x, ls_tensor *gain, ls_tensor *bias, double eps); /* bias or NULL */
ls_tensor *ls_rms_norm(ls_tape *tape, ls_tensor *x, ls_tensor *gain, double eps);
/* a . b / (max(|a|, eps) max(|b|, eps)), [..., D] and [..., D] to [...]; PyTorch's eps is 1e-8. Where a norm is below eps,
 * eps is a constant to the gradient. LS_EARG: eps <= 0. */
ls_tensor *ls_cosine_similarity(ls_tape *tape, ls_tensor *a, ls_tensor *b, double eps);

/* x [B, T, H, D], positions [B*T]. */
ls_tensor *ls_rotary(ls_tape *tape, ls_tensor *x, const int32_t *positions, double base, bool interleaved);
/* The same with any frequencies [D/2], radians a position, in place of base^(-2j/D). LS_EARG: one is not finite. */
ls_tensor *ls_rotary_by(ls_tape *tape, ls_tensor *x, const int32_t *positions, const double *frequency, bool interleaved);
/* softmax(q k^T / sqrt(D) + mask) v, memory linear in T (Dao et al. 2022). q [B, Tq, H, D]; k, v [B, Tk, Hkv, D], H a
 * multiple of Hkv; segments [B, Tk] or NULL. See ls_attention_args. */
ls_tensor *ls_attention(ls_tape *tape, ls_tensor *q, ls_tensor *k, ls_tensor *v, bool causal, const int32_t *segments);
/* Causal, and of what is before it a query sees itself and the window - 1 positions behind it (Beltagy et al. 2020,
 * "Longformer"; Jiang et al. 2023, "Mistral 7B"); window 0: all. LS_EARG: window < 0. */
ls_tensor *ls_window_attention(ls_tape *tape, ls_tensor *q, ls_tensor *k, ls_tensor *v, int64_t window, const int32_t *segments);
/* The same with queries of one sequence and keys and values of another: Tq and Tk are free, nothing is causal. Segments
 * [B, Tq], [B, Tk] (NULL: all 0) pair packed parts: a query sees the keys of its own id. Ids ascend along a row, a
 * negative one is padding. A query without keys gives 0. LS_EARG: ids that do not ascend. */
ls_tensor *ls_cross_attention(ls_tape *tape, ls_tensor *q, ls_tensor *k, ls_tensor *v, const int32_t *query_segments, const int32_t *key_segments);
/* The same under any mask of [Tq, Tk], given as a sparse table of blocks (tensor/block_mask.h) that lives until the
 * reset; absent blocks cost neither time nor memory. A query that sees no key gives 0. */
ls_tensor *ls_masked_attention(ls_tape *tape, ls_tensor *q, ls_tensor *k, ls_tensor *v, const ls_block_mask *mask);

/* Attention of the new positions of several sequences, one after the other in q [n, H, D] and k, v [n, Hkv, D], over all
 * their keys so far, which are kept in pages (ls_page_span), of `type`: stores k and v there, then attends. One head's row in a page has
 * `row` numbers, at least D; what D does not fill must be 0. Gives the bits of causal attention over each whole sequence.
 * The struct lives until the reset. No gradient. LS_EARG: spans that do not follow each other. LS_ETYPE: pages of another type than q, or f64. */
typedef struct {
    void *keys, *values;
    ls_type type;
    int64_t row, spans, window; /* window as of ls_window_attention */
    const ls_page_span *span;
} ls_pages;
ls_tensor *ls_paged_attention(ls_tape *tape, ls_tensor *q, ls_tensor *k, ls_tensor *v, const ls_pages *pages);

/* Weighted sum over rows of -log softmax(x w^T)[label]; x [n, D], w [V, D], labels [n], weights [n] f32 or NULL.
 * Result [] f32, summed in f64 in row order. `losses` [n] f32 (may be NULL) gets each row's unweighted loss. */
ls_tensor *ls_cross_entropy_sum(ls_tape *tape, ls_tensor *x, ls_tensor *w, const int32_t *labels, const float *weights, float *losses);

/* The same by groups: result[g] is the sum over the rows with group[r] = g, in f64 in row order, [groups] f32; a row with
 * group < 0 is left out, a group without rows is 0. So minus the log-probability of each text of a packed batch (its tokens are its
 * group), or of each token (group[r] = r), with a gradient of its own for each. */
ls_tensor *ls_cross_entropy_groups(ls_tape *tape, ls_tensor *x, ls_tensor *w, const int32_t *labels, int64_t groups, const int32_t *group);

/* Losses over elements, x and target of one shape, both with gradients (ls_stop_gradient where a target shall have none).
 * Sums, never means; result [] f32 (f64 for f64), summed in f64 in a fixed order. weights [n]: each for count / n elements
 * that follow one another, so n = rows gives one a row, n = count one an element; NULL (n is not read): all 1; 0 leaves
 * elements out, whatever they hold.
 * LS_ESHAPE: shapes differ, n does not divide the count. Formulas and sources: tensor/ops/element_losses.c. */
ls_tensor *ls_mse_sum(ls_tape *tape, ls_tensor *x, ls_tensor *target, int64_t n, const float *weights); /* sum of (x - target)^2 */
/* Binary cross-entropy of logits x and targets in [0, 1], stable for every x. pos_weights: of the positive class, one for
 * each element of the last axis, or NULL; LS_EARG: one is negative. */
ls_tensor *ls_bce_with_logits_sum(ls_tape *tape, ls_tensor *x, ls_tensor *target, int64_t n, const float *weights, const float *pos_weights);
/* KL(p || q) of log-probabilities: sum of p (log p - log q), which is PyTorch's kl_div(log_q, log_p, log_target=True). */
ls_tensor *ls_kl_sum(ls_tape *tape, ls_tensor *log_q, ls_tensor *log_p, int64_t n, const float *weights);

/* Losses of rows of logits x [..., C] and targets of that shape, both with gradients; result, weights [rows] and losses
 * [rows] as ls_cross_entropy_sum. Formulas and sources: tensor/ops/row_losses.c. LS_ESHAPE: shapes differ, no class. */
/* Targets are probabilities (soft labels); `smoothing` s in [0, 1], else LS_EARG, mixes them with s / C each. */
ls_tensor *ls_soft_cross_entropy_sum(ls_tape *tape, ls_tensor *x, ls_tensor *target, double smoothing, const float *weights, float *losses);
/* KL(softmax(target) || softmax(x)): both are logits. */
ls_tensor *ls_kl_of_logits_sum(ls_tape *tape, ls_tensor *x, ls_tensor *target, const float *weights, float *losses);

/* Spikes: 1 where x >= threshold, else 0; backward `surrogate` with its slope (above 0) stands in for the derivative.
 * Formulas, and what SpikingJelly and snnTorch call them: tensor/ops/spiking.c. Usual slopes: arctan 2, fast sigmoid 25,
 * sigmoid 4, rectangle and triangle 1; straight does not use it. LS_EARG: a number out of range. */
typedef enum { LS_SURROGATE_STRAIGHT, LS_SURROGATE_RECTANGLE, LS_SURROGATE_TRIANGLE, LS_SURROGATE_FAST_SIGMOID, LS_SURROGATE_ARCTAN, LS_SURROGATE_SIGMOID } ls_surrogate;
ls_tensor *ls_spike(ls_tape *tape, ls_tensor *x, double threshold, ls_surrogate surrogate, double slope);

/* Moving. */
ls_tensor *ls_reshape(ls_tape *tape, ls_tensor *x, int ndim, const int64_t *shape); /* a view */
ls_tensor *ls_permute(ls_tape *tape, ls_tensor *x, const int *axes);
ls_tensor *ls_narrow(ls_tape *tape, ls_tensor *x, int axis, int64_t begin, int64_t length); /* a slice of one axis */
ls_tensor *ls_concat(ls_tape *tape, int n, ls_tensor *const *x, int axis);
void ls_split(ls_tape *tape, ls_tensor *x, int axis, int n, const int64_t *lengths, ls_tensor **parts); /* lengths add up to the axis */
ls_tensor *ls_gather(ls_tape *tape, ls_tensor *x, int64_t n, const int32_t *index);            /* rows of axis 0; < 0: zeros */
ls_tensor *ls_scatter_add(ls_tape *tape, ls_tensor *x, int64_t n, const int32_t *index, int64_t rows); /* result has `rows` rows; x[i] is added to row index[i] in ascending i, in f32 also where x is bf16 or f16; < 0: dropped */
/* Rows of x [n, ...] by segment: result [segments, ...]; ids [n] in any order, < 0: dropped; added as ls_scatter_add adds.
 * A segment without rows is 0, in the mean too. LS_EARG: an id outside. */
ls_tensor *ls_segment_sum(ls_tape *tape, ls_tensor *x, int64_t n, const int32_t *ids, int64_t segments);
ls_tensor *ls_segment_mean(ls_tape *tape, ls_tensor *x, int64_t n, const int32_t *ids, int64_t segments);
/* Last axis, stable both ways: equal elements stay in order of place, a NaN is greater than every number. index [..., n]:
 * where each came from, on the arena; the gradient goes back there. */
ls_tensor *ls_sort(ls_tape *tape, ls_tensor *x, bool descending, int32_t **index);
ls_tensor *ls_top_k(ls_tape *tape, ls_tensor *x, int64_t k, int32_t **index); /* last axis; gradient to the chosen */
int32_t *ls_arg_max(ls_tape *tape, ls_tensor *x);                             /* last axis; on the arena */
ls_tensor *ls_stop_gradient(ls_tape *tape, ls_tensor *x);
ls_tensor *ls_dropout(ls_tape *tape, ls_tensor *x, double p); /* p = 0 or no-grad scope: x itself */
/* softmax((x + Gumbel noise) / temperature) over the last axis (Jang et al. 2017); hard: the one-hot vector of its greatest
 * element, with the soft one's gradient. The noise comes from ls_tape_random, in a no-grad scope too. LS_EARG:
 * temperature <= 0. */
ls_tensor *ls_gumbel_softmax(ls_tape *tape, ls_tensor *x, double temperature, bool hard);

/* A user's own operator: the same entry that the built-in ones have, in the same way. docs/adding-an-operator.md. */
typedef struct ls_node {
    const struct ls_op *op;
    ls_tape *tape;
    int inputs, outputs;
    ls_tensor **in, **out; /* in[i] may be NULL: an optional input left out */
    void *attributes;      /* the caller's struct, copied; the shape rule may fill in more of it */
    void *saved[4];        /* forward leaves things for backward here (arena) */
    bool recorded;         /* backward may come: forward need not save anything otherwise */
    /* Fills out[0]->data once more, the same bits: see ls_let_go. From what forward saved, or from the inputs, after
     * ls_make_inputs_again. The shape rule sets it where that is quick; NULL: it is not. */
    ls_status (*remake)(struct ls_node *node, ls_device *device);
    int64_t number;        /* in order of recording */
    struct ls_node *previous;
    struct ls_gradient_request *requests; /* backward's; one an input */
} ls_node;

/* The memory of a node: what the tape's arenas gave since the mark goes back to them. */
typedef struct {
    ls_mark activations, host;
} ls_tape_mark;
ls_tape_mark ls_tape_marked(const ls_tape *tape);
void ls_tape_release(ls_tape *tape, ls_tape_mark mark);

/* What the node's inputs let go is there again, until their makers' backward. */
ls_status ls_make_inputs_again(ls_node *node);

typedef struct ls_op {
    const char *name;
    /* Checks inputs and attributes, sets type, ndim and shape of each output; an output whose `data` it sets is a view. */
    ls_status (*shape)(ls_node *node);
    /* Fills each out[i]->data, wholly. NULL: nothing to compute (a view). Neither forward nor backward is called where no
     * output has an element; an input may have none where an output has. */
    ls_status (*forward)(ls_node *node, ls_device *device);
    /* Adds into the gradient of each input that needs one (below); out[i]->grad is complete, in out[i]->grad_type, or
     * NULL where the output was not used. What it takes from the tape's arena is given back after it. NULL: the
     * operator has no gradient, its results need none. */
    ls_status (*backward)(ls_node *node, ls_device *device);
} ls_op;

/* Runs `op` and records it; returns out[0]. Attributes may be NULL, and so may `out` (room for `outputs` tensors). */
ls_tensor *ls_apply(ls_tape *tape, const ls_op *op, int inputs, ls_tensor *const *in, const void *attributes, size_t attribute_bytes, int outputs, ls_tensor **out);

/* In backward: where to add the gradient of in[input], as an array of in[input]->count elements; NULL: not needed.
 * Asked for twice it is the same block. Inputs that are the same tensor get blocks of their own, added up afterwards. */
void *ls_gradient(ls_node *node, int input);                  /* in the input's own type, zeros at first */
void *ls_gradient_as(ls_node *node, int input, ls_type type); /* in another float type, such as f32 for sums of bf16 */
/* Without the zeros: where *accumulate comes back false the block holds rubbish and must be overwritten wholly. */
void *ls_gradient_open(ls_node *node, int input, ls_type type, bool *accumulate);
/* The gradient of an input whose parameter has sparse_rows: adds row i of dy [n, width] (of `type`) to row index[i], in
 * ascending i as ls_device.scatter_add_rows; index < 0 is skipped. For such an input the others raise LS_EARG. */
void ls_gradient_rows(ls_node *node, int input, int64_t n, const int32_t *index, ls_type type, const void *dy);
/* For operators that make a gradient in forward: a block for in[input]'s gradient, wholly to be written, and in
 * backward its way to the input, which owns it from then on (so a second backward must make another). */
void *ls_gradient_take(ls_node *node, int input, ls_type type);
void ls_gradient_give(ls_node *node, int input, ls_type type, void *block);
/* The input's gradient is dy = out[0]->grad itself, of the same count and type: hands the block on, or adds it. */
void ls_gradient_pass(ls_node *node, int input, const void *dy);
