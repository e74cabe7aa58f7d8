/* A run folder as a whole: recipe, checkpoints, samples, tables, and what state the run is in. See run.h. */
#include "launch/report/run.h"

#include "datasets/jsonl.h"
#include "launch/report/html.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    LARGEST_TEXT = 256 << 10, /* bytes of recipe.yaml and of a table; the page has to stay small */
    MOST_SAMPLE_STEPS = 24,   /* steps whose samples are shown: first, last, and evenly between */
    MOST_SAMPLES_A_STEP = 6,
    SILENT_SECONDS = 300, /* a run elsewhere that has written nothing for so long is not taken for running */
};

static ls_status no_memory(const ls_report_run *run)
{
    return ls_fail(LS_EMEM, "%s: no memory to read it", run->path);
}

/* Whole small file; *text stays NULL where there is none. */
static ls_status read_text(const ls_report_run *run, const char *name, char **text)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", run->path, name);
    FILE *in = fopen(path, "rb");
    if (!in)
        return errno == ENOENT || errno == ENOTDIR ? LS_OK
                                                   : ls_fail(LS_EIO, "%s: cannot read (%s)", path, strerror(errno));
    char *buffer = malloc(LARGEST_TEXT + 1);
    const size_t got = buffer ? fread(buffer, 1, LARGEST_TEXT, in) : 0;
    const ls_status status = !buffer      ? no_memory(run)
                             : ferror(in) ? ls_fail(LS_EIO, "%s: cannot read (%s)", path, strerror(errno))
                                          : LS_OK;
    fclose(in);
    if (status != LS_OK) {
        free(buffer);
        return status;
    }
    buffer[got] = '\0';
    *text = realloc(buffer, strlen(buffer) + 1);
    return LS_OK;
}

/* ---- recipe.yaml as "section.key" and value: the form in which a run keeps it (recipe/resolve.c) ---- */

static ls_status add_setting(ls_report_run *run, const char *section, const char *line, size_t length)
{
    const char *colon = memchr(line, ':', length);
    if (!colon)
        return LS_OK;
    ls_report_setting *more = realloc(run->setting, (size_t)(run->settings + 1) * sizeof *more);
    if (!more)
        return no_memory(run);
    run->setting = more;
    ls_report_setting *setting = &more[run->settings];
    *setting = (ls_report_setting){0};
    const char *value = colon + 1;
    while (value < line + length && *value == ' ')
        value++;
    const int key = (int)(colon - line);
    if (asprintf(&setting->key, "%s%s%.*s", section, *section ? "." : "", key, line) < 0)
        return no_memory(run);
    setting->value = strndup(value, (size_t)(line + length - value));
    run->settings++;
    return setting->value ? LS_OK : no_memory(run);
}

static ls_status read_settings(ls_report_run *run)
{
    char section[128] = "";
    ls_status status = LS_OK;
    for (const char *line = run->recipe ? run->recipe : ""; *line && status == LS_OK;) {
        const size_t length = strcspn(line, "\n"), indent = strspn(line, " ");
        if (length && line[0] != '#' && !indent && line[length - 1] == ':')
            snprintf(section, sizeof section, "%.*s", (int)(length - 1 < 100 ? length - 1 : 100), line);
        else if (length > indent && line[indent] != '#')
            status = add_setting(run, indent ? section : "", line + indent, length - indent);
        line += length + (line[length] == '\n');
    }
    return status;
}

/* ---- samples.jsonl: {"step": N, ...}, what the model wrote as it learnt ---- */

typedef struct {
    ls_report_run *run;
    int64_t step, number, stride, in_step; /* of steps seen: how many, and every which one is kept */
} sample_reader;

/* Every second step goes, so that twice as many fit between. */
static ls_status thin_samples(sample_reader *r)
{
    json_t *kept = json_array();
    int64_t step = -1, number = -1;
    size_t i;
    json_t *sample;
    if (!kept)
        return no_memory(r->run);
    json_array_foreach(r->run->samples, i, sample)
    {
        const int64_t its = json_integer_value(json_object_get(sample, "step"));
        number += its != step;
        step = its;
        if (number % 2 == 0)
            json_array_append(kept, sample);
        else
            r->run->samples_left_out++;
    }
    json_decref(r->run->samples);
    r->run->samples = kept;
    r->stride *= 2;
    return LS_OK;
}

static ls_status add_sample(void *context, json_t *object)
{
    sample_reader *r = context;
    const json_t *step = json_object_get(object, "step");
    if (!json_is_integer(step))
        return LS_OK;
    if (json_integer_value(step) != r->step) {
        r->step = json_integer_value(step);
        r->in_step = 0;
        if (++r->number == r->stride * 2 * MOST_SAMPLE_STEPS && thin_samples(r) != LS_OK)
            return LS_EMEM;
    }
    if (r->number % r->stride || r->in_step++ >= MOST_SAMPLES_A_STEP) {
        r->run->samples_left_out++;
        return LS_OK;
    }
    return json_array_append(r->run->samples, object) == 0 ? LS_OK : no_memory(r->run);
}

/* Gives each line of the run's file `name` that is a JSON object to `add`, until it fails; other lines, such as one that a killed run
 * cut off, are left out. No such file: nothing, *into stays NULL. */
static ls_status read_objects(ls_report_run *run, const char *name, json_t **into, ls_status (*add)(void *context, json_t *object), void *context)
{
    char path[4096];
    ls_jsonl *reader;
    json_t *object = NULL;
    snprintf(path, sizeof path, "%s/%s", run->path, name);
    ls_status status = ls_jsonl_open(&reader, path);
    if (status != LS_OK)
        return status == LS_ENOTFOUND ? LS_OK : status;
    *into = json_array();
    status = *into ? LS_OK : no_memory(run);
    while (status == LS_OK) {
        const ls_status line = ls_jsonl_next(reader, &object);
        if (line == LS_OK && !object)
            break;
        if (line != LS_EFORMAT)
            status = line == LS_OK ? add(context, object) : line;
    }
    ls_jsonl_close(reader);
    return status;
}

static ls_status read_samples(ls_report_run *run)
{
    sample_reader r = {.run = run, .step = -1, .number = -1, .stride = 1};
    return read_objects(run, "samples.jsonl", &run->samples, add_sample, &r);
}

/* A sweep has some dozens of lines; what is beyond is not the sweep's. */
static ls_status add_decoding(void *context, json_t *object)
{
    enum { MOST_LINES = 256 };
    ls_report_run *run = context;
    return json_array_size(run->sweep) == MOST_LINES || json_array_append(run->sweep, object) == 0 ? LS_OK : no_memory(run);
}

/* ---- checkpoints and state ---- */

static void find_checkpoints(ls_report_run *run)
{
    char path[4096];
    run->checkpoint_step = -1;
    snprintf(path, sizeof path, "%s/checkpoints", run->path);
    DIR *folder = opendir(path);
    for (const struct dirent *entry; folder && (entry = readdir(folder));) {
        long long step;
        int used = 0;
        if (sscanf(entry->d_name, "step-%lld%n", &step, &used) != 1 || entry->d_name[used])
            continue; /* .partial, .damaged-K, best */
        run->checkpoints++;
        if (step <= run->checkpoint_step)
            continue;
        run->checkpoint_step = step;
        snprintf(run->last_checkpoint, sizeof run->last_checkpoint, "%.63s", entry->d_name);
    }
    if (folder)
        closedir(folder);
    snprintf(path, sizeof path, "%.4000s/checkpoints/best", run->path);
    const ssize_t length = readlink(path, run->best_checkpoint, sizeof run->best_checkpoint - 1);
    run->best_checkpoint[length > 0 ? length : 0] = '\0';
}

/* Rank 0's process, if the run's last start was on this machine; elsewhere what was written lately. */
static bool is_running(const ls_report_run *run)
{
    char path[4096], host[64] = "", text[64] = "";
    if (gethostname(host, sizeof host - 1) == 0)
        host[strcspn(host, ".")] = '\0';
    if (strcmp(host, run->host)) {
        struct stat file;
        snprintf(path, sizeof path, "%s/metrics.jsonl", run->path);
        return stat(path, &file) == 0 && time(NULL) - file.st_mtime < SILENT_SECONDS;
    }
    snprintf(path, sizeof path, "%s/log/rank-0000.pid", run->path);
    FILE *in = fopen(path, "r");
    long pid = 0;
    if (in && fgets(text, sizeof text, in))
        pid = strtol(text, NULL, 10);
    if (in)
        fclose(in);
    return pid > 1 && (kill((pid_t)pid, 0) == 0 || errno == EPERM);
}

static bool has_failed(const ls_report_run *run)
{
    int last = 0;
    for (int64_t i = 0; i < run->events; i++)
        last = run->event[i].start > last ? run->event[i].start : last;
    for (int64_t i = 0; i < run->events; i++)
        if (run->event[i].start == last && run->event[i].level == LS_EVENT_ERROR &&
            !strstr(run->event[i].text, "Training goes on"))
            return true;
    return false;
}

static ls_run_state state_of(const ls_report_run *run)
{
    const int64_t step = ls_report_last_step(run);
    if (run->goal && step >= run->goal)
        return LS_RUN_FINISHED;
    if (run->ended_early)
        return LS_RUN_EARLY_END;
    if (has_failed(run))
        return LS_RUN_FAILED;
    if (is_running(run))
        return LS_RUN_RUNNING;
    if (!run->series_count)
        return LS_RUN_EMPTY;
    return run->checkpoint_step == step ? LS_RUN_STOPPED : LS_RUN_CUT;
}

static ls_status name_run(ls_report_run *run, const char *path)
{
    run->path = strdup(path);
    if (!run->path)
        return ls_fail(LS_EMEM, "no memory for the name of a run");
    for (size_t end = strlen(run->path); end > 1 && run->path[end - 1] == '/';)
        run->path[--end] = '\0';
    char real[4096], *whole = realpath(run->path, NULL);
    snprintf(real, sizeof real, "%s", whole ? whole : run->path);
    free(whole);
    const char *slash = strrchr(real, '/');
    run->name = ls_html_clean(slash && slash[1] ? slash + 1 : real);
    return run->name ? LS_OK : no_memory(run);
}

static ls_status check_folder(const ls_report_run *run)
{
    static const char *const signs[] = {"recipe.yaml", "metrics.jsonl", "log"};
    char path[4096];
    struct stat folder;
    if (stat(run->path, &folder))
        return ls_fail(LS_ENOTFOUND, "%s: %s", run->path, strerror(errno));
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        snprintf(path, sizeof path, "%s/%s", run->path, signs[i]);
        if (access(path, F_OK) == 0)
            return LS_OK;
    }
    return ls_fail(LS_ENOTFOUND,
                   "%s: not a run folder: it has none of recipe.yaml, metrics.jsonl and log/. Name the folder that "
                   "`run:` names in the recipe",
                   run->path);
}

ls_status ls_report_read(ls_report_run *run, const char *path)
{
    *run = (ls_report_run){.checkpoint_step = -1, .first_parted_step = -1};
    ls_status status = name_run(run, path);
    if (status == LS_OK)
        status = check_folder(run);
    if (status == LS_OK)
        status = ls_report_read_metrics(run);
    if (status == LS_OK)
        status = ls_report_read_logs(run);
    if (status == LS_OK)
        status = read_text(run, "recipe.yaml", &run->recipe);
    if (status == LS_OK)
        status = read_settings(run);
    if (status == LS_OK)
        status = read_samples(run);
    if (status == LS_OK)
        status = read_objects(run, "lud.jsonl", &run->sweep, add_decoding, run);
    if (status == LS_OK)
        status = read_text(run, "confusion.txt", &run->confusion);
    if (status == LS_OK)
        status = read_text(run, "profile/table.txt", &run->profile);
    if (status == LS_OK) {
        find_checkpoints(run);
        run->state = state_of(run);
    }
    return status;
}

ls_status ls_report_names(ls_report_run *runs, int count)
{
    for (int r = 0; r < count; r++) {
        bool alone = true;
        for (int other = 0; other < count; other++)
            alone &= other == r || strcmp(runs[r].name, runs[other].name) != 0;
        runs[r].name_is_path = !alone;
    }
    for (int r = 0; r < count; r++) {
        if (!runs[r].name_is_path)
            continue;
        free(runs[r].name);
        runs[r].name = ls_html_clean(runs[r].path);
        if (!runs[r].name)
            return no_memory(&runs[r]);
    }
    return LS_OK;
}

void ls_report_free(ls_report_run *run)
{
    for (int i = 0; i < run->series_count; i++) {
        free(run->series[i].name);
        free(run->series[i].step);
        free(run->series[i].value);
    }
    for (int64_t i = 0; i < run->events; i++)
        free(run->event[i].text);
    for (int i = 0; i < run->settings; i++) {
        free(run->setting[i].key);
        free(run->setting[i].value);
    }
    json_decref(run->samples);
    json_decref(run->sweep);
    char *const texts[] = {run->path,     run->name,   run->task_line, run->data_line,
                           run->machines, run->recipe, run->confusion, run->profile};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        free(texts[i]);
    free(run->series);
    free(run->event);
    free(run->setting);
    *run = (ls_report_run){0};
}
