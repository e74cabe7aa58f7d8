/* Log lines that can be merged from a thousand ranks and still be read:
 *     03:12:44 rank 3/8 node07 step 1840 WARN checkpoint: ...
 * Lines go to the rank's own file when one is set, and to stderr from rank 0 (warnings and errors from every rank).
 * Never call from inside a step's hot path. */
#pragma once
#include "base/error.h"
#include "base/type.h"

typedef enum { LS_LOG_DEBUG, LS_LOG_INFO, LS_LOG_WARN, LS_LOG_ERROR } ls_log_level;

/* Tells the log who speaks. Before this call lines are from "rank 0/1". */
void ls_log_identity(int rank, int ranks);
/* Opens (appends to) this rank's log file; NULL closes it. LS_EIO with the path and the reason. */
ls_status ls_log_file(const char *path);
/* What stderr shows: this level and above. Default LS_LOG_INFO. */
void ls_log_terminal_level(ls_log_level level);
/* The training step that lines are stamped with; < 0 leaves it out. */
void ls_log_step(int64_t step);
/* On a terminal rank 0 keeps one line that is rewritten in place (no newline in `text`); NULL ends it.
 * Where stderr is no terminal the line is printed plainly instead. */
void ls_log_progress(const char *text);

/* `part` names the speaker as the user knows it: "train", "checkpoint", "data", ... */
__attribute__((format(printf, 3, 4))) void ls_log_write(ls_log_level level, const char *part, const char *format, ...);
/* Into the rank's file alone: what the terminal is told in another way, or need not be told. */
__attribute__((format(printf, 3, 4))) void ls_log_keep(ls_log_level level, const char *part, const char *format, ...);
