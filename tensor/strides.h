/* Loops over strided operands (ls_strides of device.h), for whoever makes a device. */
#pragma once
#include "tensor/device.h"

/* The same loop with fewer dimensions: those of size 1 dropped, neighbours merged where both operands allow it; at
 * least one dimension is left. */
ls_strides ls_strides_collapse(const ls_strides *strides);
int64_t ls_strides_elements(const ls_strides *strides);
