#include "tests/datasets/tokenizer_fixture.h"
#include "datasets/jsonl.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *next_buffer(void)
{
    static char buffers[16][512];
    static unsigned turn;
    return buffers[turn++ % 16];
}

const char *source_path(const char *name)
{
    const char *source = getenv("LS_SOURCE");
    char *path = next_buffer();
    snprintf(path, 512, "%s/%s", source ? source : ".", name);
    return path;
}

const char *scratch_folder(void)
{
    char *folder = next_buffer();
    strcpy(folder, "/tmp/ls_tokenizer_XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
    return folder;
}

const char *scratch_file(const char *folder, const char *name, const void *bytes, size_t size)
{
    char *path = next_buffer();
    snprintf(path, 512, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    cr_assert_not_null(file, "%s", path);
    cr_assert_eq(fwrite(bytes, 1, size, file), size);
    fclose(file);
    return path;
}

const char *scratch_copy(const char *folder, const char *name, const char *source_name)
{
    size_t size;
    char *bytes = read_whole(source_path(source_name), &size);
    const char *path = scratch_file(folder, name, bytes, size);
    free(bytes);
    return path;
}

char *read_whole(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    cr_assert_not_null(file, "%s", path);
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    char *bytes = malloc(*size + 1);
    cr_assert_eq(fread(bytes, 1, *size, file), *size);
    bytes[*size] = '\0';
    fclose(file);
    return bytes;
}

ls_tokenizer *open_tokenizer(const char *path)
{
    ls_tokenizer *tokenizer;
    cr_assert_eq(ls_tokenizer_open(&tokenizer, path), LS_OK, "%s", ls_fail_sentence());
    return tokenizer;
}

ls_ids encode(ls_tokenizer *tokenizer, const char *text, size_t bytes, bool specials)
{
    ls_ids ids = {0};
    cr_assert_eq(ls_tokenizer_encode(tokenizer, text, bytes, specials, &ids), LS_OK, "%s", ls_fail_sentence());
    return ids;
}

void check_round_trip(ls_tokenizer *tokenizer, const char *text, size_t bytes)
{
    ls_ids ids = encode(tokenizer, text, bytes, false);
    char *back;
    size_t back_bytes;
    cr_assert_eq(ls_tokenizer_decode(tokenizer, ids.id, ids.count, &back, &back_bytes), LS_OK, "%s",
                 ls_fail_sentence());
    cr_assert(back_bytes == bytes && memcmp(back, text, bytes) == 0, "\"%.*s\" came back as \"%s\"", (int)bytes, text,
              back);
    free(back);
    free(ids.id);
}

/* Question and answer of each row in turn. */
typedef struct {
    ls_jsonl *reader;
    int64_t rows, limit;
    bool answer_next;
} gsm8k;

static bool next_text(void *context, const char **text, size_t *bytes)
{
    gsm8k *from = context;
    json_t *object;
    if (!from->answer_next) {
        if (from->limit && from->rows == from->limit)
            return false;
        cr_assert_eq(ls_jsonl_next(from->reader, &object), LS_OK, "%s", ls_fail_sentence());
        if (!object)
            return false;
        from->rows++;
    }
    cr_assert_eq(ls_jsonl_text(from->reader, from->answer_next ? "answer" : "question", text, bytes), LS_OK);
    from->answer_next = !from->answer_next;
    return true;
}

ls_tokenizer *train_on_gsm8k(int64_t vocabulary, const char *pattern, int64_t rows)
{
    static const char *const specials[] = {"<|endoftext|>", NULL};
    ls_tokenizer_training how = {vocabulary, pattern, specials};
    gsm8k from = {.limit = rows};
    ls_tokenizer *tokenizer;
    cr_assert_eq(ls_jsonl_open(&from.reader, source_path("data-sets/gsm8k/train.jsonl")), LS_OK, "%s",
                 ls_fail_sentence());
    cr_assert_eq(ls_tokenizer_train(&tokenizer, &how, next_text, &from), LS_OK, "%s", ls_fail_sentence());
    ls_jsonl_close(from.reader);
    return tokenizer;
}
