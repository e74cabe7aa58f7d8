/* Devices and NCCL of a recipe with device: cuda: does each rank have a device of its own, that may be used, with a driver that
 * is new enough, and the same NCCL? */
#include "launch/doctor/doctor.h"

#include "dist/nccl/nccl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void judge_rank(const ls_doctor_gpu *g, int rank, ls_finding *finding)
{
    const ls_cuda_probe *p = &g->probe;
    const int driver = p->driver, runtime = p->runtime;
    if (g->why[0])
        ls_doctor_find(finding, LS_DOCTOR_FAIL, "rank %d on %s: %s", rank, g->host, g->why);
    else if (p->prohibited)
        ls_doctor_find(finding, LS_DOCTOR_FAIL, "device %d of rank %d on %s is in compute mode Prohibited; `nvidia-smi -i %s -c DEFAULT` there, as root", p->number, rank, g->host, p->place);
    else if (driver / 1000 < runtime / 1000)
        ls_doctor_find(finding, LS_DOCTOR_FAIL, "the driver of %s knows CUDA up to %d.%d, and this lockstep is built with %d.%d; update the driver there, or build with a CUDA of its version",
                       g->host, driver / 1000, driver / 10 % 100, runtime / 1000, runtime / 10 % 100);
    else if (driver < runtime)
        ls_doctor_find(finding, LS_DOCTOR_WARN, "the driver of %s knows CUDA up to %d.%d, and this lockstep is built with %d.%d: it runs on the GPUs it has code for (sm_80, sm_90), and cannot compile "
                       "for newer ones; update the driver there", g->host, driver / 1000, driver / 10 % 100, runtime / 1000, runtime / 10 % 100);
}

/* NCCL refuses two ranks on one device; so does a device in exclusive mode. */
static void judge_pair(const ls_doctor_gpu *all, int a, int b, bool through_host, ls_finding *finding)
{
    const ls_doctor_gpu *g = &all[a], *h = &all[b];
    if (g->why[0] || h->why[0] || g->node != h->node || strcmp(g->probe.place, h->probe.place) != 0)
        return;
    const bool fails = !through_host || g->probe.exclusive;
    ls_doctor_find(finding, fails ? LS_DOCTOR_FAIL : LS_DOCTOR_WARN,
                   "ranks %d and %d on %s both take the device at %s: %s; start as many ranks a node as there are devices (%d there), and see that each rank finds them all or one of its own "
                   "(CUDA_VISIBLE_DEVICES, srun --gpus-per-task=1)", a, b, g->host, g->probe.place,
                   g->probe.exclusive ? "it is in compute mode Exclusive_Process" : through_host ? "they share its time and memory" : "NCCL refuses that", g->probe.devices);
}

void ls_doctor_judge_gpus(const ls_doctor_gpu *all, int ranks, bool through_host, ls_finding *finding)
{
    const ls_doctor_gpu *first = &all[0];
    for (int r = 0; r < ranks; r++)
        judge_rank(&all[r], r, finding);
    for (int a = 0; a < ranks; a++)
        for (int b = a + 1; b < ranks; b++)
            judge_pair(all, a, b, through_host, finding);
    for (int r = 1; r < ranks; r++) {
        if (!all[r].why[0] && !first->why[0] && strcmp(all[r].probe.name, first->probe.name) != 0)
            ls_doctor_find(finding, LS_DOCTOR_FAIL, "rank %d on %s has %s, rank 0 on %s has %s: training will refuse two kinds; ask the scheduler for one", r, all[r].host, all[r].probe.name,
                           first->host, first->probe.name);
        if (!through_host && all[r].nccl != first->nccl)
            ls_doctor_find(finding, LS_DOCTOR_FAIL, "rank %d on %s has NCCL %d.%d.%d, rank 0 on %s %d.%d.%d (0: none): they will not understand each other; put one version first in LD_LIBRARY_PATH "
                           "on all nodes", r, all[r].host, all[r].nccl / 10000, all[r].nccl / 100 % 100, all[r].nccl % 100, first->host, first->nccl / 10000, first->nccl / 100 % 100, first->nccl % 100);
    }
    if (ranks > 1 && !through_host && first->nccl == 0)
        ls_doctor_find(finding, LS_DOCTOR_WARN, "no rank has NCCL: gradients will go through the host, which is slow; build lockstep where cmake finds it (NCCL_HOME; docs/gpu.md)");
    const ls_cuda_probe *p = &first->probe;
    ls_doctor_find(finding, LS_DOCTOR_OK, "%s for each rank; driver up to CUDA %d.%d, built with %d.%d, NCCL %d.%d.%d", p->name, p->driver / 1000, p->driver / 10 % 100, p->runtime / 1000,
                   p->runtime / 10 % 100, first->nccl / 10000, first->nccl / 100 % 100, first->nccl % 100);
}

ls_status ls_doctor_gpus(ls_doctor *doctor)
{
    const ls_train_config *config = doctor->config;
    if (!config || config->run.device != LS_RUN_CUDA)
        return LS_OK;
    const int ranks = ls_world_ranks(doctor->world);
    ls_doctor_gpu mine = {.node = ls_world_node(doctor->world)}, *all = calloc((size_t)ranks, sizeof *all);
    if (!all)
        return ls_fail(LS_EMEM, "no memory for %d ranks", ranks);
    snprintf(mine.host, sizeof mine.host, "%s", ls_world_host(doctor->world));
    if (ls_device_probe_cuda(&mine.probe, ls_world_node_rank(doctor->world)) != LS_OK)
        snprintf(mine.why, sizeof mine.why, "%s", ls_fail_sentence());
    if (ls_nccl_version(&mine.nccl) != LS_OK)
        mine.nccl = 0;
    const ls_status status = ls_all_gather_bytes(doctor->world, &mine, sizeof mine, all, "doctor: devices");
    if (status == LS_OK) {
        ls_finding finding = {0};
        ls_doctor_judge_gpus(all, ranks, config->batch.reduce == LS_SUMS_HOST, &finding);
        ls_doctor_say(doctor, "gpu", &finding);
    }
    free(all);
    return status;
}
