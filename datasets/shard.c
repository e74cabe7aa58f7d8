/* Reading a data set: the format, then the code that trusts none of it.
 *
 * FOLDER
 *     dataset.h5         what belongs to the set; written last
 *     shard-00000.h5     samples 0 .. s0 - 1
 *     shard-00001.h5     samples s0 .. s0 + s1 - 1, and so on
 *     tokenizer.json     (or another name, see attribute `tokenizer`) the tokenizer the ids belong to
 *     sums               sums.h: of whole files, for `data verify`
 *
 * Both kinds are HDF5 files (superblock 2: HDF5's own structures carry checksums) with a header, kept as attributes of
 * the root group, and one-dimensional little-endian arrays, contiguous and uncompressed, at 64-byte borders. h5dump and
 * h5py show them under these names. S = LS_HASH_SEED; XXH3(bytes; seed) is XXH3-64.
 *
 * shard-NNNNN.h5
 *     format          text   "lockstep-shard"
 *     kind            text   "text"; "pairs" and "outcomes" have the array `value` besides (shard.h)
 *     schema          i64    1. A reader refuses a greater one
 *     number          i64    NNNNN, so that a file under another's name is noticed
 *     samples         i64    s >= 1
 *     tokens          i64    n >= s
 *     unmasked        i64    tokens whose loss_mask is 1
 *     vocabulary      i64    ids are 0 .. vocabulary - 1
 *     tokenizer_hash  u64    ls_tokenizer_hash of the tokenizer
 *     index_sum       u64    XXH3(block_sum; XXH3(counted; XXH3(offset; S))); with values XXH3(value; that)
 *     header_sum      u64    XXH3(the fields above in the order of ls_shard_header, texts zero-padded; S)
 *     /tokens         i32 [n]        ids of all samples
 *     /loss_mask      u8  [n]        1: predicted and counted, 0: only read
 *     /offset         i64 [s + 1]    sample i is tokens offset[i] .. offset[i + 1] - 1; ascending, offset[0] = 0, offset[s] = n
 *     /counted        i64 [s]        ones in the sample's loss_mask after its first token
 *     /value          f32 [s]        pairs: the margin, outcomes: the outcome
 *     /block_sum      u64 [b]        of tokens 65536 i .. 65536 (i + 1) - 1: XXH3(loss_mask; XXH3(tokens; S + i)), b = ceil(n / 65536)
 *
 * dataset.h5
 *     format          text   "lockstep-dataset"
 *     kind, schema, vocabulary, tokenizer_hash    as in every shard
 *     lockstep        text   version of the writer
 *     template        text   how conversations became tokens ("plain", "chatml", ...; "" for documents)
 *     tokenizer       text   name of the tokenizer's file in the folder; "" when there is none
 *     tokenizer_sum   u64    XXH3(bytes of that file; S)
 *     source          text   what was packed
 *     shards          i64    k >= 1
 *     samples, tokens, unmasked    i64    sums over the shards
 *     list_sum        u64    hash of the four arrays, row by row, each hash the seed of the next
 *     header_sum      u64    as above, in the order of ls_dataset_header
 *     /shard_samples, /shard_tokens, /shard_bytes   i64 [k]     /shard_sum   u64 [k]   (the shards' header_sum)
 *
 * VALID is a shard that dataset.h5 lists, of the listed size, whose header_sum is the listed one and right, whose index_sum is
 * right, and whose blocks have their sums. A block is checked when it is first touched; everything else at opening.
 * Files that dataset.h5 does not list are not part of the set and never opened.
 *
 * POWER FAILS while the writer (shard_writer.c) works:
 *     NAME.partial is made, shards are written into it     no NAME (or the old one, whole); NAME.partial is never read, and
 *                                                          is cleared by the next pack
 *     each shard is fsynced when it is full                as above
 *     dataset.h5, then sums, are written and fsynced       as above: the name decides, not the content
 *     the folder NAME.partial is fsynced                   as above
 *     NAME.partial becomes NAME (one rename; with --force  either the old state or the new one, both whole. After an exchange
 *     an exchange of the two names)                        NAME.partial is the OLD set, cleared by the next pack
 *     the parent folder is fsynced                         the new set
 *     (--force) the old set is removed                     the new set; leftovers under NAME.partial */
#include "datasets/shard.h"
#include "base/hash.h"
#include "datasets/file.h"
#include "datasets/shard_format.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    ls_h5_input input;
    char *path;
    ls_shard_header header;
    const int32_t *tokens;
    const uint8_t *loss_mask;
    const int64_t *offset, *counted;
    const float *value; /* NULL: a set of text */
    const uint64_t *block_sum;
    _Atomic unsigned char *checked; /* [blocks], 1: the block's sum was right; set by whoever looks first */
    int64_t first_sample, first_token;
} shard;

struct ls_shards {
    char *folder, *tokenizer_path;
    ls_dataset_header header;
    ls_shards_form form;
    ls_shard_entry *entry; /* [header.shards] */
    shard *shard;          /* [header.shards] */
    int64_t longest;
    uint64_t hash;
};

enum { MAX_SHARDS = 1 << 20 };

static const char repack[] = "copy it again, or pack again with `lockstep data pack`";

/* dataset.h5 */

static ls_status check_dataset_header(const ls_dataset_header *h, ls_shards_form *form, const char *path)
{
    if (h->header_sum != ls_dataset_header_sum(h))
        return ls_fail(LS_ECORRUPT, "%s: its header does not have the sum it was written with; %s", path, repack);
    if (ls_shard_form(h->kind, form) != LS_OK)
        return ls_fail_at(LS_EFORMAT, "%s", path);
    if (h->shards == 0 || h->samples == 0)
        return ls_fail(LS_ERECIPE, "%s: the data set is empty; pack one that holds at least one sample", path);
    if (h->shards < 0 || h->shards > MAX_SHARDS || h->samples < h->shards || h->tokens < h->samples || h->vocabulary < 1 ||
        h->vocabulary > INT32_MAX || strchr(h->tokenizer, '/') || (*form == LS_SHARDS_PAIRS && h->samples % 2))
        return ls_fail(LS_ECORRUPT, "%s: %lld shards, %lld samples, %lld tokens, vocabulary %lld cannot be; %s", path,
                       (long long)h->shards, (long long)h->samples, (long long)h->tokens, (long long)h->vocabulary, repack);
    return LS_OK;
}

static ls_status read_list(ls_shards *set, const ls_h5_input *input)
{
    const void *samples, *tokens, *bytes, *sum;
    int64_t k = set->header.shards;
    ls_status status;
    if ((status = ls_h5_map_array(input, "shard_samples", H5T_STD_I64LE, k, &samples)) != LS_OK ||
        (status = ls_h5_map_array(input, "shard_tokens", H5T_STD_I64LE, k, &tokens)) != LS_OK ||
        (status = ls_h5_map_array(input, "shard_bytes", H5T_STD_I64LE, k, &bytes)) != LS_OK ||
        (status = ls_h5_map_array(input, "shard_sum", H5T_STD_U64LE, k, &sum)) != LS_OK)
        return status;
    set->entry = calloc((size_t)k, sizeof *set->entry);
    set->shard = calloc((size_t)k, sizeof *set->shard);
    if (!set->entry || !set->shard)
        return ls_fail(LS_EMEM, "%s: no memory for the list of %lld shards", input->path, (long long)k);
    for (int64_t i = 0; i < k; i++) {
        set->shard[i].input.id = H5I_INVALID_HID;
        set->entry[i] = (ls_shard_entry){((const int64_t *)samples)[i], ((const int64_t *)tokens)[i], ((const int64_t *)bytes)[i],
                                         ((const uint64_t *)sum)[i]};
    }
    if (set->header.list_sum != ls_shard_list_sum(set->entry, k))
        return ls_fail(LS_ECORRUPT, "%s: its list of shards does not have the sum it was written with; %s", input->path, repack);
    set->hash = ls_hash_bytes(sum, (size_t)k * sizeof(uint64_t), LS_HASH_SEED);
    return LS_OK;
}

static ls_status read_dataset_file(ls_shards *set, const char *path)
{
    ls_h5_input input;
    ls_status status = ls_h5_open(&input, path, LS_DATASET_FORMAT, LS_SHARD_SCHEMA);
    if (status == LS_ENOTFOUND)
        return ls_fail(LS_ENOTFOUND, "%s: no data set there (no dataset.h5); make one with `lockstep data pack --out %s`", set->folder,
                       set->folder);
    if (status != LS_OK)
        return status;
    if ((status = ls_h5_read_header(&input, ls_dataset_header_rows, &set->header)) == LS_OK &&
        (status = check_dataset_header(&set->header, &set->form, path)) == LS_OK)
        status = read_list(set, &input);
    ls_h5_close(&input);
    ls_h5_unmap(&input);
    return status;
}

/* shard-NNNNN.h5 */

static ls_status check_shard_header(const ls_shards *set, const shard *s, int64_t number)
{
    const ls_shard_header *h = &s->header;
    const ls_shard_entry *listed = &set->entry[number];
    if (h->header_sum != ls_shard_header_sum(h))
        return ls_fail(LS_ECORRUPT, "%s: its header does not have the sum it was written with; %s", s->path, repack);
    if (h->number != number || h->header_sum != listed->sum)
        return ls_fail(LS_ECORRUPT, "%s: a whole shard (number %lld), but not the one that dataset.h5 lists here; %s", s->path,
                       (long long)h->number, repack);
    if (strcmp(h->kind, set->header.kind) != 0 || h->samples != listed->samples || h->tokens != listed->tokens || h->samples < 1 ||
        h->tokens < h->samples || h->tokens > (int64_t)(s->input.bytes / 5) || h->vocabulary != set->header.vocabulary ||
        h->tokenizer_hash != set->header.tokenizer_hash)
        return ls_fail(LS_ECORRUPT, "%s: kind, samples, tokens, vocabulary or tokenizer differ from dataset.h5's; %s", s->path, repack);
    return LS_OK;
}

static ls_status map_arrays(shard *s, bool valued)
{
    const void *data;
    int64_t samples = s->header.samples, tokens = s->header.tokens;
    ls_status status;
    if ((status = ls_h5_map_array(&s->input, "tokens", H5T_STD_I32LE, tokens, &data)) != LS_OK)
        return status;
    s->tokens = data;
    if ((status = ls_h5_map_array(&s->input, "loss_mask", H5T_STD_U8LE, tokens, &data)) != LS_OK)
        return status;
    s->loss_mask = data;
    if ((status = ls_h5_map_array(&s->input, "offset", H5T_STD_I64LE, samples + 1, &data)) != LS_OK)
        return status;
    s->offset = data;
    if ((status = ls_h5_map_array(&s->input, "counted", H5T_STD_I64LE, samples, &data)) != LS_OK)
        return status;
    s->counted = data;
    if ((status = ls_h5_map_array(&s->input, "block_sum", H5T_STD_U64LE, ls_shard_blocks(tokens), &data)) != LS_OK)
        return status;
    s->block_sum = data;
    if (valued && (status = ls_h5_map_array(&s->input, "value", H5T_IEEE_F32LE, samples, &data)) != LS_OK)
        return status;
    s->value = valued ? data : NULL;
    return LS_OK;
}

/* The sums guard against damage; the ranges also against a file made to mislead, whose sums are right. */
static ls_status check_index(shard *s, ls_shards_form form, int64_t *longest)
{
    const ls_shard_header *h = &s->header;
    uint64_t sum = ls_shard_index_sum(s->offset, s->counted, h->samples, s->block_sum, ls_shard_blocks(h->tokens));
    if (s->value)
        sum = ls_shard_valued_sum(sum, s->value, h->samples);
    if (h->index_sum != sum)
        return ls_fail(LS_ECORRUPT, "%s: offset, counted, value or block_sum do not have the sum they were written with; %s", s->path, repack);
    bool good = s->offset[0] == 0 && s->offset[h->samples] == h->tokens;
    for (int64_t i = 0; good && i < h->samples; i++) {
        good = s->offset[i] >= 0 && s->offset[i] < s->offset[i + 1] && s->offset[i + 1] <= h->tokens;
        int64_t length = good ? s->offset[i + 1] - s->offset[i] : 0;
        good = good && s->counted[i] >= 0 && s->counted[i] < length;
        *longest = length > *longest ? length : *longest;
    }
    if (!good)
        return ls_fail(LS_ECORRUPT, "%s: offsets do not ascend from 0 to %lld; %s", s->path, (long long)h->tokens, repack);
    for (int64_t i = 0; s->value && i < h->samples; i++)
        if (!ls_shard_value_fits(form, s->first_sample + i, s->value[i]))
            return ls_fail(LS_ECORRUPT, "%s: value %g of sample %lld is none of a set of kind '%s'; %s", s->path, (double)s->value[i],
                           (long long)(s->first_sample + i), h->kind, repack);
    return LS_OK;
}

static ls_status open_shard(ls_shards *set, int64_t number)
{
    shard *s = &set->shard[number];
    s->path = ls_shard_path(set->folder, number);
    if (!s->path)
        return ls_fail(LS_EMEM, "%s: no memory for a path", set->folder);
    ls_status status = ls_h5_open(&s->input, s->path, LS_SHARD_FORMAT, LS_SHARD_SCHEMA);
    if (status == LS_ENOTFOUND)
        return ls_fail(LS_ENOTFOUND, "%s: missing; dataset.h5 lists %lld shards: %s", s->path, (long long)set->header.shards, repack);
    if (status != LS_OK)
        return status;
    if ((int64_t)s->input.bytes != set->entry[number].bytes)
        return ls_fail(LS_ECORRUPT, "%s: %zu bytes, dataset.h5 says %lld; %s", s->path, s->input.bytes,
                       (long long)set->entry[number].bytes, repack);
    if ((status = ls_h5_read_header(&s->input, ls_shard_header_rows, &s->header)) != LS_OK ||
        (status = check_shard_header(set, s, number)) != LS_OK || (status = map_arrays(s, set->form != LS_SHARDS_TEXT)) != LS_OK ||
        (status = check_index(s, set->form, &set->longest)) != LS_OK)
        return status;
    ls_h5_close(&s->input);
    s->checked = calloc((size_t)ls_shard_blocks(s->header.tokens), sizeof *s->checked);
    return s->checked ? LS_OK : ls_fail(LS_EMEM, "%s: no memory for its block marks", s->path);
}

static ls_status open_shards(ls_shards *set)
{
    int64_t samples = 0, tokens = 0, unmasked = 0;
    for (int64_t i = 0; i < set->header.shards; i++) {
        set->shard[i].first_sample = samples;
        set->shard[i].first_token = tokens;
        ls_status status = open_shard(set, i);
        if (status != LS_OK)
            return status;
        samples += set->shard[i].header.samples;
        tokens += set->shard[i].header.tokens;
        unmasked += set->shard[i].header.unmasked;
    }
    if (samples != set->header.samples || tokens != set->header.tokens || unmasked != set->header.unmasked)
        return ls_fail(LS_ECORRUPT, "%s: its shards hold %lld samples and %lld tokens, dataset.h5 says %lld and %lld; %s", set->folder,
                       (long long)samples, (long long)tokens, (long long)set->header.samples, (long long)set->header.tokens, repack);
    return LS_OK;
}

ls_status ls_shards_open(ls_shards **out, const char *folder, bool verify)
{
    *out = NULL;
    ls_shards *set = calloc(1, sizeof *set);
    char *path = ls_path_join(folder, LS_DATASET_FILE);
    ls_status status = LS_OK;
    if (!set || !path || !(set->folder = strdup(folder))) {
        status = ls_fail(LS_EMEM, "%s: no memory to open it", folder);
        goto done;
    }
    if ((status = read_dataset_file(set, path)) != LS_OK || (status = open_shards(set)) != LS_OK)
        goto done;
    if (set->header.tokenizer[0] && !(set->tokenizer_path = ls_path_join(folder, set->header.tokenizer))) {
        status = ls_fail(LS_EMEM, "%s: no memory for a path", folder);
        goto done;
    }
    if (verify)
        status = ls_shards_verify(set);
done:
    free(path);
    if (status == LS_OK)
        *out = set;
    else
        ls_shards_free(set);
    return status;
}

void ls_shards_free(ls_shards *set)
{
    if (!set)
        return;
    for (int64_t i = 0; set->shard && i < set->header.shards; i++) {
        shard *s = &set->shard[i];
        ls_h5_close(&s->input);
        ls_h5_unmap(&s->input);
        free((void *)s->checked);
        free(s->path);
    }
    free(set->shard);
    free(set->entry);
    free(set->tokenizer_path);
    free(set->folder);
    free(set);
}

/* Samples and tokens */

static const shard *shard_of_sample(const ls_shards *set, int64_t sample)
{
    int64_t low = 0, high = set->header.shards;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        *(set->shard[middle].first_sample <= sample ? &low : &high) = middle;
    }
    return &set->shard[low];
}

static const shard *shard_of_token(const ls_shards *set, int64_t token)
{
    int64_t low = 0, high = set->header.shards;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        *(set->shard[middle].first_token <= token ? &low : &high) = middle;
    }
    return &set->shard[low];
}

/* Tokens of block `block`; < LS_SHARD_BLOCK in a shard's last. */
static int64_t block_length(const shard *s, int64_t block)
{
    int64_t rest = s->header.tokens - block * LS_SHARD_BLOCK;
    return rest < LS_SHARD_BLOCK ? rest : LS_SHARD_BLOCK;
}

static ls_status check_block(const shard *s, int64_t block)
{
    int64_t begin = block * LS_SHARD_BLOCK, count = block_length(s, block);
    const int32_t *tokens = s->tokens + begin;
    if (ls_shard_block_sum(tokens, s->loss_mask + begin, count, block) != s->block_sum[block])
        return ls_fail(LS_ECORRUPT, "%s: tokens or loss_mask %lld..%lld do not have the sum they were written with; %s", s->path,
                       (long long)begin, (long long)(begin + count - 1), repack);
    for (int64_t i = 0; i < count; i++)
        if (tokens[i] < 0 || tokens[i] >= s->header.vocabulary)
            return ls_fail(LS_ECORRUPT, "%s: token %lld is id %d, its vocabulary has %lld; %s", s->path, (long long)(begin + i),
                           (int)tokens[i], (long long)s->header.vocabulary, repack);
    atomic_store_explicit(&s->checked[block], 1, memory_order_relaxed); /* the bytes never change: order is no matter */
    return LS_OK;
}

/* Checks the blocks of tokens [begin, end) that no one has looked at yet. Two threads may both do it; they agree. */
static ls_status check_range(const shard *s, int64_t begin, int64_t end)
{
    for (int64_t block = begin / LS_SHARD_BLOCK; block <= (end - 1) / LS_SHARD_BLOCK; block++) {
        if (atomic_load_explicit(&s->checked[block], memory_order_relaxed))
            continue;
        ls_status status = check_block(s, block);
        if (status != LS_OK)
            return status;
    }
    return LS_OK;
}

ls_status ls_shards_text(const ls_shards *set, int64_t sample, const int32_t **tokens, const uint8_t **loss_mask, int64_t *count)
{
    if (sample < 0 || sample >= set->header.samples)
        return ls_fail(LS_EARG, "%s: sample %lld of %lld", set->folder, (long long)sample, (long long)set->header.samples);
    const shard *s = shard_of_sample(set, sample);
    int64_t begin = s->offset[sample - s->first_sample], end = s->offset[sample - s->first_sample + 1];
    *tokens = s->tokens + begin;
    *loss_mask = s->loss_mask + begin;
    *count = end - begin;
    return check_range(s, begin, end);
}

ls_status ls_shards_stream(const ls_shards *set, int64_t token, int64_t wanted, const int32_t **tokens, const uint8_t **loss_mask, int64_t *count)
{
    if (token < 0 || token >= set->header.tokens || wanted < 1)
        return ls_fail(LS_EARG, "%s: %lld tokens from %lld of %lld", set->folder, (long long)wanted, (long long)token,
                       (long long)set->header.tokens);
    const shard *s = shard_of_token(set, token);
    int64_t begin = token - s->first_token, rest = s->header.tokens - begin;
    *tokens = s->tokens + begin;
    *loss_mask = s->loss_mask + begin;
    *count = rest < wanted ? rest : wanted;
    return check_range(s, begin, begin + *count);
}

int64_t ls_shards_sample_at(const ls_shards *set, int64_t token)
{
    const shard *s = shard_of_token(set, token);
    int64_t low = 0, high = s->header.samples;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        *(s->offset[middle] <= token - s->first_token ? &low : &high) = middle;
    }
    return s->first_sample + low;
}

int64_t ls_shards_length(const ls_shards *set, int64_t sample)
{
    const shard *s = shard_of_sample(set, sample);
    return s->offset[sample - s->first_sample + 1] - s->offset[sample - s->first_sample];
}

int64_t ls_shards_counted(const ls_shards *set, int64_t sample)
{
    const shard *s = shard_of_sample(set, sample);
    return s->counted[sample - s->first_sample];
}

ls_shards_form ls_shards_form_of(const ls_shards *set)
{
    return set->form;
}

float ls_shards_value(const ls_shards *set, int64_t sample)
{
    const shard *s = shard_of_sample(set, sample);
    return s->value ? s->value[sample - s->first_sample] : 0;
}

/* `data verify` */

static ls_status verify_counts(const shard *s)
{
    int64_t unmasked = 0;
    for (int64_t i = 0; i < s->header.samples; i++) {
        int64_t counted = 0;
        for (int64_t t = s->offset[i]; t < s->offset[i + 1]; t++) {
            if (s->loss_mask[t] > 1)
                return ls_fail(LS_ECORRUPT, "%s: loss_mask %lld is %d, not 0 or 1; %s", s->path, (long long)t, s->loss_mask[t], repack);
            unmasked += s->loss_mask[t];
            counted += t > s->offset[i] ? s->loss_mask[t] : 0;
        }
        if (counted != s->counted[i])
            return ls_fail(LS_ECORRUPT, "%s: counted of sample %lld is %lld, its masks give %lld; %s", s->path,
                           (long long)(s->first_sample + i), (long long)s->counted[i], (long long)counted, repack);
    }
    if (unmasked != s->header.unmasked)
        return ls_fail(LS_ECORRUPT, "%s: %lld masks are 1, its header says %lld; %s", s->path, (long long)unmasked,
                       (long long)s->header.unmasked, repack);
    return LS_OK;
}

static ls_status verify_tokenizer(const ls_shards *set)
{
    if (!set->tokenizer_path)
        return LS_OK;
    uint64_t sum;
    ls_status status = ls_data_file_sum(set->tokenizer_path, &sum);
    if (status == LS_OK && sum != set->header.tokenizer_sum)
        status = ls_fail(LS_ECORRUPT, "%s: not the tokenizer that the data set was packed with; copy it again, or pack again",
                         set->tokenizer_path);
    return status;
}

ls_status ls_shards_verify(const ls_shards *set)
{
    for (int64_t i = 0; i < set->header.shards; i++) {
        const shard *s = &set->shard[i];
        ls_status status = LS_OK;
        for (int64_t block = 0; block < ls_shard_blocks(s->header.tokens) && status == LS_OK; block++)
            status = check_block(s, block);
        if (status != LS_OK || (status = verify_counts(s)) != LS_OK)
            return status;
    }
    return verify_tokenizer(set);
}

/* What it holds */

int64_t ls_shards_samples(const ls_shards *set)
{
    return set->header.samples;
}

int64_t ls_shards_tokens(const ls_shards *set)
{
    return set->header.tokens;
}

int64_t ls_shards_unmasked(const ls_shards *set)
{
    return set->header.unmasked;
}

int64_t ls_shards_longest(const ls_shards *set)
{
    return set->longest;
}

int64_t ls_shards_files(const ls_shards *set)
{
    return set->header.shards;
}

uint64_t ls_shards_tokenizer_hash(const ls_shards *set)
{
    return set->header.tokenizer_hash;
}

int64_t ls_shards_vocabulary(const ls_shards *set)
{
    return set->header.vocabulary;
}

uint64_t ls_shards_hash(const ls_shards *set)
{
    return set->hash;
}

const char *ls_shards_folder(const ls_shards *set)
{
    return set->folder;
}

const char *ls_shards_source(const ls_shards *set)
{
    return set->header.source;
}

const char *ls_shards_template(const ls_shards *set)
{
    return set->header.template_name;
}

const char *ls_shards_tokenizer_path(const ls_shards *set)
{
    return set->tokenizer_path;
}
