/* What CUDA says of a machine's devices, asked without making a context: for `lockstep doctor`. */
#pragma once
#include "base/error.h"

#include <stdbool.h>

typedef struct {
    int devices, number;     /* that this process sees; the one that ls_device_create_cuda would take */
    char name[64], place[16]; /* of that one; place on the machine's bus, the same whatever a process sees of the others */
    int driver, runtime;     /* newest CUDA of the driver, and CUDA of this build: 13000 is 13.0 */
    bool prohibited;         /* compute mode: nobody may compute there */
    bool exclusive;          /* or one process at a time */
} ls_cuda_probe;

/* `number` as for ls_device_create_cuda. LS_ENOTFOUND: no device here, or none in this build. */
ls_status ls_device_probe_cuda(ls_cuda_probe *probe, int number);
