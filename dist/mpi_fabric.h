/* What the MPI fabric and the MPI transport share. Nobody else includes <mpi.h>. */
#pragma once
#include "dist/fabric.h"

#include <mpi.h>

typedef struct {
    MPI_Comm data;    /* segments of channels, tag = channel */
    MPI_Comm control; /* failures */
    MPI_Comm near;    /* ranks of this node */
    MPI_Request news; /* a failure that a far rank may send */
    ls_failure heard; /* its memory */
} ls_mpi;

/* LS_ECOMM with MPI's own words for an error code of `call`. */
ls_status ls_mpi_check(int error, const char *call);

extern const ls_fabric ls_fabric_mpi;
