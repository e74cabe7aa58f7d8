/* tokenizer.json in the form that Hugging Face's library (0.13 and later) reads to the same ids. See json_reader.c.
 *
 * Merges are written as "a b", which every version reads; a byte-level token never holds a blank. The file is written
 * under another name, synced and renamed: who finds PATH finds all of it. */
#include "datasets/tokenizer/alphabet.h"
#include "datasets/tokenizer/parts.h"
#include "datasets/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* `text` is valid UTF-8. */
static void write_string(FILE *file, const char *text, size_t length)
{
    fputc('"', file);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\')
            fprintf(file, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            fprintf(file, "\\u%04x", c);
        else
            fputc(c, file);
    }
    fputc('"', file);
}

/* A token's key in the vocabulary. */
static void write_key(FILE *file, const ls_vocabulary *vocabulary, int64_t id, bool quotes)
{
    size_t length;
    char text[2 * LS_TOKEN_LENGTH];
    const char *bytes = ls_vocabulary_bytes(vocabulary, id, &length);
    if (vocabulary->kind[id] == LS_TOKEN_BYTES) {
        length = ls_alphabet_write(bytes, length, text);
        bytes = text;
    }
    if (quotes) {
        write_string(file, bytes, length);
        return;
    }
    for (size_t i = 0; i < length; i++) { /* inside the string of a merge; the alphabet has no controls */
        if (bytes[i] == '"' || bytes[i] == '\\')
            fputc('\\', file);
        fputc(bytes[i], file);
    }
}

static int by_id(const void *a, const void *b)
{
    const ls_added_token *const *x = a, *const *y = b;
    return ((*x)->id > (*y)->id) - ((*x)->id < (*y)->id);
}

/* Hugging Face numbers added tokens as it meets them, so they stand in the order of their ids. */
static ls_status write_added(FILE *file, const ls_added *added)
{
    const ls_added_token **token = malloc(((size_t)added->count + 1) * sizeof *token);
    if (!token)
        return ls_fail(LS_EMEM, "no memory for %lld added tokens", (long long)added->count);
    for (int64_t i = 0; i < added->count; i++)
        token[i] = &added->token[i];
    qsort(token, (size_t)added->count, sizeof *token, by_id);
    fputs("  \"added_tokens\": [", file);
    for (int64_t i = 0; i < added->count; i++) {
        fprintf(file, "%s\n    {\"id\": %d, \"content\": ", i ? "," : "", token[i]->id);
        write_string(file, token[i]->text, token[i]->bytes);
        fprintf(file,
                ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": %s, \"special\": %s}",
                token[i]->normalized ? "true" : "false", token[i]->special ? "true" : "false");
    }
    fputs(added->count ? "\n  ],\n" : "],\n", file);
    free(token);
    return LS_OK;
}

static void write_byte_level(FILE *file, const char *indent, const ls_tokenizer *tokenizer, bool use_regex)
{
    fprintf(file, "%s{\"type\": \"ByteLevel\", \"add_prefix_space\": %s, \"trim_offsets\": true, \"use_regex\": %s}",
            indent, tokenizer->prefix_blank ? "true" : "false", use_regex ? "true" : "false");
}

static void write_pre_tokenizer(FILE *file, const ls_tokenizer *tokenizer)
{
    int patterns = ls_split_patterns(tokenizer->split);
    fputs("  \"pre_tokenizer\": ", file);
    if (patterns == 0 ||
        (patterns == 1 && strcmp(ls_split_pattern(tokenizer->split, 0), ls_pattern_named("gpt2")) == 0)) {
        write_byte_level(file, "", tokenizer, patterns == 1);
        fputs(",\n", file);
        return;
    }
    fputs("{\"type\": \"Sequence\", \"pretokenizers\": [", file);
    for (int i = 0; i < patterns; i++) {
        fputs("\n    {\"type\": \"Split\", \"pattern\": {\"Regex\": ", file);
        write_string(file, ls_split_pattern(tokenizer->split, i), strlen(ls_split_pattern(tokenizer->split, i)));
        fputs("}, \"behavior\": \"Isolated\", \"invert\": false},", file);
    }
    write_byte_level(file, "\n    ", tokenizer, false);
    fputs("\n  ]},\n", file);
}

static void write_vocabulary(FILE *file, const ls_vocabulary *vocabulary)
{
    bool first = true;
    fputs("    \"vocab\": {", file);
    for (int64_t id = 0; id < vocabulary->size; id++) {
        if (!ls_vocabulary_has(vocabulary, id) || vocabulary->kind[id] == LS_TOKEN_CONTROL)
            continue;
        fputs(first ? "\n      " : ",\n      ", file);
        write_key(file, vocabulary, id, true);
        fprintf(file, ": %lld", (long long)id);
        first = false;
    }
    fputs("\n    },\n", file);
}

static ls_status write_merges(FILE *file, const ls_tokenizer *tokenizer)
{
    ls_merge *sorted;
    ls_status status = ls_merges_sorted(&tokenizer->merges, &sorted);
    if (status)
        return status;
    fputs("    \"merges\": [", file);
    for (size_t i = 0; i < tokenizer->merges.count; i++) {
        fputs(i ? ",\n      \"" : "\n      \"", file);
        write_key(file, &tokenizer->vocabulary, (int64_t)(sorted[i].pair >> 32), false);
        fputc(' ', file);
        write_key(file, &tokenizer->vocabulary, (int64_t)(sorted[i].pair & UINT32_MAX), false);
        fputc('"', file);
    }
    fputs(tokenizer->merges.count ? "\n    ]\n" : "]\n", file);
    free(sorted);
    return LS_OK;
}

static ls_status write_all(FILE *file, const ls_tokenizer *tokenizer)
{
    fputs("{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n", file);
    ls_status status = write_added(file, &tokenizer->added);
    if (status)
        return status;
    fprintf(file, "  \"normalizer\": %s,\n", tokenizer->nfc ? "{\"type\": \"NFC\"}" : "null");
    write_pre_tokenizer(file, tokenizer);
    fputs("  \"post_processor\": null,\n"
          "  \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": true, \"use_regex\": "
          "true},\n"
          "  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": null,\n"
          "    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n    \"fuse_unk\": false,\n"
          "    \"byte_fallback\": false,\n",
          file);
    fprintf(file, "    \"ignore_merges\": %s,\n", tokenizer->whole_words ? "true" : "false");
    write_vocabulary(file, &tokenizer->vocabulary);
    status = write_merges(file, tokenizer);
    fputs("  }\n}\n", file);
    return status;
}

/* The rename is kept over a loss of power only when the folder is synced too. */
static void sync_folder(const char *path)
{
    char *copy = strdup(path);
    int folder = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY) : -1;
    if (folder >= 0) {
        (void)fsync(folder);
        close(folder);
    }
    free(copy);
}

ls_status ls_tokenizer_write(const ls_tokenizer *tokenizer, const char *path)
{
    char *partial = NULL;
    FILE *file = NULL;
    ls_status status = LS_OK;
    if (tokenizer->pieces)
        return ls_fail(LS_EARG, "%s: SentencePiece's tokenizers are not written as tokenizer.json; copy the file they came from",
                       path);
    if (asprintf(&partial, "%s.partial", path) < 0)
        return ls_fail(LS_EMEM, "%s: no memory for its name", path);
    if (!(file = fopen(partial, "wb"))) {
        status = ls_fail(LS_EIO, "%s: cannot be made: %s", partial, strerror(errno));
        goto done;
    }
    if ((status = write_all(file, tokenizer)) != LS_OK)
        goto done;
    errno = 0;
    bool failed = fflush(file) != 0 || ferror(file) || fsync(fileno(file)) != 0;
    failed |= fclose(file) != 0;
    file = NULL;
    if (failed || rename(partial, path) != 0)
        status = ls_fail(errno == ENOSPC ? LS_ESPACE : LS_EIO, "%s: cannot be written: %s", path,
                         strerror(errno ? errno : EIO));
    else
        sync_folder(path);
done:
    if (file)
        fclose(file);
    if (status)
        unlink(partial);
    free(partial);
    return status;
}
