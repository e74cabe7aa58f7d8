/* One exchange of lists of rows: every rank brings some, each a node of the tree, and the owner of a range of rows adds
 * what falls into it. A job of the communication thread:
 *
 *     exchange 0     counts [list][owner], from everyone to everyone: so all know how many exchanges follow
 *     exchange 1..   for each owner a piece of the rows that it gets: | vectors [n, width] | rows [n] |, list after
 * list
 *
 * What is received lies in an arena until all is there; then lists are pushed in the order of ranks, which must be the
 * order of their grains. */
#pragma once
#include "dist/fabric.h"
#include "dist/row_counter.h"

typedef struct {
    int64_t begin, end;
} ls_row_range;

typedef struct {
    ls_job job;
    ls_channel *channel;
    int rank, ranks, most; /* most: lists of a rank */
    int64_t width;
    const ls_row_range *owner; /* [ranks] */
    ls_row_counter *sum;
    /* set before each start: */
    int *lists;            /* [ranks], how many each brings */
    ls_tree_node *node;    /* [ranks][most], of each */
    ls_row_gradient *mine; /* [most], must stay until the end */
    /* its own: */
    ls_row_gradient *part;  /* [most][ranks], of mine by owner */
    ls_row_gradient *taken; /* [ranks][most], what this rank owns of each */
    int64_t *counts;        /* [ranks][most][ranks] */
    ls_segment *segments;   /* [ranks] */
    ls_arena *received;
    int64_t room; /* rows of a piece */
    int64_t first, exchanges, posted, got;
    int looking;
} ls_row_exchange;

/* Bytes that a slot of its channel needs. */
size_t ls_row_slot_bytes(int64_t width, int most, int ranks);
/* channel, rank, ranks, most, width, owner and sum are set. LS_EMEM. */
ls_status ls_row_exchange_open(ls_row_exchange *exchange);
void ls_row_exchange_close(ls_row_exchange *exchange);
/* Hands it to the communication thread: wait with ls_comm_wait(world, &exchange->job). */
void ls_row_exchange_start(ls_row_exchange *exchange, ls_world *world);
