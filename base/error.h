/* Errors: a code for the program and a sentence for the person (what was wrong, where, what to do next).
 *
 * A function that can fail returns ls_status. The one that knows the cause calls ls_fail() once; those above pass the
 * code up unchanged, or add a place in front with ls_fail_at(). The sentence belongs to the calling thread and stays
 * until the thread's next ls_fail(). Nothing here exits: only launch/ ends the process. */
#pragma once
#include <stdarg.h>

/* One list makes the enum, the names and the exit codes, so they cannot drift. X(code, text, exit code) */
#define LS_STATUS_LIST(X)                                                                                              \
    X(LS_OK, "ok", 0)                                                                                                  \
    X(LS_EARG, "bad argument", 2)                                                                                      \
    X(LS_ESHAPE, "shapes do not fit", 2)                                                                               \
    X(LS_ETYPE, "wrong type", 2)                                                                                       \
    X(LS_ERECIPE, "bad recipe", 2)                                                                                     \
    X(LS_EMEM, "out of memory", 1)                                                                                     \
    X(LS_EIO, "input or output failed", 1)                                                                             \
    X(LS_ESPACE, "no space left", 1)                                                                                   \
    X(LS_ENOTFOUND, "not found", 1)                                                                                    \
    X(LS_EEXIST, "exists already", 1)                                                                                  \
    X(LS_EFORMAT, "not in the expected format", 1)                                                                     \
    X(LS_EVERSION, "made by a newer version", 1)                                                                       \
    X(LS_ECORRUPT, "damaged", 1)                                                                                       \
    X(LS_ESTATE, "does not belong to this run", 1)                                                                     \
    X(LS_ECOMM, "communication failed", 1)                                                                             \
    X(LS_ETIMEOUT, "deadline passed", 1)                                                                               \
    X(LS_ENUMERIC, "not a finite number", 1)                                                                           \
    X(LS_ESTOPPED, "stopped early, run again to go on", 75)

typedef enum {
#define X(code, text, exit_code) code,
    LS_STATUS_LIST(X)
#undef X
} ls_status;

/* Sets the calling thread's sentence and returns `code`, so that `return ls_fail(...)` is one line. */
__attribute__((format(printf, 2, 3))) ls_status ls_fail(ls_status code, const char *format, ...);
/* Puts "place: " in front of the current sentence and returns `code`; does nothing for LS_OK. */
__attribute__((format(printf, 2, 3))) ls_status ls_fail_at(ls_status code, const char *format, ...);
/* The calling thread's sentence, "" when nothing has failed. Valid until the thread's next ls_fail. */
const char *ls_fail_sentence(void);
/* Carries a sentence to another thread: copy it out there, hand it in here. */
ls_status ls_fail_copy(ls_status code, const char *sentence);
void ls_fail_clear(void);

const char *ls_status_name(ls_status code); /* "LS_EIO" */
const char *ls_status_text(ls_status code); /* "input or output failed" */
int ls_status_exit_code(ls_status code);    /* 0, 1, 2 or 75: design.md section 4 */
