/* Tensors by name in the files of other frameworks: safetensors, alone or in several files that an index joins;
 * torch.save's
 * (.pt, .bin) and numpy.savez's (.npz).
 *
 * A file is mapped and stays where it is: opening reads its header alone, and whoever takes a part of a tensor touches
 * the pages of that part. Nothing a file says is believed before it is checked: sizes, offsets, shapes and types are
 * checked as the file is opened, and what does not fit is refused with the file's name, the tensor's, and both numbers.
 * A file must not be cut while it is open (the mapping's pages would be gone: SIGBUS). */
#pragma once
#include "base/error.h"
#include "base/type.h"

/* Names as safetensors writes them. X(name, bytes of an element) */
#define LS_FOREIGN_TYPES(X)                                                                                            \
    X(F64, 8)                                                                                                          \
    X(F32, 4)                                                                                                          \
    X(F16, 2)                                                                                                          \
    X(BF16, 2) X(F8_E4M3, 1) X(F8_E5M2, 1) X(I64, 8) X(I32, 4) X(I16, 2) X(I8, 1) X(U64, 8) X(U32, 4) X(U16, 2)        \
        X(U8, 1) X(BOOL, 1)

typedef enum {
#define X(name, bytes) LS_FOREIGN_##name,
    LS_FOREIGN_TYPES(X)
#undef X
        LS_FOREIGN_TYPE_COUNT
} ls_foreign_type;

const char *ls_foreign_type_name(ls_foreign_type type); /* "BF16" */
size_t ls_foreign_type_size(ls_foreign_type type);

typedef struct {
    const char *name, *file; /* of the tensor; path of the file that holds it */
    ls_foreign_type type;
    int ndim; /* 0: one number */
    int64_t shape[LS_MAX_DIMS];
    int64_t count;    /* product of shape; may be 0 */
    const void *data; /* in the mapping, at any address: read it with memcpy */
} ls_foreign_tensor;

typedef struct ls_foreign ls_foreign;

/* `path`: a file of those kinds, known by its first bytes, or a folder with model.safetensors,
 * model.safetensors.index.json or pytorch_model.bin.
 * LS_ENOTFOUND: nothing of that kind; LS_EIO; LS_EFORMAT: what does not fit, by file and tensor; LS_EMEM. */
ls_status ls_foreign_open(ls_foreign **set, const char *path);
/* The same for a file that is in memory and outlives the set; `name` stands for its path. */
ls_status ls_foreign_open_bytes(ls_foreign **set, const char *name, const void *bytes, size_t size);
void ls_foreign_close(ls_foreign *set);

int ls_foreign_count(const ls_foreign *set);
const ls_foreign_tensor *ls_foreign_at(const ls_foreign *set, int index);          /* ascending by name, byte-wise */
const ls_foreign_tensor *ls_foreign_find(const ls_foreign *set, const char *name); /* NULL: not there */

/* Elements [first, first + count) as f32, exactly. LS_EFORMAT: the tensor is not F32, F16 or BF16. */
ls_status ls_foreign_floats(const ls_foreign_tensor *tensor, int64_t first, int64_t count, float *to);
/* "F32 [512, 64]", for messages; in the caller's room. */
enum { LS_FOREIGN_DESCRIPTION = 160 };
const char *ls_foreign_describe(const ls_foreign_tensor *tensor, char text[LS_FOREIGN_DESCRIPTION]);
