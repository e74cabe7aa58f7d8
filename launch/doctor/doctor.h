/* `lockstep doctor`: what a cluster does wrong, found in seconds and before the run. Each check is collective, gathers what every
 * rank sees, and rank 0 says one line with the remedy:
 *
 *     ok    binding   4 ranks on 2 nodes, 8 cores each
 *     warn  clock     ...
 *     fail  disk      /data/run is full (0 of 64 MiB could be written); free space, or choose another run folder
 *
 * Judgements are functions of the gathered numbers alone, so that they can be tested without a cluster. */
#pragma once
#include "tensor/cuda_probe.h"
#include "train/run.h"

#include <sched.h>

typedef enum { LS_DOCTOR_OK, LS_DOCTOR_WARN, LS_DOCTOR_FAIL } ls_doctor_level;

typedef struct {
    ls_world *world;
    const ls_train_config *config; /* NULL: no recipe was named */
    const char *folder;            /* run folder, or where one shall be */
    ls_team *team;                 /* of as many threads as the run's */
    int failures, warnings;        /* on rank 0 */
} ls_doctor;

enum { LS_DOCTOR_TEXT = 1024 };
typedef struct {
    ls_doctor_level level;
    char text[LS_DOCTOR_TEXT];
} ls_finding;

/* Rank 0 prints the line and counts it; the others do nothing. */
void ls_doctor_say(ls_doctor *doctor, const char *part, const ls_finding *finding);
/* Fills a finding, unless it holds a worse one. */
__attribute__((format(printf, 3, 4))) void ls_doctor_find(ls_finding *finding, ls_doctor_level level, const char *format, ...);

/* Cores. */
typedef struct {
    int node, threads;
    char host[64];
    cpu_set_t bound; /* where the rank may run */
    cpu_set_t all;   /* the node's */
} ls_doctor_place;
void ls_doctor_judge_places(const ls_doctor_place *place, int ranks, ls_finding *finding);
ls_status ls_doctor_binding(ls_doctor *doctor);

/* The same work on all ranks at once. */
typedef struct {
    char host[64];
    double wall, cpu; /* seconds */
} ls_doctor_pace;
void ls_doctor_judge_pace(const ls_doctor_pace *pace, int ranks, ls_finding *finding);
ls_status ls_doctor_compute(ls_doctor *doctor);

/* Rates between nodes, or between the ranks of one node: GB/s. */
enum { LS_DOCTOR_NAME = 64 };
typedef struct {
    bool nodes;                          /* the players are nodes */
    int players;                         /* two at least */
    const double *pair;                  /* [players * players], symmetric: what the two exchange each way at once */
    const char (*name)[LS_DOCTOR_NAME];  /* [players] */
    double copy, reduce;                 /* copying in memory, a rank; adding a gradient over all ranks */
    double link;                         /* what the fastest port says of itself; 0: unknown */
} ls_doctor_rates;
void ls_doctor_judge_rates(const ls_doctor_rates *rates, ls_finding *finding);
int ls_doctor_opponent(int players, int round, int player);

/* Devices and NCCL; nothing is said of a recipe without device: cuda. */
typedef struct {
    int node, nccl; /* nccl: its version, 22809 for 2.28.9; 0: none */
    char host[64];
    char why[512];  /* there is no device; else empty */
    ls_cuda_probe probe;
} ls_doctor_gpu;
void ls_doctor_judge_gpus(const ls_doctor_gpu *all, int ranks, bool through_host, ls_finding *finding);
ls_status ls_doctor_gpus(ls_doctor *doctor);

ls_status ls_doctor_library(ls_doctor *doctor); /* one MPI, one lockstep, one numerics id */
ls_status ls_doctor_network(ls_doctor *doctor); /* memory, each pair's exchange, the reduction */
ls_status ls_doctor_disk(ls_doctor *doctor, const ls_train_needs *needs); /* needs NULL: unknown */
ls_status ls_doctor_clock(ls_doctor *doctor);
ls_status ls_doctor_memory(ls_doctor *doctor, const ls_train_needs *needs);
