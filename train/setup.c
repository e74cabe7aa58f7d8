/* From a recipe to a run that can take its first step, and back. Everything a run owns is made here, in the order:
 * data, task, device, flat buffers, reducer, state tree, run folder, resume, loader. */
#include "train/audit.h"
#include "train/best.h"
#include "train/ema.h"
#include "train/guard.h"
#include "train/loss_scale.h"
#include "train/metrics.h"
#include "train/profile.h"
#include "train/saving.h"
#include "train/table.h"

#include "base/log.h"
#include "dist/nccl/nccl.h"
#include "datasets/images.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Address space of one grain's activations; pages appear when touched. */
static const size_t tape_bytes = (size_t)1 << 40;

static ls_status open_data(ls_run *run)
{
    const ls_train_config *config = run->config;
    ls_data_options options = {.sources = config->data.train, .tokens = config->batch.tokens, .grain = config->batch.grain,
                               .pack = config->data.pack, .on_long = (ls_on_long)config->data.on_long, .shuffle = config->data.shuffle,
                               .seed = (uint64_t)config->run.seed, .augment = config->augment, .epochs = config->data.epochs};
    if (config->task->rows)
        config->task->rows(config->task_options, &options);
    ls_status status = ls_data_open(&run->train_data, &options);
    if (status != LS_OK)
        return ls_fail_at(status, "data.train");
    run->data_hash = (int64_t)ls_data_hash(run->train_data);
    if (!config->data.eval.count)
        return LS_OK;
    options.sources = config->data.eval;
    options.shuffle = false;
    options.like = run->train_data;
    options.augment = (ls_augment_options){0};
    options.epochs = 1;
    status = ls_data_open(&run->eval_data, &options);
    if (status == LS_OK && !ls_data_images(run->eval_data) != !ls_data_images(run->train_data))
        status = ls_fail(LS_ERECIPE, "%s and data.train hold different kinds of samples, text and images", config->data.eval.source[0].path);
    if (status == LS_OK && ls_data_form(run->eval_data) != ls_data_form(run->train_data))
        status = ls_fail(LS_ERECIPE, "%s and data.train hold different kinds of samples: of texts, pairs and answers with outcomes a run reads one", config->data.eval.source[0].path);
    if (status == LS_OK && ls_data_tokenizer_hash(run->eval_data) != ls_data_tokenizer_hash(run->train_data))
        status = ls_fail(LS_ERECIPE, "%s was packed with another tokenizer than data.train; pack both with one", config->data.eval.source[0].path);
    return ls_fail_at(status, "data.eval");
}

static ls_status count_steps(ls_run *run)
{
    const ls_train_config *config = run->config;
    const int64_t per_step = ls_run_rows_per_step(run);
    run->steps = config->run.max_steps;
    if (config->task->prepare && !run->steps)
        return ls_fail(LS_ERECIPE, "max_steps is not set: task %s makes its own rows and says not when it is done", config->task->name);
    if (config->data.epochs && !config->task->prepare) {
        const int64_t steps = (ls_data_rows(run->train_data) * config->data.epochs + per_step - 1) / per_step;
        run->steps = !run->steps || steps < run->steps ? steps : run->steps;
    }
    if (!run->steps)
        return ls_fail(LS_ERECIPE, "neither max_steps nor data.epochs is set: say where training ends");
    if (config->batch.grains < run->ranks)
        return ls_fail(LS_ERECIPE, "batch.grains is %lld, but there are %d ranks: a grain is computed by one rank; start at most %lld ranks or raise batch.grains (which changes the result)",
                       (long long)config->batch.grains, run->ranks, (long long)config->batch.grains);
    return LS_OK;
}

/* The schedule is never part of the result: take the one exchange a step unless its partial sums are too many. Between
 * nodes they may take a quarter of rank 0's memory, for there `round` keeps one owner at a time busy (docs/scaling.md). */
static ls_status choose_schedule(ls_run *run, int64_t elements)
{
    run->schedule = (ls_schedule)run->config->batch.schedule;
    if (run->schedule != LS_SCHEDULE_AUTO)
        return LS_OK;
    const ls_reduce_options block = {.elements = elements, .max_grains = run->config->batch.grains, .schedule = LS_SCHEDULE_BLOCK,
                                     .bucket = run->config->batch.bucket};
    const size_t node = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE), quarter = node / 4 / (size_t)ls_world_node_ranks(run->world);
    size_t most = (size_t)4 << 30;
    if (ls_world_nodes(run->world) > 1 && quarter > most)
        most = quarter;
    run->schedule = ls_reduce_memory(&block, run->ranks) <= most ? LS_SCHEDULE_BLOCK : LS_SCHEDULE_ROUND;
    return ls_broadcast(run->world, &run->schedule, sizeof run->schedule, 0, "choice of the schedule");
}

/* Each rank of a node takes the device of its number there. All have one, and compute alike, or none begins. */
static ls_status open_device(ls_run *run)
{
    const bool cuda = run->config->run.device == LS_RUN_CUDA;
    ls_status status = cuda ? ls_device_create_cuda(&run->device, run->team, ls_world_node_rank(run->world))
                            : ls_device_create_cpu(&run->device, run->team);
    if (status == LS_OK && run->config->run.tf32)
        status = run->device->use_tf32 ? run->device->use_tf32(run->device, true) : ls_fail(LS_ERECIPE, "tf32: true, but device %s has no tf32; say device: cuda, or leave it out", run->device->name);
    if (status == LS_OK && run->config->run.cuda_graphs)
        status = run->device->use_graphs ? run->device->use_graphs(run->device, true) : ls_fail(LS_ERECIPE, "cuda_graphs: true, but device %s has no graphs; say device: cuda, or leave it out", run->device->name);
    status = ls_agree(run->world, status, "opening the device");
    if (status == LS_OK && cuda)
        status = ls_same_everywhere(run->world, run->device->numerics, strlen(run->device->numerics), "the device's numerics id");
    return status;
}

/* Sums of several devices travel from device to device, where the build has NCCL and nobody wants it otherwise. */
static ls_status open_exchange(ls_run *run)
{
    const int sums = run->config->batch.reduce;
    const bool cuda = run->config->run.device == LS_RUN_CUDA;
    if (sums == LS_SUMS_FAST && !cuda)
        return ls_fail(LS_ERECIPE, "batch.reduce: fast is for device: cuda; a CPU's sums are exact always");
    if (!cuda || run->ranks == 1 || sums == LS_SUMS_HOST)
        return LS_OK;
    const ls_status status = ls_nccl_open(&run->exchange, run->world, run->device, sums == LS_SUMS_FAST ? LS_NCCL_FAST : LS_NCCL_EXACT);
    if (status != LS_ENOTFOUND || sums == LS_SUMS_FAST)
        return status;
    if (run->rank == 0)
        ls_log_write(LS_LOG_WARN, "train", "%s; gradients go through the host: the same bits, but slowly", ls_fail_sentence());
    return LS_OK;
}

static ls_status open_numbers(ls_run *run)
{
    const ls_train_config *config = run->config;
    ls_parameter *parameters;
    ls_status status = ls_team_create(&run->team, (int)config->run.threads, ls_world_node_ranks(run->world));
    if (status == LS_OK)
        status = open_device(run);
    if (status == LS_OK)
        status = ls_tape_create(&run->tape, run->device, tape_bytes);
    if (status != LS_OK)
        return status;
    const int count = config->task->parameters(run->task, &parameters);
    const ls_type compute = (const ls_type[]){LS_F32, LS_BF16, LS_F16}[config->run.precision];
    status = ls_groups_open(&run->groups, &config->optimizer, parameters, count);
    if (status != LS_OK)
        return status;
    const bool second_moment = config->optimizer.name == LS_OPTIMIZER_ADAMW;
    int tables;
    status = ls_tables_count(parameters, count, &tables);
    if (status == LS_OK)
        status = ls_flat_open(&run->flat, run->world, run->device, parameters + tables, count - tables, tables, compute,
                              second_moment, (uint64_t)config->run.seed);
    if (status != LS_OK)
        return status;
    status = ls_ema_open(&run->ema, &config->ema, &run->flat);
    if (status == LS_OK)
        status = ls_loss_scale_open(run);
    if (status != LS_OK)
        return status;
    status = choose_schedule(run, run->flat.learning);
    if (status != LS_OK)
        return status;
    status = open_exchange(run);
    if (status != LS_OK)
        return status;
    const ls_reduce_options options = {.elements = run->flat.learning, .max_grains = config->batch.grains, .schedule = run->schedule,
                                       .bucket = config->batch.bucket, .exchange = run->exchange};
    status = ls_reducer_open(&run->reducer, run->world, run->device, &options);
    return status == LS_OK ? ls_tables_open(run, parameters, tables, compute, second_moment) : status;
}

/* What evaluations decide: which checkpoint is the best, when training ends early. */
static ls_status watch_evaluations(ls_run *run)
{
    const ls_train_config *config = run->config;
    const ls_early_stop_options *stop = &config->early_stop;
    ls_status status = ls_best_watch(&run->best, run, "checkpoint.best", config->checkpoint.best, 0);
    if (status == LS_OK)
        status = ls_best_watch(&run->patience, run, "early_stop.metric", stop->patience ? stop->metric : NULL, stop->min_delta);
    if (status == LS_OK && stop->patience && !config->run.eval_every)
        status = ls_fail(LS_ERECIPE, "early_stop.patience counts evaluations, but eval_every is 0: say how many steps lie between them");
    return status;
}

static ls_status make_state(ls_run *run)
{
    run->state = ls_state_create();
    if (!run->state)
        return ls_fail(LS_EMEM, "no memory for the state tree");
    ls_status status = ls_tables_state(run, run->state);
    if (status == LS_OK)
        status = ls_flat_state(&run->flat, run->state);
    if (status == LS_OK)
        status = ls_ema_state(&run->ema, run->state);
    if (status == LS_OK)
        status = ls_state_add_i64(run->state, "train/step", 0, &run->step);
    if (status == LS_OK)
        status = ls_state_add_i64(run->state, "sampler/position", 0, &run->position);
    if (status == LS_OK)
        status = ls_state_add_i64(run->state, "data/hash", 0, &run->data_hash);
    if (status == LS_OK)
        status = ls_best_state(&run->best, run->state, "best/checkpoint");
    if (status == LS_OK)
        status = ls_best_state(&run->patience, run->state, "best/early_stop");
    run->lora_scale = run->config->lora.rank ? ls_lora_scale(&run->config->lora) : 0;
    if (status == LS_OK && run->config->lora.rank)
        status = ls_state_add_f64(run->state, "lora/scale", 0, &run->lora_scale);
    if (status == LS_OK)
        status = ls_guard_state(run, run->state);
    if (status == LS_OK)
        status = ls_loss_scale_state(run, run->state);
    if (status == LS_OK && run->config->task->state)
        status = run->config->task->state(run->task, run->state);
    return status;
}

static void tell_numerics(const ls_run *run, const char *path)
{
    char stored[128];
    if (run->rank == 0 && ls_checkpoint_numerics(path, stored) == LS_OK && strcmp(stored, run->device->numerics) != 0)
        ls_log_write(LS_LOG_WARN, "train", "this run was computed under numerics '%s' and goes on under '%s': its bits are equal only up to step %lld",
               stored, run->device->numerics, (long long)run->step);
}

/* A fresh run: weights from the seed, or from another folder. */
static ls_status begin(ls_run *run)
{
    const ls_model_begin *model = run->config->model;
    const char *from = model->from;
    ls_status status = ls_flat_begin_from(&run->flat, from, model->from_ema);
    if (from && status == LS_OK)
        status = ls_tables_begin_from(run, from, model->from_ema);
    if (from && status == LS_OK && run->rank == 0)
        status = ls_folder_take_tokenizer(run, from);
    if (status == LS_OK && run->config->task->begin)
        status = run->config->task->begin(run->task);
    status = ls_agree(run->world, status, "reading initial weights");
    if (status == LS_OK && !from && run->config->lora.rank && run->rank == 0)
        ls_log_write(LS_LOG_WARN, "train", "lora adapts weights that nobody trained: model.from is not set, and all but the adapters stays as the seed made it");
    if (status == LS_OK && from && run->rank == 0)
        ls_log_write(LS_LOG_INFO, "train", "%sweights of %s", model->from_ema ? "averaged " : "", from);
    ls_flat_round(&run->flat);
    ls_ema_begin(&run->ema);
    ls_tables_round(run);
    ls_tables_begin_averages(run);
    return status;
}

ls_status ls_run_resume(ls_run *run, int64_t every)
{
    char path[4096];
    int64_t step;
    const int64_t data_hash = run->data_hash;
    run->saved_step = -1;
    ls_status status = ls_device_wait(run->device); /* the state is about to change */
    if (status == LS_OK)
        status = ls_checkpoint_latest(run->world, run->config->run.run, every, &step, path);
    if (status != LS_OK)
        return status;
    if (step < 0)
        return begin(run);
    status = ls_checkpoint_load(run->world, run->state, path);
    if (status != LS_OK)
        return status;
    if (run->data_hash != data_hash)
        return ls_fail(LS_ESTATE, "%s was trained on other data: data.train has hash %016llx, the checkpoint %016llx; pack the same data again or use a new run folder",
                       path, (unsigned long long)data_hash, (unsigned long long)run->data_hash);
    ls_flat_round(&run->flat);
    ls_tables_round(run);
    ls_best_resumed(&run->best, run, "checkpoint.best");
    ls_best_resumed(&run->patience, run, "early_stop.metric");
    if (!run->config->early_stop.patience)
        run->patience = (ls_best){.number = -1}; /* counted anew when it is asked for again */
    run->saved_step = run->step;
    if (run->rank == 0 && run->best.number >= 0 && ls_checkpoint_point_best(run->config->run.run, run->best.step) != LS_OK)
        ls_log_write(LS_LOG_WARN, "checkpoint", "%s; checkpoints/best may name an older one", ls_fail_sentence());
    tell_numerics(run, path);
    if (run->rank == 0)
        ls_log_write(LS_LOG_INFO, "train", "resuming from %s: step %lld of %lld, %lld rows drawn", path, (long long)run->step,
               (long long)run->steps, (long long)run->position);
    return LS_OK;
}

/* A disk that is too small for the run's checkpoints could be known before the first step. */
static ls_status check_room(ls_run *run)
{
    const ls_status status = ls_checkpoint_room(run->world, run->state, run->config->run.run, (int)run->config->checkpoint.keep + (run->best.number >= 0));
    if (status != LS_ESPACE)
        return status;
    if (run->rank == 0)
        ls_log_write(LS_LOG_WARN, "checkpoint", "%s", ls_fail_sentence());
    return LS_OK;
}

static ls_status take_staging(void *device, size_t bytes, void **block)
{
    return ((ls_device *)device)->allocate_staging(device, bytes, block);
}

static void give_staging(void *device, void *block, size_t bytes)
{
    ((ls_device *)device)->release(device, block, bytes);
}

static ls_status prefetch(void *device, const void *block)
{
    return ((ls_device *)device)->prefetch(device, block);
}

/* A device that has memory for it fetches each grain as soon as it is read. */
static ls_status open_loader(ls_run *run)
{
    const ls_grain_staging staging = {run->device, take_staging, give_staging, prefetch};
    return ls_loader_open_staged(&run->loader, run->train_data, (int)run->config->data.ahead, run->device->allocate_staging ? &staging : NULL);
}

static ls_status open_step(ls_run *run)
{
    const size_t grains = (size_t)run->config->batch.grains;
    run->step_width = 1 + (run->config->task->grain_sums ? ls_evaluation_sums(run) : 0);
    run->my_loss = calloc(grains * (size_t)run->step_width, sizeof *run->my_loss);
    run->grain_loss = calloc(grains * (size_t)run->step_width, sizeof *run->grain_loss);
    run->step_sums = calloc((size_t)run->step_width, sizeof *run->step_sums);
    run->column = calloc(grains, sizeof *run->column);
    run->stop_votes = calloc((size_t)run->ranks, sizeof *run->stop_votes);
    run->evaluation.sums = calloc((size_t)ls_evaluation_sums(run) + 1, sizeof *run->evaluation.sums);
    run->averaged.sums = calloc((size_t)ls_evaluation_sums(run) + 1, sizeof *run->averaged.sums);
    if (!run->my_loss || !run->grain_loss || !run->step_sums || !run->column || !run->stop_votes || !run->evaluation.sums || !run->averaged.sums)
        return ls_fail(LS_EMEM, "no memory for the losses of %zu grains", grains);
    run->asked_step = run->step;
    run->asked_position = run->position;
    ls_status status = ls_guard_open(run);
    if (status == LS_OK)
        status = ls_audit_open(run);
    if (status == LS_OK)
        status = ls_flat_publish_frozen(&run->flat, run->world);
    if (status == LS_OK)
        status = ls_flat_publish(&run->flat, run->reducer, run->world);
    if (status == LS_OK)
        status = ls_tables_publish_all(run);
    if (status == LS_OK)
        status = open_loader(run);
    if (status == LS_OK)
        status = ls_metrics_open(&run->metrics, run);
    if (status == LS_OK)
        status = ls_saving_open(run);
    ls_flight_step(run->flight, run->step);
    ls_flight_saved(run->flight, run->saved_step);
    return status;
}

const char *ls_run_unit(const ls_run *run)
{
    return ls_data_images(run->train_data) ? "images" : "tokens";
}

const char *ls_run_counted_unit(const ls_run *run)
{
    const ls_shards_form form = ls_data_form(run->train_data);
    return form == LS_SHARDS_PAIRS ? "pairs" : form == LS_SHARDS_OUTCOMES ? "answers" : ls_run_unit(run);
}

void ls_run_describe_rows(const ls_run *run, char *text, size_t bytes)
{
    const ls_images *images = ls_data_images(run->train_data);
    const long long rows = ls_data_rows(run->train_data);
    if (!images) {
        snprintf(text, bytes, "%lld rows of %lld tokens (%.0f%% filled)", rows, (long long)ls_data_tokens(run->train_data), 100 * ls_data_fill(run->train_data));
        return;
    }
    const ls_image_shape *shape = ls_images_shape(images);
    snprintf(text, bytes, "%lld images of %lld x %lld x %lld in %lld classes", rows, (long long)shape->height, (long long)shape->width,
             (long long)shape->channels, (long long)shape->classes);
}

const char *ls_run_size(const ls_run *run, char text[64])
{
    const double all = 1e-6 * (double)(run->flat.trainable + ls_tables_trainable(run) + run->flat.still), still = 1e-6 * (double)run->flat.still;
    const int used = snprintf(text, 64, "%.2fM parameters", all);
    if (run->flat.still)
        snprintf(text + used, 64 - (size_t)used, ", %.2fM of them frozen", still);
    return text;
}

static void tell_run(const ls_run *run)
{
    if (run->rank != 0)
        return;
    const ls_batch_options *batch = &run->config->batch;
    char size[64];
    ls_log_write(LS_LOG_INFO, "train", "task %s, %s, %s weights, %d rank(s) on %d node(s) x %d thread(s), numerics %s%s",
           run->config->task->name, ls_run_size(run, size), ls_type_name(run->flat.compute), run->ranks,
           ls_world_nodes(run->world), ls_team_threads(run->team), run->device->numerics, run->config->run.cuda_graphs ? ", CUDA graphs on" : "");
    char rows[160];
    ls_run_describe_rows(run, rows, sizeof rows);
    ls_log_write(LS_LOG_INFO, "train", "%s, %lld grains x %lld rows a step, %lld steps; %s", rows, (long long)batch->grains,
           (long long)batch->grain, (long long)run->steps, ls_reducer_describe(run->reducer));
    if (ls_data_skipped(run->train_data))
        ls_log_write(LS_LOG_WARN, "data", "%lld %s longer than batch.tokens were left out (data.on_long: skip)", (long long)ls_data_skipped(run->train_data),
                     ls_data_form(run->train_data) == LS_SHARDS_PAIRS ? "pairs" : "samples");
}

ls_status ls_run_open(ls_run *run, ls_world *world, const ls_train_config *config, bool keeps_folder)
{
    *run = (ls_run){.config = config, .world = world, .rank = ls_world_rank(world), .ranks = ls_world_ranks(world)};
    ls_status status = ls_profile_open(&run->profile, &config->profile);
    run->trace = ls_profile_trace(run->profile);
    if (status == LS_OK)
        status = open_data(run);
    if (status == LS_OK && config->lora.rank && config->task->families)
        status = ls_fail(LS_ERECIPE, "lora.rank is %lld, but task %s trains no transformer of text, and low-rank adapters are for these", (long long)config->lora.rank, config->task->name);
    if (status == LS_OK)
        status = count_steps(run);
    if (status == LS_OK)
        status = config->task->init(run, config->task_options, &run->task);
    if (status == LS_OK)
        status = open_numbers(run);
    if (status == LS_OK)
        status = watch_evaluations(run);
    if (status == LS_OK)
        status = make_state(run);
    if (status == LS_OK && keeps_folder)
        status = ls_folder_begin(run);
    if (status == LS_OK && keeps_folder)
        status = ls_run_resume(run, 0);
    if (status == LS_OK && keeps_folder)
        status = check_room(run);
    if (status == LS_OK && keeps_folder)
        status = open_step(run);
    if (status == LS_OK && keeps_folder)
        ls_profile_attach(run->profile, run);
    if (status == LS_OK && keeps_folder)
        tell_run(run);
    return status;
}

void ls_run_close(ls_run *run)
{
    char sentence[1024]; /* why the run ends: what is given up on the way out has sentences of its own */
    snprintf(sentence, sizeof sentence, "%s", ls_fail_sentence());
    ls_saving_close(run); /* its thread reads the state */
    ls_metrics_close(run->metrics);
    ls_loader_free(run->loader);
    ls_profile_close(run->profile, run->world);
    ls_state_free(run->state);
    ls_reducer_close(run->reducer);
    ls_exchange_close(run->exchange);
    ls_tables_close(run);
    ls_ema_close(&run->ema);
    ls_flat_close(&run->flat);
    ls_groups_close(&run->groups);
    if (run->task)
        run->config->task->free(run->task); /* an engine of its own has memory of the device */
    ls_tape_free(run->tape);
    if (run->device)
        run->device->free(run->device);
    ls_team_free(run->team);
    ls_data_free(run->eval_data);
    ls_data_free(run->train_data);
    free(run->evaluation.sums);
    free(run->averaged.sums);
    free(run->my_loss);
    free(run->step_sums);
    free(run->column);
    free(run->grain_loss);
    free(run->stop_votes);
    ls_guard_close(run);
    ls_audit_close(run);
    ls_folder_close(run);
    ls_fail(LS_OK, "%s", sentence);
}

const ls_train_config *ls_run_config(const ls_run *run)
{
    return run->config;
}

const ls_data *ls_run_data(const ls_run *run)
{
    return run->train_data;
}

int64_t ls_run_vocabulary(const ls_run *run)
{
    return ls_data_vocabulary(run->train_data);
}
