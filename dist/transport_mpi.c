/* Transport between nodes: each segment is one message.
 *
 * MPI keeps the messages of a pair and tag in order, and both sides know which segments are empty (those are not sent),
 * so the k-th receive from a peer is the k-th segment it offered. A receive is posted before the segment is asked for,
 * up to AHEAD of them, into memory of its own. Sends leave from the slot, which stays taken until all have gone. */
#include "base/arena.h"
#include "dist/mpi_fabric.h"
#include "dist/transport.h"

#include <stdlib.h>

enum { AHEAD = 2 };

typedef struct {
    int rank;
    int64_t posted, taken; /* receives */
    int64_t exchange;      /* of the receive being looked at, -1: none */
    MPI_Request receive[AHEAD];
    char *memory; /* [AHEAD][slot_bytes] */
    size_t bytes; /* of the segment being looked at; has arrived */
    bool arrived;
} lane;

typedef struct {
    ls_world *world;
    int slots, tag, count;
    size_t slot_bytes;
    ls_arena *memory;
    lane *lanes;        /* [count] */
    int *lane_of;       /* [ranks] */
    MPI_Request *sends; /* [slots][count] */
} lanes;

static bool reaches(const ls_world *world, int rank)
{
    (void)rank;
    return world->fabric->tell; /* a world of threads has no MPI */
}

static MPI_Comm data_of(const ls_world *world)
{
    return ((ls_mpi *)world->self)->data;
}

static void close_lanes(void *self)
{
    lanes *m = self;
    for (int k = 0; k < m->count && m->lanes; k++)
        for (int64_t i = m->lanes[k].taken; i < m->lanes[k].posted; i++) {
            MPI_Cancel(&m->lanes[k].receive[i % AHEAD]);
            MPI_Wait(&m->lanes[k].receive[i % AHEAD], MPI_STATUS_IGNORE);
        }
    for (int k = 0; k < m->slots * m->count && m->sends; k++)
        MPI_Wait(&m->sends[k], MPI_STATUS_IGNORE);
    ls_arena_free(m->memory);
    free(m->lanes);
    free(m->lane_of);
    free(m->sends);
    free(m);
}

static ls_status open_lanes(void **self, ls_world *world, const ls_channel_options *options, int tag, const int *peers,
                            int count, char **slots)
{
    (void)slots;
    lanes *m = calloc(1, sizeof *m);
    if (!m)
        return ls_fail(LS_EMEM, "no memory for MPI lanes");
    *m =
        (lanes){.world = world, .slots = options->slots, .tag = tag, .count = count, .slot_bytes = options->slot_bytes};
    m->lanes = calloc((size_t)count, sizeof *m->lanes);
    m->lane_of = calloc((size_t)world->ranks, sizeof *m->lane_of);
    m->sends = malloc((size_t)(count * m->slots) * sizeof *m->sends);
    size_t each = (m->slot_bytes + 63) / 64 * 64 * AHEAD;
    ls_status status = ls_fail(LS_EMEM, "no memory for MPI lanes to %d ranks", count);
    if (m->lanes && m->lane_of && m->sends)
        status = ls_arena_create(&m->memory, "receives", each * (size_t)count + (size_t)count * 4096);
    if (status != LS_OK) {
        m->count = 0;
        close_lanes(m);
        return status;
    }
    for (int k = 0; k < count * m->slots; k++)
        m->sends[k] = MPI_REQUEST_NULL;
    for (int k = 0; k < count; k++) {
        m->lanes[k] = (lane){.rank = peers[k], .exchange = -1, .memory = ls_arena_take(m->memory, each)};
        m->lane_of[peers[k]] = k;
    }
    *self = m;
    return LS_OK;
}

static int reader(void *self, int64_t s)
{
    lanes *m = self;
    for (int k = 0; k < m->count; k++) {
        int gone = 0;
        MPI_Test(&m->sends[(s % m->slots) * m->count + k], &gone, MPI_STATUS_IGNORE);
        if (!gone)
            return m->lanes[k].rank;
    }
    return -1;
}

static ls_status post(void *self, int64_t s, const char *slot, const ls_segment *to)
{
    lanes *m = self;
    for (int k = 0; k < m->count; k++) {
        ls_segment segment = to[m->lanes[k].rank];
        if (segment.bytes == 0)
            continue;
        ls_status status = ls_mpi_check(MPI_Isend(slot + segment.offset, (int)segment.bytes, MPI_BYTE, m->lanes[k].rank,
                                                  m->tag, data_of(m->world), &m->sends[(s % m->slots) * m->count + k]),
                                        "MPI_Isend");
        if (status != LS_OK)
            return ls_fail_at(status, "to %s", ls_world_name(m->world, m->lanes[k].rank));
    }
    return LS_OK;
}

static char *memory_of(const lanes *m, const lane *peer, int64_t k)
{
    return peer->memory + (size_t)(k % AHEAD) * ((m->slot_bytes + 63) / 64 * 64);
}

static ls_status receive_ahead(lanes *m, lane *peer)
{
    for (; peer->posted < peer->taken + AHEAD; peer->posted++) {
        ls_status status =
            ls_mpi_check(MPI_Irecv(memory_of(m, peer, peer->posted), (int)m->slot_bytes, MPI_BYTE, peer->rank, m->tag,
                                   data_of(m->world), &peer->receive[peer->posted % AHEAD]),
                         "MPI_Irecv");
        if (status != LS_OK)
            return status;
    }
    return LS_OK;
}

static ls_status take(void *self, int64_t s, int from, const void **data, size_t *bytes)
{
    lanes *m = self;
    lane *peer = &m->lanes[m->lane_of[from]];
    *data = NULL;
    if (peer->exchange != s) {
        ls_status status = receive_ahead(m, peer);
        if (status != LS_OK)
            return ls_fail_at(status, "from %s", ls_world_name(m->world, from));
        peer->exchange = s;
        peer->arrived = false;
    }
    if (!peer->arrived) {
        int arrived = 0, received = 0;
        MPI_Status state;
        ls_status status = ls_mpi_check(MPI_Test(&peer->receive[peer->taken % AHEAD], &arrived, &state), "MPI_Test");
        if (status != LS_OK || !arrived)
            return status == LS_OK ? LS_OK : ls_fail_at(status, "from %s", ls_world_name(m->world, from));
        MPI_Get_count(&state, MPI_BYTE, &received);
        peer->bytes = (size_t)received;
        peer->arrived = true;
    }
    *data = memory_of(m, peer, peer->taken);
    *bytes = peer->bytes;
    return LS_OK;
}

static void release(void *self, int64_t s)
{
    lanes *m = self;
    for (int k = 0; k < m->count; k++) {
        lane *peer = &m->lanes[k];
        if (peer->exchange != s)
            continue;
        peer->taken++;
        peer->exchange = -1;
    }
}

const ls_transport ls_transport_mpi = {
    .name = "mpi",
    .reaches = reaches,
    .open = open_lanes,
    .close = close_lanes,
    .reader = reader,
    .post = post,
    .take = take,
    .release = release,
};
