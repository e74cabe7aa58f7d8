#include "tests/launch/fixture.h"
#include "datasets/shard.h"
#include "tests/shell.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char folder[] = "/tmp/lockstep-test-launch-XXXXXX", text[1 << 20];

void fixture_make(void)
{
    char path[256];
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/data", folder);
    const ls_shard_options options = {.kind = "text", .source = "test", .vocabulary = 64, .tokenizer_hash = 1};
    ls_shard_writer *writer;
    cr_assert_eq(ls_shard_writer_open(&writer, path, &options), LS_OK, "%s", ls_fail_sentence());
    for (int sample = 0; sample < 48; sample++) {
        int32_t tokens[32];
        uint8_t mask[32];
        const int count = 5 + sample * 7 % 26;
        for (int t = 0; t < count; t++) {
            tokens[t] = (sample * 31 + t * t * 7 + t) % 64;
            mask[t] = t >= count / 3;
        }
        cr_assert_eq(ls_shard_writer_add_text(writer, tokens, mask, count), LS_OK, "%s", ls_fail_sentence());
    }
    cr_assert_eq(ls_shard_writer_commit(writer), LS_OK, "%s", ls_fail_sentence());
}

void fixture_recipe(const char *task)
{
    char path[256];
    snprintf(path, sizeof path, "%s/recipe.yaml", folder);
    FILE *out = fopen(path, "w");
    fprintf(out,
            "task: %s\nrun: %s/run\nseed: 3\ndata: {train: %s/data}\n"
            "model: {style: llama, layers: 2, width: 32, heads: 4, kv_heads: 2, hidden: 64}\n"
            "batch: {grain: 2, grains: 5, tokens: 32}\n"
            "optimizer: {lr: 0.02, clip_norm: 0, schedule: constant}\nmax_steps: 4\n",
            task, folder, folder);
    fclose(out);
}

void fixture_clean(void)
{
    cr_assert_eq(fixture_run("rm -r %s", folder), 0);
}

int fixture_run(const char *format, ...)
{
    char line[4096], lockstep[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    snprintf(lockstep, sizeof lockstep, "%s/launch/lockstep", getenv("LS_BUILD"));
    setenv("LOCKSTEP", lockstep, 1);
    setenv("FOLDER", folder, 1);
    setenv("TMPDIR", folder, 1);
    return ls_run_shell(line, text, sizeof text);
}

int fixture_count(const char *word)
{
    int count = 0;
    for (const char *at = text; (at = strstr(at, word)); at++)
        count++;
    return count;
}
