/* `lockstep doctor`: the machines, looked at before a run; the checks are in launch/doctor/. */
#include "base/log.h"
#include "launch/arguments.h"
#include "launch/command.h"
#include "launch/doctor/doctor.h"
#include "launch/recipe.h"

#include <stdio.h>

typedef struct {
    ls_recipe_arguments start;
    const char *folder;
} arguments;

static const struct argp_option options[] = {
    {"folder", 'f', "DIR", 0, "Look at this run folder (the recipe's; without a recipe, the working folder)", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *given = state->input;
    switch (key) {
    case 'f': given->folder = value; return 0;
    case ARGP_KEY_END: return 0; /* the recipe may be left out */
    default: return ls_recipe_argument(&given->start, key, value, state);
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .args_doc = "[RECIPE [KEY.PATH=VALUE...]]",
    .doc = "Looks at the machines that a run would use, started as the run would be: bindings, MPI libraries, the speed of each "
           "rank, GPUs, network, disk, clocks, memory and space for RECIPE. One line each, ok, warn or fail, with the remedy. "
           "Exit code 1 if one failed.\v"
           "Examples:\n"
           "  mpirun -n 8 --hostfile hosts lockstep doctor my.yaml\n"
           "  srun --mpi=pmix -N 4 --ntasks-per-node 8 lockstep doctor my.yaml\n",
};

/* What the recipe needs; with one that cannot be used that is a finding, and the rest is looked at all the same. */
static ls_status measure(ls_doctor *doctor, const ls_recipe *recipe, ls_train_needs *needs, bool *known)
{
    ls_finding finding = {0};
    *known = false;
    if (!recipe)
        return LS_OK;
    const ls_status status = ls_agree(doctor->world, ls_train_measure_needs(doctor->world, ls_recipe_config(recipe), needs), "doctor: recipe");
    if (status == LS_ECOMM || status == LS_ETIMEOUT)
        return status;
    *known = status == LS_OK;
    if (status)
        ls_doctor_find(&finding, LS_DOCTOR_FAIL, "%s", ls_fail_sentence());
    else
        ls_doctor_find(&finding, LS_DOCTOR_OK, "%.0f MiB a rank, %.0f MiB a checkpoint (`lockstep train --dry-run` tells of what)",
                       (double)needs->memory / 1048576, (double)needs->checkpoint / 1048576);
    ls_doctor_say(doctor, "recipe", &finding);
    return LS_OK;
}

static ls_status examine(ls_doctor *doctor, const ls_recipe *recipe)
{
    ls_train_needs needs;
    bool known = false;
    ls_status status = ls_doctor_library(doctor);
    if (status == LS_OK)
        status = ls_doctor_binding(doctor);
    if (status == LS_OK)
        status = ls_doctor_compute(doctor);
    if (status == LS_OK)
        status = ls_doctor_gpus(doctor);
    if (status == LS_OK)
        status = ls_doctor_network(doctor);
    if (status == LS_OK)
        status = ls_doctor_clock(doctor);
    if (status == LS_OK)
        status = measure(doctor, recipe, &needs, &known);
    if (status == LS_OK)
        status = ls_doctor_memory(doctor, known ? &needs : NULL);
    if (status == LS_OK)
        status = ls_doctor_disk(doctor, known ? &needs : NULL);
    return status;
}

/* A world that cannot be opened is what a foreign MPI looks like. */
static int no_world(void)
{
    printf("fail  mpi       %s\n", ls_fail_sentence());
    return 1;
}

static int run(int argc, char **argv)
{
    arguments given = {0};
    argp_parse(&parser, argc, argv, 0, NULL, &given);
    ls_doctor doctor = {0};
    ls_recipe *recipe = NULL;
    if (ls_world_open(&doctor.world, NULL))
        return no_world();
    ls_status status = given.start.recipe ? ls_recipe_read(&recipe, given.start.recipe, given.start.overrides, given.start.override) : LS_OK;
    doctor.config = recipe ? ls_recipe_config(recipe) : NULL;
    doctor.folder = given.folder ? given.folder : doctor.config ? doctor.config->run.run : ".";
    if (!status)
        status = ls_team_create(&doctor.team, doctor.config ? (int)doctor.config->run.threads : 0, ls_world_node_ranks(doctor.world));
    status = ls_agree(doctor.world, status, "doctor: recipe");
    const bool together = status != LS_OK && status != LS_ECOMM && status != LS_ETIMEOUT;
    if (!status)
        status = examine(&doctor, recipe);
    if (status && !together && ls_world_ranks(doctor.world) > 1)
        ls_world_abort(doctor.world, 1, ls_fail_sentence());
    int exit_code = ls_status_exit_code(status), failures = doctor.failures;
    const bool first = ls_world_rank(doctor.world) == 0;
    if (status && first)
        ls_command_failed("doctor", status);
    if (!status && ls_broadcast(doctor.world, &failures, sizeof failures, 0, "doctor: end") == LS_OK)
        exit_code = failures > 0;
    if (!status && first)
        printf("%d failed, %d to look at\n", doctor.failures, doctor.warnings);
    ls_team_free(doctor.team);
    ls_recipe_free(recipe);
    ls_world_close(doctor.world);
    return exit_code;
}

const ls_command ls_command_doctor = {"doctor", "look at the machines before a run: cores, GPUs, MPI, speed, disk, memory", run};
