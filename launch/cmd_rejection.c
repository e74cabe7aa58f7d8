/* `lockstep rejection`: rejection sampling (Yuan et al. 2023, "RFT"; Touvron et al. 2023b): several answers to each
 * question from a trained model, of which those that a rule finds right, and that reason differently, become data for
 * the next round of fine-tuning. Two answers reason alike when their equations are the same, in the same order. With
 * --pairs, right and wrong answers to one question become pairs for a reward model. On all ranks, as `generate`. */
#include "launch/arguments.h"
#include "launch/command.h"
#include "launch/draw.h"
#include "train/answers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPTS, DRAWN, UNFINISHED, RIGHT, ALIKE, KEPT, UNSOLVED, COUNTS };

typedef struct {
    ls_folder_arguments from;
    const char *template_name, *out, *gold;
    ls_template template;
    ls_draw_options draw;
    ls_answer_rule rule;
    int64_t keep, pairs; /* at most, of a question; pairs 0: answers, not pairs */
    int threads;
    bool averaged;
    int64_t counts[COUNTS]; /* of this rank */
} arguments;

enum {
    KEY_TEMPERATURE = 256,
    KEY_SEED,
    KEY_EMA,
    KEY_THREADS,
    KEY_TEMPLATE,
    KEY_SAMPLES,
    KEY_KEEP,
    KEY_PAIRS,
    KEY_BATCH,
    KEY_STOP,
    KEY_FIELD,
    KEY_GOLD,
    KEY_RULE
};
static const struct argp_option options[] = {
    {"prompts", 'f', "FILE", 0, "Questions with gold answers, JSON lines", 0},
    {"out", 'o', "FILE", 0, "Where the answers that are kept go, as JSON lines with the same two fields", 0},
    {"field", KEY_FIELD, "NAME", 0, "The question's field (prompt, else question)", 0},
    {"gold", KEY_GOLD, "NAME", 0, "The gold answer's field (response, else answer)", 0},
    {"rule", KEY_RULE, "NAME", 0, "When an answer is right: marked, gsm8k or lenient (marked)", 0},
    {"samples", KEY_SAMPLES, "N", 0, "Answers drawn to each question (8)", 0},
    {"keep", KEY_KEEP, "N", 0, "Keep at most N right ones that reason differently (4)", 0},
    {"pairs", KEY_PAIRS, "N", 0,
     "Write pairs instead, a right answer (chosen) and a wrong one (rejected): at most N a question", 0},
    {"batch", KEY_BATCH, "N", 0, "Rows drawn together by a rank (16)", 0},
    {"stop", KEY_STOP, "TEXT", 0, "An answer ends where TEXT would begin; may be given several times", 0},
    {"max-tokens", 'n', "N", 0, "An answer that has not ended after N tokens is none (256)", 0},
    {"temperature", KEY_TEMPERATURE, "T", 0, "Divide logits by T (1)", 0},
    {"seed", KEY_SEED, "SEED", 0, "Key of the counter random numbers (0)", 0},
    {"template", KEY_TEMPLATE, "NAME", 0, "How questions were packed (what FOLDER was trained on, else plain)", 0},
    {"ema", KEY_EMA, NULL, 0, "Take the averaged weights (ema.decay)", 0},
    {"threads", KEY_THREADS, "N", 0, "Threads of a rank (OMP_NUM_THREADS, else all cores)", 0},
    {0},
};

static double number(struct argp_state *state, const char *option, const char *text, double least, double most)
{
    char *end;
    const double value = strtod(text, &end);
    if (end == text || *end || !(value >= least && value <= most))
        argp_error(state, "--%s=%s: expected a number in [%g, %g]", option, text, least, most);
    return value;
}

static ls_answer_rule rule_of(struct argp_state *state, const char *text)
{
    static const char *const names[] = {
        [LS_ANSWER_MARKED] = "marked", [LS_ANSWER_GSM8K] = "gsm8k", [LS_ANSWER_LENIENT] = "lenient"};
    for (int i = 0; i < 3; i++)
        if (!strcmp(text, names[i]))
            return (ls_answer_rule)i;
    argp_error(state, "--rule=%s: expected marked, gsm8k or lenient", text);
    return LS_ANSWER_MARKED;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *given = state->input;
    switch (key) {
    case 'f': given->draw.path = value; return 0;
    case 'o': given->out = value; return 0;
    case 'n': given->draw.how.max_tokens = (int64_t)number(state, "max-tokens", value, 1, 1e6); return 0;
    case KEY_FIELD: given->draw.field = value; return 0;
    case KEY_GOLD: given->gold = value; return 0;
    case KEY_RULE: given->rule = rule_of(state, value); return 0;
    case KEY_SAMPLES: given->draw.samples = (int64_t)number(state, "samples", value, 1, 1e5); return 0;
    case KEY_KEEP: given->keep = (int64_t)number(state, "keep", value, 1, 1e5); return 0;
    case KEY_PAIRS: given->pairs = (int64_t)number(state, "pairs", value, 1, 1e5); return 0;
    case KEY_BATCH: given->draw.batch = (int64_t)number(state, "batch", value, 1, 4096); return 0;
    case KEY_TEMPERATURE: given->draw.how.temperature = number(state, "temperature", value, 0.01, 100); return 0;
    case KEY_SEED: given->draw.how.seed = (uint64_t)number(state, "seed", value, 0, 9e15); return 0;
    case KEY_TEMPLATE: given->template_name = value; return 0;
    case KEY_EMA: given->averaged = true; return 0;
    case KEY_THREADS: given->threads = (int)number(state, "threads", value, 1, 1024); return 0;
    case KEY_STOP:
        if (ls_stop_strings_add(&given->draw.stops, value))
            argp_error(state, "--stop: %s", ls_fail_sentence());
        return 0;
    case ARGP_KEY_END:
        if (!given->draw.path || !given->out)
            argp_error(state, "--prompts and --out are needed");
        return ls_folder_argument(&given->from, key, value, state);
    default: return ls_folder_argument(&given->from, key, value, state);
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .args_doc = "FOLDER",
    .doc = "Draws answers from the model of FOLDER and keeps the right ones that reason differently, for the next "
           "round of fine-tuning.\v"
           "Example: mpirun -n 4 lockstep rejection runs/gsm8k-sft --prompts train.jsonl --samples 8 --out more.jsonl\n"
           "  lockstep data pack -t tokenizer.json --prompt question --response answer -o data/round2 train.jsonl "
           "more.jsonl\n"
           "With --pairs N: pairs for `lockstep data pack --pairs` and task reward.",
};

/* ---- one question ---- */

/* Its fields' names are kept in the output, so that both files can be packed together. */
static ls_status find_gold(const arguments *given, const ls_drawn_prompt *prompt, const char **field, const char **key,
                           const char **gold)
{
    *field = given->draw.field ? given->draw.field : json_object_get(prompt->object, "prompt") ? "prompt" : "question";
    *key = given->gold ? given->gold : json_object_get(prompt->object, "response") ? "response" : "answer";
    *gold = json_string_value(json_object_get(prompt->object, *key));
    return *gold
               ? LS_OK
               : ls_fail(LS_EFORMAT, "%s: question %lld has no text \"%s\" to be judged by; name the field with --gold",
                         given->draw.path, (long long)(prompt->number + 1), *key);
}

static ls_status write_answer(const char *field, const char *question, const char *key, const ls_drawn_sample *sample,
                              FILE *out)
{
    json_t *object = json_object();
    int failed = json_object_set_new(object, field, json_string(question)) |
                 json_object_set_new(object, key, json_stringn(sample->text, sample->bytes));
    failed = failed || json_dumpf(object, out, JSON_COMPACT | JSON_PRESERVE_ORDER);
    json_decref(object);
    fputc('\n', out);
    return failed ? ls_fail(LS_EMEM, "no memory for a line of JSON") : LS_OK;
}

static ls_status write_pair(const char *field, const char *question, const ls_drawn_sample *chosen,
                            const ls_drawn_sample *rejected, FILE *out)
{
    json_t *object = json_object();
    int failed = json_object_set_new(object, field, json_string(question)) |
                 json_object_set_new(object, "chosen", json_stringn(chosen->text, chosen->bytes)) |
                 json_object_set_new(object, "rejected", json_stringn(rejected->text, rejected->bytes));
    failed = failed || json_dumpf(object, out, JSON_COMPACT | JSON_PRESERVE_ORDER);
    json_decref(object);
    fputc('\n', out);
    return failed ? ls_fail(LS_EMEM, "no memory for a line of JSON") : LS_OK;
}

static bool is_text(const ls_drawn_sample *sample)
{
    json_t *string = json_stringn(sample->text, sample->bytes); /* NULL: not UTF-8 */
    json_decref(string);
    return string != NULL;
}

/* Counts it. *ended: a whole text; *right: and one that the rule takes. */
static void judge(arguments *given, const ls_drawn_sample *sample, const char *gold, bool *ended, bool *right)
{
    *ended = sample->end != LS_END_LENGTH && is_text(sample);
    *right = *ended && ls_answer_right(given->rule, sample->text, sample->bytes, gold, strlen(gold));
    given->counts[DRAWN]++;
    given->counts[UNFINISHED] += sample->end == LS_END_LENGTH;
    given->counts[RIGHT] += *right;
}

/* The first right answer with the first wrong one, the second with the second, ... The order is that of the draws: by
 * chance. */
static ls_status take_pairs(arguments *given, const ls_drawn_prompt *prompt, FILE *out)
{
    const char *field, *key, *gold;
    int64_t right = 0, wrong = 0;
    ls_status status = find_gold(given, prompt, &field, &key, &gold);
    const ls_drawn_sample **of[2] = {calloc((size_t)prompt->samples, sizeof **of),
                                     calloc((size_t)prompt->samples, sizeof **of)};
    if (!status && (!of[0] || !of[1]))
        status = ls_fail(LS_EMEM, "no memory for %lld answers", (long long)prompt->samples);
    for (int64_t s = 0; s < prompt->samples && !status; s++) {
        bool is_whole, is_right;
        judge(given, &prompt->sample[s], gold, &is_whole, &is_right);
        if (is_right)
            of[0][right++] = &prompt->sample[s];
        else if (is_whole)
            of[1][wrong++] = &prompt->sample[s];
    }
    for (int64_t i = 0; i < right && i < wrong && i < given->pairs && !status; i++) {
        status = write_pair(field, prompt->text, of[0][i], of[1][i], out);
        given->counts[KEPT]++;
    }
    given->counts[PROMPTS]++;
    given->counts[UNSOLVED] += right == 0;
    free(of[0]);
    free(of[1]);
    return status;
}

/* Right, new, and not too many: its line goes out. `seen`: equations of those before it. */
static ls_status take_sample(arguments *given, const ls_drawn_prompt *prompt, const ls_drawn_sample *sample,
                             char **seen, int64_t *right, FILE *out)
{
    const char *field, *key, *gold;
    bool is_whole, is_right;
    ls_status status = find_gold(given, prompt, &field, &key, &gold);
    if (status)
        return status;
    judge(given, sample, gold, &is_whole, &is_right);
    if (!is_right)
        return LS_OK;
    char *equations = ls_equations(sample->text, sample->bytes);
    if (!equations)
        return ls_fail(LS_EMEM, "no memory for the equations of an answer");
    for (int64_t i = 0; i < *right; i++)
        if (!strcmp(seen[i], equations)) {
            given->counts[ALIKE]++;
            free(equations);
            return LS_OK;
        }
    seen[(*right)++] = equations;
    if (*right > given->keep)
        return LS_OK;
    given->counts[KEPT]++;
    return write_answer(field, prompt->text, key, sample, out);
}

static ls_status take_prompt(void *context, const ls_drawn_prompt *prompt, FILE *out)
{
    arguments *given = context;
    if (!prompt->object)
        return ls_fail(LS_EFORMAT, "%s: rejection needs gold answers; give it a .jsonl file", given->draw.path);
    if (given->pairs)
        return take_pairs(given, prompt, out);
    char **seen = calloc((size_t)prompt->samples, sizeof *seen);
    if (!seen)
        return ls_fail(LS_EMEM, "no memory for %lld answers", (long long)prompt->samples);
    int64_t right = 0;
    ls_status status = LS_OK;
    for (int64_t s = 0; s < prompt->samples && !status; s++)
        status = take_sample(given, prompt, &prompt->sample[s], seen, &right, out);
    given->counts[PROMPTS]++;
    given->counts[UNSOLVED] += right == 0;
    for (int64_t i = 0; i < right; i++)
        free(seen[i]);
    free(seen);
    return status;
}

/* ---- all of them ---- */

static double percent(int64_t part, int64_t of)
{
    return of ? 100 * (double)part / (double)of : 0;
}

static ls_status tell(ls_world *world, const arguments *given)
{
    const int ranks = ls_world_ranks(world);
    int64_t *all = calloc((size_t)ranks, sizeof given->counts), sum[COUNTS] = {0};
    ls_status status = ls_agree(world, all ? LS_OK : ls_fail(LS_EMEM, "no memory for counts"), "counting answers");
    if (!status)
        status = ls_all_gather_bytes(world, given->counts, sizeof given->counts, all, "counting answers");
    for (int i = 0; i < ranks * COUNTS && !status; i++)
        sum[i % COUNTS] += all[i];
    free(all);
    if (status || ls_world_rank(world))
        return status;
    printf("%lld questions, %lld answers drawn: %lld right (%.1f %%), %lld not ended (%.1f %%)\n",
           (long long)sum[PROMPTS], (long long)sum[DRAWN], (long long)sum[RIGHT], percent(sum[RIGHT], sum[DRAWN]),
           (long long)sum[UNFINISHED], percent(sum[UNFINISHED], sum[DRAWN]));
    if (given->pairs) {
        printf("%lld pairs of a right and a wrong answer, at most %lld a question; %lld questions (%.1f %%) have no "
               "right answer\n",
               (long long)sum[KEPT], (long long)given->pairs, (long long)sum[UNSOLVED],
               percent(sum[UNSOLVED], sum[PROMPTS]));
        return LS_OK;
    }
    printf("%lld kept, at most %lld a question; %lld right ones reason like one before them; %lld questions (%.1f %%) "
           "have no right answer\n",
           (long long)sum[KEPT], (long long)given->keep, (long long)sum[ALIKE], (long long)sum[UNSOLVED],
           percent(sum[UNSOLVED], sum[PROMPTS]));
    return LS_OK;
}

static ls_status draw_all(ls_world *world, arguments *given, const ls_model_folder *folder)
{
    FILE *out = ls_world_rank(world) == 0 ? fopen(given->out, "w") : NULL;
    ls_status status =
        ls_world_rank(world) == 0 && !out ? ls_fail(LS_EIO, "%s: %s", given->out, strerror(errno)) : LS_OK;
    status = ls_agree(world, status, "opening the output");
    if (!status)
        status = ls_draw_file(world, folder, &given->draw, take_prompt, given, out);
    if (out && fclose(out) && !status)
        status = ls_fail(LS_EIO, "%s: %s", given->out, strerror(errno));
    return status ? status : tell(world, given);
}

static ls_status sample(ls_world *world, arguments *given)
{
    ls_model_folder folder;
    ls_status status =
        ls_model_folder_open(&folder, given->from.folder, given->threads, given->averaged, ls_world_node_ranks(world));
    if (!given->template_name)
        given->template_name = *folder.template_name ? folder.template_name : "plain";
    if (!status)
        status = ls_template_open(&given->template, given->template_name, folder.tokenizer, NULL);
    given->draw.how.stop_id = given->template.end;
    given->draw.template = &given->template;
    status = ls_agree(world, status, "opening the model");
    if (!status)
        status = draw_all(world, given, &folder);
    ls_model_folder_close(&folder);
    return status;
}

static int run(int argc, char **argv)
{
    arguments given = {.keep = 4,
                       .draw = {.samples = 8, .batch = 16, .how = {.max_tokens = 256, .temperature = 1, .top_p = 1}}};
    argp_parse(&parser, argc, argv, 0, NULL, &given);
    ls_world *world;
    ls_status status = ls_world_open(&world, NULL);
    if (status)
        return ls_command_failed("rejection", status);
    status = sample(world, &given);
    const int exit_code =
        ls_world_rank(world) == 0 ? ls_command_failed("rejection", status) : ls_status_exit_code(status);
    ls_world_close(world);
    return exit_code;
}

const ls_command ls_command_rejection = {"rejection", "draw answers and keep the right ones as training data", run};
