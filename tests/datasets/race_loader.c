/* The threads of the loader and of packing, as a plain program: Criterion does not run under ThreadSanitizer
 * (`cmake --preset tsan`), and this does. Two loaders share one data set, so that both may be the first to check a block;
 * what they hand out must be what filling by hand gives. Exit code 0: it was. */
#include "datasets/loader.h"
#include "datasets/pack.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SAMPLES = 3000, T = 96, GRAIN = 4, CELLS = T * GRAIN };

static char folder[] = "/tmp/lockstep-race-XXXXXX";

static _Noreturn void stop(const char *what)
{
    fprintf(stderr, "race_loader: %s (%s)\n", what, ls_fail_sentence());
    exit(1);
}

static const char *path_of(const char *name)
{
    static char path[4][128];
    static int next;
    char *to = path[next++ % 4];
    snprintf(to, sizeof path[0], "%s/%s", folder, name);
    return to;
}

static void make_set(void)
{
    ls_shard_writer *writer;
    const ls_shard_options options = {.kind = "text", .vocabulary = 1000, .samples_per_shard = 700};
    if (ls_shard_writer_open(&writer, path_of("set"), &options) != LS_OK)
        stop("cannot write");
    for (int s = 0; s < SAMPLES; s++) {
        int32_t tokens[T];
        uint8_t mask[T];
        const int64_t length = 1 + s * 7919 % T;
        for (int t = 0; t < length; t++) {
            tokens[t] = (s * 31 + t) % 1000;
            mask[t] = t % 3 != 0;
        }
        if (ls_shard_writer_add_text(writer, tokens, mask, length) != LS_OK)
            stop("cannot add");
    }
    if (ls_shard_writer_commit(writer) != LS_OK)
        stop("cannot commit");
}

typedef struct {
    ls_data *data;
    int ahead;
    bool equal;
} reader;

static bool same_as_by_hand(const ls_data *data, const ls_grain *grain, int64_t position)
{
    ls_grain_memory m;
    ls_grain own;
    const size_t bytes = (size_t)(grain->rows * T) * sizeof *m.ids;
    bool same = ls_grain_memory_make(&m, data) == LS_OK &&
                ls_data_fill_grain(data, &(ls_grain_request){.position = position, .rows = grain->rows}, &m, &own) == LS_OK;
    same = same && own.counted == grain->counted && !memcmp(m.ids, grain->ids, bytes) && !memcmp(m.labels, grain->labels, bytes) &&
           !memcmp(m.positions, grain->positions, bytes) && !memcmp(m.segments, grain->segments, bytes);
    ls_grain_memory_free(&m);
    return same;
}

static void *read_all(void *context)
{
    reader *r = context;
    ls_loader *loader;
    if (ls_loader_open(&loader, r->data, r->ahead) != LS_OK)
        stop("cannot open a loader");
    const int64_t rows = ls_data_rows(r->data), grains = (rows + GRAIN - 1) / GRAIN;
    r->equal = true;
    for (int64_t taken = 0, asked = 0; taken < grains; taken++) {
        for (; asked < grains && asked <= taken + r->ahead; asked++) {
            const int64_t left = rows - asked * GRAIN;
            ls_loader_ask(loader, &(ls_grain_request){.number = asked, .position = asked * GRAIN, .rows = left < GRAIN ? left : GRAIN});
        }
        const ls_grain *grain;
        if (ls_loader_next(loader, &grain) != LS_OK)
            stop("no grain");
        r->equal = r->equal && grain->number == taken && same_as_by_hand(r->data, grain, taken * GRAIN);
        ls_loader_done(loader, grain);
    }
    ls_loader_free(loader);
    return NULL;
}

static void read_by_two(void)
{
    const ls_data_options options = {.sources = {.count = 1, .source = {{path_of("set"), 1}}}, .tokens = T, .grain = GRAIN, .pack = true,
                                     .shuffle = true, .seed = 5, .epochs = 1};
    ls_data *data;
    if (ls_data_open(&data, &options) != LS_OK)
        stop("cannot open");
    reader readers[2] = {{data, 1, false}, {data, 3, false}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, read_all, &readers[i]) != 0)
            stop("no thread");
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    if (!readers[0].equal || !readers[1].equal)
        stop("a prefetched grain differs from one filled by hand");
    ls_data_free(data);
}

static bool one_text(void *context, const char **text, size_t *bytes)
{
    int *calls = context;
    *text = "one two three four";
    *bytes = strlen(*text);
    return (*calls)++ == 0;
}

static void pack_with_three(void)
{
    ls_tokenizer *tokenizer;
    int calls = 0;
    const ls_tokenizer_training how = {.vocabulary = 265, .pattern = "gpt2", .specials = (const char *const[]){"<|endoftext|>", NULL}};
    FILE *lines = fopen(path_of("in.txt"), "w");
    for (int i = 0; lines && i < 20000; i++)
        fprintf(lines, "line %d of three\n", i);
    if (!lines || fclose(lines) != 0 || ls_tokenizer_train(&tokenizer, &how, one_text, &calls) != LS_OK ||
        ls_tokenizer_write(tokenizer, path_of("t.json")) != LS_OK)
        stop("cannot make a tokenizer");
    ls_tokenizer_free(tokenizer);
    ls_pack_report report;
    const char *const inputs[] = {path_of("in.txt")};
    const ls_pack_options options = {.inputs = 1, .input = inputs, .documents = LS_DOCUMENT_LINE, .tokenizer = path_of("t.json"),
                                     .out = path_of("lines"), .threads = 3};
    if (ls_pack(&options, &report) != LS_OK || report.kept.samples != 20000)
        stop("cannot pack");
}

int main(void)
{
    char command[128];
    if (!mkdtemp(folder))
        stop("no folder");
    make_set();
    read_by_two();
    pack_with_three();
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command) == 0 ? 0 : 1;
}
