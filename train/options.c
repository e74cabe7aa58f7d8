/* The recipe's sections that every task shares: one row a key. launch/ reads YAML by them; docs/recipes.md and
 * `lockstep train --help` are printed from them. */
#include "train/run.h"

#include <string.h>

#define AT(field) offsetof(ls_run_options, field)
static const ls_option run_rows[] = {
    {"task", LS_OPTION_STRING, AT(task), LS_OPTION_REQUIRED, 0, 0, NULL, NULL, "what is trained: `lockstep recipes --tasks` lists them"},
    {"run", LS_OPTION_PATH, AT(run), LS_OPTION_REQUIRED | LS_OPTION_FREE, 0, 0, NULL, NULL, "run folder; training resumes by itself from a checkpoint found there"},
    {"seed", LS_OPTION_INT, AT(seed), 0, 0, 9e18, "0", NULL, "key of the counter random numbers"},
    {"device", LS_OPTION_CHOICE, AT(device), LS_OPTION_FREE, 0, 0, "cpu", "cpu|cuda", "what computes; cuda: each rank the device of its number on the node, counted around (docs/gpu.md)"},
    {"tf32", LS_OPTION_BOOL, AT(tf32), LS_OPTION_FREE, 0, 0, "false", NULL, "cuda: products of f32 on tensor cores, which round their operands to 10 bits of fraction; part of the numerics id"},
    {"cuda_graphs", LS_OPTION_BOOL, AT(cuda_graphs), LS_OPTION_FREE, 0, 0, "false", NULL, "cuda: launch a grain's work in pieces of many kernels, as CUDA graphs; no bit changes (docs/gpu.md)"},
    {"numerics", LS_OPTION_CHOICE, AT(numerics), LS_OPTION_FREE, 0, 0, "native", LS_NUMERICS_CHOICES, "instruction-set level of the CPU; equal bits are promised on one level"},
    {"precision", LS_OPTION_CHOICE, AT(precision), 0, 0, 0, "f32", "f32|bf16|fp16", "of weights and activations; masters, moments and gradient sums are f32; fp16: with loss_scale"},
    {"max_steps", LS_OPTION_INT, AT(max_steps), LS_OPTION_FREE, 0, 1e12, "0", NULL, "stop after this many optimiser steps; 0: after data.epochs"},
    {"eval_every", LS_OPTION_INT, AT(eval_every), LS_OPTION_FREE, 0, 1e12, "0", NULL, "steps between evaluations on data.eval; 0: before the first and after the last step"},
    {"log_every", LS_OPTION_INT, AT(log_every), LS_OPTION_FREE, 1, 1e12, "10", NULL, "steps between plain log lines"},
    {"threads", LS_OPTION_INT, AT(threads), LS_OPTION_FREE, 0, 1024, "0", NULL, "threads a rank; 0: OMP_NUM_THREADS, else cores / ranks of the node"},
    {"hash_log", LS_OPTION_BOOL, AT(hash_log), LS_OPTION_FREE, 0, 0, "false", NULL, "write a hash of every tensor at every step to hashes.jsonl"},
    {0},
};
#undef AT

#define AT(field) offsetof(ls_run_data_options, field)
static const ls_option data_rows[] = {
    {"train", LS_OPTION_SOURCES, AT(train), LS_OPTION_REQUIRED, 0, 0, NULL, NULL, "data set(s) made by `lockstep data pack`, with weights: path, or [{path: P, weight: W}, ...]"},
    {"eval", LS_OPTION_SOURCES, AT(eval), LS_OPTION_FREE, 0, 0, NULL, NULL, "held-out data set(s)"},
    {"eval_rows", LS_OPTION_INT, AT(eval_rows), LS_OPTION_FREE, 0, 1e12, "0", NULL, "rows of the held-out data that an evaluation takes, from the first; 0: all"},
    {"epochs", LS_OPTION_INT, AT(epochs), LS_OPTION_FREE, 0, 1e9, "0", NULL, "passes over the data; 0: until max_steps"},
    {"on_long", LS_OPTION_CHOICE, AT(on_long), 0, 0, 0, "fail", "fail|skip|truncate", "what to do with a sample longer than batch.tokens"},
    {"pack", LS_OPTION_BOOL, AT(pack), 0, 0, 0, "true", NULL, "several samples in one row, kept apart by segment ids"},
    {"shuffle", LS_OPTION_BOOL, AT(shuffle), 0, 0, 0, "true", NULL, "draw rows by a permutation computed from (seed, epoch)"},
    {"ahead", LS_OPTION_INT, AT(ahead), LS_OPTION_FREE, 1, 1024, "4", NULL, "grains the loader reads ahead"},
    {0},
};
#undef AT

#define AT(field) offsetof(ls_augment_options, field)
static const ls_option augment_rows[] = {
    {"crop", LS_OPTION_INT, AT(crop), 0, 0, 16384, "0", NULL, "cut each training image at a random place of itself with so many pixels around it; 0: as it is"},
    {"pad", LS_OPTION_CHOICE, AT(pad), 0, 0, 0, "zero", "zero|reflect", "those pixels: black, or the image mirrored at its edge"},
    {"flip", LS_OPTION_BOOL, AT(flip), 0, 0, 0, "false", NULL, "exchange left and right of every other image, at random"},
    {"brightness", LS_OPTION_FLOAT, AT(brightness), 0, 0, 10, "0", NULL, "b: multiply by a factor drawn from [max(0, 1 - b), 1 + b]"},
    {"contrast", LS_OPTION_FLOAT, AT(contrast), 0, 0, 10, "0", NULL, "b: the same of the distance from the image's mean grey"},
    {"saturation", LS_OPTION_FLOAT, AT(saturation), 0, 0, 10, "0", NULL, "b: the same of the distance from each pixel's grey; colour images only"},
    {"mixup", LS_OPTION_FLOAT, AT(mixup), 0, 0, LS_MIXUP_MOST, "0", NULL, "mix images and labels of a grain in pairs, with shares from Beta(mixup, mixup); 0: not"},
    {0},
};
#undef AT

#define AT(field) offsetof(ls_batch_options, field)
static const ls_option batch_rows[] = {
    {"grain", LS_OPTION_INT, AT(grain), 0, 1, 1e6, "1", NULL, "rows of a grain: what one rank computes at once; part of the result"},
    {"grains", LS_OPTION_INT, AT(grains), 0, 1, 65536, "4", NULL, "grains of a step: the most ranks that can take part; part of the result"},
    {"tokens", LS_OPTION_INT, AT(tokens), 0, 0, 1e7, "0", NULL, "positions of a row of text; images have none"},
    {"schedule", LS_OPTION_CHOICE, AT(schedule), LS_OPTION_FREE, 0, 0, "auto", "auto|block|round", "which rank computes which grain; never part of the result"},
    {"bucket", LS_OPTION_INT, AT(bucket), LS_OPTION_FREE, 0, 1e9, "0", NULL, "elements of a reduction bucket; 0: 256 Ki; never part of the result"},
    {"reduce", LS_OPTION_CHOICE, AT(reduce), LS_OPTION_FREE, 0, 0, "exact", "exact|fast|host", "how devices add gradients: the fixed tree over NCCL; NCCL's own sums, whose bits depend on the ranks; the fixed tree through the host (docs/gpu.md)"},
    {0},
};
#undef AT

#define AT(field) offsetof(ls_group_options, field)
static const ls_option group_rows[] = {
    {"match", LS_OPTION_STRING, AT(match), LS_OPTION_REQUIRED, 0, 0, NULL, NULL, "which parameters, by name: * any letters, ? one, [0-3] one of these; the first group that matches counts"},
    {"lr_scale", LS_OPTION_FLOAT, AT(lr_scale), 0, 0, 1e6, "1", NULL, "their learning rate as a multiple of lr"},
    {"decay_scale", LS_OPTION_FLOAT, AT(decay_scale), 0, 0, 1e6, "1", NULL, "their weight decay as a multiple of weight_decay; norms and biases stay without"},
    {"frozen", LS_OPTION_BOOL, AT(frozen), 0, 0, 0, "false", NULL, "they stay as they are: no gradient, no update"},
    {0},
};
static const ls_option_section group_section = {"group", group_rows, sizeof(ls_group_options)};
#undef AT

#define AT(field) offsetof(ls_optimizer_options, field)
static const ls_option optimizer_rows[] = {
    {"name", LS_OPTION_CHOICE, AT(name), 0, 0, 0, "adamw", "adamw|sgd|lion", "update rule"},
    {"lr", LS_OPTION_FLOAT, AT(lr), 0, 0, 100, "1e-3", NULL, "peak learning rate"},
    {"betas", LS_OPTION_FLOATS, AT(betas), 0, 0, 1, "[0.9, 0.95]", NULL, "decay of the first and second moment (adamw, lion)"},
    {"eps", LS_OPTION_FLOAT, AT(eps), 0, 0, 1, "1e-8", NULL, "added to the root of the second moment (adamw)"},
    {"weight_decay", LS_OPTION_FLOAT, AT(weight_decay), 0, 0, 10, "0.1", NULL, "decoupled; never on norms and biases"},
    {"momentum", LS_OPTION_FLOAT, AT(momentum), 0, 0, 1, "0.9", NULL, "of sgd"},
    {"nesterov", LS_OPTION_BOOL, AT(nesterov), 0, 0, 0, "false", NULL, "Nesterov's momentum (sgd)"},
    {"clip_norm", LS_OPTION_FLOAT, AT(clip_norm), 0, 0, 1e9, "1.0", NULL, "greatest global gradient norm; 0: no clipping"},
    {"schedule", LS_OPTION_CHOICE, AT(schedule), 0, 0, 0, "cosine", "constant|linear|cosine|wsd", "learning rate after warm-up; wsd: warm-up, stable, decay"},
    {"warmup", LS_OPTION_INT, AT(warmup), 0, 0, 1e12, "0", NULL, "steps from 0 up to lr"},
    {"decay_steps", LS_OPTION_INT, AT(decay_steps), LS_OPTION_FREE, 0, 1e12, "0", NULL, "linear, cosine: step at which min_lr_ratio is reached, 0: the last; wsd: steps of the decay at the end, 0: a tenth"},
    {"min_lr_ratio", LS_OPTION_FLOAT, AT(min_lr_ratio), 0, 0, 1, "0.1", NULL, "final learning rate as a share of lr"},
    {"layer_decay", LS_OPTION_FLOAT, AT(layer_decay), 0, 0.001, 1, "1", NULL, "the learning rate of each block as a multiple of the next one's above it; 1: all alike"},
    {"groups", LS_OPTION_LIST, AT(groups), 0, 0, 64, NULL, &group_section, "parameters with a learning rate or weight decay of their own, or frozen"},
    {0},
};
#undef AT

#define AT(field) offsetof(ls_loss_scale_options, field)
static const ls_option loss_scale_rows[] = {
    {"start", LS_OPTION_FLOAT, AT(start), 0, 1, 4294967296, "65536", NULL, "precision fp16: what the loss's gradient is multiplied by at first, a power of two; a step whose gradients overflow is skipped and halves it"},
    {"growth_interval", LS_OPTION_INT, AT(growth_interval), 0, 0, 1e12, "2000", NULL, "steps in a row without overflow after which it is doubled; 0: never"},
    {"min", LS_OPTION_FLOAT, AT(min), 0, 1, 4294967296, "1", NULL, "it is not halved below this, a power of two: an overflow then counts for guard.max_skips"},
    {0},
};
#undef AT

#define AT(field) offsetof(ls_ema_options, field)
static const ls_option ema_rows[] = {
    {"decay", LS_OPTION_FLOAT, AT(decay), 0, 0, 0.9999999, "0", NULL, "of an exponential moving average of the weights, kept beside them in f32; 0: none"},
    {"every", LS_OPTION_INT, AT(every), 0, 1, 1e9, "1", NULL, "optimiser steps between its updates"},
    {"warmup", LS_OPTION_BOOL, AT(warmup), 0, 0, 0, "false", NULL, "begin with less: the decay of update n is at most (1 + n) / (10 + n)"},
    {"evaluate", LS_OPTION_BOOL, AT(evaluate), LS_OPTION_FREE, 0, 0, "true", NULL, "evaluate the averaged weights as well: eval_loss_ema and the like"},
    {0},
};
#undef AT

#define AT(field) offsetof(ls_checkpoint_recipe, field)
static const ls_option checkpoint_rows[] = {
    {"every", LS_OPTION_EVERY, AT(every), LS_OPTION_FREE, 0, 1e12, "0", NULL, "steps between checkpoints, as 100, or time by rank 0's clock, as 10 min; 0: only after the last step"},
    {"keep", LS_OPTION_INT, AT(keep), LS_OPTION_FREE, 1, 1e6, "3", NULL, "newest checkpoints kept"},
    {"keep_every", LS_OPTION_INT, AT(keep_every), LS_OPTION_FREE, 0, 1e12, "0", NULL, "checkpoints of steps that this divides are kept for ever; 0: none"},
    {"async", LS_OPTION_BOOL, AT(async), LS_OPTION_FREE, 0, 0, "true", NULL, "write checkpoints while training goes on; it stops only for the last one and for a new best one"},
    {"buffer", LS_OPTION_INT, AT(buffer), LS_OPTION_FREE, 65536, 1e15, "256Mi", NULL, "bytes a rank may hold of copies that wait for the disk; less than its share of the state: the optimiser may wait for the disk"},
    {"verify", LS_OPTION_BOOL, AT(verify), LS_OPTION_FREE, 0, 0, "false", NULL, "read every file back from the disk and compare, before the checkpoint counts and an older one goes"},
    {"best", LS_OPTION_STRING, AT(best), LS_OPTION_FREE, 0, 0, NULL, NULL, "eval_loss, a measure of the task (accuracy), or one of these of the averaged weights (eval_loss_ema): the checkpoint of the best evaluation is saved and kept as checkpoints/best"},
    {0},
};
#undef AT

#define AT(field) offsetof(ls_early_stop_options, field)
static const ls_option early_stop_rows[] = {
    {"metric", LS_OPTION_STRING, AT(metric), LS_OPTION_FREE, 0, 0, "eval_loss", NULL, "what is waited for; named as in checkpoint.best"},
    {"patience", LS_OPTION_INT, AT(patience), LS_OPTION_FREE, 0, 1e9, "0", NULL, "training ends after so many evaluations in a row that were not better than the best before; 0: never early"},
    {"min_delta", LS_OPTION_FLOAT, AT(min_delta), LS_OPTION_FREE, 0, 1e12, "0", NULL, "by how much an evaluation must be better to count"},
    {0},
};
#undef AT

#define AT(field) offsetof(ls_profile_options, field)
static const ls_option profile_rows[] = {
    {"steps", LS_OPTION_STRING, AT(steps), LS_OPTION_FREE, 0, 0, NULL, NULL, "steps of which to record where the time went, as 10..20: profile/table.txt and profile/trace.json"},
    {"events", LS_OPTION_INT, AT(events), LS_OPTION_FREE, 1, 1e8, "64Ki", NULL, "most events kept of each thread (72 bytes each); those beyond are counted"},
    {0},
};
#undef AT

#define AT(field) offsetof(ls_guard_options, field)
static const ls_option guard_rows[] = {
    {"max_skips", LS_OPTION_INT, AT(max_skips), LS_OPTION_FREE, 0, 1e9, "5", NULL, "a step whose loss or gradient is not finite is skipped; more of them in a row end the run"},
    {"spike", LS_OPTION_FLOAT, AT(spike), 0, 0, 1e9, "0", NULL, "a loss above so many times its running median goes back to the last checkpoint and leaves out the data drawn since; 0: not"},
    {"replicas_every", LS_OPTION_INT, AT(replicas_every), LS_OPTION_FREE, 0, 1e12, "0", NULL, "steps between comparisons of the working weights of all ranks, and before each checkpoint; 0: none"},
    {"audit_every", LS_OPTION_INT, AT(audit_every), LS_OPTION_FREE, 0, 1e12, "0", NULL, "steps between audits, in which another rank computes a grain again; 0: none"},
    {"on_fault", LS_OPTION_CHOICE, AT(on_fault), LS_OPTION_FREE, 0, 0, "stop", "stop|repeat", "a rank that an audit finds wrong: stop with exit code 75, or compute the step again and stop only if it is wrong again"},
    {"deadline", LS_OPTION_FLOAT, AT(deadline), LS_OPTION_FREE, 0.1, 1e9, "300", NULL, "seconds that a rank may be waited for without a sign of work from it"},
    {0},
};
#undef AT

const ls_option_section ls_train_sections[] = {
    {"", run_rows, sizeof(ls_run_options)},
    {"data", data_rows, sizeof(ls_run_data_options)},
    {"augment", augment_rows, sizeof(ls_augment_options)},
    {"batch", batch_rows, sizeof(ls_batch_options)},
    {"optimizer", optimizer_rows, sizeof(ls_optimizer_options)},
    {"loss_scale", loss_scale_rows, sizeof(ls_loss_scale_options)},
    {"ema", ema_rows, sizeof(ls_ema_options)},
    {"checkpoint", checkpoint_rows, sizeof(ls_checkpoint_recipe)},
    {"early_stop", early_stop_rows, sizeof(ls_early_stop_options)},
    {"profile", profile_rows, sizeof(ls_profile_options)},
    {"guard", guard_rows, sizeof(ls_guard_options)},
    {"model", ls_transformer_option_rows, sizeof(ls_transformer_options)},
    {"lora", ls_lora_option_rows, sizeof(ls_lora_options)},
    {0},
};

void *ls_train_section(ls_train_config *config, int section)
{
    void *const structs[] = {&config->run, &config->data, &config->augment, &config->batch, &config->optimizer, &config->loss_scale, &config->ema,
                             &config->checkpoint, &config->early_stop, &config->profile, &config->guard, config->model, &config->lora};
    return section >= 0 && section < (int)(sizeof structs / sizeof *structs) ? structs[section] : NULL;
}

ls_option_section ls_train_section_of(const ls_model_family *family, int section)
{
    const ls_option_section of = ls_train_sections[section];
    return strcmp(of.name, "model") ? of : (ls_option_section){of.name, family->options, family->size};
}

const ls_model_family ls_text_families[] = {{"transformer", ls_transformer_option_rows, sizeof(ls_transformer_options)}, {0}};

const ls_model_family *ls_task_families(const ls_task *task)
{
    return task->families ? task->families : ls_text_families;
}
