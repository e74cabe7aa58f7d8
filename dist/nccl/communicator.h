/* The communicator as the rest of dist/nccl/ sees it: NCCL's handle, the communication stream, and how both are asked
 * whether all is well.
 *
 *     compute stream        ... add, add, add --ready--.     add ...                     optimiser ...
 *     communication stream                              `-- sends, sums, sends ... -done
 *     main thread                                                          waits for done ^
 *     the communication thread of dist/comm.h looks for errors of NCCL, and gives the communicator up when the world fails
 *
 * All is queued by the rank's main thread, which waits in ls_nccl_wait only. */
#pragma once
#include "dist/nccl/nccl.h"
#include "dist/reducer.h"

#include <cuda_runtime_api.h>
#include <nccl.h>
#include <pthread.h>

typedef struct ls_nccl ls_nccl;
struct ls_nccl {
    ls_exchange exchange; /* points back here: keep it first */
    ls_world *world;
    ls_device *device, *beside; /* the rank's own, and its table of functions on the communication stream */
    ls_nccl_mode mode;
    int number; /* of the device */
    char version[32], name[64];
    cudaStream_t compute, stream;
    cudaEvent_t ready, done;
    pthread_mutex_t lock; /* of what follows: one thread at a time calls NCCL */
    ncclComm_t comm;      /* NULL: given up */
    _Atomic bool unwanted; /* it is to be given up as soon as nobody is in a call */
    double queued;         /* when something was, last; 0: never */
    double failing_since; /* NCCL has told an error; 0: none */
    char sentence[LS_SENTENCE_SIZE]; /* of that */
    ls_job watch;
    double looked; /* by the watch, last */
    _Atomic bool waiting; /* the main thread is in ls_nccl_wait */
};

/* `what` was being done, "ncclSend in the gradient exchange". LS_OK stays; else a sentence with rank, device and versions. */
ls_status ls_nccl_check(ls_nccl *nccl, ncclResult_t result, const char *what);
ls_status ls_nccl_cuda(ls_nccl *nccl, cudaError_t error, const char *what);

/* Around calls of NCCL: they are one group, queued at its end. Enter fails when the communicator was given up; then, and
 * after a failed call, the sentence is that of the world's first failure if there is one. Leave takes the worst status. */
ls_status ls_nccl_enter(ls_nccl *nccl);
ls_status ls_nccl_leave(ls_nccl *nccl, ls_status status, const char *what);

/* Nobody will come any more: what is queued ends with nonsense, every later call fails. Any thread. */
void ls_nccl_give_up(ls_nccl *nccl);

/* Before the compute stream is ordered against another by an event: the device may still hold back what was called (tensor/device.h). */
ls_status ls_nccl_submit(ls_nccl *nccl);
/* What is queued on the communication stream from now on comes after what is queued for computation so far. */
ls_status ls_nccl_after_compute(ls_nccl *nccl);
/* Waits for all ranks to come here, and for what is queued on the communication stream. Whatever goes wrong ends as on a CPU: with the rank that is dead, late or stopped by name. */
ls_status ls_nccl_wait(ls_nccl *nccl, const char *phase);

extern const ls_schedule_table ls_nccl_block, ls_nccl_round;
ls_status ls_nccl_gather(ls_reducer *r, ls_type type, void *data);
