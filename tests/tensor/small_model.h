/* A small language model that uses the tape as real ones do: tied or untied head, rotary grouped-query attention, both
 * norms, dropout, linear layers with fused activations, cross-entropy with weights; on request each block in a
 * recompute scope. 2 rows of 24 positions, width 32, 4 heads, 2 key/value heads, vocabulary 61. */
#pragma once
#include "tensor/ops.h"

enum { SMALL_MODEL_PARAMETERS = 128 };

typedef struct {
    ls_type type;
    int layers;
    bool tied, recompute;
    bool lets_go; /* of norms and activations, and adds in place, as the transformer does */
    bool places; /* gradients are made in `place` */
    double dropout;

    int parameters;
    ls_parameter parameter[SMALL_MODEL_PARAMETERS];
    char name[SMALL_MODEL_PARAMETERS][32];
    void *gradient[SMALL_MODEL_PARAMETERS]; /* after a step: f32 (f64), as handed to `ready` */
    float *place[SMALL_MODEL_PARAMETERS];
    int in_place;                           /* gradients that came there */
    int calls[SMALL_MODEL_PARAMETERS];      /* of `ready` for each parameter */
    int order[SMALL_MODEL_PARAMETERS];      /* parameters in the order they came */
    int came;
    double loss;
} small_model;

/* Options first (type, layers, tied, recompute, lets_go, places, dropout), then this: makes parameters and room for gradients. */
void small_model_create(small_model *model);
void small_model_free(small_model *model);
/* One grain: reset, forward, backward; keeps gradients and loss. Nothing here allocates. */
ls_status small_model_step(small_model *model, ls_tape *tape);
ls_tensor *small_model_loss(small_model *model, ls_tape *tape);
/* True if all gradients of two models have the same bits; *first is the first parameter that differs. */
bool small_model_same_gradients(const small_model *a, const small_model *b, const char **first);
