/* See charts.h. */
#include "launch/report/charts.h"

#include "launch/report/html.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DASHES = 4, MOST_POINTS = 1600 };

enum { LOSS, MEASURES, OPTIMISER, SPEED, BEST, DATA, OTHER };
static const char *const section_title[OTHER] = {
    "Loss", "Measures of the task", "Optimiser", "Speed and waiting", "Best checkpoint and patience", "Data"};

/* Keys that any run may have; a name that begins with a star is an ending. */
static const struct {
    const char *name;
    int section;
    const char *title, *note;
} known[] = {
    {"loss", LOSS, "Loss", "of each step's own rows; eval_: of held-out data"},
    {"lr", OPTIMISER, "Learning rate", NULL},
    {"grad_norm", OPTIMISER, "Gradient norm", "before clipping"},
    {"tokens_per_second", SPEED, "Tokens per second", "positions computed, padding too"},
    {"images_per_second", SPEED, "Images per second", NULL},
    {"gflops", SPEED, "GFLOP/s", "of all ranks together"},
    {"mfu", SPEED, "MFU", "share of what a large matrix product reaches on these ranks, measured at each start"},
    {"seconds", SPEED, "Seconds a step", "of the slowest rank"},
    {"data_stall_seconds", SPEED, "Waiting for data", "seconds a step, of the rank that waited most"},
    {"communication_seconds", SPEED, "Waiting for other ranks", "seconds a step, of the rank that waited most"},
    {"memory_mib", SPEED, "Memory", "MiB, the most a rank has held"},
    {"*_seconds", SPEED, NULL, NULL},
    {"*_per_second", SPEED, NULL, NULL},
    {"best_*", BEST, NULL, NULL},
    {"patience_*", BEST, NULL, NULL},
    {"counted_*", DATA, NULL, "labels that count in the step"},
};

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static bool ends(const char *text, const char *with)
{
    const size_t length = strlen(text), tail = strlen(with);
    return length > tail && !strcmp(text + length - tail, with);
}

static bool matches(const char *name, const char *pattern)
{
    const size_t length = strlen(pattern);
    if (*pattern == '*')
        return ends(name, pattern + 1);
    return pattern[length - 1] == '*' ? strncmp(name, pattern, length - 1) == 0 : !strcmp(name, pattern);
}

/* "train_reward_chosen" -> "reward", from a task? */
static bool base_name(const char *key, char name[80])
{
    static const char *const endings[] = {"_ema", "_low", "_high", "_chosen", "_rejected", "_k1", "_k2", "_k3"};
    const bool of_task = begins(key, "train_") || begins(key, "eval_");
    snprintf(name, 80, "%s", of_task ? strchr(key, '_') + 1 : key);
    for (size_t i = 0; of_task && i < sizeof endings / sizeof *endings; i++)
        if (ends(name, endings[i]))
            name[strlen(name) - strlen(endings[i])] = '\0';
    return of_task;
}

static void make_title(char title[96], const char *name)
{
    snprintf(title, 96, "%s", name);
    for (char *at = title; *at; at++)
        if (*at == '_')
            *at = ' ';
    *title = (char)toupper((unsigned char)*title);
    if (!strncmp(title, "Kl", 2) && (title[2] == ' ' || !title[2]))
        title[1] = 'L';
}

static void describe(ls_report_chart *chart, const char *key, bool of_task)
{
    make_title(chart->title, chart->name);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!matches(chart->name, known[i].name))
            continue;
        chart->order = known[i].section;
        chart->note = known[i].note;
        if (known[i].title)
            snprintf(chart->title, sizeof chart->title, "%s", known[i].title);
        snprintf(chart->section, sizeof chart->section, "%s", section_title[chart->order]);
        return;
    }
    const size_t prefix = strcspn(key, "_/.");
    const bool counts = !strcmp(key, "eval_tokens") || !strcmp(key, "eval_images") || !strcmp(key, "eval_pairs");
    if (of_task) {
        chart->order = counts ? DATA : MEASURES;
        snprintf(chart->section, sizeof chart->section, "%s", section_title[chart->order]);
    } else {
        chart->order = OTHER;
        snprintf(chart->section, sizeof chart->section, "Other: %.*s", (int)(prefix < 40 ? prefix : 40), key);
    }
}

typedef struct {
    ls_report_chart *chart;
    int count, room;
} charts_of;

/* Training before held-out, in every chart: the first colour is always the run's own steps. */
static void put_key(ls_report_chart *chart, const char *key)
{
    int at = chart->keys++;
    if (!begins(key, "eval_"))
        for (; at > 0 && begins(chart->key[at - 1], "eval_"); at--)
            chart->key[at] = chart->key[at - 1];
    chart->key[at] = key;
}

static bool add_key(charts_of *all, const char *key)
{
    char name[80];
    const bool of_task = base_name(key, name);
    for (int i = 0; i < all->count; i++) {
        ls_report_chart *chart = &all->chart[i];
        if (strcmp(chart->name, name))
            continue;
        for (int k = 0; k < chart->keys; k++)
            if (!strcmp(chart->key[k], key))
                return true;
        if (chart->keys == LS_CHART_KEYS)
            continue;
        put_key(chart, key);
        return true;
    }
    if (all->count == all->room) {
        const int room = all->room ? 2 * all->room : 32;
        ls_report_chart *more = realloc(all->chart, (size_t)room * sizeof *more);
        if (!more)
            return false;
        all->chart = more;
        all->room = room;
    }
    ls_report_chart *chart = &all->chart[all->count++];
    *chart = (ls_report_chart){.keys = 1, .key = {key}};
    memcpy(chart->name, name, sizeof chart->name);
    describe(chart, key, of_task);
    return true;
}

/* Charts of a section together, sections by number, charts of "other" by prefix; else as they came. */
static void sort(charts_of *all)
{
    for (int i = 1; i < all->count; i++) {
        const ls_report_chart moved = all->chart[i];
        int at = i;
        while (at > 0 &&
               (all->chart[at - 1].order > moved.order || (moved.order == OTHER && all->chart[at - 1].order == OTHER &&
                                                           strcmp(all->chart[at - 1].section, moved.section) > 0))) {
            all->chart[at] = all->chart[at - 1];
            at--;
        }
        all->chart[at] = moved;
    }
}

ls_report_chart *ls_report_charts(const ls_report_run *runs, int count, int *charts)
{
    charts_of all = {.chart = calloc(1, sizeof *all.chart), .room = 1};
    bool whole = all.chart != NULL;
    for (int r = 0; r < count; r++)
        for (int i = 0; i < runs[r].series_count && whole; i++)
            whole = add_key(&all, runs[r].series[i].name);
    if (!whole) {
        free(all.chart);
        return NULL;
    }
    sort(&all);
    *charts = all.count;
    return all.chart;
}

static int64_t add_place(int64_t *at, int64_t count, int64_t place)
{
    if (place < 0 || (count && at[count - 1] >= place))
        return count;
    at[count] = place;
    return count + 1;
}

int64_t ls_report_thin(const ls_report_series *series, int64_t limit, int64_t *at)
{
    int64_t count = 0;
    if (series->count <= limit) {
        for (; count < series->count; count++)
            at[count] = count;
        return count;
    }
    const int64_t buckets = (limit - 2) / 3;
    count = add_place(at, count, 0);
    for (int64_t b = 0; b < buckets; b++) {
        const int64_t begin = b * series->count / buckets, end = (b + 1) * series->count / buckets;
        int64_t least = -1, most = -1, none = -1;
        for (int64_t i = begin; i < end; i++) {
            const double value = series->value[i];
            if (isnan(value))
                none = none < 0 ? i : none;
            else if (least < 0)
                least = most = i;
            else if (value < series->value[least])
                least = i;
            else if (value > series->value[most])
                most = i;
        }
        int64_t three[3] = {none, least, most};
        for (int pass = 0; pass < 2; pass++) /* in the order of their steps */
            for (int i = 0; i < 2; i++)
                if (three[i] > three[i + 1]) {
                    const int64_t other = three[i];
                    three[i] = three[i + 1];
                    three[i + 1] = other;
                }
        for (int i = 0; i < 3; i++)
            count = add_place(at, count, three[i]);
    }
    return add_place(at, count, series->count - 1);
}

void ls_report_label(char label[256], const ls_report_chart *chart, const ls_report_run *runs, int count, int run,
                     int key)
{
    if (count == 1)
        snprintf(label, 256, "%s", chart->key[key]);
    else if (chart->keys == 1)
        snprintf(label, 256, "%s", runs[run].name);
    else
        snprintf(label, 256, "%.160s: %.90s", runs[run].name, chart->key[key]);
}

int ls_report_colour(int count, int run, int key)
{
    return (count == 1 ? key : run) % LS_REPORT_COLOURS;
}

int ls_report_dash(int count, int run, int key)
{
    return (count == 1 ? key / LS_REPORT_COLOURS : key + run / LS_REPORT_COLOURS) % DASHES;
}

void ls_report_chart_json(FILE *out, const ls_report_chart *chart, const ls_report_run *runs, int count)
{
    static int64_t at[MOST_POINTS];
    char label[256];
    bool first = true;
    const int64_t limit = MOST_POINTS / count > 200 ? MOST_POINTS / count : 200;
    fputs("{\"title\":", out);
    ls_html_json(out, chart->title);
    fputs(",\"series\":[", out);
    for (int r = 0; r < count; r++)
        for (int k = 0; k < chart->keys; k++) {
            const ls_report_series *series = ls_report_find(&runs[r], chart->key[k]);
            if (!series)
                continue;
            ls_report_label(label, chart, runs, count, r, k);
            fprintf(out, "%s{\"run\":%d,\"colour\":%d,\"dash\":%d,\"dots\":%s,\"label\":", first ? "" : ",\n", r,
                    ls_report_colour(count, r, k), ls_report_dash(count, r, k), series->count <= 40 ? "true" : "false");
            first = false;
            ls_html_json(out, label);
            const int64_t points = ls_report_thin(series, limit, at);
            fputs(",\"x\":[", out);
            for (int64_t i = 0; i < points; i++)
                fprintf(out, "%s%lld", i ? "," : "", (long long)series->step[at[i]]);
            fputs("],\"y\":[", out);
            for (int64_t i = 0; i < points; i++) {
                const double value = series->value[at[i]];
                if (isnan(value))
                    fprintf(out, "%snull", i ? "," : "");
                else
                    fprintf(out, "%s%.6g", i ? "," : "", value);
            }
            fputs("]}", out);
        }
    fputs("]}", out);
}

void ls_report_chart_words(FILE *out, const ls_report_chart *chart, const ls_report_run *runs, int count)
{
    char label[256], number[4][32];
    ls_html_text(out, chart->title);
    fputs(" by step.", out);
    for (int r = 0; r < count; r++)
        for (int k = 0; k < chart->keys; k++) {
            const ls_report_series *series = ls_report_find(&runs[r], chart->key[k]);
            int64_t least = 0, most = 0;
            if (!series || !series->count)
                continue;
            ls_html_number(ls_report_least(series, &least), number[0]);
            ls_html_number(ls_report_greatest(series, &most), number[1]);
            ls_html_number(series->value[0], number[2]);
            ls_html_number(ls_report_last(series), number[3]);
            ls_report_label(label, chart, runs, count, r, k);
            putc(' ', out);
            ls_html_text(out, label);
            fprintf(out, ": from %s at step %lld to %s at step %lld, least %s at step %lld, most %s at step %lld.",
                    number[2], (long long)series->step[0], number[3], (long long)series->step[series->count - 1],
                    number[0], (long long)least, number[1], (long long)most);
        }
}
