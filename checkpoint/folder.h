/* Names under RUN/checkpoints, and what is there. */
#pragma once
#include "checkpoint/disk.h"

/* RUN/checkpoints. LS_EARG: longer than LS_PATH. */
ls_status ls_folder_path(char path[LS_PATH], const char *run);
/* RUN/checkpoints/step-00000100 and `suffix` ("", ".partial", ".removed"). */
ls_status ls_folder_step_path(char path[LS_PATH], const char *run, int64_t step, const char *suffix);

/* What snprintf returned for a path: LS_EARG when it was cut. */
ls_status ls_folder_fits(int length);

typedef struct {
    int64_t step;
    char suffix[24]; /* "": committed; else ".partial", ".damaged-2", ".removed" */
} ls_folder_row;

/* "step-", digits as we print them, and one of our suffixes; false: anything else, which is not ours. */
bool ls_folder_parse(const char *name, ls_folder_row *row);
/* Everything of ours, newest step first; malloc'ed. No folder: LS_OK and none. */
ls_status ls_folder_list(const char *run, ls_folder_row **rows, int *count);
/* The newest committed folder of a run, whatever its state; without one, `path` itself. */
ls_status ls_folder_newest(const char *path, char found[LS_PATH]);
/* The newest whole checkpoint of a run, or `path` itself if it is a checkpoint folder. "Whole" by a quick look: the
 * joining file is good and the files it lists have their sizes; contents are checked as they are read. Damaged ones
 * are named in a warning. For the commands; a run that resumes asks ls_checkpoint_latest. */
ls_status ls_folder_resolve(const char *path, char found[LS_PATH]);
