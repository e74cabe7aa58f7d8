/* Files that lie: missing, truncated, foreign, damaged, newer, misleading. Each gets one sentence that says what, where
 * and what to do, never a crash, and no byte of a damaged file is used. */
#include "datasets/shard_format.h"
#include "tests/datasets/fixture.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(bad_shards, .fini = fixture_clean);

enum { SAMPLES = 40 };

static void pack(void)
{
    int64_t lengths[SAMPLES];
    for (int i = 0; i < SAMPLES; i++)
        lengths[i] = 1 + i % 9;
    fixture_pack("set", lengths, SAMPLES, 25, true);
}

static void expect(ls_status status, const char *words)
{
    ls_shards *shards;
    ls_status got = ls_shards_open(&shards, fixture_path("set"), true);
    cr_assert_eq(got, status, "got %s: %s", ls_status_name(got), ls_fail_sentence());
    cr_assert_null(shards);
    cr_assert(strstr(ls_fail_sentence(), words), "wanted '%s' in: %s", words, ls_fail_sentence());
}

Test(bad_shards, a_missing_set_says_how_to_make_one)
{
    expect(LS_ENOTFOUND, "lockstep data pack");
}

Test(bad_shards, a_missing_shard_is_named)
{
    pack();
    unlink(fixture_path("set/shard-00001.h5"));
    expect(LS_ENOTFOUND, "shard-00001.h5");
}

Test(bad_shards, a_file_cut_short_anywhere_is_noticed)
{
    pack();
    static const char *const files[] = {"set/dataset.h5", "set/shard-00000.h5"};
    for (int f = 0; f < 2; f++) {
        size_t bytes;
        uint8_t *content = fixture_read(fixture_path(files[f]), &bytes);
        for (size_t keep = 0; keep < bytes; keep += keep < 200 ? 7 : 61) {
            ls_shards *shards;
            fixture_write(fixture_path(files[f]), content, keep);
            ls_status status = ls_shards_open(&shards, fixture_path("set"), true);
            cr_assert(status == LS_ECORRUPT || status == LS_EFORMAT, "%s cut to %zu of %zu: %s", files[f], keep, bytes, ls_status_name(status));
            cr_assert(strstr(ls_fail_sentence(), strchr(files[f], '/') + 1), "%s", ls_fail_sentence());
        }
        fixture_write(fixture_path(files[f]), content, bytes);
        free(content);
    }
    ls_shards *shards;
    cr_assert_eq(ls_shards_open(&shards, fixture_path("set"), true), LS_OK, "whole again");
    ls_shards_free(shards);
}

/* HDF5 leaves gaps between structures that no reader looks at, so a flipped bit may be harmless; then every sample must
 * be as it was. It may never be harmful and unnoticed. */
static bool same_samples(const ls_shards *shards)
{
    bool same = ls_shards_samples(shards) == SAMPLES && ls_shards_vocabulary(shards) == FIXTURE_VOCABULARY;
    for (int64_t s = 0; same && s < SAMPLES; s++) {
        const int32_t *tokens;
        const uint8_t *mask;
        int64_t count;
        same = ls_shards_text(shards, s, &tokens, &mask, &count) == LS_OK && count == 1 + s % 9;
        for (int64_t t = 0; same && t < count; t++)
            same = tokens[t] == fixture_token(s, t) && mask[t] == fixture_mask(t, count, true);
    }
    return same;
}

static int flip_bytes(const char *file, size_t stride)
{
    size_t bytes;
    int noticed = 0;
    uint8_t *content = fixture_read(fixture_path(file), &bytes);
    for (size_t at = 0; at < bytes; at += stride) {
        ls_shards *shards;
        content[at] ^= (uint8_t)(1u << at % 8);
        fixture_write(fixture_path(file), content, bytes);
        content[at] ^= (uint8_t)(1u << at % 8);
        ls_status status = ls_shards_open(&shards, fixture_path("set"), true);
        if (status == LS_OK) {
            cr_assert(same_samples(shards), "%s: byte %zu of %zu is damaged and nobody says so", file, at, bytes);
            ls_shards_free(shards);
            continue;
        }
        noticed++;
        cr_assert(strstr(ls_fail_sentence(), "set/"), "byte %zu: %s", at, ls_fail_sentence());
    }
    fixture_write(fixture_path(file), content, bytes);
    free(content);
    return noticed;
}

Test(bad_shards, a_flipped_bit_is_noticed_or_harmless, .timeout = 60)
{
    pack();
    cr_assert_gt(flip_bytes("set/shard-00000.h5", 11), 100);
    cr_assert_gt(flip_bytes("set/dataset.h5", 11), 100);
}

Test(bad_shards, a_flipped_token_is_found_when_it_is_read_and_named_by_verify)
{
    pack();
    size_t bytes;
    uint8_t *content = fixture_read(fixture_path("set/shard-00001.h5"), &bytes);
    const int32_t tokens[] = {fixture_token(30, 0), fixture_token(30, 1), fixture_token(30, 2)};
    uint8_t *at = memmem(content, bytes, tokens, sizeof tokens);
    cr_assert_not_null(at);
    at[1] ^= 4;
    fixture_write(fixture_path("set/shard-00001.h5"), content, bytes);
    free(content);
    ls_shards *shards;
    cr_assert_eq(ls_shards_open(&shards, fixture_path("set"), false), LS_OK);
    const int32_t *read;
    const uint8_t *mask;
    int64_t count;
    cr_assert_eq(ls_shards_text(shards, 3, &read, &mask, &count), LS_OK, "another shard is not touched by it");
    cr_assert_eq(ls_shards_text(shards, 30, &read, &mask, &count), LS_ECORRUPT);
    cr_assert_eq(ls_shards_verify(shards), LS_ECORRUPT);
    cr_assert(strstr(ls_fail_sentence(), "shard-00001.h5: tokens or loss_mask 0.."), "%s", ls_fail_sentence());
    ls_shards_free(shards);
}

Test(bad_shards, foreign_files_are_told_from_ours)
{
    pack();
    fixture_write(fixture_path("set/dataset.h5"), (const uint8_t *)"PK\003\004 a zip file", 15);
    expect(LS_EFORMAT, "not an HDF5 file");
    hid_t file = H5Fcreate(fixture_path("set/dataset.h5"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    H5Fclose(file);
    expect(LS_EFORMAT, "an HDF5 file, but not a lockstep-dataset");
    size_t bytes;
    uint8_t *shard = fixture_read(fixture_path("set/shard-00000.h5"), &bytes);
    fixture_write(fixture_path("set/dataset.h5"), shard, bytes);
    free(shard);
    expect(LS_EFORMAT, "'lockstep-shard'");
}

Test(bad_shards, a_shard_of_another_set_or_place_is_refused)
{
    pack();
    size_t bytes;
    uint8_t *first = fixture_read(fixture_path("set/shard-00000.h5"), &bytes);
    fixture_write(fixture_path("set/shard-00001.h5"), first, bytes);
    free(first);
    expect(LS_ECORRUPT, "shard-00001.h5");
    fixture_clean();
    pack();
    int64_t lengths[SAMPLES];
    for (int i = 0; i < SAMPLES; i++)
        lengths[i] = 1 + (i + 1) % 9; /* as many samples, other ones */
    fixture_pack("other", lengths, SAMPLES, 25, true);
    uint8_t *other = fixture_read(fixture_path("other/shard-00000.h5"), &bytes);
    fixture_write(fixture_path("set/shard-00000.h5"), other, bytes);
    free(other);
    expect(LS_ECORRUPT, "shard-00000.h5");
}

/* Headers written anew with right sums: what a newer lockstep, or someone who means harm, could write. */
static void rewrite_dataset(void (*change)(ls_dataset_header *header), const ls_shard_entry *entry, int64_t shards)
{
    ls_h5_input input;
    ls_dataset_header header;
    const char *path = fixture_path("set/dataset.h5");
    ls_shard_entry *list = calloc((size_t)shards + 1, sizeof *list);
    cr_assert_eq(ls_h5_open(&input, path, LS_DATASET_FORMAT, 1), LS_OK);
    cr_assert_eq(ls_h5_read_header(&input, ls_dataset_header_rows, &header), LS_OK);
    ls_h5_close(&input);
    ls_h5_unmap(&input);
    change(&header);
    int64_t *column = calloc((size_t)shards + 1, sizeof *column);
    memcpy(list, entry, (size_t)shards * sizeof *list);
    header.list_sum = ls_shard_list_sum(list, shards);
    header.header_sum = ls_dataset_header_sum(&header);
    ls_h5_output file;
    cr_assert_eq(ls_h5_create(&file, path), LS_OK);
    cr_assert_eq(ls_h5_write_header(&file, ls_dataset_header_rows, &header), LS_OK);
    static const char *const names[] = {"shard_samples", "shard_tokens", "shard_bytes", "shard_sum"};
    for (int c = 0; c < 4; c++) {
        for (int64_t i = 0; i < shards; i++)
            memcpy(&column[i], (const char *)&list[i] + 8 * c, 8);
        cr_assert_eq(ls_h5_write_array(&file, names[c], c == 3 ? H5T_STD_U64LE : H5T_STD_I64LE, shards, column), LS_OK);
    }
    cr_assert_eq(ls_h5_finish(&file), LS_OK);
    free(column);
    free(list);
}

static const ls_shard_entry two[] = {{25, 100, 5000, 1}, {15, 60, 4000, 2}};

static void newer(ls_dataset_header *header)
{
    header->schema = 2;
}

static void images(ls_dataset_header *header)
{
    memcpy(header->kind, "image", 6);
}

static void empty(ls_dataset_header *header)
{
    header->shards = header->samples = header->tokens = 0;
}

static void huge(ls_dataset_header *header)
{
    header->shards = INT64_C(1) << 50;
    header->samples = header->tokens = INT64_MAX;
}

static void many(ls_dataset_header *header)
{
    header->shards = 1 << 20;
    header->samples = header->tokens = INT64_MAX;
}

static void outside(ls_dataset_header *header)
{
    strcpy(header->tokenizer, "../../etc/passwd");
}

static void one_shard(ls_dataset_header *header)
{
    header->shards = 1;
    header->samples = 2;
    header->tokens = 10;
    header->unmasked = 0;
}

Test(bad_shards, newer_schemas_other_kinds_and_empty_sets_have_sentences_of_their_own)
{
    pack();
    rewrite_dataset(newer, two, 2);
    expect(LS_EVERSION, "schema 2, this lockstep reads up to 1; upgrade");
    fixture_clean();
    pack();
    rewrite_dataset(images, two, 2);
    expect(LS_EFORMAT, "kind 'image'");
    fixture_clean();
    pack();
    rewrite_dataset(empty, two, 0);
    expect(LS_ERECIPE, "the data set is empty");
}

Test(bad_shards, sizes_in_a_file_are_not_trusted)
{
    void (*const changes[])(ls_dataset_header *) = {huge, many, outside};
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        pack();
        rewrite_dataset(changes[i], two, 2);
        expect(LS_ECORRUPT, "dataset.h5");
        fixture_clean();
    }
}

/* A shard whose every sum is right, but whose index points outside its tokens. */
Test(bad_shards, an_index_that_points_outside_is_refused_though_its_sums_are_right)
{
    for (int lie = 0; lie < 4; lie++) {
        pack();
        int32_t tokens[10] = {0};
        uint8_t mask[10] = {0};
        int64_t offset[3] = {0, 4, 10}, counted[2] = {0, 0};
        if (lie == 0)
            offset[1] = 1 << 30;
        if (lie == 1)
            offset[1] = -4;
        if (lie == 2)
            counted[1] = 6;
        if (lie == 3)
            tokens[7] = FIXTURE_VOCABULARY;
        ls_shard_header header = {.format = LS_SHARD_FORMAT, .kind = "text", .schema = 1, .samples = 2, .tokens = 10,
                                  .vocabulary = FIXTURE_VOCABULARY, .tokenizer_hash = 42};
        uint64_t sum = ls_shard_block_sum(tokens, mask, 10, 0);
        header.index_sum = ls_shard_index_sum(offset, counted, 2, &sum, 1);
        header.header_sum = ls_shard_header_sum(&header);
        const char *path = fixture_path("set/shard-00000.h5");
        ls_h5_output file;
        cr_assert_eq(ls_h5_create(&file, path), LS_OK);
        cr_assert_eq(ls_h5_write_header(&file, ls_shard_header_rows, &header), LS_OK);
        cr_assert_eq(ls_h5_write_array(&file, "tokens", H5T_STD_I32LE, 10, tokens), LS_OK);
        cr_assert_eq(ls_h5_write_array(&file, "loss_mask", H5T_STD_U8LE, 10, mask), LS_OK);
        cr_assert_eq(ls_h5_write_array(&file, "offset", H5T_STD_I64LE, 3, offset), LS_OK);
        cr_assert_eq(ls_h5_write_array(&file, "counted", H5T_STD_I64LE, 2, counted), LS_OK);
        cr_assert_eq(ls_h5_write_array(&file, "block_sum", H5T_STD_U64LE, 1, &sum), LS_OK);
        cr_assert_eq(ls_h5_finish(&file), LS_OK);
        size_t bytes;
        free(fixture_read(path, &bytes));
        const ls_shard_entry one = {2, 10, (int64_t)bytes, header.header_sum};
        rewrite_dataset(one_shard, &one, 1);
        expect(LS_ECORRUPT, lie < 3 ? "offsets do not ascend" : "token 7 is id 5000");
        fixture_clean();
    }
}

Test(bad_shards, links_and_external_storage_are_not_followed)
{
    pack();
    const char *path = fixture_path("set/shard-00000.h5");
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    cr_assert_geq(file, 0);
    cr_assert_geq(H5Lmove(file, "tokens", file, "other", H5P_DEFAULT, H5P_DEFAULT), 0);
    cr_assert_geq(H5Lcreate_soft("/other", file, "tokens", H5P_DEFAULT, H5P_DEFAULT), 0);
    H5Fclose(file);
    ls_h5_input input;
    const void *data;
    cr_assert_eq(ls_h5_open(&input, path, LS_SHARD_FORMAT, 1), LS_OK);
    cr_assert_eq(ls_h5_map_array(&input, "tokens", H5T_STD_I32LE, 1, &data), LS_ECORRUPT);
    cr_assert(strstr(ls_fail_sentence(), "`tokens` is missing"), "%s", ls_fail_sentence());
    ls_h5_close(&input);
    ls_h5_unmap(&input);
}

Test(bad_shards, compressed_arrays_are_refused_with_a_reason)
{
    const char *path = fixture_path("zipped.h5");
    const int32_t values[64] = {1};
    const hsize_t length = 64;
    ls_h5_output file;
    cr_assert_eq(ls_h5_create(&file, path), LS_OK);
    hid_t space = H5Screate_simple(1, &length, NULL), plan = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(plan, 1, &length);
    H5Pset_deflate(plan, 4);
    hid_t array = H5Dcreate2(file.id, "tokens", H5T_STD_I32LE, space, H5P_DEFAULT, plan, H5P_DEFAULT);
    H5Dwrite(array, H5T_STD_I32LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    H5Dclose(array);
    H5Pclose(plan);
    H5Sclose(space);
    struct {
        char format[32];
        int64_t schema;
    } id = {"lockstep-shard", 1};
    const ls_h5_attribute rows[] = {{"format", LS_H5_TEXT, 0, 32}, {"schema", LS_H5_I64, 32, 0}, {NULL, 0, 0, 0}};
    cr_assert_eq(ls_h5_write_header(&file, rows, &id), LS_OK);
    cr_assert_eq(ls_h5_finish(&file), LS_OK);
    ls_h5_input input;
    const void *data;
    cr_assert_eq(ls_h5_open(&input, path, LS_SHARD_FORMAT, 1), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_h5_map_array(&input, "tokens", H5T_STD_I32LE, 64, &data), LS_EFORMAT);
    cr_assert(strstr(ls_fail_sentence(), "compressed"), "%s", ls_fail_sentence());
    cr_assert_eq(ls_h5_map_array(&input, "tokens", H5T_STD_I64LE, 64, &data), LS_ECORRUPT, "another type");
    cr_assert_eq(ls_h5_map_array(&input, "tokens", H5T_STD_I32LE, 65, &data), LS_ECORRUPT, "another length");
    ls_h5_close(&input);
    ls_h5_unmap(&input);
}

static void pack_pairs(float margin)
{
    static const int32_t tokens[] = {5, 6, 7};
    static const uint8_t mask[] = {0, 1, 1};
    ls_shard_writer *writer;
    const ls_shard_options options = {.kind = "pairs", .source = "test", .vocabulary = 9, .replace = true};
    cr_assert_eq(ls_shard_writer_open(&writer, fixture_path("set"), &options), LS_OK, "%s", ls_fail_sentence());
    for (int i = 0; i < 6; i++)
        cr_assert_eq(ls_shard_writer_add_valued(writer, tokens, mask, 3, i == 2 ? margin : 0), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_shard_writer_commit(writer), LS_OK, "%s", ls_fail_sentence());
}

Test(bad_shards, a_changed_value_is_noticed)
{
    const float before = 0.625f;
    pack_pairs(before);
    size_t bytes;
    uint8_t *content = fixture_read(fixture_path("set/shard-00000.h5"), &bytes), *at = memmem(content, bytes, &before, sizeof before);
    cr_assert_not_null(at);
    at[3] ^= 1;
    fixture_write(fixture_path("set/shard-00000.h5"), content, bytes);
    free(content);
    expect(LS_ECORRUPT, "shard-00000.h5: offset, counted, value or block_sum");
}

Test(bad_shards, what_a_form_cannot_hold_is_not_written)
{
    static const int32_t tokens[] = {5, 6};
    static const uint8_t mask[] = {0, 1};
    static const struct {
        const char *kind;
        float first, second;
    } rows[] = {{"pairs", 1, 1}, {"pairs", INFINITY, 0}, {"outcomes", 0.5f, 1.5f}, {"outcomes", 0, -0.5f}, {"text", 0, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ls_shard_writer *writer;
        const ls_shard_options options = {.kind = rows[i].kind, .source = "test", .vocabulary = 9};
        cr_assert_eq(ls_shard_writer_open(&writer, fixture_path("set"), &options), LS_OK, "%s", ls_fail_sentence());
        ls_status status = ls_shard_writer_add_valued(writer, tokens, mask, 2, rows[i].first);
        if (status == LS_OK)
            status = ls_shard_writer_add_valued(writer, tokens, mask, 2, rows[i].second);
        cr_expect_eq(status, LS_EARG, "%s", rows[i].kind);
        cr_expect(strstr(ls_fail_sentence(), rows[i].kind), "%s", ls_fail_sentence());
        ls_shard_writer_discard(writer);
    }
    ls_shard_writer *writer;
    const ls_shard_options options = {.kind = "pairs", .source = "test", .vocabulary = 9};
    cr_assert_eq(ls_shard_writer_open(&writer, fixture_path("set"), &options), LS_OK);
    cr_assert_eq(ls_shard_writer_add_text(writer, tokens, mask, 2), LS_OK);
    cr_expect_eq(ls_shard_writer_commit(writer), LS_EARG, "half a pair");
}
