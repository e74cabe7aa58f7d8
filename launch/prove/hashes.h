/* RUN/hashes.jsonl, written by a run with hash_log: one object a step,
 *     {"step": 3, "loss": 2.5, "parameters": {"NAME": "HEX", ...}, "gradients": {...}, "moments": {...}, "task": {...}}
 * Gradients are the step's, after reduction and before clipping; everything else is the state after the step. A run that
 * was killed and resumed has some steps twice; they must be equal too. */
#pragma once
#include "base/error.h"
#include "base/type.h"

typedef struct ls_hashes ls_hashes;

/* LS_ENOTFOUND, LS_EFORMAT with file and line. */
ls_status ls_hashes_read(ls_hashes **hashes, const char *path);
void ls_hashes_free(ls_hashes *hashes);
int64_t ls_hashes_lines(const ls_hashes *hashes);
int64_t ls_hashes_step(const ls_hashes *hashes, int64_t line);
double ls_hashes_last_loss(const ls_hashes *hashes);

typedef struct {
    bool differs;
    int64_t step;
    char kind[16];      /* "parameters", "gradients", "moments", "task", "loss", "steps" (one run has more) */
    char tensor[256];   /* the first one of that kind */
    char here[40], there[40];
    char gradient[256]; /* the first gradient that differs in the same step, "" when none does */
} ls_parting;

/* Where `there` first parts from `here`: the first step, and in it the first tensor in the order parameters, gradients,
 * moments, task state, loss. */
void ls_hashes_compare(const ls_hashes *here, const ls_hashes *there, ls_parting *parting);

/* While a run writes: whole lines so far, 0 without a file. */
int64_t ls_hashes_count(const char *path);
/* A killed writer may leave half a line: cuts the file behind its last newline. */
ls_status ls_hashes_mend(const char *path);
