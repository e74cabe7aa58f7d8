/* How fast this machine multiplies matrices: the 100 % that the metrics' MFU is a share of. */
#pragma once
#include "tensor/device.h"

/* GFLOP/s of a product of 1024 x 1024 matrices of `type` through the device's own path, whole team: the best of the
 * calls that fit 0.2 s (at least two). Other work on the machine lowers it. 0 where there is no memory for it. */
double ls_device_matmul_rate(ls_device *device, ls_type type);
/* GB/s of y += x over arrays far larger than the caches (12 bytes an element), whole team: the best of the calls that
 * fit 0.2 s. The other edge of the roofline (Williams et al. 2009). 0 where there is no memory for it. */
double ls_device_memory_rate(ls_device *device);
