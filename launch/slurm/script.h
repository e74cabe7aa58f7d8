/* Job scripts for Slurm. The templates are the files *.sbatch of this folder, which work as they stand; they are put into the
 * program when it is built, and `lockstep launch slurm` writes one with a user's options and recipe filled in. */
#pragma once
#include "base/error.h"

#include <stdbool.h>
#include <stdio.h>

typedef struct {
    const char *key;   /* "nodes": an `#SBATCH --nodes=` line */
    const char *value; /* NULL: the option stands alone, as --exclusive */
} ls_slurm_option;

typedef struct {
    const char *executable; /* this lockstep */
    int options;
    const ls_slurm_option *option;
    int words;              /* what the script's srun line gives to `lockstep train`: recipe and overrides */
    char *const *word;
} ls_slurm_script;

/* The shipped template of that name ("many-nodes"). LS_EARG: no such template; the sentence lists them. */
ls_status ls_slurm_template(const char *name, const char **text);
/* Writes the template: values of its #SBATCH lines are replaced, options it lacks are added behind them, and the words stand
 * in the place where it would refuse to run without. LS_EIO. */
ls_status ls_slurm_script_write(const ls_slurm_script *script, const char *text, FILE *out);
