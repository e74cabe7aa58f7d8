/* The calls that -fsanitize=thread,alignment,bounds puts before accesses, answered by check.cpp instead of a
 * sanitizer's runtime. The names and arguments are the compilers' (GCC's sanitizer.def, LLVM's tsan_interface.h and
 * ubsan_handlers.h). */
#include "check.h"
#include "runtime.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HERE __builtin_return_address(0)

static void aligned(const void *address, size_t size, check_kind kind, const void *pc)
{
    if (!check_active())
        return;
    if ((uintptr_t)address % size != 0)
        report_fault(cudaErrorMisalignedAddress, "misaligned access at %s: %s %s %zu bytes at %p",
                     report_place(pc).c_str(), block_thread_name().c_str(), kind == check_read ? "reads" : "writes",
                     size, address);
    check_access(address, size, kind, pc);
}

/* What a sanitizer's report starts with: file, line, column. */
struct source_location {
    const char *file;
    uint32_t line, column;
};

struct type_descriptor {
    uint16_t kind, info;
    char name[1];
};

struct type_mismatch {
    source_location where;
    const type_descriptor *type;
    unsigned char log_alignment, check;
};

struct out_of_bounds_index {
    source_location where;
    const type_descriptor *array, *index;
};

static void report_at(cudaError_t error, const source_location &where, const char *sentence)
{
    if (block_running())
        report_fault(error, "%s at %s:%u: %s", sentence, where.file, where.line, block_thread_name().c_str());
    fprintf(stderr, "cudahost: %s at %s:%u, in host code\n", sentence, where.file, where.line);
    abort();
}

extern "C" {
#define ACCESSES(bits, bytes)                                                                                          \
    void __tsan_read##bytes(const void *p)                                                                             \
    {                                                                                                                  \
        aligned(p, bytes, check_read, HERE);                                                                           \
    }                                                                                                                  \
    void __tsan_write##bytes(const void *p)                                                                            \
    {                                                                                                                  \
        aligned(p, bytes, check_write, HERE);                                                                          \
    }                                                                                                                  \
    void __tsan_unaligned_read##bytes(const void *p)                                                                   \
    {                                                                                                                  \
        check_access(p, bytes, check_read, HERE);                                                                      \
    }                                                                                                                  \
    void __tsan_unaligned_write##bytes(const void *p)                                                                  \
    {                                                                                                                  \
        check_access(p, bytes, check_write, HERE);                                                                     \
    }
ACCESSES(8, 1)
ACCESSES(16, 2)
ACCESSES(32, 4)
ACCESSES(64, 8)
ACCESSES(128, 16)

void __tsan_read_range(const void *p, size_t bytes)
{
    check_access(p, bytes, check_read, HERE);
}

void __tsan_write_range(const void *p, size_t bytes)
{
    check_access(p, bytes, check_write, HERE);
}

void *__tsan_memcpy(void *to, const void *from, size_t bytes)
{
    check_access(from, bytes, check_read, HERE);
    check_access(to, bytes, check_write, HERE);
    return memcpy(to, from, bytes);
}

void *__tsan_memmove(void *to, const void *from, size_t bytes)
{
    check_access(from, bytes, check_read, HERE);
    check_access(to, bytes, check_write, HERE);
    return memmove(to, from, bytes);
}

void *__tsan_memset(void *to, int value, size_t bytes)
{
    check_access(to, bytes, check_write, HERE);
    return memset(to, value, bytes);
}

void __tsan_init(void)
{
}

void __tsan_func_entry(void *)
{
}

void __tsan_func_exit(void)
{
}

void __tsan_vptr_update(void *, void *)
{
}

void __tsan_vptr_read(void *)
{
}

/* Atomics of the host code in a .cu file (a kernel's are cudahost_atomic): done as they are. */
#define ATOMICS(bits, type)                                                                                            \
    type __tsan_atomic##bits##_load(const volatile type *p, int)                                                       \
    {                                                                                                                  \
        return __atomic_load_n(p, __ATOMIC_SEQ_CST);                                                                   \
    }                                                                                                                  \
    void __tsan_atomic##bits##_store(volatile type *p, type v, int)                                                    \
    {                                                                                                                  \
        __atomic_store_n(p, v, __ATOMIC_SEQ_CST);                                                                      \
    }                                                                                                                  \
    type __tsan_atomic##bits##_exchange(volatile type *p, type v, int)                                                 \
    {                                                                                                                  \
        return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);                                                            \
    }                                                                                                                  \
    type __tsan_atomic##bits##_fetch_add(volatile type *p, type v, int)                                                \
    {                                                                                                                  \
        return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);                                                             \
    }                                                                                                                  \
    int __tsan_atomic##bits##_compare_exchange_strong(volatile type *p, type *expected, type v, int, int)              \
    {                                                                                                                  \
        return __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                 \
    }
ATOMICS(8, uint8_t)
ATOMICS(16, uint16_t)
ATOMICS(32, uint32_t)
ATOMICS(64, uint64_t)

void cudahost_atomic(const void *address, size_t bytes)
{
    check_access(address, bytes, check_atomic, HERE);
}

void __ubsan_handle_type_mismatch_v1(const type_mismatch *data, uintptr_t address)
{
    char sentence[512];
    if (data->log_alignment == 0 || address % (1ul << data->log_alignment) == 0)
        return;
    snprintf(sentence, sizeof sentence, "misaligned access: address %#lx of a %s, which needs a multiple of %lu,",
             (unsigned long)address, data->type->name, 1ul << data->log_alignment);
    report_at(cudaErrorMisalignedAddress, data->where, sentence);
}

void __ubsan_handle_out_of_bounds(const out_of_bounds_index *data, uintptr_t index)
{
    char sentence[512];
    snprintf(sentence, sizeof sentence, "out-of-bounds index %ld of an array of type %s", (long)index,
             data->array->name);
    report_at(cudaErrorIllegalAddress, data->where, sentence);
}
}
