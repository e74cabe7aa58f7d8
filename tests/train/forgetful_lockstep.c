/* `lockstep` on emulated devices, with LS_TEST_FORGET=1 without a wait before the host touches what the device computes: a
 * planted fault. (A copy from the device waits by itself.) */
#include "launch/command.h"
#include "tensor/device.h"

#include <stdlib.h>

ls_status __real_ls_device_create_cuda(ls_device **device, ls_team *team, int number);
ls_status __wrap_ls_device_create_cuda(ls_device **device, ls_team *team, int number);
double __wrap_ls_device_matmul_rate(ls_device *device, ls_type type);

static ls_status (*wait_for)(ls_device *device);
static bool forgetting;

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
        forgetting = getenv("LS_TEST_FORGET") != NULL;
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
    return ls_lockstep(argc, argv);
}
