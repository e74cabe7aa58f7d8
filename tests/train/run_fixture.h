/* For tests that run the real `lockstep`: a temporary folder with a small real data set, and a shell that answers with
 * exit code and output. */
#pragma once
#include "base/type.h"

enum { LS_OUTPUT_ROOM = 1 << 16 };

typedef struct {
    int code;                     /* exit code */
    char output[LS_OUTPUT_ROOM];  /* stdout and stderr, cut at the end */
} ls_answer;

/* Makes a new folder under /tmp and makes it the working directory. `lockstep` is on PATH from here on. */
void ls_fixture_begin(void);
void ls_fixture_end(void); /* removes it */
/* The first problems of GSM8K as tokenizer.json (512 tokens), ./sft and ./text (data sets), and tiny.yaml, a recipe of a
 * few seconds on ./sft with run folder ./run. */
void ls_fixture_data(void);
/* The same with images: 300 digits as ./digits, 150 others as ./digits-test (8 x 8, ten classes), and digits.yaml: a
 * convnet with batch norm, augmentation on, run folder ./run. */
void ls_fixture_images(void);
/* printf-like command line, given to sh. */
__attribute__((format(printf, 1, 2))) const ls_answer *ls_shell(const char *format, ...);
/* Passes when the answer has this code and contains all the words (NULL-terminated); says what differs otherwise. */
void ls_expect(const ls_answer *answer, int code, ...);
/* Small questions whose preferred answer begins with "A" and the other with "B", as ./pairs and ./pairs-holdout, ./outcomes and
 * ./outcomes-holdout, ./answers and ./answers-holdout (the preferred ones of the same lines, for sft), and pairs.yaml: task reward, run folder ./run. */
void ls_fixture_pairs(void);
/* For reinforcement learning: ./base (of sft.yaml) answers every question with #7 or #8, as often the one as the other; ./both are its
 * demonstrations, ./right the questions with #7, which is right, ./pairs prefer it. grpo.yaml and ppo.yaml, run folder ./run, take
 * a few seconds to learn that. */
void ls_fixture_answers(void);
/* `lockstep ckpt hash` of a run or checkpoint folder, which must be there. */
void ls_hash_of(const char *run, char hash[64]);

/* The number behind "key": in line `line` (from 1) of those lines of RUN/metrics.jsonl that have it; 0: the last. */
double ls_metric(const char *run, const char *key, int line);
