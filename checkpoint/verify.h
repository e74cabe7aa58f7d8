/* Is a checkpoint what was written? Quickly (joining file and sizes), a share of it (for a start on many ranks), or
 * all. */
#pragma once
#include "checkpoint/manifest.h"

/* The joining file's sum and tables, and that each listed file is there with its size. */
ls_status ls_verify_quickly(const char *folder);
/* Reads files first, first + stride, ... whole and compares their sums. A difference is named by tensor and elements
 * when it lies in one. */
ls_status ls_verify_files(const char *folder, const ls_manifest *manifest, int64_t first, int64_t stride);
/* Statuses that say "this one is not whole, try another", unlike no memory or a newer schema. */
bool ls_verify_is_damage(ls_status status);
