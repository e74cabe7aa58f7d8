/* A data set made to mislead: its sums are right where they can be, its sizes, offsets and counts are whatever the input
 * says. Either it is refused with a sentence, or every sample lies inside the file and every id inside the vocabulary.
 * (Random damage is test_bad_shards.c's; here HDF5's own checksums would turn it all away.) Built with tests/fuzz/mutate.c
 * for ctest, or with clang -fsanitize=fuzzer. */
#include "datasets/loader.h"
#include "datasets/shard_format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST = 16 };

typedef struct {
    const uint8_t *data;
    size_t left;
} input;

static uint8_t take(input *in)
{
    if (!in->left)
        return 'a';
    in->left--;
    return *in->data++;
}

/* 'a' is the truth; any other byte a number beside it, or one of those that break readers. */
static int64_t number(input *in, int64_t truth)
{
    static const int64_t bad[] = {0, -1, 1, 2, 15, 16, 17, 65536, INT64_C(1) << 31, INT64_C(1) << 32, INT64_C(1) << 61, INT64_MAX, INT64_MIN};
    const uint8_t how = take(in);
    if (how == 'a')
        return truth;
    return how & 1 ? bad[how % (sizeof bad / sizeof *bad)] : (int64_t)((uint64_t)truth + how % 5u - 2);
}

typedef struct {
    ls_shard_header header;
    int32_t tokens[MOST];
    uint8_t mask[MOST];
    int64_t offset[MOST + 1], counted[MOST];
    uint64_t block_sum;
    float value[MOST]; /* of pairs and outcomes */
    bool valued;
    int64_t stored_tokens, stored_samples; /* lengths of the arrays as written */
} lie;

static void make_lie(input *in, lie *l)
{
    const int64_t samples = 1 + take(in) % 4, tokens = samples + take(in) % (MOST - samples);
    *l = (lie){.stored_tokens = tokens, .stored_samples = samples};
    for (int64_t i = 0; i < MOST; i++) {
        l->tokens[i] = (int32_t)number(in, (int64_t)(i * 7 % 50));
        l->mask[i] = (uint8_t)number(in, i % 2);
    }
    for (int64_t i = 0; i <= samples; i++)
        l->offset[i] = number(in, i == samples ? tokens : i);
    for (int64_t i = 0; i < samples; i++)
        l->counted[i] = number(in, 0);
    l->block_sum = ls_shard_block_sum(l->tokens, l->mask, tokens, 0);
    l->header = (ls_shard_header){.format = LS_SHARD_FORMAT, .kind = "text", .schema = number(in, 1), .number = number(in, 0),
                                  .samples = number(in, samples), .tokens = number(in, tokens), .unmasked = number(in, 3),
                                  .vocabulary = number(in, 50), .tokenizer_hash = 7};
    l->header.index_sum = ls_shard_index_sum(l->offset, l->counted, samples, &l->block_sum, 1);
    static const char *const kinds[] = {"text", "pairs", "outcomes"};
    const char *kind = kinds[take(in) % 3];
    l->valued = strcmp(kind, "text") != 0;
    snprintf(l->header.kind, sizeof l->header.kind, "%s", kind);
    for (int64_t i = 0; i < MOST; i++)
        l->value[i] = (float)number(in, 0) / 3;
    if (l->valued)
        l->header.index_sum = ls_shard_valued_sum(l->header.index_sum, l->value, samples);
    l->header.header_sum = ls_shard_header_sum(&l->header);
}

static bool write_shard(const char *path, const lie *l)
{
    ls_h5_output file;
    if (ls_h5_create(&file, path) != LS_OK)
        return false;
    const bool good = ls_h5_write_header(&file, ls_shard_header_rows, &l->header) == LS_OK &&
                      ls_h5_write_array(&file, "tokens", H5T_STD_I32LE, l->stored_tokens, l->tokens) == LS_OK &&
                      ls_h5_write_array(&file, "loss_mask", H5T_STD_U8LE, l->stored_tokens, l->mask) == LS_OK &&
                      ls_h5_write_array(&file, "offset", H5T_STD_I64LE, l->stored_samples + 1, l->offset) == LS_OK &&
                      ls_h5_write_array(&file, "counted", H5T_STD_I64LE, l->stored_samples, l->counted) == LS_OK &&
                      ls_h5_write_array(&file, "block_sum", H5T_STD_U64LE, 1, &l->block_sum) == LS_OK &&
                      (!l->valued || ls_h5_write_array(&file, "value", H5T_IEEE_F32LE, l->stored_samples, l->value) == LS_OK);
    return ls_h5_finish(&file) == LS_OK && good;
}

static bool write_list(input *in, const char *path, const lie *l, int64_t bytes)
{
    const ls_shard_entry entry = {l->header.samples, l->header.tokens, bytes, l->header.header_sum};
    ls_dataset_header h = {.format = LS_DATASET_FORMAT, .schema = number(in, 1), .shards = number(in, 1),
                           .samples = number(in, l->header.samples), .tokens = number(in, l->header.tokens),
                           .unmasked = number(in, l->header.unmasked), .vocabulary = number(in, l->header.vocabulary), .tokenizer_hash = 7};
    memcpy(h.kind, l->header.kind, sizeof h.kind);
    h.list_sum = ls_shard_list_sum(&entry, 1);
    h.header_sum = ls_dataset_header_sum(&h);
    ls_h5_output file;
    if (ls_h5_create(&file, path) != LS_OK)
        return false;
    const bool good = ls_h5_write_header(&file, ls_dataset_header_rows, &h) == LS_OK &&
                      ls_h5_write_array(&file, "shard_samples", H5T_STD_I64LE, 1, &entry.samples) == LS_OK &&
                      ls_h5_write_array(&file, "shard_tokens", H5T_STD_I64LE, 1, &entry.tokens) == LS_OK &&
                      ls_h5_write_array(&file, "shard_bytes", H5T_STD_I64LE, 1, &entry.bytes) == LS_OK &&
                      ls_h5_write_array(&file, "shard_sum", H5T_STD_U64LE, 1, &entry.sum) == LS_OK;
    return ls_h5_finish(&file) == LS_OK && good;
}

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* Everything a run does with a set that was let in. */
static void use(const char *folder, input *in)
{
    ls_shards *set;
    if (ls_shards_open(&set, folder, false) != LS_OK) {
        check(ls_fail_sentence()[0]);
        return;
    }
    for (int64_t s = 0; s < ls_shards_samples(set); s++) {
        const int32_t *ids;
        const uint8_t *mask;
        int64_t count;
        if (ls_shards_text(set, s, &ids, &mask, &count) != LS_OK)
            continue;
        check(count >= 1 && count <= MOST);
        const double value = (double)ls_shards_value(set, s);
        check(ls_shards_form_of(set) == LS_SHARDS_TEXT ? value == 0 : value - value == 0);
        for (int64_t t = 0; t < count; t++)
            check(ids[t] >= 0 && ids[t] < ls_shards_vocabulary(set));
    }
    const ls_shards_form form = ls_shards_form_of(set);
    ls_shards_free(set);
    const ls_data_options options = {.sources = {.count = 1, .source = {{folder, 1}}}, .tokens = 2 + take(in) % 9, .grain = 1,
                                     .pack = take(in) & 1, .stream = take(in) & 1,
                                     .on_long = form == LS_SHARDS_TEXT ? LS_LONG_TRUNCATE : LS_LONG_SKIP, .shuffle = true, .epochs = 1};
    ls_data *data;
    if (ls_data_open(&data, &options) != LS_OK)
        return;
    for (int64_t row = 0; row < ls_data_rows(data); row++) {
        ls_grain_memory memory;
        ls_grain grain;
        check(ls_grain_memory_make(&memory, data) == LS_OK);
        ls_data_fill_grain(data, &(ls_grain_request){.position = row, .rows = 1}, &memory, &grain);
        ls_grain_memory_free(&memory);
    }
    ls_data_free(data);
}

static char folder[] = "/tmp/lockstep-fuzz-XXXXXX", shard_path[64], list_path[64];

static void clean_up(void)
{
    unlink(shard_path);
    unlink(list_path);
    rmdir(folder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    if (!ready) {
        check(mkdtemp(folder));
        snprintf(shard_path, sizeof shard_path, "%s/shard-00000.h5", folder);
        snprintf(list_path, sizeof list_path, "%s/dataset.h5", folder);
        atexit(clean_up);
        ready = true;
    }
    input in = {data, size};
    lie l;
    struct stat about;
    make_lie(&in, &l);
    check(write_shard(shard_path, &l) && stat(shard_path, &about) == 0);
    check(write_list(&in, list_path, &l, (int64_t)about.st_size));
    use(folder, &in);
    return 0;
}
