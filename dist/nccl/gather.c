/* The slices of the new weights to all ranks. Nothing is added, so NCCL's own collectives change no bit. */
#include "dist/nccl/communicator.h"

#define PHASE "gathering the parameters"

static bool slices_are_even(const ls_reducer *r)
{
    return r->slice[0].count == r->slice[r->ranks - 1].count;
}

/* ncclAllGather wants equal parts; else each owner sends its slice to all, in one group. */
static ls_status queue(const ls_reducer *r, ls_nccl *n, ncclDataType_t type, size_t size, char *data)
{
    const ls_slice_range mine = r->slice[r->rank];
    if (slices_are_even(r))
        return ls_nccl_check(n, ncclAllGather(data + (size_t)mine.begin * size, data, (size_t)mine.count, type, n->comm, n->stream), "ncclAllGather, " PHASE);
    ls_status status = LS_OK;
    for (int rank = 0; rank < r->ranks && status == LS_OK; rank++) {
        char *slice = data + (size_t)r->slice[rank].begin * size;
        if (r->slice[rank].count > 0)
            status = ls_nccl_check(n, ncclBroadcast(slice, slice, (size_t)r->slice[rank].count, type, rank, n->comm, n->stream), "ncclBroadcast, " PHASE);
    }
    return status;
}

ls_status ls_nccl_gather(ls_reducer *r, ls_type type, void *data)
{
    ls_nccl *n = (ls_nccl *)r->exchange;
    ls_status status = ls_nccl_after_compute(n);
    if (status == LS_OK)
        status = ls_nccl_enter(n);
    if (status != LS_OK)
        return status;
    status = ls_nccl_leave(n, queue(r, n, type == LS_BF16 ? ncclBfloat16 : type == LS_F16 ? ncclFloat16 : ncclFloat32, ls_type_size(type), data), "ncclGroupEnd, " PHASE);
    return status == LS_OK ? ls_nccl_wait(n, PHASE) : status;
}
