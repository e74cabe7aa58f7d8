/* Flat buffers: all parameters of a run in one fp32 range (and a working copy in bf16 or f16), each starting at a new chunk, so
 * sharding, clipping, optimisers and checkpoints are loops over memory. Offsets depend on the list alone. */
#pragma once
#include "tensor/tensor.h"

/* What the struct of every `model` section begins with. Read by train/, not by models. */
typedef struct {
    const char *from;   /* run folder or imported folder whose weights are the initial ones; NULL: the seed's */
    bool from_ema;      /* its averaged ones */
    const char *family; /* its name, where a task trains several families */
} ls_model_begin;

/* A model's parameters while it describes them: one array, and storage for their names. */
typedef struct {
    ls_parameter *all;
    int count, room;
    char *names;
} ls_parameter_list;

/* Room for `room` parameters. LS_EMEM. */
ls_status ls_parameter_list_make(ls_parameter_list *list, int room);
void ls_parameter_list_free(ls_parameter_list *list);
/* Appends one; the caller has made room. Initial values: normal with deviation `std`, 0: zeros, < 0: ones. What has one
 * dimension (gains, biases) is not decayed. The name has at most 63 bytes. */
__attribute__((format(printf, 5, 6))) ls_parameter *ls_parameter_list_add(ls_parameter_list *list, int ndim, const int64_t *shape, double std,
                                                                          const char *name, ...);

/* Gives every parameter its offset and number; returns the elements of the flat buffer (a multiple of LS_CHUNK). In the
 * order of the list, but frozen ones behind all others: what learns is one range from 0. */
int64_t ls_parameters_layout(ls_parameter *parameters, int count);
/* Points each parameter's data into `working` (elements of `compute`: f32, bf16 or f16). Parameters of one dimension are
 * always used in f32, so with the latter two they are read from `master_f32` instead. For f32 both may be one buffer. */
void ls_parameters_bind(ls_parameter *parameters, int count, ls_type compute, void *working, float *master_f32);
/* Initial weights of elements [begin, begin + held) of the flat buffer, from the counter RNG: any rank can make any
 * slice. Normal, zeros or ones by parameter, or those of the one that it is a copy of; padding is 0. */
void ls_parameters_init(const ls_parameter *parameters, int count, uint64_t seed, int64_t begin, int64_t held, float *out);
