/* Any bytes as a file of tensors (safetensors, torch.save, numpy.savez): either they are refused with a sentence that
 * names the file, or every tensor lies whole inside them and can be read. Built into tests/checkpoint/test_foreign.c,
 * which replays seeds and damages them, and by the preset `fuzz` with clang's libFuzzer (tests/fuzz/CMakeLists.txt). */
#include "checkpoint/foreign/foreign.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* Every byte of it is touched, so that the sanitizer sees one that is not there. */
static void use(const ls_foreign *set, const ls_foreign_tensor *tensor, const uint8_t *data, size_t size)
{
    const uint8_t *begin = tensor->data;
    const size_t bytes = (size_t)tensor->count * ls_foreign_type_size(tensor->type);
    char text[LS_FOREIGN_DESCRIPTION];
    int64_t count = 1;
    for (int d = 0; d < tensor->ndim; d++)
        count *= tensor->shape[d];
    require(count == tensor->count && begin >= data && begin + bytes <= data + size);
    require(ls_foreign_find(set, tensor->name) == tensor && *ls_foreign_describe(tensor, text));
    float *numbers = malloc((size_t)tensor->count * sizeof *numbers + 1);
    require(numbers != NULL);
    ls_status status = ls_foreign_floats(tensor, 0, tensor->count, numbers);
    require(status == LS_OK || (status == LS_EFORMAT && strstr(ls_fail_sentence(), "fuzz.file")));
    free(numbers);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ls_foreign *set;
    ls_status status = ls_foreign_open_bytes(&set, "fuzz.file", data, size);
    if (status != LS_OK) {
        require(status == LS_EFORMAT && !set && strstr(ls_fail_sentence(), "fuzz.file"));
        return 0;
    }
    for (int i = 0; i < ls_foreign_count(set); i++)
        use(set, ls_foreign_at(set, i), data, size);
    ls_foreign_close(set);
    return 0;
}
