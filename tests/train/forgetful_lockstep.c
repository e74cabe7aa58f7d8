/* `lockstep` on emulated devices, with a planted fault. LS_TEST_FORGET=host: no wait before the host touches what the device
 * computes (a copy from the device waits by itself); =events: no stream waits for the other one's events; =submit: graphs are not
 * launched before another stream is ordered behind them.
 * And it tells at its end how often the host waited for a stream with work in it, how many graphs were launched, and for how many of
 * these an executable was made, for tests that count. */
#include "launch/command.h"
#include "tensor/device.h"

#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

cudaError_t __real_cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t __wrap_cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t __real_cudaStreamSynchronize(cudaStream_t stream);
cudaError_t __wrap_cudaStreamSynchronize(cudaStream_t stream);
ls_status __real_ls_device_create_cuda(ls_device **device, ls_team *team, int number);
ls_status __wrap_ls_device_create_cuda(ls_device **device, ls_team *team, int number);
cudaError_t __real_cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream);
cudaError_t __wrap_cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream);
cudaError_t __real_cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long flags);
cudaError_t __wrap_cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long flags);
double __wrap_ls_device_matmul_rate(ls_device *device, ls_type type);

static ls_status (*wait_for)(ls_device *device);
static bool forgetting;
static _Atomic long waits, launched, made;

static bool forgets(const char *what)
{
    const char *planted = getenv("LS_TEST_FORGET");
    return planted && strcmp(planted, what) == 0;
}

cudaError_t __wrap_cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags)
{
    return forgets("events") ? cudaSuccess : __real_cudaStreamWaitEvent(stream, event, flags);
}

cudaError_t __wrap_cudaStreamSynchronize(cudaStream_t stream)
{
    waits += cudaStreamQuery(stream) == cudaErrorNotReady;
    return __real_cudaStreamSynchronize(stream);
}

cudaError_t __wrap_cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream)
{
    launched++;
    return __real_cudaGraphLaunch(executable, stream);
}

cudaError_t __wrap_cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long flags)
{
    made++;
    return __real_cudaGraphInstantiate(executable, graph, flags);
}

static ls_status maybe_wait(ls_device *device)
{
    return forgetting ? LS_OK : wait_for(device);
}

ls_status __wrap_ls_device_create_cuda(ls_device **device, ls_team *team, int number)
{
    const ls_status status = __real_ls_device_create_cuda(device, team, number);
    if (status == LS_OK) {
        wait_for = (*device)->synchronize;
        (*device)->synchronize = maybe_wait;
        forgetting = forgets("host");
        if (forgets("submit"))
            (*device)->submit = NULL;
    }
    return status;
}

/* Times its waits. */
double __wrap_ls_device_matmul_rate(ls_device *device, ls_type type)
{
    (void)device;
    (void)type;
    return 1;
}

int main(int argc, char **argv)
{
    const int code = ls_lockstep(argc, argv);
    fprintf(stderr, "waited %ld times, launched %ld graphs, made %ld\n", waits, launched, made);
    return code;
}
