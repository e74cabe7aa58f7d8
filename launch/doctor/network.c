/* How fast bytes go between the ranks, beside what memory gives: copying is what a reduction inside a node cannot beat. */
#include "launch/doctor/doctor.h"
#include "dist/reduce.h"
#include "tensor/device.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { COPY_BYTES = 64 << 20, SWAP_BYTES = 1 << 20, ELEMENTS = 2 << 20, REPEATS = 3 };
/* A reduction reads and writes each byte a few times; inside a node less than this share of a copy's rate has a reason. */
#define SHARE 0.02
#define UNEVEN 3.0
/* TCP does not fill the fastest links, but it comes nearer than this. */
#define LINK_SHARE 0.1

static const char phase[] = "doctor: network";

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* GB/s of this rank while all copy. */
static ls_status copy_rate(ls_doctor *doctor, double *rate)
{
    char *from = malloc(COPY_BYTES), *to = malloc(COPY_BYTES);
    ls_status status = ls_agree(doctor->world, from && to ? LS_OK : ls_fail(LS_EMEM, "no memory to copy"), phase);
    double best = 1e30;
    if (status == LS_OK) {
        memset(from, 1, COPY_BYTES);
        memset(to, 1, COPY_BYTES);
        status = ls_barrier(doctor->world, phase);
    }
    for (int i = 0; i < REPEATS && status == LS_OK; i++) {
        const double begin = now();
        memcpy(to, from, COPY_BYTES);
        __asm__ volatile("" : : "r"(to) : "memory");
        best = now() - begin < best ? now() - begin : best;
    }
    free(from);
    free(to);
    *rate = 1e-9 * COPY_BYTES / best;
    return status;
}

/* ---- pairs ---- */

typedef struct {
    int node, node_rank;
    char name[LS_DOCTOR_NAME]; /* of the node; of the rank where there is one node only */
} seat;

/* Who exchanges with `player` in `round` of a tournament of `players`, in which each meets each once in players - 1 rounds (players
 * when that is odd; who meets nobody meets itself). The circle method. */
int ls_doctor_opponent(int players, int round, int player)
{
    const int even = players + players % 2, around = even - 1;
    int other = player == around ? round * (even / 2) % around : (around + round - player) % around;
    if (other == player)
        other = around;
    return other < players ? other : player;
}

/* GB/s each way between this rank and `partner`; 0 when it sits out. */
static ls_status swap_rate(ls_doctor *doctor, int partner, const char *mine, char *theirs, double *rate)
{
    double best = 1e30;
    for (int i = 0; i < REPEATS; i++) {
        const double begin = now();
        const ls_status status = ls_swap(doctor->world, partner, mine, theirs, SWAP_BYTES, phase);
        if (status != LS_OK)
            return status;
        best = now() - begin < best ? now() - begin : best;
    }
    *rate = partner == ls_world_rank(doctor->world) ? 0 : 1e-9 * SWAP_BYTES / best;
    return LS_OK;
}

/* players[p]: the rank that plays as p; own [players]: rates of this rank, all zeros when it does not play. */
static ls_status play(ls_doctor *doctor, const int *player, int players, double *own)
{
    const int rank = ls_world_rank(doctor->world), rounds = players + players % 2 - 1;
    int me = -1;
    for (int p = 0; p < players; p++)
        me = player[p] == rank ? p : me;
    char *mine = calloc(1, SWAP_BYTES), *theirs = calloc(1, SWAP_BYTES);
    ls_status status = ls_agree(doctor->world, mine && theirs ? LS_OK : ls_fail(LS_EMEM, "no memory to exchange"), phase);
    for (int round = 0; round < rounds && status == LS_OK; round++) {
        const int other = me < 0 ? -1 : ls_doctor_opponent(players, round, me);
        double rate = 0;
        status = swap_rate(doctor, me < 0 ? rank : player[other], mine, theirs, &rate);
        if (me >= 0 && other != me)
            own[other] = rate;
    }
    free(mine);
    free(theirs);
    return status;
}

/* Nodes' first ranks exchange with each other, or the ranks of the one node. pair [players * players] is whole on rank 0. */
static ls_status pair_rates(ls_doctor *doctor, const seat *seats, double *pair, char (*name)[LS_DOCTOR_NAME])
{
    const int ranks = ls_world_ranks(doctor->world), nodes = ls_world_nodes(doctor->world), players = nodes > 1 ? nodes : ranks;
    int *player = calloc((size_t)ranks, sizeof *player), count = 0;
    double *own = calloc((size_t)players, sizeof *own), *all = calloc((size_t)ranks * (size_t)players, sizeof *all);
    ls_status status = ls_agree(doctor->world, player && own && all ? LS_OK : ls_fail(LS_EMEM, "no memory for the rates"), phase);
    for (int r = 0; r < ranks && status == LS_OK; r++)
        if (nodes == 1 || seats[r].node_rank == 0) {
            memcpy(name[count], seats[r].name, sizeof name[count]);
            player[count++] = r;
        }
    if (status == LS_OK)
        status = play(doctor, player, players, own);
    if (status == LS_OK)
        status = ls_all_gather_bytes(doctor->world, own, (size_t)players * sizeof *own, all, phase);
    for (int a = 0; a < players && status == LS_OK; a++)
        for (int b = 0; b < players; b++) { /* the two took the time each for itself: the slower one has seen it whole */
            const double one = all[player[a] * players + b], other = all[player[b] * players + a];
            pair[a * players + b] = one < other ? one : other;
        }
    free(player);
    free(own);
    free(all);
    return status;
}

/* ---- what the link says of itself ---- */

static double fastest(const char *pattern, double unit)
{
    glob_t found = {0};
    double most = 0;
    if (glob(pattern, 0, NULL, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc; i++) {
            char text[64] = "";
            FILE *in = fopen(found.gl_pathv[i], "r");
            const double value = in && fgets(text, sizeof text, in) ? strtod(text, NULL) * unit : 0;
            if (in)
                fclose(in);
            most = value > most ? value : most;
        }
    globfree(&found);
    return most;
}

/* GB/s of this node's fastest network port; 0: none says. Ethernet tells Mb/s (and nothing, or -1, when it is down), InfiniBand Gb/s. */
static double link_rate(void)
{
    const double ethernet = fastest("/sys/class/net/*/speed", 1e-3 / 8), infiniband = fastest("/sys/class/infiniband/*/ports/*/rate", 1.0 / 8);
    return ethernet > infiniband ? ethernet : infiniband;
}

/* GB/s of gradient that is summed over all ranks and brought back to all, as a step does it. */
static ls_status reduce_rate(ls_doctor *doctor, double *rate)
{
    const int ranks = ls_world_ranks(doctor->world);
    const ls_reduce_options options = {.elements = ELEMENTS, .max_grains = ranks, .schedule = LS_SCHEDULE_BLOCK};
    ls_device *device = NULL;
    ls_reducer *reducer = NULL;
    float *data = calloc(ELEMENTS, sizeof *data), *sum;
    double best = 1e30;
    ls_status status = data ? ls_device_create_cpu(&device, doctor->team) : ls_fail(LS_EMEM, "no memory to add");
    status = ls_agree(doctor->world, status, phase);
    if (status == LS_OK)
        status = ls_reducer_open(&reducer, doctor->world, device, &options);
    for (int i = 0; i < REPEATS + 1 && status == LS_OK; i++) {
        const double begin = now();
        status = ls_reducer_begin(reducer, ranks);
        if (status == LS_OK)
            status = ls_reducer_add(reducer, 0, ELEMENTS, data);
        if (status == LS_OK)
            status = ls_reducer_grain_end(reducer);
        if (status == LS_OK)
            status = ls_reducer_finish(reducer, &sum);
        if (status == LS_OK)
            status = ls_all_gather_slices(reducer, LS_F32, data);
        best = i && now() - begin < best ? now() - begin : best;
    }
    ls_reducer_close(reducer);
    if (device)
        device->free(device);
    free(data);
    *rate = 1e-9 * ELEMENTS * sizeof(float) / best;
    return status;
}

/* The slowest pair whose slowness is not one player's alone, or the player that is slow with all: which of the two, and how fast. */
static void judge_pairs(const ls_doctor_rates *rates, double best, double least, ls_finding *finding)
{
    const int n = rates->players;
    int slow = 0, a = 0, b = 1;
    double slowest = 1e30;
    for (int p = 0; p < n; p++) {
        double own = 0;
        for (int q = 0; q < n; q++) {
            own = q != p && rates->pair[p * n + q] > own ? rates->pair[p * n + q] : own;
            if (q > p && rates->pair[p * n + q] <= least)
                a = p, b = q;
        }
        if (own < slowest)
            slowest = own, slow = p;
    }
    if (best > UNEVEN * slowest)
        ls_doctor_find(finding, LS_DOCTOR_WARN, "%s exchanges at %.3g GB/s at most, with whomever; others at %.3g: look at its network (link speed, cable, "
                       "errors in `ip -s link`, OMPI_MCA_btl_tcp_if_include)", rates->name[slow], slowest, best);
    else if (best > UNEVEN * least)
        ls_doctor_find(finding, LS_DOCTOR_WARN, "%s and %s exchange at %.3g GB/s, each of them faster with others (up to %.3g): look at the switches between them",
                       rates->name[a], rates->name[b], least, best);
}

void ls_doctor_judge_rates(const ls_doctor_rates *rates, ls_finding *finding)
{
    const int n = rates->players;
    double best = 0, least = 1e30;
    char link[48] = "";
    for (int p = 0; p < n; p++)
        for (int q = p + 1; q < n; q++) {
            best = rates->pair[p * n + q] > best ? rates->pair[p * n + q] : best;
            least = rates->pair[p * n + q] < least ? rates->pair[p * n + q] : least;
        }
    if (!rates->nodes && rates->reduce < SHARE * rates->copy)
        ls_doctor_find(finding, LS_DOCTOR_WARN, "gradients are added at %.2f GB/s, memory copies %.1f: more ranks than cores, a small /dev/shm, or ranks on "
                       "one core", rates->reduce, rates->copy);
    judge_pairs(rates, best, least, finding);
    if (rates->nodes && best < LINK_SHARE * rates->link)
        ls_doctor_find(finding, LS_DOCTOR_WARN, "nodes exchange at %.3g GB/s at most where the fastest link says %.3g: is it the one in use? "
                       "(OMPI_MCA_btl_tcp_if_include, UCX_NET_DEVICES)", best, rates->link);
    if (rates->nodes && rates->link > 0)
        snprintf(link, sizeof link, " (the link says %.3g)", rates->link);
    ls_doctor_find(finding, LS_DOCTOR_OK, "gradients are added over all ranks at %.3g GB/s; %s exchange in pairs at %.3g to %.3g each way%s; memory copies %.1f "
                   "a rank", rates->reduce, rates->nodes ? "nodes" : "ranks", least, best, link, rates->copy);
}

static ls_status take_seats(ls_doctor *doctor, seat *seats)
{
    ls_world *world = doctor->world;
    seat mine = {.node = ls_world_node(world), .node_rank = ls_world_node_rank(world)};
    snprintf(mine.name, sizeof mine.name, "%.*s", LS_DOCTOR_NAME - 1,
             ls_world_nodes(world) > 1 ? ls_world_host(world) : ls_world_rank_name(world, ls_world_rank(world)));
    return ls_all_gather_bytes(world, &mine, sizeof mine, seats, phase);
}

/* Between two ranks at least. */
static ls_status look_at_pairs(ls_doctor *doctor, double copy, ls_finding *finding)
{
    const int ranks = ls_world_ranks(doctor->world), nodes = ls_world_nodes(doctor->world), players = nodes > 1 ? nodes : ranks;
    seat *seats = calloc((size_t)ranks, sizeof *seats);
    double *pair = calloc((size_t)players * (size_t)players, sizeof *pair);
    char(*name)[LS_DOCTOR_NAME] = calloc((size_t)players, sizeof *name);
    ls_doctor_rates rates = {.nodes = nodes > 1, .players = players, .copy = copy, .link = link_rate()};
    ls_status status = ls_agree(doctor->world, seats && pair && name ? LS_OK : ls_fail(LS_EMEM, "no memory for the rates"), phase);
    if (status == LS_OK)
        status = take_seats(doctor, seats);
    if (status == LS_OK)
        status = pair_rates(doctor, seats, pair, name);
    if (status == LS_OK)
        status = reduce_rate(doctor, &rates.reduce);
    if (status == LS_OK) {
        rates.pair = pair;
        rates.name = (const char(*)[LS_DOCTOR_NAME])name;
        ls_doctor_judge_rates(&rates, finding);
    }
    free(seats);
    free(pair);
    free(name);
    return status;
}

ls_status ls_doctor_network(ls_doctor *doctor)
{
    double copy;
    ls_finding finding = {0};
    ls_status status = copy_rate(doctor, &copy);
    if (status == LS_OK && ls_world_ranks(doctor->world) == 1)
        ls_doctor_find(&finding, LS_DOCTOR_OK, "one rank alone; memory copies %.1f GB/s", copy);
    else if (status == LS_OK)
        status = look_at_pairs(doctor, copy, &finding);
    if (status == LS_OK)
        ls_doctor_say(doctor, "network", &finding);
    return status;
}
