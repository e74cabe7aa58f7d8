/* What the files of the emulation share. One host thread at a time runs device work, under the lock of stream.cpp. */
#ifndef CUDAHOST_INTERNAL_H
#define CUDAHOST_INTERNAL_H

#define CUDAHOST_RUNTIME
#include <stdint.h>
#include <functional>
#include <string>
#include <cuda_runtime_api.h>
#include <cudahost/launch.h>

/* ---- order.cpp: the adversary's dice */
uint64_t order_seed();
uint64_t order_random(); /* the next number; 0 always if the seed is 0 */
long order_environment(const char *name, long otherwise);

/* ---- report.cpp */
/* Records the fault and its sentence, prints it, and makes `error` sticky. Inside a kernel it does not return: the
 * launch ends there. */
void report_fault(cudaError_t error, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Says on stderr why a call is refused with `error`, which is not sticky; returns it as report_error does. */
cudaError_t report_refusal(cudaError_t error, const char *format, ...) __attribute__((format(printf, 2, 3)));
void report_sentence(const char *code, const char *text); /* the same for a library's double, with its own codes */
std::string report_place(const void *pc);                 /* "file.cu:12" of an instruction, or its address */
void report_forget();
cudaError_t report_sticky();                 /* cudaSuccess if there was no fault */
cudaError_t report_error(cudaError_t error); /* sets what cudaGetLastError returns, and returns it (sticky first) */

/* ---- memory.cpp */
struct memory_heap {
    char *base;
    size_t bytes;    /* reserved addresses */
    uint16_t *valid; /* of each 256 bytes: how many, from the first on, may be touched */
};
extern memory_heap memory_device;
static const size_t memory_grain = 256;

void memory_init();
void memory_open(bool open);                              /* device memory may be touched by this process, or not */
bool memory_is_device(const void *address, size_t bytes); /* wholly inside one live allocation */
bool memory_is_managed(const void *address);              /* in the half for cudaMallocManaged */
bool memory_is_pinned(const void *address, size_t bytes);
bool memory_in_heap(const void *address);
std::string memory_describe(const void *address);
cudaError_t memory_allocate(void **pointer, size_t bytes, bool managed);
cudaError_t memory_check_live(void *pointer); /* the start of a live device block? */
void memory_release(void *pointer);
cudaError_t memory_info(size_t *available, size_t *total);
cudaError_t memory_pin(void **pointer, size_t bytes);
cudaError_t memory_unpin(void *pointer);
cudaError_t memory_register(void *pointer, size_t bytes);
cudaError_t memory_unregister(void *pointer);
void memory_fill(void *address, int value, size_t bytes); /* cudaMemset */
void memory_settle(); /* writes the NaNs that are due: before device work other than a fill */

/* ---- block.cpp */
struct kernel_launch {
    dim3 grid, block;
    size_t shared_bytes;
    cudahost::closure body;
    const char *name, *file;
    int line;
};
void block_run(const kernel_launch &launch); /* all blocks of the grid */
size_t block_shared_allowed();               /* bytes of dynamic shared memory that cudaFuncSetAttribute allowed */
bool block_running();                        /* inside a kernel */
void block_abandon() __attribute__((noreturn));
std::string block_thread_name(); /* "thread (1,0,0) of block (0,0,0) of kernel scale" */
std::string block_thread_name(unsigned block, unsigned thread);
unsigned block_threads();
char *block_dynamic_shared(size_t *bytes);
enum { BLOCK_DYNAMIC_ROOM = 256 << 10 }; /* of it: what lies behind its end is nobody else's, so that it is out of bounds */
/* Where the running thread's stack lies, and all stacks. */
void block_stack(char **low, char **high);
void block_stacks(char **low, char **high);
const cudahost::closure *block_closure();

/* ---- stream.cpp */
/* Queues work on a stream (nullptr: the legacy default stream), for the doubles of libraries; `kernel` tells algorithms apart. */
cudaError_t stream_enqueue(cudaStream_t stream, std::function<void()> work, uint64_t kernel);
void stream_forget(); /* drops what is queued */
/* For each CUDA function and each function of a double: the lock, and what may not be called when. */
struct stream_call {
    stream_call();
    ~stream_call();
    cudaError_t refused; /* a sticky error, or cudaErrorNotPermitted inside a host function */
};

/* ---- check.cpp: stamps of accesses, told of every event that orders them */
void check_launch_begin();
void check_launch_end();
void check_block_begin(unsigned block, unsigned threads);
void check_block_interval();             /* all threads passed a barrier */
void check_warp_interval(unsigned warp); /* the lanes of a __syncwarp */
void check_thread(unsigned thread);      /* this thread runs from now on */
void check_pause(bool pause);            /* the emulation's own work inside a kernel */

#endif
