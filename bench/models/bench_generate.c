/* Tokens a second of the generation engine on the GPT-2 124M shape, greedy, random weights: a prompt of 16 tokens a
 * row, then N new tokens in each of B rows.
 *
 *     build/release/bench/models_bench_generate [f32|bf16] [batch=B] [tokens=N] [threads=N] [turns=N]
 *
 * One JSON line for the median turn. The rate counts new tokens over the whole call, prompts included. In the first one the engine may
 * hold the weights for decoding, which takes time of its own: the note has it. */
#include "bench/figure.h"
#include "models/generate/engine.h"
#include "models/parameters.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PROMPT = 16, MOST_TURNS = 99 };

static void need(ls_status status)
{
    if (status == LS_OK)
        return;
    fprintf(stderr, "%s\n", ls_fail_sentence());
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    return *(const double *)a < *(const double *)b ? -1 : 1;
}

typedef struct {
    ls_type type;
    int64_t batch, tokens;
    int threads, turns;
} arguments;

static arguments parse(int argc, char **argv)
{
    arguments given = {.type = LS_F32, .batch = 1, .tokens = 64, .turns = 3};
    for (int i = 1; i < argc; i++) {
        const char *value = strchr(argv[i], '=');
        const int64_t number = value ? atoll(value + 1) : 0;
        if (!strcmp(argv[i], "bf16"))
            given.type = LS_BF16;
        else if (value && number > 0 && !strncmp(argv[i], "batch", 5))
            given.batch = number;
        else if (value && number > 0 && !strncmp(argv[i], "tokens", 6))
            given.tokens = number;
        else if (value && number > 0 && !strncmp(argv[i], "threads", 7))
            given.threads = (int)number;
        else if (value && number > 0 && number <= MOST_TURNS && !strncmp(argv[i], "turns", 5))
            given.turns = (int)number;
        else if (strcmp(argv[i], "f32")) {
            fprintf(stderr, "%s: expected [f32|bf16] [batch=B] [tokens=N] [threads=N] [turns=N]\n", argv[i]);
            exit(2);
        }
    }
    return given;
}

/* Weights from the seed, in the working type. */
static void bind_weights(ls_transformer *model, ls_device *device, ls_type type)
{
    ls_parameter *parameters;
    const int count = ls_transformer_parameters(model, &parameters);
    const int64_t elements = ls_parameters_layout(parameters, count);
    float *master;
    need(device->allocate(device, (size_t)elements * sizeof *master, (void **)&master));
    void *working = master;
    if (type != LS_F32)
        need(device->allocate(device, (size_t)elements * ls_type_size(type), &working));
    ls_parameters_init(parameters, count, 1, 0, elements, master);
    if (type != LS_F32)
        device->cast(device, LS_F32, type, elements, master, working);
    ls_parameters_bind(parameters, count, type, working, master);
}

int main(int argc, char **argv)
{
    const arguments given = parse(argc, argv);
    const ls_transformer_options shape = {.style = 0,
                                          .vocabulary = 50257,
                                          .layers = 12,
                                          .width = 768,
                                          .heads = 12,
                                          .context = 1024,
                                          .tied = true,
                                          .norm_eps = 1e-5,
                                          .init_std = 0.02};
    ls_team *team;
    ls_device *device;
    ls_transformer *model;
    ls_engine *engine;
    need(ls_team_create(&team, given.threads, 1));
    need(ls_device_create_cpu(&device, team));
    need(ls_transformer_create(&model, &shape));
    bind_weights(model, device, given.type);
    need(ls_engine_open(&engine, model, device, &(ls_engine_options){.slots = given.batch, .weights_stay = true}));
    const int64_t rows = given.batch;
    int32_t *ids = malloc((size_t)(rows * PROMPT) * sizeof *ids),
            *out = malloc((size_t)(rows * given.tokens) * sizeof *out);
    int64_t *offsets = malloc((size_t)(rows + 1) * sizeof *offsets), *lengths = malloc((size_t)rows * sizeof *lengths);
    if (!ids || !out || !offsets || !lengths)
        exit(1);
    for (int64_t i = 0; i < rows * PROMPT; i++)
        ids[i] = (int32_t)(i * 31 % 50257);
    for (int64_t r = 0; r <= rows; r++)
        offsets[r] = r * PROMPT;
    const ls_generate_rows prompts = {
        .prompts = rows, .samples = 1, .ids = ids, .offsets = offsets, .out = out, .lengths = lengths};
    ls_generate_options greedy = {.max_tokens = 4, .top_p = 1, .stop_id = -1};
    need(ls_engine_run(engine, &greedy, &prompts, NULL, NULL));
    greedy.max_tokens = given.tokens;
    double rate[MOST_TURNS];
    for (int t = 0; t < given.turns; t++) {
        const double begin = now();
        need(ls_engine_run(engine, &greedy, &prompts, NULL, NULL));
        rate[t] = (double)(rows * given.tokens) / (now() - begin);
    }
    char name[96], note[48];
    snprintf(note, sizeof note, "the first call %.1f", rate[0]);
    qsort(rate, (size_t)given.turns, sizeof *rate, by_value);
    snprintf(name, sizeof name, "generate gpt2-124m %s batch %lld", ls_type_name(given.type), (long long)rows);
    ls_figure(name, rate[given.turns / 2], "tokens/s", 0, note);
    return 0;
}
