/* Text to ids, in MB/s on one core (MB = 10^6 bytes of text, encoding only: the texts are in memory).
 *
 *     build/release/bench/datasets_bench_tokenizer [CHINESE.json ...]
 *
 * GSM8K's train set with a vocabulary of 4096 trained on it: the first pass (empty cache), then the best of five
 * (warm). Chinese with the cache cold: the texts in the files named (arrays of objects with "paragraphs" or "content",
 * as in chinese-poetry), the cache emptied before every poem; with GPT-2's vocabulary, to which nearly every character
 * is two or three tokens. The peer is Hugging Face's library: bench/datasets/peer_tokenizer.py, on the same texts and
 * vocabularies. */
#include "datasets/jsonl.h"
#include "datasets/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    char *text; /* all texts, one after another */
    size_t *begin;
    size_t bytes, room;
    int64_t count, count_room;
} texts;

static void need(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "bench_tokenizer: %s\n", what);
    exit(1);
}

static void add(texts *all, const char *text, size_t bytes)
{
    if (all->bytes + bytes > all->room)
        need((all->text = realloc(all->text, all->room = 2 * (all->bytes + bytes) + 4096)) != NULL, "no memory");
    if (all->count + 2 > all->count_room)
        need((all->begin =
                  realloc(all->begin, (size_t)(all->count_room = 2 * all->count + 1024) * sizeof *all->begin)) != NULL,
             "no memory");
    memcpy(all->text + all->bytes, text, bytes);
    all->begin[all->count++] = all->bytes;
    all->begin[all->count] = all->bytes += bytes;
}

static void read_gsm8k(texts *all, const char *path)
{
    static const char *const fields[] = {"question", "answer"};
    ls_jsonl *reader;
    json_t *row;
    need(ls_jsonl_open(&reader, path) == LS_OK, ls_fail_sentence());
    while (ls_jsonl_next(reader, &row) == LS_OK && row)
        for (int field = 0; field < 2; field++) {
            const char *text;
            size_t bytes;
            need(ls_jsonl_text(reader, fields[field], &text, &bytes) == LS_OK, ls_fail_sentence());
            add(all, text, bytes);
        }
    ls_jsonl_close(reader);
}

static void read_poems(texts *all, const char *path)
{
    size_t i, k;
    json_t *poem, *line, *poems = json_load_file(path, 0, NULL);
    if (json_is_object(poems)) { /* a book of one chapter */
        json_t *only = poems;
        poems = json_pack("[o]", only);
    }
    need(json_is_array(poems), path);
    json_array_foreach(poems, i, poem)
    {
        static char whole[1 << 20];
        size_t used = 0;
        json_t *lines = json_object_get(poem, "paragraphs");
        json_array_foreach(lines ? lines : json_object_get(poem, "content"), k, line)
        {
            need(used + json_string_length(line) + 1 < sizeof whole, "a poem of more than a megabyte");
            memcpy(whole + used, json_string_value(line), json_string_length(line));
            used += json_string_length(line);
            whole[used++] = '\n';
        }
        add(all, whole, used);
    }
    json_decref(poems);
}

/* Seconds that this thread has had a core: MB/s a core, whoever else is on the machine. */
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds for all texts; `cold` empties the cache before each, which is not counted. */
static double encode_all(ls_tokenizer *tokenizer, const texts *all, bool cold, ls_ids *ids)
{
    double seconds = 0, begin = now();
    ids->count = 0;
    for (int64_t i = 0; i < all->count; i++) {
        if (cold) {
            seconds += now() - begin;
            ls_tokenizer_forget_words(tokenizer);
            begin = now();
        }
        need(ls_tokenizer_encode(tokenizer, all->text + all->begin[i], all->begin[i + 1] - all->begin[i], false, ids) ==
                 LS_OK,
             ls_fail_sentence());
    }
    return seconds + now() - begin;
}

static void print(const char *name, const texts *all, const ls_ids *ids, double seconds)
{
    double bytes = (double)all->bytes;
    printf("%-44s %7.2f MB  %8lld ids  %.2f bytes an id  %7.1f MB/s\n", name, bytes / 1e6, (long long)ids->count,
           bytes / (double)ids->count, bytes / 1e6 / seconds);
}

typedef struct {
    const texts *all;
    int64_t next;
} walk;

static bool next_text(void *context, const char **text, size_t *bytes)
{
    walk *at = context;
    if (at->next == at->all->count)
        return false;
    *text = at->all->text + at->all->begin[at->next];
    *bytes = at->all->begin[at->next + 1] - at->all->begin[at->next];
    at->next++;
    return true;
}

static void bench_gsm8k(const texts *all, const char *pattern)
{
    static const char *const specials[] = {"<|endoftext|>", NULL};
    ls_tokenizer_training how = {4096, pattern, specials};
    walk at = {all, 0};
    ls_tokenizer *tokenizer;
    ls_ids ids = {0};
    char name[64];
    double begin = now();
    need(ls_tokenizer_train(&tokenizer, &how, next_text, &at) == LS_OK, ls_fail_sentence());
    printf("%-44s %7.2f MB  in %.2f s\n", "training, 4096 tokens", (double)all->bytes / 1e6, now() - begin);
    double first = encode_all(tokenizer, all, false, &ids), best = 1e9;
    for (int turn = 0; turn < 5; turn++) {
        double seconds = encode_all(tokenizer, all, false, &ids);
        best = seconds < best ? seconds : best;
    }
    snprintf(name, sizeof name, "gsm8k, 4096, %s, first pass", pattern);
    print(name, all, &ids, first);
    snprintf(name, sizeof name, "gsm8k, 4096, %s, warm", pattern);
    print(name, all, &ids, best);
    free(ids.id);
    ls_tokenizer_free(tokenizer);
}

int main(int count, char **arguments)
{
    texts english = {0}, chinese = {0};
    read_gsm8k(&english, "data-sets/gsm8k/train.jsonl");
    bench_gsm8k(&english, "gpt2");
    bench_gsm8k(&english, "llama3");
    for (int i = 1; i < count; i++)
        read_poems(&chinese, arguments[i]);
    if (chinese.count) {
        ls_tokenizer *tokenizer;
        ls_ids ids = {0};
        need(ls_tokenizer_open(&tokenizer, "tests/data/gpt2-tokenizer") == LS_OK, ls_fail_sentence());
        encode_all(tokenizer, &chinese, true, &ids);
        double cold = encode_all(tokenizer, &chinese, true, &ids), warm = encode_all(tokenizer, &chinese, false, &ids);
        print("chinese-poetry, GPT-2, cold at every poem", &chinese, &ids, cold);
        print("chinese-poetry, GPT-2, warm", &chinese, &ids, warm);
        free(ids.id);
        ls_tokenizer_free(tokenizer);
    }
    free(english.text);
    free(english.begin);
    free(chinese.text);
    free(chinese.begin);
    return 0;
}
