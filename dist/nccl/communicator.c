/* Making a communicator, asking it, waiting for it, giving it up. */
#include "dist/nccl/communicator.h"

#include "dist/fabric.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Seconds that the board has to name the rank behind an error of NCCL, which only sees a connection end. */
#define GRACE_SECONDS 3
/* Between two looks of the watch. */
#define LOOK_SECONDS 1

static ls_status fail(ls_nccl *nccl, ls_status status, const char *what, const char *why, const char *advice)
{
    return ls_fail(status, "%s, CUDA device %d, NCCL %s: %s: %s; %s", ls_world_name(nccl->world, nccl->world->rank), nccl->number,
                   nccl->version, what, why, advice);
}

ls_status ls_nccl_cuda(ls_nccl *nccl, cudaError_t error, const char *what)
{
    char why[256];
    if (error == cudaSuccess)
        return LS_OK;
    snprintf(why, sizeof why, "%s (%s)", cudaGetErrorString(error), cudaGetErrorName(error));
    return fail(nccl, error == cudaErrorMemoryAllocation ? LS_EMEM : LS_EIO, what, why, "CUDA_LAUNCH_BLOCKING=1 names the call it was in");
}

static const char *advice_on(ncclResult_t result)
{
    switch (result) {
    case ncclUnhandledCudaError: return "a call of CUDA failed inside NCCL: NCCL_DEBUG=WARN says which one; a driver older than NCCL's CUDA is the usual reason";
    case ncclSystemError: return "a call of the operating system failed: NCCL_DEBUG=INFO shows the network it chose, NCCL_SOCKET_IFNAME=eth0 (say) chooses another, and /dev/shm must have room";
    case ncclInvalidUsage: return "two ranks on one device, or ranks whose calls differ: see that each rank of a node has a device of its own (CUDA_VISIBLE_DEVICES), or say batch.reduce: host";
    case ncclRemoteError: return "another rank ended, or the network did: look at the logs of the other ranks";
    default: return "NCCL_DEBUG=INFO in the environment makes NCCL say more";
    }
}

ls_status ls_nccl_check(ls_nccl *nccl, ncclResult_t result, const char *what)
{
    char why[512];
    if (result == ncclSuccess || result == ncclInProgress)
        return LS_OK;
    const char *last = nccl->comm ? ncclGetLastError(nccl->comm) : ncclGetLastError(NULL);
    snprintf(why, sizeof why, "%s%s%.300s", ncclGetErrorString(result), last && *last ? ": " : "", last ? last : "");
    return fail(nccl, result == ncclRemoteError ? LS_ECOMM : LS_EIO, what, why, advice_on(result));
}

/* ---- giving it up ---- */

/* The lock is held. Kernels of NCCL that wait for other ranks end now, with nonsense as their result. */
static void abort_held(ls_nccl *nccl)
{
    if (nccl->comm)
        ncclCommAbort(nccl->comm);
    nccl->comm = NULL;
}

void ls_nccl_give_up(ls_nccl *nccl)
{
    atomic_store(&nccl->unwanted, true);
    if (pthread_mutex_trylock(&nccl->lock) != 0)
        return; /* somebody is in a call, and will see it when he leaves */
    abort_held(nccl);
    pthread_mutex_unlock(&nccl->lock);
}

static void nap(double since)
{
    if (ls_now() - since > 50e-6)
        nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
}

/* The world's, which may be on its way. */
static ls_status first_failure(const ls_nccl *nccl, double seconds)
{
    const double begin = ls_now();
    ls_status status = LS_OK;
    while (nccl->world->failure && (status = ls_board_status(nccl->world)) == LS_OK && ls_now() - begin < seconds)
        nap(begin);
    return status;
}

/* Why it was given up: the world's first failure, or NCCL's own. */
static ls_status why_lost(ls_nccl *nccl)
{
    const ls_status status = first_failure(nccl, 0);
    if (status != LS_OK)
        return status;
    return ls_fail(LS_ECOMM, "%s", *nccl->sentence ? nccl->sentence : "the communicator of NCCL was given up");
}

/* Communication does not end. Who is to blame is known if it is stopped on this machine. */
static ls_status overdue(ls_nccl *nccl, const char *phase, const char *since)
{
    ls_world *world = nccl->world;
    const double seconds = world->options.deadline;
    char why[256];
    for (int rank = 0; rank < world->ranks; rank++)
        if (world->peers[rank].pidfd >= 0 && ls_flight_is_stopped(world->peers[rank].pid))
            return ls_board_overdue(world, rank, phase, seconds);
    snprintf(why, sizeof why, "not done %g s after %s", seconds, since);
    return fail(nccl, LS_ETIMEOUT, phase, why, "look for a rank whose log ends early; NCCL_DEBUG=INFO shows which connection stands, `nvidia-smi` and dmesg (Xid) on each node a device that hangs");
}

/* The communicator does not block: a call returns at once, and its end is asked for. So a rank that never comes to the
 * making of connections keeps nobody in NCCL. The lock is held. */
static ls_status settle(ls_nccl *nccl, ncclResult_t result, const char *what)
{
    const double begin = ls_now();
    while (result == ncclInProgress) {
        if (atomic_load(&nccl->unwanted) || first_failure(nccl, 0) != LS_OK)
            return why_lost(nccl);
        if (ls_now() - begin > nccl->world->options.deadline)
            return overdue(nccl, what, "it began");
        nap(begin);
        const ncclResult_t asked = ncclCommGetAsyncError(nccl->comm, &result);
        if (asked != ncclSuccess)
            result = asked;
    }
    return ls_nccl_check(nccl, result, what);
}

ls_status ls_nccl_enter(ls_nccl *nccl)
{
    pthread_mutex_lock(&nccl->lock);
    if (atomic_load(&nccl->unwanted) || !nccl->comm) {
        abort_held(nccl);
        pthread_mutex_unlock(&nccl->lock);
        return why_lost(nccl);
    }
    const ls_status status = ls_nccl_check(nccl, ncclGroupStart(), "ncclGroupStart");
    if (status != LS_OK)
        pthread_mutex_unlock(&nccl->lock);
    return status;
}

ls_status ls_nccl_leave(ls_nccl *nccl, ls_status status, const char *what)
{
    char sentence[LS_SENTENCE_SIZE];
    snprintf(sentence, sizeof sentence, "%s", status == LS_OK ? "" : ls_fail_sentence());
    const ncclResult_t end = ncclGroupEnd(); /* also of a group that failed: the next one must not be inside it */
    if (status == LS_OK) {
        status = settle(nccl, end, what);
        snprintf(sentence, sizeof sentence, "%s", status == LS_OK ? "" : ls_fail_sentence());
    }
    nccl->queued = ls_now();
    if (atomic_load(&nccl->unwanted) || status != LS_OK)
        abort_held(nccl);
    pthread_mutex_unlock(&nccl->lock);
    if (status == LS_OK)
        return LS_OK;
    const ls_status first = first_failure(nccl, status == LS_ECOMM ? GRACE_SECONDS : 0);
    return first != LS_OK ? first : ls_fail_copy(status, sentence);
}

/* ---- looking after it ---- */

/* Asks NCCL for errors of what is queued. True: there is one, and the board has had its time to name a rank. The lock is
 * held. */
static bool has_failed(ls_nccl *nccl)
{
    ncclResult_t error = ncclSuccess;
    if (nccl->comm && ncclCommGetAsyncError(nccl->comm, &error) == ncclSuccess && error != ncclSuccess && error != ncclInProgress && !nccl->failing_since) {
        ls_nccl_check(nccl, error, "beside computation");
        snprintf(nccl->sentence, sizeof nccl->sentence, "%s", ls_fail_sentence());
        nccl->failing_since = ls_now();
    }
    return nccl->failing_since > 0 && ls_now() - nccl->failing_since > GRACE_SECONDS;
}

/* Nothing was queued for a deadline, and what was is not done: the main thread may be in a call that waits for the device.
 * A rank that only works for long is waited for, as on a CPU. */
static bool stands_still(ls_nccl *nccl)
{
    ls_world *world = nccl->world;
    if (nccl->waiting || !nccl->queued || ls_now() - nccl->queued < world->options.deadline || cudaStreamQuery(nccl->stream) != cudaErrorNotReady)
        return false;
    for (int rank = 0; rank < world->ranks; rank++)
        if (rank != world->rank && ls_board_is_slow(world, rank, "gradient exchange", world->options.deadline)) {
            nccl->queued = ls_now();
            return false;
        }
    return true;
}

/* The main thread may be stuck in a call that waits for the device, which waits for a rank that is gone. */
static ls_step look(ls_job *job, ls_world *world)
{
    ls_nccl *nccl = (ls_nccl *)((char *)job - offsetof(ls_nccl, watch));
    if (ls_now() - nccl->looked < LOOK_SECONDS || pthread_mutex_trylock(&nccl->lock) != 0)
        return LS_STEP_IDLE;
    nccl->looked = ls_now();
    const bool late = nccl->comm && stands_still(nccl);
    if (has_failed(nccl))
        abort_held(nccl);
    pthread_mutex_unlock(&nccl->lock);
    if (late && overdue(nccl, "gradient exchange", "it was queued") == LS_ETIMEOUT && ls_board_status(world) == LS_OK)
        ls_board_fail(world, LS_ETIMEOUT, ls_status_exit_code(LS_ETIMEOUT), ls_fail_sentence());
    return LS_STEP_IDLE;
}

static void world_lost(ls_job *job)
{
    ls_nccl_give_up((ls_nccl *)((char *)job - offsetof(ls_nccl, watch)));
}

/* ---- order of the two streams ---- */

ls_status ls_nccl_submit(ls_nccl *nccl)
{
    return nccl->device->submit ? nccl->device->submit(nccl->device) : LS_OK;
}

ls_status ls_nccl_after_compute(ls_nccl *nccl)
{
    ls_status status = ls_nccl_submit(nccl);
    if (status == LS_OK)
        status = ls_nccl_cuda(nccl, cudaEventRecord(nccl->ready, nccl->compute), "cudaEventRecord after computation");
    return status == LS_OK ? ls_nccl_cuda(nccl, cudaStreamWaitEvent(nccl->stream, nccl->ready, 0), "cudaStreamWaitEvent of communication") : status;
}

typedef enum { WELL, FAILING, FAILED } health;

static health health_of(ls_nccl *nccl)
{
    pthread_mutex_lock(&nccl->lock);
    const bool failed = has_failed(nccl) || !nccl->comm || first_failure(nccl, 0) != LS_OK;
    const health found = failed ? FAILED : nccl->failing_since > 0 ? FAILING : WELL;
    pthread_mutex_unlock(&nccl->lock);
    return found;
}

/* The event `done`, while looking after NCCL and the world. What NCCL gives up is done too: it counts only if all is well. */
static ls_status wait_done(ls_nccl *nccl, const char *phase)
{
    const double begin = ls_now();
    for (;;) {
        const cudaError_t error = cudaEventQuery(nccl->done);
        const health found = health_of(nccl);
        if (found == FAILED)
            return why_lost(nccl);
        if (error != cudaSuccess && error != cudaErrorNotReady)
            return ls_nccl_cuda(nccl, error, phase);
        if (error == cudaSuccess && found == WELL)
            return LS_OK;
        if (ls_now() - begin > nccl->world->options.deadline)
            return overdue(nccl, phase, "the last rank came");
        nap(begin);
    }
}

ls_status ls_nccl_wait(ls_nccl *nccl, const char *phase)
{
    ls_world *world = nccl->world;
    ls_status status = ls_nccl_cuda(nccl, cudaEventRecord(nccl->done, nccl->stream), "cudaEventRecord after communication");
    nccl->waiting = true; /* with a deadline of its own */
    if (status == LS_OK)
        status = ls_barrier(world, phase); /* who does not come is named as ever */
    const double begin = ls_now();
    ls_flight_waits(world->comm.flight, true);
    if (status == LS_OK)
        status = wait_done(nccl, phase);
    ls_flight_waits(world->comm.flight, false);
    world->comm.waited += ls_now() - begin;
    nccl->waiting = false;
    if (status == LS_OK)
        return nccl->beside->synchronize(nccl->beside); /* errors of the sums' kernels */
    char sentence[LS_SENTENCE_SIZE];
    snprintf(sentence, sizeof sentence, "%s", ls_fail_sentence());
    ls_nccl_give_up(nccl);
    return ls_fail_copy(status, sentence);
}

/* ---- life ---- */

static ls_status open_streams(ls_nccl *nccl)
{
    nccl->compute = nccl->device->stream;
    ls_status status = ls_nccl_cuda(nccl, cudaSetDevice(nccl->number), "cudaSetDevice");
    if (status == LS_OK)
        status = nccl->device->create_beside(nccl->device, &nccl->beside);
    if (status == LS_OK)
        nccl->stream = nccl->beside->stream;
    if (status == LS_OK)
        status = ls_nccl_cuda(nccl, cudaEventCreateWithFlags(&nccl->ready, cudaEventDisableTiming), "cudaEventCreateWithFlags");
    if (status == LS_OK)
        status = ls_nccl_cuda(nccl, cudaEventCreateWithFlags(&nccl->done, cudaEventDisableTiming), "cudaEventCreateWithFlags");
    return status;
}

/* Rank 0 makes the id, MPI carries it. NCCL's own calls have no deadline, so all agree before they go in. */
static ls_status join(ls_nccl *nccl, ls_status status)
{
    ls_world *world = nccl->world;
    ncclUniqueId id = {{0}};
    if (status == LS_OK && world->rank == 0)
        status = ls_nccl_check(nccl, ncclGetUniqueId(&id), "ncclGetUniqueId");
    status = ls_agree(world, status, "opening NCCL");
    if (status == LS_OK)
        status = ls_broadcast(world, &id, sizeof id, 0, "NCCL's id");
    if (status != LS_OK)
        return status;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    status = settle(nccl, ncclCommInitRankConfig(&nccl->comm, world->ranks, id, world->rank, &config), "ncclCommInitRankConfig");
    return ls_agree(world, status, "joining NCCL");
}

static bool reaches(const ls_exchange *exchange, const void *data)
{
    struct cudaPointerAttributes attributes;
    (void)exchange;
    return cudaPointerGetAttributes(&attributes, data) == cudaSuccess &&
           (attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged);
}

static void close_communicator(ls_exchange *exchange)
{
    ls_nccl *nccl = (ls_nccl *)exchange;
    char sentence[LS_SENTENCE_SIZE]; /* why the run ends stays the caller's */
    snprintf(sentence, sizeof sentence, "%s", ls_fail_sentence());
    if (atomic_load(&nccl->watch.running))
        ls_comm_cancel(nccl->world, &nccl->watch);
    pthread_mutex_lock(&nccl->lock);
    const bool well = !atomic_load(&nccl->unwanted) && !nccl->failing_since && first_failure(nccl, 0) == LS_OK;
    if (nccl->comm && well && settle(nccl, ncclCommFinalize(nccl->comm), "ncclCommFinalize") == LS_OK)
        ncclCommDestroy(nccl->comm);
    else
        abort_held(nccl);
    pthread_mutex_unlock(&nccl->lock);
    if (nccl->ready)
        cudaEventDestroy(nccl->ready);
    if (nccl->done)
        cudaEventDestroy(nccl->done);
    if (nccl->beside)
        nccl->beside->free(nccl->beside);
    pthread_mutex_destroy(&nccl->lock);
    free(nccl);
    ls_fail(LS_OK, "%s", sentence);
}

ls_status ls_nccl_version(int *version)
{
    return ncclGetVersion(version) == ncclSuccess ? LS_OK : ls_fail(LS_EIO, "NCCL does not tell its version");
}

ls_status ls_nccl_open(ls_exchange **out, ls_world *world, ls_device *device, ls_nccl_mode mode)
{
    *out = NULL;
    ls_nccl *nccl = calloc(1, sizeof *nccl);
    if (!nccl)
        return ls_fail(LS_EMEM, "no memory for a communicator");
    int version = 0;
    pthread_mutex_init(&nccl->lock, NULL);
    nccl->world = world;
    nccl->device = device;
    nccl->mode = mode;
    nccl->number = device->number;
    if (ncclGetVersion(&version) != ncclSuccess)
        version = 0;
    snprintf(nccl->version, sizeof nccl->version, "%d.%d.%d", version / 10000, version / 100 % 100, version % 100);
    snprintf(nccl->name, sizeof nccl->name, "NCCL %s, %s sums", nccl->version, mode == LS_NCCL_FAST ? "fast" : "exact");
    nccl->exchange = (ls_exchange){.name = nccl->name, .block = &ls_nccl_block, .round = &ls_nccl_round, .reaches = reaches, .gather = ls_nccl_gather, .close = close_communicator};
    const ls_status status = join(nccl, open_streams(nccl));
    if (status != LS_OK) {
        close_communicator(&nccl->exchange);
        return status;
    }
    nccl->watch = (ls_job){.phase = "looking after NCCL", .step = look, .alone = true, .lost = world_lost};
    ls_comm_start(world, &nccl->watch);
    *out = &nccl->exchange;
    return LS_OK;
}
