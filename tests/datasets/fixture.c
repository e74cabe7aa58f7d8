#include "tests/datasets/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[64];

const char *fixture_folder(void)
{
    if (!folder[0]) {
        snprintf(folder, sizeof folder, "/tmp/lockstep-test-XXXXXX");
        cr_assert_not_null(mkdtemp(folder));
    }
    return folder;
}

void fixture_clean(void)
{
    char command[256];
    if (!folder[0])
        return;
    snprintf(command, sizeof command, "chmod -R u+w %s; rm -rf %s", folder, folder);
    cr_assert_eq(system(command), 0);
    folder[0] = '\0';
}

const char *fixture_path(const char *name)
{
    static char path[8][256];
    static int next;
    char *to = path[next++ % 8];
    snprintf(to, sizeof path[0], "%s/%s", fixture_folder(), name);
    return to;
}

int32_t fixture_token(int64_t sample, int64_t t)
{
    return (int32_t)((sample * 131 + t * 7 + 1) % FIXTURE_VOCABULARY);
}

uint8_t fixture_mask(int64_t t, int64_t length, bool masked)
{
    return !masked || t >= length / 3;
}

void fixture_pack(const char *name, const int64_t *lengths, int64_t samples, int64_t samples_per_shard, bool masked)
{
    ls_shard_writer *writer;
    const ls_shard_options options = {.kind = "text", .source = "a test", .tokenizer_hash = 42, .vocabulary = FIXTURE_VOCABULARY,
                                      .samples_per_shard = samples_per_shard};
    cr_assert_eq(ls_shard_writer_open(&writer, fixture_path(name), &options), LS_OK, "%s", ls_fail_sentence());
    for (int64_t s = 0; s < samples; s++) {
        int32_t *tokens = malloc((size_t)lengths[s] * sizeof *tokens);
        uint8_t *mask = malloc((size_t)lengths[s]);
        for (int64_t t = 0; t < lengths[s]; t++) {
            tokens[t] = fixture_token(s, t);
            mask[t] = fixture_mask(t, lengths[s], masked);
        }
        cr_assert_eq(ls_shard_writer_add_text(writer, tokens, mask, lengths[s]), LS_OK, "%s", ls_fail_sentence());
        free(tokens);
        free(mask);
    }
    cr_assert_eq(ls_shard_writer_commit(writer), LS_OK, "%s", ls_fail_sentence());
}

ls_data_options fixture_options(const char *name, int64_t tokens, int64_t grain)
{
    return (ls_data_options){.sources = {.count = 1, .source = {{fixture_path(name), 1}}}, .tokens = tokens, .grain = grain,
                             .pack = true, .shuffle = true, .seed = 17, .epochs = 1};
}

uint8_t *fixture_read(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    cr_assert_not_null(file, "%s", path);
    fseek(file, 0, SEEK_END);
    *bytes = (size_t)ftell(file);
    rewind(file);
    uint8_t *content = malloc(*bytes + 1);
    cr_assert_eq(fread(content, 1, *bytes, file), *bytes);
    fclose(file);
    return content;
}

void fixture_write(const char *path, const uint8_t *bytes, size_t count)
{
    FILE *file = fopen(path, "wb");
    cr_assert_not_null(file, "%s", path);
    cr_assert_eq(fwrite(bytes, 1, count, file), count);
    fclose(file);
}
