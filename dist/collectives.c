/* Barriers, broadcasts, gathers: all of them are one job, in which each rank offers its own number of bytes to all.
 *
 * Bytes travel in pieces of at most a slot. Every piece begins with a header that says which collective it belongs to,
 * so ranks that have come apart (one in a checkpoint, the others in a norm) are told so at once, and by name. */
#include "base/hash.h"
#include "dist/fabric.h"
#include "dist/reduce.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int64_t number; /* of the collective, counted from the world's opening */
    uint64_t bytes; /* that this rank brings */
    char phase[LS_PHASE_SIZE];
} header;

typedef struct {
    ls_job job;
    header header;
    const char *mine;
    char *all;
    const size_t *bytes; /* [ranks] */
    size_t unit;         /* 0: ranks one after the other; else units dealt out in turn, as grains are in `round` */
    size_t room;         /* bytes a piece carries */
    int64_t first, pieces, posted, taken;
    int looking; /* at which rank's piece */
    int partner; /* the one rank it goes to and comes from, own rank: nobody; ALL: everybody */
} gather;

enum { ALL = -1 };

static size_t piece_size(const gather *g, int rank, int64_t piece)
{
    size_t begin = (size_t)piece * g->room, bytes = g->bytes[rank];
    return begin >= bytes ? 0 : bytes - begin < g->room ? bytes - begin : g->room;
}

static bool reaches(const gather *g, int rank)
{
    return g->partner == ALL || g->partner == rank;
}

/* The first piece always travels, so that a barrier waits and headers are compared. */
static bool has_piece(const gather *g, int rank, int64_t piece)
{
    return piece == 0 || piece_size(g, rank, piece) > 0;
}

static void place(const gather *g, const ls_world *world, int rank, int64_t piece, const char *data)
{
    size_t begin = (size_t)piece * g->room, bytes = piece_size(g, rank, piece);
    if (bytes == 0)
        return;
    if (g->partner != ALL) {
        memcpy(g->all + begin, data, bytes);
        return;
    }
    if (g->unit == 0) {
        for (int before = 0; before < rank; before++)
            begin += g->bytes[before];
        if (g->all + begin != data)
            memcpy(g->all + begin, data, bytes);
        return;
    }
    for (size_t k = begin / g->unit, done = 0; done < bytes; k++, done += g->unit)
        memcpy(g->all + (k * (size_t)world->ranks + (size_t)rank) * g->unit, data + done, g->unit);
}

static ls_status post_piece(gather *g, ls_world *world)
{
    int64_t s = g->first + g->posted;
    char *slot = ls_channel_slot(world->channel, s);
    bool any = has_piece(g, world->rank, g->posted);
    size_t bytes = piece_size(g, world->rank, g->posted);
    if (any) {
        memcpy(slot, &g->header, sizeof g->header);
        if (bytes)
            memcpy(slot + sizeof g->header, g->mine + (size_t)g->posted * g->room, bytes);
    }
    for (int rank = 0; rank < world->ranks; rank++)
        world->segments[rank] = (ls_segment){0, any && reaches(g, rank) ? bytes + sizeof g->header : 0};
    g->posted++;
    return ls_channel_post(world->channel, s, world->segments);
}

static ls_status compare_headers(const gather *g, const ls_world *world, int rank, const header *theirs)
{
    if (theirs->number == g->header.number && !strncmp(theirs->phase, g->header.phase, sizeof theirs->phase) &&
        theirs->bytes == g->bytes[rank])
        return LS_OK;
    return ls_fail(LS_ECOMM,
                   "%s is in '%.47s' with %llu bytes where %s is in '%s' and expects %zu: the ranks have come apart; "
                   "please report this with both logs",
                   ls_world_name(world, rank), theirs->phase, (unsigned long long)theirs->bytes,
                   ls_world_name(world, world->rank), g->header.phase, g->bytes[rank]);
}

/* Takes what has come of the oldest piece, rank after rank. *whole: all of it. */
static ls_status take_piece(gather *g, ls_world *world, bool *moved, bool *whole)
{
    *whole = false;
    for (; g->looking < world->ranks; g->looking++) {
        int rank = g->looking;
        if (!has_piece(g, rank, g->taken) || !reaches(g, rank))
            continue;
        const void *data = NULL;
        size_t bytes;
        if (rank == world->rank) {
            place(g, world, rank, g->taken, g->mine + (size_t)g->taken * g->room);
            continue;
        }
        ls_status status = ls_channel_take(world->channel, g->first + g->taken, rank, &data, &bytes);
        if (status == LS_OK && data)
            status = compare_headers(g, world, rank, data);
        if (status != LS_OK || !data)
            return status;
        place(g, world, rank, g->taken, (const char *)data + sizeof(header));
        *moved = true;
    }
    ls_channel_release(world->channel, g->first + g->taken);
    g->looking = 0;
    g->taken++;
    *whole = *moved = true;
    return LS_OK;
}

static ls_step gather_step(ls_job *job, ls_world *world)
{
    gather *g = (gather *)job;
    bool moved = false, whole = true;
    while (job->status == LS_OK && g->posted < g->pieces && ls_channel_writable(world->channel, g->first + g->posted)) {
        job->status = post_piece(g, world);
        moved = true;
    }
    while (job->status == LS_OK && whole && g->taken < g->posted)
        job->status = take_piece(g, world, &moved, &whole);
    if (job->status != LS_OK)
        return LS_STEP_FAILED;
    return g->taken == g->pieces ? LS_STEP_DONE : moved ? LS_STEP_MOVED : LS_STEP_IDLE;
}

static int gather_awaits(const ls_job *job, const ls_world *world)
{
    const gather *g = (const gather *)job;
    return g->taken < g->posted ? g->looking : ls_channel_reader(world->channel, g->first + g->posted);
}

static ls_status run_gather_with(ls_world *world, int partner, const void *mine, void *all, const size_t *bytes, size_t unit,
                                 const char *phase)
{
    size_t room = ls_channel_slot_bytes(world->channel) - sizeof(header), most = 0;
    if (unit > room)
        return ls_fail(LS_EARG, "%s: %zu bytes a grain, at most %zu can be gathered", phase, unit, room);
    for (int rank = 0; rank < world->ranks; rank++)
        most = bytes[rank] > most ? bytes[rank] : most;
    gather g = {.job = {.phase = phase, .step = gather_step, .awaits = gather_awaits},
                .header = {.number = world->collectives++, .bytes = bytes[world->rank]},
                .mine = mine,
                .all = all,
                .bytes = bytes,
                .unit = unit,
                .partner = partner,
                .room = unit ? room / unit * unit : room,
                .first = ls_channel_next(world->channel)};
    snprintf(g.header.phase, sizeof g.header.phase, "%s", phase);
    g.pieces = most == 0 ? 1 : (int64_t)((most + g.room - 1) / g.room);
    return ls_comm_do(world, &g.job);
}

static ls_status run_gather(ls_world *world, const void *mine, void *all, const size_t *bytes, size_t unit, const char *phase)
{
    return run_gather_with(world, ALL, mine, all, bytes, unit, phase);
}

ls_status ls_all_gather_varying(ls_world *world, const void *mine, void *all, const size_t *bytes, const char *phase)
{
    return run_gather(world, mine, all, bytes, 0, phase);
}

static size_t *equal_sizes(ls_world *world, size_t bytes)
{
    for (int rank = 0; rank < world->ranks; rank++)
        world->sizes[rank] = bytes;
    return world->sizes;
}

ls_status ls_barrier(ls_world *world, const char *phase)
{
    return run_gather(world, NULL, NULL, equal_sizes(world, 0), 0, phase);
}

ls_status ls_broadcast(ls_world *world, void *data, size_t bytes, int root, const char *phase)
{
    if (root < 0 || root >= world->ranks)
        return ls_fail(LS_EARG, "%s: broadcast from rank %d of %d", phase, root, world->ranks);
    equal_sizes(world, 0)[root] = bytes;
    return run_gather(world, data, data, world->sizes, 0, phase);
}

ls_status ls_all_gather_bytes(ls_world *world, const void *mine, size_t bytes, void *all, const char *phase)
{
    return run_gather(world, mine, all, equal_sizes(world, bytes), 0, phase);
}

ls_status ls_swap(ls_world *world, int partner, const void *mine, void *theirs, size_t bytes, const char *phase)
{
    if (partner < 0 || partner >= world->ranks)
        return ls_fail(LS_EARG, "%s: swap with rank %d of %d", phase, partner, world->ranks);
    return run_gather_with(world, partner, mine, theirs, equal_sizes(world, bytes), 0, phase);
}

ls_status ls_grain_values(ls_world *world, ls_schedule schedule, int64_t grains, const void *mine, size_t bytes,
                          void *all)
{
    for (int rank = 0; rank < world->ranks; rank++)
        world->sizes[rank] = (size_t)ls_schedule_grains(schedule, grains, rank, world->ranks) * bytes;
    return run_gather(world, mine, all, world->sizes, schedule == LS_SCHEDULE_ROUND ? bytes : 0,
                      "values of the grains");
}

/* An early stop is the mildest of failures: it loses against any other, whichever rank that comes from. */
static int severity(ls_status status)
{
    return status == LS_OK ? 0 : status == LS_ESTOPPED ? 1 : 2;
}

ls_status ls_agree(ls_world *world, ls_status mine, const char *phase)
{
    char sentence[LS_SENTENCE_SIZE] = "";
    if (mine != LS_OK)
        snprintf(sentence, sizeof sentence, "%s: %s", ls_world_name(world, world->rank), ls_fail_sentence());
    ls_status status = ls_all_gather_bytes(world, &mine, sizeof mine, world->statuses, phase);
    if (status != LS_OK)
        return status;
    int worst = 0;
    for (int rank = 1; rank < world->ranks; rank++)
        if (severity(world->statuses[rank]) > severity(world->statuses[worst]))
            worst = rank;
    if (world->statuses[worst] == LS_OK || world->ranks == 1)
        return mine;
    status = ls_broadcast(world, sentence, sizeof sentence, worst, phase);
    return status == LS_OK ? ls_fail(world->statuses[worst], "%s", sentence) : status;
}

typedef struct {
    uint64_t bytes, hash;
    char head[64]; /* the first bytes, for the sentence */
} digest;

static const char *readable(char text[64])
{
    text[63] = '\0';
    for (int k = 0; text[k]; k++)
        if (!isprint((unsigned char)text[k]))
            return "(bytes)";
    return text[0] ? text : "(nothing)";
}

ls_status ls_same_everywhere(ls_world *world, const void *data, size_t bytes, const char *what)
{
    digest mine = {.bytes = bytes, .hash = ls_hash_bytes(data, bytes, LS_HASH_SEED)};
    memcpy(mine.head, data, bytes < sizeof mine.head ? bytes : sizeof mine.head);
    digest *all = calloc((size_t)world->ranks, sizeof *all);
    ls_status status = ls_agree(world, all ? LS_OK : ls_fail(LS_EMEM, "no memory to compare %d ranks", world->ranks), what);
    if (status == LS_OK)
        status = ls_all_gather_bytes(world, &mine, sizeof mine, all, what);
    for (int rank = 1; rank < world->ranks && status == LS_OK; rank++)
        if (all[rank].bytes != all[0].bytes || all[rank].hash != all[0].hash)
            status =
                ls_fail(LS_ESTATE,
                        "%s differs: %s has '%s', rank 0 has '%s'; start all ranks from the same files, on the same "
                        "kind of machine",
                        what, ls_world_name(world, rank), readable(all[rank].head), readable(all[0].head));
    free(all);
    return status;
}
