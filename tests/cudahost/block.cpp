/* Runs a grid block by block, the threads of a block as fibers.
 *
 * A thread runs until it must wait; then the next ready one runs, or the next that has not begun. A thread that ends
 * leaves its stack to the next one, so a kernel without barriers switches no stacks at all. Which warp of a block and
 * which block of the grid go first is the adversary's choice (order.cpp). */
#include "runtime.h"
#include "fiber.h"
#include <cudahost/kernel.h>
#include <cudahost/warp.h>
#include <sys/mman.h>
#include <string.h>
#include <vector>

static const unsigned max_threads = 1024, warp_lanes = 32, max_warps = max_threads / warp_lanes;
static const size_t stack_bytes = 256 << 10, guard_bytes = 4096;

extern "C" {
uint3 threadIdx, blockIdx, blockDim, gridDim; /* kernel.h declares them constant: here is who sets them */
}

enum wait_kind { wait_none, wait_barrier, wait_shuffle, wait_ballot, wait_syncwarp, wait_collective };

static const char *const wait_names[] = {"nothing", "__syncthreads", "a shuffle",
                                         "a vote",  "__syncwarp",    "a WMMA call"};

struct thread {
    fiber_context context;
    uint3 index;
    unsigned number;
    bool begun, done;
    char *stack;
    /* What it waits for, where, and with what; the one who ends the wait fills in the result. */
    wait_kind kind;
    const char *file;
    int line;
    unsigned mask;
    int source;
    uint64_t brought, result;
    void *payload;
};

struct warp {
    unsigned live, waiting; /* lanes that have not ended; lanes in a shuffle, a vote or such */
    bool one_group;         /* all that wait are in the same call with the same mask */
};

static thread threads[max_threads];
static warp warps[max_warps];
static thread *ready[max_threads];
static unsigned ready_first, ready_count;
static unsigned order[max_threads]; /* the order in which threads begin */
static unsigned n_threads, n_begun, n_done, n_at_barrier, barrier_count;
static thread *current, *first_at_barrier;
static fiber_context scheduler, never; /* never: of a thread that is left for good */
static const kernel_launch *running;
static unsigned block_number;

static char *stacks;
static char *free_stacks[max_threads];
static unsigned n_free_stacks, n_made_stacks;

static char *dynamic_memory;
static const size_t dynamic_limit = 232448; /* bytes of shared memory a block may ask for on sm_90 */

/* ---- Who and where */

bool block_running()
{
    return current != nullptr;
}

unsigned block_threads()
{
    return n_threads;
}

const cudahost::closure *block_closure()
{
    return &running->body;
}

char *block_dynamic_shared(size_t *bytes)
{
    *bytes = running != nullptr ? running->shared_bytes : 0;
    return dynamic_memory;
}

void block_stack(char **low, char **high)
{
    *low = current->stack;
    *high = current->stack + stack_bytes;
}

void block_stacks(char **low, char **high)
{
    *low = stacks;
    *high = stacks + max_threads * stack_bytes;
}

static uint3 place_in(unsigned number, dim3 extent)
{
    uint3 index = {number % extent.x, number / extent.x % extent.y, number / extent.x / extent.y};
    return index;
}

std::string block_thread_name(unsigned block, unsigned number)
{
    char text[512];
    uint3 t = place_in(number, running->block), b = place_in(block, running->grid);
    snprintf(text, sizeof text, "thread (%u,%u,%u) of block (%u,%u,%u) of kernel %s", t.x, t.y, t.z, b.x, b.y, b.z,
             running->name);
    return text;
}

std::string block_thread_name()
{
    return block_thread_name(block_number, current->number);
}

static std::string waiting(const thread *t)
{
    char text[600];
    snprintf(text, sizeof text, "%s waits in %s at %s:%d", block_thread_name(block_number, t->number).c_str(),
             wait_names[t->kind], t->file, t->line);
    return text;
}

/* ---- Stacks */

static char *take_stack()
{
    if (n_free_stacks > 0)
        return free_stacks[--n_free_stacks];
    if (stacks == nullptr) {
        stacks = static_cast<char *>(mmap(nullptr, max_threads * stack_bytes, PROT_READ | PROT_WRITE,
                                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
        if (stacks == MAP_FAILED) {
            perror("cudahost: cannot reserve the stacks of a block");
            abort();
        }
    }
    char *stack = stacks + n_made_stacks++ * stack_bytes;
    mprotect(stack, guard_bytes, PROT_NONE);
    return stack;
}

static void give_stack(char *stack)
{
    free_stacks[n_free_stacks++] = stack;
}

/* ---- Switching */

static void ready_push(thread *t)
{
    t->kind = wait_none;
    ready[(ready_first + ready_count++) % max_threads] = t;
}

static thread *ready_pop()
{
    thread *t = ready[ready_first];
    ready_first = (ready_first + 1) % max_threads;
    ready_count--;
    return t;
}

static void become(thread *t)
{
    current = t;
    threadIdx = t->index;
    check_thread(t->number);
}

static void run_threads();
static void deadlock();

/* The running thread stops here (its context kept in `from`); another goes on, or the block is over. */
static void leave(fiber_context *from)
{
    if (ready_count > 0) {
        thread *t = ready_pop();
        become(t);
        fiber_switch(from, &t->context);
    } else if (n_begun < n_threads) {
        /* The stack starts so that the tops of stacks do not all fall into the same sets of the cache. */
        char *stack = take_stack();
        size_t colour = (size_t)(stack - stacks) / stack_bytes % 32 * 448;
        static fiber_context fresh; /* read once, by this switch */
        fiber_start(&fresh, stack, stack_bytes - colour, run_threads);
        threads[order[n_begun]].stack = stack;
        fiber_switch(from, &fresh);
    } else if (n_done == n_threads) {
        fiber_switch(from, &scheduler);
    } else {
        deadlock();
    }
}

static void finish(thread *t);

/* The body of every fiber: run threads that have not begun while none is ready to go on. */
static void run_threads()
{
    char *stack = threads[order[n_begun]].stack;
    for (;;) {
        thread *t = &threads[order[n_begun++]];
        t->begun = true;
        t->stack = stack;
        become(t);
        running->body.call(running->body.object);
        finish(t);
        if (ready_count > 0 || n_begun == n_threads) {
            give_stack(stack);
            leave(&never);
        }
    }
}

void block_abandon()
{
    fiber_switch(&never, &scheduler);
    __builtin_unreachable();
}

/* No thread can go on, and some have not ended. */
static void deadlock()
{
    const thread *first = nullptr, *other = nullptr;
    for (unsigned i = 0; i < n_threads; i++) {
        const thread *t = &threads[i];
        if (t->done)
            continue;
        if (first == nullptr)
            first = t;
        else if (other == nullptr && (t->kind != first->kind || t->mask != first->mask || t->line != first->line))
            other = t;
    }
    report_fault(cudaErrorLaunchTimeout, "deadlock: %s (mask %#x)%s%s; nobody can go on", waiting(first).c_str(),
                 first->kind == wait_barrier ? 0xffffffffu : first->mask, other != nullptr ? ", and " : "",
                 other != nullptr ? waiting(other).c_str() : "");
}

/* ---- Barriers */

int cudahost_syncthreads_count(int predicate, const char *file, int line)
{
    thread *me = current;
    me->file = file;
    me->line = line;
    if (n_done > 0) {
        me->kind = wait_barrier;
        report_fault(cudaErrorLaunchFailure, "divergent barrier: %s, but %u threads of the block have ended before it",
                     waiting(me).c_str(), n_done);
    }
    if (n_at_barrier > 0) {
        const thread *there = first_at_barrier;
        if (there->line != line || strcmp(there->file, file) != 0) {
            me->kind = wait_barrier;
            report_fault(cudaErrorLaunchFailure, "divergent barrier: %s, but %s", waiting(me).c_str(),
                         waiting(there).c_str());
        }
    } else {
        barrier_count = 0;
        first_at_barrier = me;
    }
    barrier_count += predicate != 0;
    if (++n_at_barrier < n_threads) {
        me->kind = wait_barrier;
        leave(&me->context);
        return (int)me->result;
    }
    n_at_barrier = 0;
    check_block_interval();
    for (unsigned i = 0; i < n_threads; i++) {
        thread *t = &threads[order[i]];
        if (t->kind == wait_barrier) {
            t->result = barrier_count;
            ready_push(t);
        }
    }
    check_thread(me->number);
    return (int)barrier_count;
}

void cudahost_syncthreads(const char *file, int line)
{
    cudahost_syncthreads_count(0, file, line);
}

/* ---- Warps */

static unsigned lane_of(const thread *t)
{
    return t->number % warp_lanes;
}

/* All lanes of `group` are here: give each what it came for. */
static void meet(unsigned warp_number, unsigned group, wait_kind kind)
{
    thread *lanes = &threads[warp_number * warp_lanes];
    unsigned votes = 0;
    if (kind == wait_ballot)
        for (unsigned lane = 0; lane < warp_lanes; lane++)
            if (group >> lane & 1 && lanes[lane].brought != 0)
                votes |= 1u << lane;
    for (unsigned lane = 0; lane < warp_lanes; lane++) {
        if ((group >> lane & 1) == 0)
            continue;
        thread *t = &lanes[lane];
        t->result = votes;
        if (kind == wait_shuffle) {
            unsigned source = (unsigned)t->source % warp_lanes;
            if ((group >> source & 1) == 0)
                report_fault(cudaErrorLaunchFailure,
                             "undefined shuffle: lane %u, %s:%d, reads from lane %u, which %s; %s", lane, t->file,
                             t->line, source, t->mask >> source & 1 ? "has ended" : "is not in its mask",
                             block_thread_name(block_number, t->number).c_str());
            t->result = lanes[source].brought;
        }
    }
    if (kind == wait_syncwarp)
        check_warp_interval(warp_number);
    if (kind == wait_collective) {
        void *payloads[warp_lanes];
        for (unsigned lane = 0; lane < warp_lanes; lane++)
            payloads[lane] = lanes[lane].payload;
        check_pause(true);
        reinterpret_cast<void (*)(void **)>(lanes[0].brought)(payloads);
        check_pause(false);
    }
}

static bool same_call(const thread *a, const thread *b)
{
    return a->kind == b->kind && a->line == b->line && (a->file == b->file || strcmp(a->file, b->file) == 0);
}

/* The running lane comes to a warp call described in its thread; returns when all lanes of the mask have come. */
static void come_together(thread *me)
{
    unsigned number = me->number / warp_lanes, bit = 1u << lane_of(me);
    warp *w = &warps[number];
    thread *lanes = &threads[number * warp_lanes];
    if ((me->mask & bit) == 0)
        report_fault(cudaErrorLaunchFailure, "wrong mask: %s, with mask %#x, which leaves out its own lane %u",
                     waiting(me).c_str(), me->mask, lane_of(me));
    /* Lanes of the mask may still wait in another call that does not need this lane: they will come. */
    unsigned here = 0;
    for (unsigned left = w->waiting & me->mask; left != 0; left &= left - 1) {
        const thread *there = &lanes[__builtin_ctz(left)];
        if (there->mask == me->mask && same_call(there, me))
            here |= 1u << lane_of(there);
        else if ((there->mask & bit) != 0)
            report_fault(cudaErrorLaunchFailure, "divergent warp: %s with mask %#x, but %s with mask %#x",
                         waiting(me).c_str(), me->mask, waiting(there).c_str(), there->mask);
        if (here == 1u << lane_of(there) && w->one_group) {
            here = w->waiting; /* all who wait are in one call, and this lane comes to it */
            break;
        }
    }
    unsigned group = w->live & me->mask;
    if ((here | bit) != group) {
        w->one_group = w->waiting == 0 || (w->one_group && here == w->waiting);
        w->waiting |= bit;
        leave(&me->context);
        return;
    }
    meet(number, group, me->kind);
    w->waiting &= ~group;
    me->kind = wait_none;
    for (unsigned lane = 0; lane < warp_lanes; lane++)
        if (here >> lane & 1)
            ready_push(&lanes[lane]);
    check_thread(me->number);
}

/* A lane has ended: those who waited for it may be complete now. */
static void release_warp(unsigned number)
{
    warp *w = &warps[number];
    thread *lanes = &threads[number * warp_lanes];
    for (unsigned left = w->waiting; left != 0;) {
        const thread *t = &lanes[__builtin_ctz(left)];
        unsigned group = t->mask & w->live, here = 0;
        for (unsigned lane = 0; lane < warp_lanes; lane++)
            if (w->waiting >> lane & 1 && lanes[lane].mask == t->mask && same_call(&lanes[lane], t))
                here |= 1u << lane;
        left &= ~here;
        if (here != group)
            continue;
        meet(number, group, t->kind);
        w->waiting &= ~group;
        for (unsigned lane = 0; lane < warp_lanes; lane++)
            if (group >> lane & 1)
                ready_push(&lanes[lane]);
    }
}

static void finish(thread *t)
{
    unsigned number = t->number / warp_lanes;
    t->done = true;
    n_done++;
    warps[number].live &= ~(1u << lane_of(t));
    if (n_at_barrier > 0)
        report_fault(cudaErrorLaunchFailure, "divergent barrier: %s, but %s has ended without it",
                     waiting(first_at_barrier).c_str(), block_thread_name(block_number, t->number).c_str());
    if (warps[number].waiting != 0)
        release_warp(number);
}

static thread *arrive(wait_kind kind, unsigned mask, const char *file, int line)
{
    thread *me = current;
    me->kind = kind;
    me->mask = mask;
    me->file = file;
    me->line = line;
    return me;
}

uint64_t cudahost_shuffle(unsigned mask, uint64_t bits, int source, const char *file, int line)
{
    thread *me = arrive(wait_shuffle, mask, file, line);
    me->brought = bits;
    me->source = source;
    come_together(me);
    return me->result;
}

unsigned cudahost_ballot(unsigned mask, int predicate, const char *file, int line)
{
    thread *me = arrive(wait_ballot, mask, file, line);
    me->brought = predicate != 0;
    come_together(me);
    return (unsigned)me->result;
}

void cudahost_syncwarp(unsigned mask, const char *file, int line)
{
    come_together(arrive(wait_syncwarp, mask, file, line));
}

void cudahost_collective(void *payload, void (*function)(void **), const char *file, int line)
{
    thread *me = arrive(wait_collective, 0xffffffffu, file, line);
    if (warps[me->number / warp_lanes].live != 0xffffffffu)
        report_fault(cudaErrorLaunchFailure, "incomplete warp: %s, but lanes of its warp have ended or do not exist",
                     waiting(me).c_str());
    me->payload = payload;
    me->brought = reinterpret_cast<uint64_t>(function);
    come_together(me);
}

unsigned cudahost_activemask(void)
{
    return warps[current->number / warp_lanes].live;
}

int cudahost_lane(void)
{
    return (int)lane_of(current);
}

/* load_matrix_sync and store_matrix_sync: "mptr must be a 256-bit aligned pointer", "ldm must be a multiple of 8 for
 * half or 4 for float" (programming guide, Warp Matrix Functions), the same for all lanes. */
struct wmma_memory {
    const void *address;
    unsigned leading;
    const char *file;
    int line;
};

static void meet_wmma_memory(void **payloads)
{
    const wmma_memory *first = static_cast<wmma_memory *>(payloads[0]);
    for (unsigned lane = 1; lane < warp_lanes; lane++) {
        const wmma_memory *m = static_cast<wmma_memory *>(payloads[lane]);
        if (m->address != first->address || m->leading != first->leading)
            report_fault(
                cudaErrorLaunchFailure,
                "divergent WMMA load or store at %s:%d: lanes 0 and %u give different addresses or strides; %s",
                m->file, m->line, lane, block_thread_name().c_str());
    }
}

extern "C" void cudahost_wmma_memory(const void *address, unsigned leading, size_t element, const char *file, int line)
{
    if ((uintptr_t)address % 32 != 0 || leading * element % 16 != 0)
        report_fault(cudaErrorMisalignedAddress,
                     "misaligned WMMA load or store at %s:%d: address %p (must be a multiple of 32), leading dimension "
                     "%u of %zu bytes (must be a multiple of 16 bytes); %s",
                     file, line, address, leading, element, block_thread_name().c_str());
    wmma_memory m = {address, leading, file, line};
    cudahost_collective(&m, meet_wmma_memory, file, line);
}

static size_t dynamic_allowed;

size_t block_shared_allowed()
{
    return dynamic_allowed;
}

/* For all kernels at once: the launch that the emulation sees does not know its kernel's address. */
extern "C" cudaError_t cudaFuncSetAttribute(const void *function, enum cudaFuncAttribute attribute, int value)
{
    bool fits = function != nullptr && (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize ||
                                        (value >= 0 && (size_t)value <= dynamic_limit));
    if (!fits)
        return report_refusal(cudaErrorInvalidValue,
                              "cudaFuncSetAttribute: value %d; a block has at most %zu bytes of "
                              "shared memory",
                              value, dynamic_limit);
    if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize && (size_t)value > dynamic_allowed)
        dynamic_allowed = (size_t)value;
    return cudaSuccess;
}

void *cudahost_dynamic_shared(void)
{
    return dynamic_memory;
}

void cudahost_trap(const char *file, int line)
{
    report_fault(cudaErrorLaunchFailure, "__trap at %s:%d by %s", file, line, block_thread_name().c_str());
    __builtin_unreachable();
}

/* ---- Grids */

/* Warps in the adversary's order, lanes forwards or backwards. */
static void choose_order()
{
    unsigned n_warps = (n_threads + warp_lanes - 1) / warp_lanes, warp_order[max_warps], n = 0;
    bool backwards = order_random() & 1;
    for (unsigned i = 0; i < n_warps; i++) {
        unsigned j = order_seed() == 0 ? i : (unsigned)(order_random() % (i + 1));
        warp_order[i] = i;
        warp_order[i] = warp_order[j];
        warp_order[j] = i;
    }
    for (unsigned i = 0; i < n_warps; i++) {
        unsigned first = warp_order[i] * warp_lanes,
                 lanes = n_threads - first < warp_lanes ? n_threads - first : warp_lanes;
        for (unsigned lane = 0; lane < lanes; lane++)
            order[n++] = first + (backwards ? lanes - 1 - lane : lane);
    }
}

static void begin_block(unsigned number)
{
    block_number = number;
    blockIdx = place_in(number, running->grid);
    n_begun = n_done = n_at_barrier = 0;
    ready_first = ready_count = 0;
    for (unsigned i = 0; i < n_threads; i++) {
        threads[i].begun = threads[i].done = false;
        threads[i].kind = wait_none;
    }
    for (unsigned w = 0; w * warp_lanes < n_threads; w++) {
        unsigned lanes = n_threads - w * warp_lanes;
        warps[w].live = lanes >= warp_lanes ? 0xffffffffu : (1u << lanes) - 1;
        warps[w].waiting = 0;
    }
    check_block_begin(number, n_threads);
}

static bool run_block(unsigned number)
{
    begin_block(number);
    /* Shared memory begins undefined: NaN. */
    if (running->shared_bytes > 0)
        memset(dynamic_memory, 0xff, running->shared_bytes);
    leave(&scheduler);
    current = nullptr;
    return report_sticky() == cudaSuccess;
}

void block_run(const kernel_launch &launch)
{
    unsigned long n_blocks = (unsigned long)launch.grid.x * launch.grid.y * launch.grid.z;
    if (dynamic_memory == nullptr)
        dynamic_memory = static_cast<char *>(aligned_alloc(1024, BLOCK_DYNAMIC_ROOM));
    memory_settle();
    running = &launch;
    n_threads = launch.block.x * launch.block.y * launch.block.z;
    blockDim = uint3{launch.block.x, launch.block.y, launch.block.z};
    gridDim = uint3{launch.grid.x, launch.grid.y, launch.grid.z};
    for (unsigned i = 0; i < n_threads; i++) {
        threads[i].number = i;
        threads[i].index = place_in(i, launch.block);
    }
    choose_order();
    check_launch_begin();
    unsigned long start = order_random() % n_blocks;
    bool backwards = order_random() & 1, going = true;
    for (unsigned long i = 0; i < n_blocks && going; i++) {
        unsigned long number = (start + i) % n_blocks;
        going = run_block((unsigned)(backwards ? n_blocks - 1 - number : number));
    }
    check_launch_end();
    if (!going) { /* threads were left where they stood: all stacks are free again */
        n_free_stacks = 0;
        for (unsigned i = n_made_stacks; i-- > 0;)
            give_stack(stacks + i * stack_bytes);
    }
    running = nullptr;
}
