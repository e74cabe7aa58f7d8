/* What the checkpoint tests share: ranks as threads of this process, and folders of their own. */
#pragma once
#include "state.h"

typedef ls_status (*rank_body)(ls_world *world, void *context);
/* Runs body on `ranks` ranks and returns what they returned; asserts that all returned the same status with the same
 * sentence, which is kept in `sentence`. */
ls_status on_ranks(int ranks, rank_body body, void *context);
extern char sentence[2048];

/* An empty folder under $TMPDIR, removed when the test's process ends well; static storage of the last four. */
const char *new_folder(void);
void remove_tree(const char *path);

/* Saves the state of `seed` as `step` on `ranks` ranks; asserts that it went well. */
void save(const char *run, int64_t step, uint64_t seed, int ranks);

/* A row of /proc/self/status in KiB, like "VmHWM:"; -1: there is none. */
int64_t status_kib(const char *key);
