/* RUN/samples.jsonl: what the policy wrote as it learnt, one object a line,
 *
 *     {"step": 11, "prompt": "47+38=", "text": "#85", "reward": 1, "right": true, "ended": true}
 *
 * step: the first one that learns from it, and whose line in metrics.jsonl has the rewards of its iteration. "score"
 * follows where a reward model judges. `lockstep report` shows them. The file is the same on any rank count, and after
 * any kill and resume: lines of steps that a run takes again are cut off before they are written again. Bytes that are
 * no UTF-8 become U+FFFD. */
#pragma once
#include "base/error.h"
#include "base/type.h"

typedef struct ls_samples ls_samples;

typedef struct {
    int64_t step;
    const char *prompt, *text;
    size_t prompt_bytes, text_bytes;
    double reward, score;
    bool right, ended, scored;
} ls_sample;

/* For a run that has taken `step` steps; texts have at most `longest` bytes. LS_EIO, LS_EMEM. */
ls_status ls_samples_open(ls_samples **samples, const char *run, int64_t step, size_t longest);
void ls_samples_close(ls_samples *samples); /* NULL: nothing to do */
/* One write, nothing from the heap. A full disk is told once, and the run goes on without samples. */
ls_status ls_samples_add(ls_samples *samples, const ls_sample *sample);
