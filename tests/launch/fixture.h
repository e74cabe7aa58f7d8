/* What the tests of commands share: a folder with a small data set and a recipe, and running a command line. */
#pragma once
#include <stddef.h>

extern char folder[];        /* "/tmp/lockstep-test-launch-XXXXXX", made by fixture_make */
extern char text[1 << 20];   /* what the last fixture_run printed, stdout and stderr */

void fixture_make(void);     /* FOLDER/data: 48 samples of 5 to 30 tokens below 64, the first third of each masked */
void fixture_recipe(const char *task); /* FOLDER/recipe.yaml, with run FOLDER/run */
void fixture_clean(void);
/* Runs `sh -c` of the formatted line with LOCKSTEP the command and FOLDER the folder; its exit code. */
__attribute__((format(printf, 1, 2))) int fixture_run(const char *format, ...);
int fixture_count(const char *word); /* in text */
