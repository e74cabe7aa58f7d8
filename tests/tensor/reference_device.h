/* A device of naive loops, for tests: every function of the table as its formula, element by element in f64, rounded
 * once to the array's type. Slow on purpose, and written apart from tensor/cpu/, so that agreement means something.
 * Optimiser and flat-buffer loops are left out: their tests have their own formulas. */
#pragma once
#include "tensor/device.h"
#include "tests/tensor/stored_types.h"

ls_device *reference_device(void); /* one for the process, on one thread, never freed */

double reference_get(ls_type type, const void *array, int64_t i);
void reference_put(ls_type type, void *array, int64_t i, double value); /* rounds to nearest even */
