/* Device and pinned memory.
 *
 * Device memory is one reserved range of addresses, so that a check tells a device address by two comparisons. Blocks
 * start at multiples of 256 bytes and are followed by at least 256 bytes that belong to nobody (the red zone).
 * Addresses of freed blocks are used again only when the range is used up. Fresh memory is full of 0xFF: NaN in every
 * float type; large blocks get it when the first device work comes that is not a fill of the whole block. Outside of
 * device work the range is closed (PROT_NONE): host code that touches it ends with a sentence. The upper half of the
 * range is for managed memory (cudaMallocManaged), which is never closed. */
#include "runtime.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cudahost.h>
#include <map>

memory_heap memory_device;

struct block {
    size_t bytes, span; /* asked for; with its red zone */
    bool freed, managed;
    bool unfilled;        /* its NaNs are still to be written */
    unsigned long serial; /* the how-many-th cudaMalloc */
};

/* Never destroyed: the helper thread of stream.cpp may use them until the process is gone. */
static std::map<char *, block> &blocks = *new std::map<char *, block>;       /* live and freed, by address */
static std::map<char *, size_t> &pinned = *new std::map<char *, size_t>;     /* cudaMallocHost, cudaHostAlloc */
static std::map<char *, size_t> &registered = *new std::map<char *, size_t>; /* cudaHostRegister */
static size_t used, capacity;                                                /* bytes in live blocks; of the device */
static size_t top, managed_top; /* how far the halves of the range are used */
static size_t n_unfilled;
static unsigned long serial;
static bool guarded, is_open;

static size_t round_up(size_t n)
{
    return (n + memory_grain - 1) / memory_grain * memory_grain;
}

static struct sigaction before;

static void segment_fault(int, siginfo_t *info, void *)
{
    static const char says[] = "cudahost: host code touches device memory (a pointer of cudaMalloc read or written "
                               "outside of a kernel), or a kernel's stack of 256 KiB is full\n";
    if (memory_in_heap(info->si_addr) || block_running())
        (void)!write(2, says, sizeof says - 1);
    sigaction(SIGSEGV, &before,
              nullptr); /* the access is tried again, and meets the program's own handler or its end */
}

void memory_init()
{
    if (memory_device.base != nullptr)
        return;
    capacity = (size_t)order_environment("CUDAHOST_MEMORY", 4L << 30);
    guarded = order_environment("CUDAHOST_GUARD", 1) != 0;
    memory_device.bytes = (capacity * 8 + (2 << 20)) & ~(size_t)((2 << 20) - 1);
    void *base = mmap(nullptr, memory_device.bytes, guarded ? PROT_NONE : PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    void *valid = mmap(nullptr, memory_device.bytes / memory_grain * sizeof(uint16_t), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED || valid == MAP_FAILED) {
        perror("cudahost: cannot reserve addresses for device memory");
        abort();
    }
    memory_device.base = static_cast<char *>(base);
    memory_device.valid = static_cast<uint16_t *>(valid);
    top = memory_grain; /* nothing lies right before the first block either */
    managed_top = memory_device.bytes / 2 + memory_grain;
    if (guarded && mprotect(memory_device.base + managed_top - memory_grain, memory_device.bytes / 2,
                            PROT_READ | PROT_WRITE) != 0) {
        perror("cudahost: cannot open managed memory");
        abort();
    }
    if (guarded) {
        static char signal_stack[32 << 10];
        stack_t alternative = {};
        alternative.ss_sp = signal_stack;
        alternative.ss_size = sizeof signal_stack;
        struct sigaction action = {};
        action.sa_sigaction = segment_fault;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigaltstack(&alternative, nullptr);
        sigaction(SIGSEGV, &action, &before);
    }
}

void memory_open(bool open)
{
    if (open == is_open)
        return;
    is_open = open;
    if (guarded && top > 0)
        mprotect(memory_device.base, top, open ? PROT_READ | PROT_WRITE : PROT_NONE);
}

bool memory_in_heap(const void *address)
{
    const char *p = static_cast<const char *>(address);
    return memory_device.base != nullptr && p >= memory_device.base && p < memory_device.base + memory_device.bytes;
}

/* The block that starts at or before the address; blocks.end() if there is none. */
static std::map<char *, block>::iterator block_before(const void *address)
{
    auto it = blocks.upper_bound(static_cast<char *>(const_cast<void *>(address)));
    return it == blocks.begin() ? blocks.end() : --it;
}

bool memory_is_device(const void *address, size_t bytes)
{
    auto it = block_before(address);
    if (it == blocks.end() || it->second.freed)
        return false;
    size_t offset = (size_t)(static_cast<const char *>(address) - it->first);
    return offset <= it->second.bytes && bytes <= it->second.bytes - offset;
}

bool memory_is_managed(const void *address)
{
    return memory_in_heap(address) &&
           static_cast<const char *>(address) >= memory_device.base + memory_device.bytes / 2;
}

static bool inside(const std::map<char *, size_t> &ranges, const void *address, size_t bytes)
{
    auto it = ranges.upper_bound(static_cast<char *>(const_cast<void *>(address)));
    if (it == ranges.begin())
        return false;
    --it;
    size_t offset = (size_t)(static_cast<const char *>(address) - it->first);
    return offset <= it->second && bytes <= it->second - offset;
}

bool memory_is_pinned(const void *address, size_t bytes)
{
    return inside(pinned, address, bytes) || inside(registered, address, bytes);
}

std::string memory_describe(const void *address)
{
    char text[256];
    auto it = block_before(address);
    if (!memory_in_heap(address)) {
        snprintf(text, sizeof text, "%p is host memory", address);
    } else if (it == blocks.end()) {
        snprintf(text, sizeof text, "%p lies before every block of device memory", address);
    } else {
        long offset = (long)(static_cast<const char *>(address) - it->first);
        long beyond = offset - (long)it->second.bytes;
        if (it->second.freed)
            snprintf(text, sizeof text, "%p is byte %ld of a freed block of %zu bytes (allocation %lu)", address,
                     offset, it->second.bytes, it->second.serial);
        else if (beyond >= 0)
            snprintf(text, sizeof text, "%p is %ld bytes past the end of a block of %zu bytes (allocation %lu)",
                     address, beyond, it->second.bytes, it->second.serial);
        else
            snprintf(text, sizeof text, "%p is byte %ld of a block of %zu bytes (allocation %lu)", address, offset,
                     it->second.bytes, it->second.serial);
    }
    return text;
}

/* Whole pages of zeros are given back to the machine: a large arena that is cleared takes no room. */
void memory_fill(void *address, int value, size_t bytes)
{
    uintptr_t low = ((uintptr_t)address + 4095) & ~(uintptr_t)4095;
    uintptr_t high = ((uintptr_t)address + bytes) & ~(uintptr_t)4095;
    auto it = block_before(address);
    if (memory_in_heap(address) && it->second.unfilled && it->first == address && it->second.bytes == bytes) {
        it->second.unfilled = false;
        n_unfilled--;
    }
    if (!memory_in_heap(address) || value != 0 || high < low + (1u << 20)) {
        memset(address, value, bytes);
        return;
    }
    madvise((void *)low, high - low, MADV_DONTNEED);
    memset(address, 0, low - (uintptr_t)address);
    memset((void *)high, 0, (uintptr_t)address + bytes - high);
}

static void poison_value(void *address, size_t bytes)
{
    bool was_open = is_open;
    memory_open(true);
    memset(address, 0xff, bytes);
    memory_open(was_open);
}

void memory_settle()
{
    if (n_unfilled == 0)
        return;
    for (auto &entry : blocks)
        if (entry.second.unfilled) {
            entry.second.unfilled = false;
            poison_value(entry.first, entry.second.bytes);
        }
    n_unfilled = 0;
}

/* The bytes of [address, address + bytes) become touchable (or not), counted from the start of each 256. */
static void set_valid(const char *address, size_t bytes, bool valid)
{
    size_t first = (size_t)(address - memory_device.base) / memory_grain;
    for (size_t done = 0; done < bytes; done += memory_grain, first++)
        memory_device.valid[first] =
            valid ? (uint16_t)(bytes - done < memory_grain ? bytes - done : memory_grain) : (uint16_t)0;
}

/* First fit among freed blocks of at most `most`. */
static char *reuse(size_t span, size_t most, bool managed)
{
    for (auto it = blocks.begin(); it != blocks.end(); ++it)
        if (it->second.freed && it->second.managed == managed && it->second.span >= span && it->second.span <= most)
            return it->first;
    return nullptr;
}

static char *fresh_addresses(size_t span, bool managed)
{
    size_t *end = managed ? &managed_top : &top;
    if (span > (managed ? memory_device.bytes : memory_device.bytes / 2) - *end)
        return nullptr;
    char *address = memory_device.base + *end;
    bool was_open = is_open;
    memory_open(false);
    *end += span;
    memory_open(was_open);
    return address;
}

cudaError_t memory_allocate(void **pointer, size_t bytes, bool managed)
{
    /* Fresh addresses show who uses a block after its end; but opening and closing them all takes time, at each launch. */
    static const size_t large = 16 << 20, plenty = 64 << 20;
    memory_init();
    if (pointer == nullptr)
        return cudaErrorInvalidValue;
    *pointer = nullptr;
    if (bytes == 0)
        return cudaSuccess;
    if (bytes > capacity || used > capacity - bytes)
        return cudaErrorMemoryAllocation;
    size_t span = round_up(bytes) + memory_grain;
    char *address = !managed && top > plenty ? reuse(span, 2 * span, managed) : nullptr;
    if (address == nullptr)
        address = fresh_addresses(span, managed);
    if (address == nullptr)
        address = reuse(span, SIZE_MAX, managed);
    if (address == nullptr)
        return cudaErrorMemoryAllocation;
    if (blocks.count(address))
        span = blocks[address].span;
    used += bytes;
    blocks[address] = block{bytes, span, false, managed, bytes >= large, ++serial};
    set_valid(address, bytes, true);
    if (bytes >= large)
        n_unfilled++;
    else
        poison_value(address, bytes);
    *pointer = address;
    return cudaSuccess;
}

/* The start of a live block, or cudaErrorInvalidValue. */
static cudaError_t find_live(void *pointer, std::map<char *, block>::iterator *found)
{
    *found = blocks.find(static_cast<char *>(pointer));
    return *found == blocks.end() || (*found)->second.freed ? cudaErrorInvalidValue : cudaSuccess;
}

void memory_release(void *pointer)
{
    std::map<char *, block>::iterator it;
    if (find_live(pointer, &it) != cudaSuccess)
        return;
    it->second.freed = true;
    n_unfilled -= it->second.unfilled;
    it->second.unfilled = false;
    used -= it->second.bytes;
    set_valid(it->first, it->second.bytes, false);
    /* Its pages go back to the machine; small blocks share pages with others and keep theirs. */
    uintptr_t low = ((uintptr_t)it->first + 4095) & ~(uintptr_t)4095;
    uintptr_t high = ((uintptr_t)it->first + it->second.bytes) & ~(uintptr_t)4095;
    poison_value(it->first, it->second.bytes < 8192 ? it->second.bytes : 0);
    if (high > low)
        madvise((void *)low, high - low, MADV_DONTNEED);
}

void cudahost_poison(void *address, size_t bytes)
{
    char *low = reinterpret_cast<char *>(round_up((size_t)address)), *high = static_cast<char *>(address) + bytes;
    size_t whole = high > low ? (size_t)(high - low) / memory_grain * memory_grain : 0;
    if (memory_is_device(address, bytes))
        set_valid(low, whole, false);
}

void cudahost_unpoison(void *address, size_t bytes)
{
    if (!memory_is_device(address, bytes) || (uintptr_t)address % memory_grain != 0)
        return;
    set_valid(static_cast<char *>(address), bytes, true);
    poison_value(address, bytes);
}

/* ---- CUDA's functions; stream.cpp wraps those that queue */

cudaError_t memory_check_live(void *pointer)
{
    std::map<char *, block>::iterator it;
    return find_live(pointer, &it);
}

cudaError_t memory_info(size_t *available, size_t *total)
{
    memory_init();
    if (available == nullptr || total == nullptr)
        return cudaErrorInvalidValue;
    *available = capacity - used;
    *total = capacity;
    return cudaSuccess;
}

cudaError_t memory_pin(void **pointer, size_t bytes)
{
    if (pointer == nullptr)
        return cudaErrorInvalidValue;
    *pointer = nullptr;
    if (bytes == 0)
        return cudaSuccess;
    if (posix_memalign(pointer, 4096, bytes) != 0)
        return cudaErrorMemoryAllocation;
    memset(*pointer, 0xff, bytes);
    pinned[static_cast<char *>(*pointer)] = bytes;
    return cudaSuccess;
}

cudaError_t memory_unpin(void *pointer)
{
    auto it = pinned.find(static_cast<char *>(pointer));
    if (it == pinned.end())
        return cudaErrorInvalidValue;
    free(pointer);
    pinned.erase(it);
    return cudaSuccess;
}

cudaError_t memory_register(void *pointer, size_t bytes)
{
    if (pointer == nullptr || bytes == 0)
        return cudaErrorInvalidValue;
    if (memory_is_pinned(pointer, 1) || memory_is_pinned(static_cast<char *>(pointer) + bytes - 1, 1))
        return cudaErrorHostMemoryAlreadyRegistered;
    registered[static_cast<char *>(pointer)] = bytes;
    return cudaSuccess;
}

cudaError_t memory_unregister(void *pointer)
{
    return registered.erase(static_cast<char *>(pointer)) == 1 ? cudaSuccess : cudaErrorHostMemoryNotRegistered;
}
