/* Channel: one numbering over one or two transports. */
#include "dist/channel.h"

#include "base/arena.h"
#include "base/log.h"
#include "dist/fabric.h"
#include "dist/transport.h"

#include <stdlib.h>
#include <string.h>

enum { LINES = 2 };

/* In order of preference; a pair takes the first that reaches it. */
static const ls_transport *const transports[LINES] = {&ls_transport_window, &ls_transport_mpi};

struct ls_channel {
    ls_world *world;
    ls_channel_options options;
    ls_arena *own; /* slots that no transport brought */
    char *slots;
    int64_t next, released;
    struct {
        const ls_transport *transport; /* NULL: serves nobody */
        void *self;
    } line[LINES];
    int8_t *line_of; /* [ranks], -1: this rank */
};

static ls_status choose_lines(ls_channel *channel)
{
    ls_world *world = channel->world;
    const char *wish = channel->options.transport;
    if (wish && strcmp(wish, "window") != 0 && strcmp(wish, "mpi") != 0)
        return ls_fail(LS_ERECIPE, "transport '%s' is not known; there are window and mpi", wish);
    for (int rank = 0; rank < world->ranks; rank++) {
        channel->line_of[rank] = -1;
        if (rank == world->rank)
            continue;
        for (int l = LINES - 1; l >= 0; l--)
            if ((!wish || strcmp(wish, transports[l]->name) == 0) && transports[l]->reaches(world, rank))
                channel->line_of[rank] = (int8_t)l;
        if (channel->line_of[rank] < 0)
            return ls_fail(LS_ERECIPE, "transport %s does not join %s and %s; leave the transport to lockstep",
                           wish ? wish : "mpi", ls_world_name(world, world->rank), ls_world_name(world, rank));
    }
    return LS_OK;
}

static ls_status open_line(ls_channel *channel, int l, int *peers)
{
    int count = 0;
    for (int rank = 0; rank < channel->world->ranks; rank++)
        if (channel->line_of[rank] == l)
            peers[count++] = rank;
    if (count == 0)
        return LS_OK;
    ls_status status = transports[l]->open(&channel->line[l].self, channel->world, &channel->options,
                                           channel->world->channels, peers, count, &channel->slots);
    if (status == LS_OK)
        channel->line[l].transport = transports[l];
    return status;
}

/* The window may be refused for want of shared memory, on all ranks of a node alike: then its peers are far. */
static ls_status open_lines(ls_channel *channel, int *peers)
{
    ls_status status = open_line(channel, 0, peers);
    if (status == LS_ESPACE && !channel->options.transport && transports[1]->reaches(channel->world, peers[0])) {
        ls_log_write(LS_LOG_WARN, "dist", "%s: %s; MPI carries it instead, which is slower", channel->options.name,
                     ls_fail_sentence());
        for (int rank = 0; rank < channel->world->ranks; rank++)
            if (channel->line_of[rank] == 0)
                channel->line_of[rank] = 1;
        status = LS_OK;
    }
    return status == LS_OK ? open_line(channel, 1, peers) : status;
}

static ls_status open_on_thread(ls_world *world, void *argument)
{
    ls_channel *channel = argument;
    int *peers = calloc((size_t)world->ranks, sizeof *peers);
    if (!peers)
        return ls_fail(LS_EMEM, "no memory for a channel");
    ls_status status = choose_lines(channel);
    if (status == LS_OK)
        status = open_lines(channel, peers);
    size_t bytes = channel->options.slot_bytes * (size_t)channel->options.slots;
    if (status == LS_OK && !channel->slots) {
        status = ls_arena_create(&channel->own, channel->options.name, bytes + 4096);
        if (status == LS_OK)
            channel->slots = ls_arena_take(channel->own, bytes);
    }
    world->channels++;
    free(peers);
    return status;
}

static ls_status close_on_thread(ls_world *world, void *argument)
{
    ls_channel *channel = argument;
    (void)world;
    for (int l = 0; l < LINES; l++)
        if (channel->line[l].transport)
            channel->line[l].transport->close(channel->line[l].self);
    return LS_OK;
}

ls_status ls_channel_open(ls_channel **out, ls_world *world, const ls_channel_options *options)
{
    *out = NULL;
    ls_channel *channel = calloc(1, sizeof *channel);
    if (channel)
        channel->line_of = calloc((size_t)world->ranks, sizeof *channel->line_of);
    if (!channel || !channel->line_of) {
        free(channel);
        return ls_fail(LS_EMEM, "no memory for a channel");
    }
    channel->world = world;
    channel->options = *options;
    ls_status status = ls_comm_call(world, "opening of a channel", open_on_thread, channel);
    if (status == LS_OK)
        *out = channel;
    else
        ls_channel_close(channel);
    return status;
}

void ls_channel_close(ls_channel *channel)
{
    if (!channel)
        return;
    /* After a failure peers may be gone, and freeing a window waits for them: the memory ends with the process. */
    if (ls_board_status(channel->world) == LS_OK) {
        ls_comm_call(channel->world, "closing of a channel", close_on_thread, channel);
        ls_arena_free(channel->own);
    }
    free(channel->line_of);
    free(channel);
}

const char *ls_channel_describe(const ls_channel *channel)
{
    bool window = channel->line[0].transport, mpi = channel->line[1].transport;
    return window && mpi ? "window + mpi transport" : window ? "window transport" : mpi ? "mpi transport" : "no transport";
}

int64_t ls_channel_next(const ls_channel *channel)
{
    return channel->next;
}

size_t ls_channel_slot_bytes(const ls_channel *channel)
{
    return channel->options.slot_bytes;
}

void *ls_channel_slot(const ls_channel *channel, int64_t s)
{
    return channel->slots + (size_t)(s % channel->options.slots) * channel->options.slot_bytes;
}

int ls_channel_reader(const ls_channel *channel, int64_t s)
{
    if (s >= channel->released + channel->options.slots)
        return channel->world->rank;
    for (int l = 0; l < LINES; l++) {
        int rank = channel->line[l].transport ? channel->line[l].transport->reader(channel->line[l].self, s) : -1;
        if (rank >= 0)
            return rank;
    }
    return -1;
}

bool ls_channel_writable(const ls_channel *channel, int64_t s)
{
    return ls_channel_reader(channel, s) < 0;
}

ls_status ls_channel_post(ls_channel *channel, int64_t s, const ls_segment *to)
{
    ls_status status = LS_OK;
    for (int l = 0; l < LINES && status == LS_OK; l++)
        if (channel->line[l].transport)
            status = channel->line[l].transport->post(channel->line[l].self, s, ls_channel_slot(channel, s), to);
    channel->next = s + 1;
    return status;
}

ls_status ls_channel_take(ls_channel *channel, int64_t s, int from, const void **data, size_t *bytes)
{
    int l = channel->line_of[from];
    return channel->line[l].transport->take(channel->line[l].self, s, from, data, bytes);
}

void ls_channel_release(ls_channel *channel, int64_t s)
{
    channel->released = s + 1;
    for (int l = 0; l < LINES; l++)
        if (channel->line[l].transport)
            channel->line[l].transport->release(channel->line[l].self, s);
}
