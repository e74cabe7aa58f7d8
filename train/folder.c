/* The run folder:
 *     RUN/recipe.yaml          the resolved recipe as of the last start
 *     RUN/recipe.fixed.yaml    its keys that may not change while the folder lives
 *     RUN/tokenizer/           the data's tokenizer, so that the run can be used without the data
 *                              (begun from a Hugging Face folder: and what is beside that one's, its chat template)
 *     RUN/template             how conversations became tokens (datasets/template.h); absent for documents
 *     RUN/log/rank-0000.log    one log a rank
 *     RUN/flight/rank-0000     where each rank is, for `lockstep status` (base/flight.h); flight.previous: of the start before
 *     RUN/checkpoints/         checkpoint/format.h
 *     RUN/metrics.jsonl, events.out.tfevents.*, hashes.jsonl, samples.jsonl
 * Small files are written beside their name, synced, and renamed: a reader sees the old or the new one. */
#include "train/internal.h"

#include "base/log.h"
#include "datasets/tokenizer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PATH_ROOM = 4096 };

static ls_status make_folder(const char *path)
{
    char part[PATH_ROOM];
    snprintf(part, sizeof part, "%s", path);
    for (char *slash = part + 1;; slash++) {
        if (*slash != '/' && *slash != '\0')
            continue;
        const char kept = *slash;
        *slash = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return ls_fail(LS_EIO, "%s: cannot create the folder (%s); choose another with run=FOLDER", part, strerror(errno));
        *slash = kept;
        if (!kept)
            return LS_OK;
    }
}

ls_status ls_run_write_file(const char *path, const char *text, size_t size)
{
    char partial[PATH_ROOM + 16];
    snprintf(partial, sizeof partial, "%s.partial", path);
    const int fd = open(partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    bool good = fd >= 0;
    good = good && write(fd, text, size) == (ssize_t)size;
    good = good && fsync(fd) == 0;
    const int error = errno;
    if (fd >= 0)
        close(fd);
    if (good && rename(partial, path) == 0)
        return LS_OK;
    unlink(partial);
    return ls_fail(error == ENOSPC ? LS_ESPACE : LS_EIO, "%s: cannot write (%s)", path, strerror(good ? errno : error));
}

/* Whole file, NUL-terminated and malloc'ed; NULL where there is none. */
static char *read_file(const char *path, size_t *size)
{
    FILE *in = fopen(path, "rb");
    char *text = NULL;
    if (!in)
        return NULL;
    if (fseek(in, 0, SEEK_END) == 0) {
        const long length = ftell(in);
        rewind(in);
        text = length >= 0 ? malloc((size_t)length + 1) : NULL;
        if (text) {
            *size = fread(text, 1, (size_t)length, in);
            text[*size] = '\0';
        }
    }
    fclose(in);
    return text;
}

static bool same_line(const char *a, const char *b)
{
    const size_t length = strcspn(a, "\n");
    return length == strcspn(b, "\n") && memcmp(a, b, length) == 0;
}

static bool same_key(const char *a, const char *b)
{
    const size_t length = strcspn(a, ":\n");
    return length == strcspn(b, ":\n") && memcmp(a, b, length) == 0;
}

static const char *next_line(const char *at)
{
    const size_t length = strcspn(at, "\n");
    return at + length + (at[length] == '\n');
}

static bool is_header(const char *line)
{
    const size_t length = strcspn(line, "\n");
    return length > 0 && line[length - 1] == ':';
}

static ls_status refuse(const char *run, const char *there, const char *here)
{
    const char *line = is_header(here) ? next_line(here) : here; /* a section that the folder does not know says nothing by its name */
    return ls_fail(LS_ESTATE, "run folder %s was begun with another recipe: it says '%.*s', this one says '%.*s'; use a new folder (run=NEW) or the old value",
                   run, (int)strcspn(there, "\n"), there, (int)strcspn(line, "\n"), line);
}

/* The first line in which two recipes differ. Both are in the order of the option tables, of which the folder's may be
 * older: a key that it does not know passes where it holds its default, as a new key's default is what was done before. */
static ls_status compare_fixed(const char *run, const char *there, const char *here, const char *defaults)
{
    while (*there || *here) {
        const bool of_default = *defaults && same_line(defaults, here), same = same_line(there, here);
        if (of_default)
            defaults = next_line(defaults);
        if (!same && of_default && !same_key(there, here)) {
            here = next_line(here);
            continue;
        }
        if (!same)
            return refuse(run, there, here);
        there = next_line(there);
        here = next_line(here);
    }
    return LS_OK;
}

static ls_status write_recipe(const ls_train_config *config)
{
    char path[PATH_ROOM];
    size_t size = 0;
    snprintf(path, sizeof path, "%s/recipe.fixed.yaml", config->run.run);
    char *there = read_file(path, &size);
    ls_status status = there ? compare_fixed(config->run.run, there, config->recipe_fixed, config->recipe_defaults)
                             : ls_run_write_file(path, config->recipe_fixed, strlen(config->recipe_fixed));
    free(there);
    if (status != LS_OK)
        return status;
    snprintf(path, sizeof path, "%s/recipe.yaml", config->run.run);
    return ls_run_write_file(path, config->recipe_text, strlen(config->recipe_text));
}

/* The data's tokenizer: with it the folder can be used where the data is not. */
static ls_status copy_tokenizer(const char *from, const char *run)
{
    char to[PATH_ROOM];
    const char *slash = strrchr(from, '/');
    snprintf(to, sizeof to, "%s/tokenizer", run);
    ls_status status = make_folder(to);
    if (status != LS_OK)
        return status;
    size_t size = 0;
    char *text = read_file(from, &size);
    if (!text)
        return ls_fail(LS_ENOTFOUND, "%s: cannot read the data's tokenizer (%s); pack the data again", from, strerror(errno));
    snprintf(to, sizeof to, "%s/tokenizer/%s", run, slash ? slash + 1 : from);
    status = ls_run_write_file(to, text, size);
    free(text);
    return status;
}

/* Records of the start before are kept once: they tell how it ended, and this start may have fewer ranks. */
static ls_status turn_flight_folder(const char *run)
{
    char old[PATH_ROOM], now[PATH_ROOM];
    snprintf(old, sizeof old, "%.4000s/flight.previous", run);
    snprintf(now, sizeof now, "%.4000s/flight", run);
    DIR *folder = opendir(old);
    for (const struct dirent *entry; folder && (entry = readdir(folder));)
        if (!strncmp(entry->d_name, "rank-", 5))
            unlinkat(dirfd(folder), entry->d_name, 0);
    if (folder)
        closedir(folder);
    if (rename(now, old) != 0 && errno != ENOENT)
        ls_log_write(LS_LOG_WARN, "flight", "%s: cannot be set aside (%s); it may show ranks of the start before", now, strerror(errno));
    return make_folder(now);
}

static ls_status begin_on_rank_0(const ls_run *run)
{
    const ls_train_config *config = run->config;
    const char *tokenizer = ls_data_tokenizer_path(run->train_data), *template = ls_data_template(run->train_data);
    char path[PATH_ROOM];
    snprintf(path, sizeof path, "%s/log", config->run.run);
    ls_status status = make_folder(path);
    if (status == LS_OK)
        status = write_recipe(config);
    if (status == LS_OK && tokenizer)
        status = copy_tokenizer(tokenizer, config->run.run);
    snprintf(path, sizeof path, "%s/template", config->run.run);
    if (status == LS_OK && template && *template)
        status = ls_run_write_file(path, template, strlen(template));
    return status == LS_OK ? turn_flight_folder(config->run.run) : status;
}

/* Data packed with another tokenizer would train without a word and learn nonsense. */
static ls_status compare_tokenizers(const ls_run *run, const char *from)
{
    ls_tokenizer *tokenizer;
    ls_status status = ls_tokenizer_open(&tokenizer, from);
    if (status != LS_OK) { /* then the data cannot have been packed with it */
        ls_log_write(LS_LOG_WARN, "train", "%s; whether the data was packed with it is not known", ls_fail_sentence());
        return LS_OK;
    }
    const uint64_t hash = ls_tokenizer_hash(tokenizer);
    ls_tokenizer_free(tokenizer);
    return hash == ls_data_tokenizer_hash(run->train_data)
               ? LS_OK
               : ls_fail(LS_ERECIPE, "data.train was packed with another tokenizer than that of model.from = %s; pack it with --tokenizer %s",
                         from, from);
}

ls_status ls_folder_take_tokenizer(const ls_run *run, const char *from)
{
    static const char *const names[] = {"tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"};
    char path[PATH_ROOM], to[PATH_ROOM];
    snprintf(path, sizeof path, "%s/tokenizer.json", from);
    if (access(path, F_OK) != 0)
        return LS_OK;
    ls_status status = compare_tokenizers(run, from);
    for (size_t i = 0; i < sizeof names / sizeof *names && status == LS_OK; i++) {
        size_t size = 0;
        snprintf(path, sizeof path, "%s/%s", from, names[i]);
        char *text = read_file(path, &size);
        snprintf(to, sizeof to, "%s/tokenizer/%s", run->config->run.run, names[i]);
        if (text)
            status = ls_run_write_file(to, text, size);
        free(text);
    }
    return status;
}

/* "AMD EPYC 7763 64-Core Processor, 8 processors, 31.3 GiB" */
static void describe_machine(char *text, size_t room)
{
    char line[512], *model = NULL;
    FILE *in = fopen("/proc/cpuinfo", "r");
    while (in && !model && fgets(line, sizeof line, in))
        if (!strncmp(line, "model name", 10) && (model = strstr(line, ": ")))
            model[strcspn(model, "\n")] = '\0';
    if (in)
        fclose(in);
    const double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / 1073741824;
    snprintf(text, room, "%.160s, %ld processors, %.1f GiB", model ? model + 2 : "unknown processor", sysconf(_SC_NPROCESSORS_ONLN), memory);
}

/* This rank's log and its process number: who watches a run from outside finds it there. */
static ls_status open_log(const ls_run *run)
{
    char path[PATH_ROOM], text[32];
    snprintf(path, sizeof path, "%s/log/rank-%04d.pid", run->config->run.run, run->rank);
    const int length = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    ls_status status = ls_run_write_file(path, text, (size_t)length);
    snprintf(path, sizeof path, "%s/log/rank-%04d.log", run->config->run.run, run->rank);
    if (status == LS_OK)
        status = ls_log_file(path);
    char day[32] = "", machine[256];
    const time_t now = time(NULL);
    struct tm local;
    if (localtime_r(&now, &local))
        strftime(day, sizeof day, "%Y-%m-%d", &local);
    describe_machine(machine, sizeof machine);
    /* the lines have no date, and a folder is read where it was not made */
    ls_log_keep(LS_LOG_INFO, "log", "opened on %s by process %ld, lockstep " LS_VERSION "; %s", day, (long)getpid(), machine);
    return status;
}

/* A run without its flight record is as good, so that a disk without room for it is only told. */
static void open_flight(ls_run *run)
{
    char folder[PATH_ROOM];
    snprintf(folder, sizeof folder, "%s/flight", run->config->run.run);
    if (ls_flight_open(&run->flight, folder, run->rank, run->ranks, run->steps) != LS_OK)
        ls_log_write(LS_LOG_WARN, "flight", "%s; `lockstep status` will not see this rank", ls_fail_sentence());
    ls_world_flight(run->world, run->flight);
}

ls_status ls_folder_begin(ls_run *run)
{
    const ls_status mine = run->rank == 0 ? begin_on_rank_0(run) : LS_OK;
    ls_status status = ls_agree(run->world, mine, "making the run folder");
    if (status == LS_OK)
        status = ls_agree(run->world, open_log(run), "opening the logs");
    if (status == LS_OK)
        open_flight(run);
    return status;
}

void ls_folder_end(ls_run *run, ls_status status)
{
    ls_flight_phase(run->flight, LS_FLIGHT_MAIN, "end");
    ls_flight_end(run->flight, status == LS_OK ? LS_FLIGHT_FINISHED : status == LS_ESTOPPED ? LS_FLIGHT_STOPPED : LS_FLIGHT_FAILED,
                  status == LS_OK ? NULL : ls_fail_sentence());
}

void ls_folder_close(ls_run *run)
{
    if (run->flight)
        ls_world_flight(run->world, NULL);
    ls_flight_close(run->flight);
    run->flight = NULL;
}
