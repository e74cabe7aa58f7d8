/* A CUDA device for each test of a suite: on the emulation of tests/cudahost/, or a true one. */
#pragma once
#include "tensor/device.h"

#include <criterion/criterion.h>

#ifdef LS_CUDAHOST
#include <cudahost.h>
#endif

static ls_device *device;
static ls_team *team;

static inline void make_device(void)
{
    cr_assert_eq(ls_team_create(&team, 1, 1), LS_OK);
    cr_assert_eq(ls_device_create_cuda(&device, team, 0), LS_OK, "%s", ls_fail_sentence());
}

static inline void free_device(void)
{
    cr_expect_eq(device->synchronize(device), LS_OK, "%s", ls_fail_sentence());
    device->free(device);
    ls_team_free(team);
}
