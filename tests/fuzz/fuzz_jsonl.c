/* Any bytes as a text file to be packed: as JSON lines in every way there is to read them, and as plain text. Either a
 * record is refused with a sentence, or it becomes tokens that are in the vocabulary, with a mask for each. The quick
 * reader of flat lines must see what jansson sees. Run by tests/fuzz/mutate.c for ctest, and by the preset `fuzz` with
 * clang's libFuzzer (tests/fuzz/CMakeLists.txt). */
#include "datasets/flat_json.h"
#include "datasets/pack_input.h"
#include "datasets/tokenizer/parts.h"
#include "datasets/utf8.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* All bytes and the marks of the templates, and no merges: any text has tokens. */
static ls_tokenizer *byte_tokenizer(void)
{
    static ls_tokenizer *tokenizer;
    static const char special[] =
        "\"added_tokens\": [{\"id\": 256, \"content\": \"<|endoftext|>\", \"special\": true}, "
        "{\"id\": 257, \"content\": \"<|im_start|>\", \"special\": true}, "
        "{\"id\": 258, \"content\": \"<|im_end|>\", \"special\": true}], ";
    char *text, *at;
    size_t bytes;
    if (tokenizer)
        return tokenizer;
    FILE *out = open_memstream(&text, &bytes);
    require(out);
    fprintf(out,
            "{%s\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false}, \"decoder\": {\"type\": "
            "\"ByteLevel\"}, "
            "\"model\": {\"type\": \"BPE\", \"merges\": [], \"vocab\": {",
            special);
    for (int byte = 0, next = 256; byte < 256; byte++) { /* GPT-2's alphabet of bytes that can be seen */
        const bool seen = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
        fprintf(out, "%s\"\\u%04x\": %d", byte ? ", " : "", seen ? byte : next, byte);
        next += !seen;
    }
    fprintf(out, "}}}");
    fclose(out);
    at = text;
    require(ls_tokenizer_open_bytes(&tokenizer, "fuzz.json", at, bytes) == LS_OK);
    free(text);
    return tokenizer;
}

static void compare_flat(const char *text, size_t bytes)
{
    if (ls_utf8_prefix(text, bytes) < bytes)
        return;
    char *scratch = malloc(bytes + 1);
    require(scratch);
    json_t *quick = ls_flat_json(text, bytes, scratch), *whole = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, NULL);
    require(!quick || (whole && json_equal(quick, whole)));
    json_decref(quick);
    json_decref(whole);
    free(scratch);
}

static void judge(const ls_packed *packed, int64_t vocabulary)
{
    const ls_masked_ids *m = &packed->ids;
    require(packed->first >= 0 && packed->first <= m->ids.count && packed->value - packed->value == 0);
    for (int64_t i = 0; i < m->ids.count; i++)
        require(m->ids.id[i] >= 0 && m->ids.id[i] < vocabulary && m->mask[i] <= 1);
}

static void pack(const char *path, const ls_pack_options *options, const char *template_name)
{
    static ls_packed packed; /* its buffers stay from record to record, as in ls_pack */
    ls_tokenizer *tokenizer = byte_tokenizer();
    ls_template template;
    ls_pack_input input;
    ls_pack_record record;
    require(ls_template_open(&template, template_name, tokenizer, NULL) == LS_OK);
    ls_status status = ls_pack_input_open(&input, path, options);
    bool more = status == LS_OK;
    while (more && (status = ls_pack_input_next(&input, &record, &more)) == LS_OK && more) {
        const ls_status encoded = ls_pack_record_encode(&record, options, &template, tokenizer, &packed);
        if (encoded == LS_OK)
            judge(&packed, ls_tokenizer_size(tokenizer));
        else
            require(encoded == LS_EFORMAT && *ls_fail_sentence());
        ls_pack_record_free(&record);
    }
    require(status == LS_OK || ((status == LS_EFORMAT) && strstr(ls_fail_sentence(), path)));
    if (input.lines || input.documents.path)
        ls_pack_input_close(&input);
}

static char lines_path[64], text_path[64];

static void clean_up(void)
{
    unlink(lines_path);
    unlink(text_path);
    ls_tokenizer_free(byte_tokenizer());
}

static void put(const char *path, const uint8_t *data, size_t size)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    require(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const ls_pack_options how[] = {
        {.text = "text"},
        {.text = "question,answer"},
        {.prompt = "question", .response = "answer"},
        {.prompt = "question", .response = "answer", .outcome = "right"},
        {0},
        {.messages = "conversations"},
        {.pairs = true},
    };
    if (!lines_path[0]) {
        snprintf(lines_path, sizeof lines_path, "/tmp/lockstep-fuzz-%ld.jsonl", (long)getpid());
        snprintf(text_path, sizeof text_path, "/tmp/lockstep-fuzz-%ld.txt", (long)getpid());
        atexit(clean_up);
    }
    compare_flat((const char *)data, size);
    put(lines_path, data, size);
    for (size_t i = 0; i < sizeof how / sizeof *how; i++)
        pack(lines_path, &how[i], i % 2 ? "plain" : "chatml");
    put(text_path, data, size);
    for (int kind = LS_DOCUMENT_FILE; kind <= LS_DOCUMENT_LINE; kind++)
        pack(text_path, &(ls_pack_options){.documents = (ls_document_kind)kind, .holdout = 0.25}, "plain");
    return 0;
}
