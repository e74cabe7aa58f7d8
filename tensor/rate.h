/* The machine's own rate: what a step's speed is measured against (MFU). */
#pragma once
#include "tensor/device.h"

/* GFLOP/s of a 1024^3 product of `type` through the device's own matmul, its team included; best of a few tries in
 * about 0.2 s. */
double ls_device_matmul_rate(ls_device *device, ls_type type);
