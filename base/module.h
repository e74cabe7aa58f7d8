/* Modules: parts of the program that need libraries which not every machine has. Loaded when they are asked for, from beside the
 * program or, in a build, from the folder where they are made. */
#pragma once
#include "base/error.h"

typedef struct {
    const char *what;      /* begins sentences: "cuda" */
    const char *name;      /* "lockstep-cuda.so" */
    const char *folder;    /* of the build, from the program's: "../tensor/cuda/" */
    const char *absent;    /* the sentence where there is no such file */
    const char *libraries; /* what to ask where it does not load: "does LD_LIBRARY_PATH lead to libnccl?" */
} ls_module;

/* Writes the address of `symbol` to *function, a pointer to a function. LS_ENOTFOUND: no such file; LS_EIO: it does not load, or
 * has no such symbol. */
ls_status ls_module_load(const ls_module *module, const char *symbol, void *function);
