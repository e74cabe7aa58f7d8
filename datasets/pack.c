/* See pack.h. Work goes in batches: read up to BATCH_BYTES of text, encode it on all threads, write it in order. */
#include "datasets/pack.h"
#include "base/random.h"
#include "base/team.h"
#include "datasets/pack_input.h"
#include "datasets/shard.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BATCH_RECORDS = 4096, BATCH_BYTES = 8 << 20 };

/* One sample on its way. Buffers stay with the slot from batch to batch. */
typedef struct {
    ls_pack_record record;
    ls_packed packed;
    ls_status status;
    char sentence[1024]; /* why; sentences belong to threads */
} slot;

typedef struct {
    const ls_pack_options *options;
    ls_pack_report *report;
    ls_team *team;
    int threads;
    ls_tokenizer **tokenizer; /* [threads] */
    uint64_t tokenizer_hash;
    ls_template template;
    ls_shard_writer *kept, *held;
    slot *slot;      /* [BATCH_RECORDS] */
    int64_t records; /* in this batch */
    int64_t samples; /* seen so far: the number that decides about the holdout */
    double begun, cpu_begun;
} packer;

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void tell_time(const packer *p)
{
    p->report->seconds = seconds(CLOCK_MONOTONIC) - p->begun;
    p->report->cpu_seconds = seconds(CLOCK_PROCESS_CPUTIME_ID) - p->cpu_begun;
}

static ls_status check_options(const ls_pack_options *o)
{
    if (!o->tokenizer || !o->out || o->inputs < 1)
        return ls_fail(LS_EARG, "a tokenizer, an output folder and at least one input file are needed");
    if (!o->pairs && !o->prompt != !o->response)
        return ls_fail(LS_EARG, "a prompt field and a response field come together; only the %s is named", o->prompt ? "prompt" : "response");
    if (o->text && o->prompt)
        return ls_fail(LS_EARG, "name either text fields (documents) or prompt and response (conversations), not both");
    if (o->pairs && (o->text || o->response || o->outcome))
        return ls_fail(LS_EARG, "pairs are read from \"chosen\", \"rejected\" and a prompt: name no text, response or outcome fields with them");
    if (o->outcome && o->text)
        return ls_fail(LS_EARG, "an outcome belongs to an answer: name prompt and response fields, or messages, and no text fields");
    for (int i = 0; i < o->inputs && (o->pairs || o->outcome); i++)
        if (!ls_pack_is_json(o->input[i]))
            return ls_fail(LS_EARG, "%s: %s are read from JSON lines (*.jsonl)", o->input[i], o->pairs ? "pairs" : "outcomes");
    if (!(o->holdout >= 0 && o->holdout < 1))
        return ls_fail(LS_EARG, "a holdout of %g, must be at least 0 and below 1", o->holdout);
    return LS_OK;
}

/* Tokenizers: one a thread, for each keeps a cache of words. */
static ls_status open_tokenizers(packer *p)
{
    ls_status status = ls_team_create(&p->team, p->options->threads, 1);
    if (status != LS_OK)
        return status;
    p->threads = ls_team_threads(p->team);
    p->report->threads = p->threads;
    p->tokenizer = calloc((size_t)p->threads, sizeof *p->tokenizer);
    p->slot = calloc(BATCH_RECORDS, sizeof *p->slot);
    if (!p->tokenizer || !p->slot)
        return ls_fail(LS_EMEM, "no memory to pack with %d threads", p->threads);
    for (int i = 0; i < p->threads && status == LS_OK; i++)
        status = ls_tokenizer_open(&p->tokenizer[i], p->options->tokenizer);
    if (status != LS_OK)
        return status;
    p->report->vocabulary = ls_tokenizer_size(p->tokenizer[0]);
    p->tokenizer_hash = ls_tokenizer_hash(p->tokenizer[0]);
    return ls_template_open(&p->template, p->options->template_name ? p->options->template_name : "plain", p->tokenizer[0], p->options->end);
}

/* What the set says about how its tokens came to be; "" where all are documents. */
static const char *template_of(const ls_pack_options *o)
{
    bool conversations = false;
    for (int i = 0; i < o->inputs; i++)
        conversations = conversations || (!o->text && ls_pack_is_json(o->input[i]));
    return !conversations ? "" : o->template_name ? o->template_name : "plain";
}

static ls_status open_writer(const packer *p, const char *folder, const char *path, const char *name, ls_shard_writer **writer)
{
    const ls_pack_options *o = p->options;
    char source[1024] = "";
    for (int i = 0; i < o->inputs; i++) {
        const size_t used = strlen(source);
        snprintf(source + used, sizeof source - used, "%s%s", i ? " " : "", o->input[i]);
    }
    return ls_shard_writer_open(writer, folder, &(ls_shard_options){
        .kind = o->pairs ? "pairs" : o->outcome ? "outcomes" : "text", .source = source, .template_name = template_of(o),
        .tokenizer_hash = p->tokenizer_hash, .vocabulary = p->report->vocabulary,
        .samples_per_shard = o->samples_per_shard, .tokenizer_path = path, .tokenizer_name = name, .replace = o->replace});
}

static ls_status open_both(packer *p, const char *path, const char *name)
{
    ls_status status = open_writer(p, p->options->out, path, name, &p->kept);
    if (status != LS_OK || p->options->holdout == 0)
        return status;
    size_t length = strlen(p->options->out);
    while (length > 1 && p->options->out[length - 1] == '/')
        length--;
    char *folder;
    if (asprintf(&folder, "%.*s-holdout", (int)length, p->options->out) < 0)
        return ls_fail(LS_EMEM, "no memory for a path");
    status = open_writer(p, folder, path, name, &p->held);
    free(folder);
    return status;
}

/* Name of a copy that keeps its form: tokenizer.json, tokenizer.bin, ... as the original ends. */
static void name_of_copy(const char *path, char name[64])
{
    const char *file = strrchr(path, '/'), *dot = strrchr(file ? file + 1 : path, '.');
    snprintf(name, 64, "tokenizer%s", dot && strlen(dot) < 40 ? dot : ".json");
}

/* The hash of the tokenizer that the set will hold: other forms of it (tiktoken's has no merges) may hash otherwise. */
static ls_status hash_of(const char *path, uint64_t *hash)
{
    ls_tokenizer *tokenizer;
    const ls_status status = ls_tokenizer_open(&tokenizer, path);
    if (status == LS_OK)
        *hash = ls_tokenizer_hash(tokenizer);
    if (status == LS_OK)
        ls_tokenizer_free(tokenizer);
    return status;
}

/* The file of a folder that is the tokenizer, to be copied as it is. LS_EFORMAT: the folder's says more than that file. */
static ls_status file_of_folder(const packer *p, const char *folder, char path[4096], const char **name)
{
    static const char *const single[] = {"tokenizer.json", "tokenizer.model", "tokenizer.bin"};
    uint64_t hash;
    for (size_t i = 0; i < sizeof single / sizeof *single; i++) {
        *name = single[i];
        if (snprintf(path, 4096, "%s/%s", folder, single[i]) >= 4096 || access(path, R_OK))
            continue;
        const ls_status status = hash_of(path, &hash);
        if (status != LS_OK || hash == ls_tokenizer_hash(p->tokenizer[0]))
            return status;
        return ls_fail(LS_EFORMAT, "%s: tokenizer_config.json beside it adds tokens, and a set keeps one file only; make a tokenizer.json of both with transformers", path);
    }
    return ls_fail(LS_ENOTFOUND, "%s: no file in it that is the tokenizer", folder);
}

/* The set keeps its tokenizer as one file: a tokenizer.json is copied, anything else (folders; tiktoken's files, whose
 * meaning hangs on their name) is written as one, and what is not written so (SentencePiece's, llama2.c's) is copied as it is. */
static ls_status open_writers(packer *p)
{
    const char *path = p->options->tokenizer, *ending = strrchr(path, '.');
    struct stat about;
    char name[64], folder[] = "/tmp/lockstep-XXXXXX", written[64], inside[4096];
    const char *own;
    name_of_copy(path, name);
    const bool is_file = stat(path, &about) == 0 && S_ISREG(about.st_mode);
    if (is_file && ending && strcmp(ending, ".json") == 0)
        return open_both(p, path, name);
    if (!mkdtemp(folder))
        return ls_fail(LS_EIO, "/tmp: cannot make a folder there (%s)", strerror(errno));
    snprintf(written, sizeof written, "%s/tokenizer.json", folder);
    ls_status status = ls_tokenizer_write(p->tokenizer[0], written);
    if (status == LS_EARG && is_file)
        status = open_both(p, path, name);
    else if (status == LS_EARG && (status = file_of_folder(p, path, inside, &own)) == LS_OK)
        status = open_both(p, inside, own);
    else if (status == LS_OK && (status = hash_of(written, &p->tokenizer_hash)) == LS_OK)
        status = open_both(p, written, "tokenizer.json");
    unlink(written);
    rmdir(folder);
    return status;
}

/* Encodes one record, on any thread. */
static void encode(void *context, int64_t item)
{
    packer *p = context;
    slot *s = &p->slot[item];
    ls_tokenizer *tokenizer = p->tokenizer[ls_team_thread_number()];
    s->status = ls_pack_record_encode(&s->record, p->options, &p->template, tokenizer, &s->packed);
    if (s->status != LS_OK)
        snprintf(s->sentence, sizeof s->sentence, "%s", ls_fail_sentence());
}

static bool is_held_out(packer *p, const ls_pack_record *record)
{
    const int64_t number = p->samples++;
    if (record->part != LS_PACK_BY_CHANCE)
        return record->part == LS_PACK_HELD;
    const ls_random stream = {.seed = p->options->seed, .slot = (uint32_t)(number >> 32), .purpose = LS_RANDOM_DATA};
    return p->held && (double)ls_random_uniform(&stream, (uint32_t)number) < p->options->holdout;
}

/* The sample that is tokens from .. to of the record's. */
static ls_status write_part(packer *p, const slot *s, bool held, int64_t from, int64_t to, float value)
{
    ls_pack_report *r = p->report;
    const ls_masked_ids *ids = &s->packed.ids;
    const int64_t count = to - from;
    if (count > r->longest) {
        r->longest = count;
        snprintf(r->longest_at, sizeof r->longest_at, "%s:%lld", s->record.path, (long long)s->record.line);
    }
    int64_t learnt = 0;
    for (int64_t i = from; i < to; i++)
        learnt += ids->mask[i];
    *(held ? &r->held.samples : &r->kept.samples) += 1;
    *(held ? &r->held.tokens : &r->kept.tokens) += count;
    *(held ? &r->held.learnt : &r->kept.learnt) += learnt;
    return ls_shard_writer_add_valued(held ? p->held : p->kept, ids->ids.id + from, ids->mask + from, count, value);
}

static ls_status write_record(packer *p, slot *s)
{
    ls_pack_report *r = p->report;
    const ls_packed *packed = &s->packed;
    if (s->status != LS_OK)
        return ls_fail_at(ls_fail_copy(s->status, s->sentence), "%s:%lld", s->record.path, (long long)s->record.line);
    r->text_bytes += packed->text_bytes;
    r->alike += packed->alike;
    if (packed->text_bytes == 0) {
        r->empty += !packed->alike;
        return LS_OK;
    }
    const int64_t count = packed->ids.ids.count, first = packed->first ? packed->first : count;
    const bool held = is_held_out(p, &s->record); /* asked once: a pair is not torn apart */
    const ls_status status = write_part(p, s, held, 0, first, packed->value);
    return status == LS_OK && first < count ? write_part(p, s, held, first, count, 0) : status;
}

static ls_status run_batch(packer *p)
{
    ls_team_run(p->team, p->records, encode, p);
    ls_status status = LS_OK;
    for (int64_t i = 0; i < p->records; i++) {
        if (status == LS_OK)
            status = write_record(p, &p->slot[i]);
        ls_pack_record_free(&p->slot[i].record);
    }
    p->records = 0;
    tell_time(p);
    if (status == LS_OK && p->options->progress)
        p->options->progress(p->options->context, p->report);
    return status;
}

/* All records of one file. A record may point into the file, so the batch is emptied before it is closed. */
static ls_status pack_file(packer *p, const char *path)
{
    ls_pack_input input;
    ls_status status = ls_pack_input_open(&input, path, p->options);
    if (status != LS_OK)
        return status;
    int64_t bytes = 0;
    for (bool more = true; more && status == LS_OK;) {
        slot *s = &p->slot[p->records];
        status = ls_pack_input_next(&input, &s->record, &more);
        if (status != LS_OK || !more)
            break;
        p->records++;
        bytes += s->record.bytes;
        if (p->records == BATCH_RECORDS || bytes >= BATCH_BYTES) {
            status = run_batch(p);
            bytes = 0;
        }
    }
    const ls_status rest = run_batch(p); /* an earlier line may be what is wrong: it is told first */
    ls_pack_input_close(&input);
    return rest != LS_OK ? rest : status;
}

static ls_status commit(packer *p)
{
    const ls_pack_report *r = p->report;
    if (r->kept.samples + r->held.samples == 0)
        return ls_fail(LS_EFORMAT, "%s: no text in %s%s, so there is no data set to write", p->options->out, p->options->input[0],
                       p->options->inputs > 1 ? " and the other files" : "");
    if (p->held && (r->kept.samples == 0 || r->held.samples == 0))
        return ls_fail(LS_EARG, "a holdout of %g leaves nothing %s (%lld samples in all); use another share, or smaller documents",
                       p->options->holdout, r->held.samples ? "to train on" : "held out", (long long)(r->kept.samples + r->held.samples));
    if (p->held) { /* first, so that a set with a holdout never stands without it */
        ls_shard_writer *held = p->held;
        p->held = NULL;
        const ls_status status = ls_shard_writer_commit(held);
        if (status != LS_OK)
            return status;
    }
    ls_shard_writer *kept = p->kept;
    p->kept = NULL;
    return ls_shard_writer_commit(kept);
}

static void free_packer(packer *p)
{
    ls_shard_writer_discard(p->kept);
    ls_shard_writer_discard(p->held);
    for (int64_t i = 0; p->slot && i < BATCH_RECORDS; i++) {
        ls_pack_record_free(&p->slot[i].record);
        ls_masked_ids_free(&p->slot[i].packed.ids);
    }
    free(p->slot);
    for (int i = 0; p->tokenizer && i < p->threads; i++)
        ls_tokenizer_free(p->tokenizer[i]);
    free(p->tokenizer);
    ls_team_free(p->team);
}

ls_status ls_pack(const ls_pack_options *options, ls_pack_report *report)
{
    *report = (ls_pack_report){0};
    packer p = {.options = options, .report = report, .begun = seconds(CLOCK_MONOTONIC),
                .cpu_begun = seconds(CLOCK_PROCESS_CPUTIME_ID)};
    ls_status status;
    if ((status = check_options(options)) == LS_OK && (status = open_tokenizers(&p)) == LS_OK)
        status = open_writers(&p);
    for (int i = 0; i < options->inputs && status == LS_OK; i++)
        status = pack_file(&p, options->input[i]);
    if (status == LS_OK)
        status = commit(&p);
    tell_time(&p);
    free_packer(&p);
    return status;
}
