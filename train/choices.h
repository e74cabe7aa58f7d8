/* Algorithms that the devices of a run chose. */
#pragma once
#include "base/error.h"

struct ls_run;
/* Collective. LS_ESTATE: a rank's device chose another algorithm for a shape than rank 0's. */
ls_status ls_run_compare_choices(struct ls_run *run);
