/* Any bytes as the description of a model from elsewhere: as config.json of transformers and as a file of llama2.c.
 * Either they are refused with a sentence that names the file, or they describe a network with sizes; what config.json
 * says survives being written and read again. Run by tests/fuzz/mutate.c for ctest, and by the preset `fuzz` with
 * clang's libFuzzer (tests/fuzz/CMakeLists.txt). */
#include "models/hugging_face/hugging_face.h"
#include "models/llama2c.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char path[64];

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void check(const ls_transformer_options *o)
{
    require(o->layers > 0 && o->width > 0 && o->heads > 0 && o->vocabulary > 0 && o->context > 0);
    require(o->kv_heads >= 0 && o->hidden >= 0 && o->norm_eps - o->norm_eps == 0);
}

static void read_config(const char *text, size_t size)
{
    ls_transformer_options options, again;
    ls_status status = ls_hugging_face_read("fuzz.json", text, size, &options);
    if (status != LS_OK) {
        require(status == LS_EFORMAT && strstr(ls_fail_sentence(), "fuzz.json"));
        return;
    }
    check(&options);
    char *written = NULL;
    if (ls_transformer_resolve(&options) != LS_OK) {
        require(*ls_fail_sentence());
        return;
    }
    status = ls_hugging_face_write(&options, "float32", -1, -1, &written);
    require(status == LS_OK || (status == LS_ERECIPE && !written));
    if (status != LS_OK)
        return;
    require(ls_hugging_face_read("again.json", written, strlen(written), &again) == LS_OK);
    require(again.layers == options.layers && again.width == options.width && again.heads == options.heads &&
            again.vocabulary == options.vocabulary && again.context == options.context && again.tied == options.tied);
    free(written);
}

static void clean_up(void)
{
    unlink(path);
}

static void read_llama2c(const uint8_t *data, size_t size)
{
    if (!path[0]) {
        snprintf(path, sizeof path, "/tmp/lockstep-fuzz-%ld.bin", (long)getpid());
        atexit(clean_up);
    }
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    require(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    close(fd);
    ls_llama2c *file;
    ls_transformer_options options;
    const ls_status status = ls_llama2c_open(&file, path, &options);
    if (status != LS_OK) {
        require(!file && status == LS_EFORMAT && strstr(ls_fail_sentence(), path));
        return;
    }
    check(&options);
    ls_llama2c_close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_config((const char *)data, size);
    read_llama2c(data, size);
    return 0;
}
