/* Any bytes as a tokenizer file: either they are refused with a sentence that names the file, or they make a tokenizer
 * that gives text back. The same bytes go to every reader: by content (tokenizer.json, tiktoken, llama2.c), as a
 * vocabulary and as merges, and as tokenizer_config.json. Built into tests/datasets/test_tokenizer_bad_files.c, which
 * replays the seeds and damages them, and by the preset `fuzz` with clang's libFuzzer (tests/fuzz/CMakeLists.txt). */
#include "datasets/tokenizer/parts.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char vocabulary[] = "{\"a\": 0, \"b\": 1, \"ab\": 2, \"aba\": 3, \"<|endoftext|>\": 4}",
                  merges[] = "#version: 0.2\na b\n";

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void use(ls_tokenizer *tokenizer, const char *text, size_t bytes, bool specials)
{
    ls_ids ids = {0};
    char *back = NULL;
    size_t back_bytes;
    ls_status status = ls_tokenizer_encode(tokenizer, text, bytes, specials, &ids);
    if (!status) {
        require(ls_tokenizer_decode(tokenizer, ids.id, ids.count, &back, &back_bytes) == LS_OK);
        bool same = back_bytes == bytes && memcmp(back, text, bytes) == 0;
        require(same || tokenizer->nfc || tokenizer->prefix_blank || tokenizer->pieces);
    } else {
        require(status == LS_EFORMAT && ids.count == 0 && *ls_fail_sentence());
    }
    free(back);
    free(ids.id);
}

static void use_up(ls_tokenizer *tokenizer)
{
    static const char text[] =
        "the abab CAF\xc3\xa9 cafe\xcc\x81 12345 <|endoftext|><tool>\n\n  it's \xff\xe6\x98\xa5\0 end";
    for (int specials = 0; specials < 2; specials++)
        use(tokenizer, text, sizeof text - 1, specials);
    use(tokenizer, "ababab a", 8, true);
    (void)ls_tokenizer_hash(tokenizer);
    ls_tokenizer_free(tokenizer);
}

/* Reading came to `status`: a tokenizer to use, or a sentence with the file's name in it. */
static void judge(ls_status status, ls_tokenizer *tokenizer)
{
    if (!status)
        status = ls_tokenizer_ready(tokenizer);
    if (!status) {
        use_up(tokenizer);
        return;
    }
    ls_tokenizer_free(tokenizer);
    require(status == LS_EFORMAT && *ls_fail_sentence());
}

static void read_pair(const char *first, size_t first_size, const char *second, size_t second_size)
{
    ls_tokenizer *tokenizer;
    ls_status status = ls_tokenizer_read_legacy(&tokenizer, "fuzz-vocab.json", first, first_size, "fuzz-merges.txt",
                                                second, second_size);
    require(!status || strstr(ls_fail_sentence(), "fuzz-"));
    judge(status, tokenizer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *bytes = (const char *)data;
    ls_tokenizer *tokenizer;
    ls_status status = ls_tokenizer_open_bytes(&tokenizer, "fuzz.model", bytes, size);
    require(!status || strstr(ls_fail_sentence(), "fuzz.model"));
    if (!status)
        use_up(tokenizer);
    else
        require(!tokenizer && status == LS_EFORMAT);

    read_pair(bytes, size, merges, sizeof merges - 1);
    read_pair(vocabulary, sizeof vocabulary - 1, bytes, size);
    require(ls_tokenizer_read_legacy(&tokenizer, "v", vocabulary, sizeof vocabulary - 1, "m", merges,
                                     sizeof merges - 1) == LS_OK);
    status = ls_tokenizer_read_config(tokenizer, "fuzz-config.json", bytes, size);
    require(!status || strstr(ls_fail_sentence(), "fuzz-config.json"));
    judge(status, tokenizer);
    return 0;
}
