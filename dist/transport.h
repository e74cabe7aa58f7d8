/* Transport: how the segments of a channel travel. One table of functions; a channel holds one or two of them and picks
 * for each peer. A new transport is one file that ends in one table, and one line in channel.c. (NCCL is none:
 * what it carries need never lie in the host's memory; dist/nccl/.) */
#pragma once
#include "dist/channel.h"

typedef struct {
    const char *name;
    bool (*reaches)(const ls_world *world, int rank);
    /* peers[count]: the ranks it is to serve. *slots may be set to memory that peers can see, [slots * slot_bytes];
     * NULL stays: the channel allocates. */
    ls_status (*open)(void **self, ls_world *world, const ls_channel_options *options, int tag, const int *peers,
                      int count, char **slots);
    void (*close)(void *self);
    /* A peer that still needs what lies in the slot of exchange s, -1: none, the slot may be written. */
    int (*reader)(void *self, int64_t s);
    ls_status (*post)(void *self, int64_t s, const char *slot, const ls_segment *to);
    ls_status (*take)(void *self, int64_t s, int from, const void **data, size_t *bytes);
    void (*release)(void *self, int64_t s);
} ls_transport;

extern const ls_transport ls_transport_window, ls_transport_mpi;
