/* Judges every access of a kernel: is the memory there, and may this thread touch it now?
 *
 * Bounds. Global memory: memory.cpp's count of touchable bytes for each 256. Dynamic shared memory: the launch's size.
 * Static shared memory: the program's thread-local segment (an index beyond an array is found by hooks.cpp). A thread's
 * own stack and the launch's arguments are its own; constants of the program may be read; other host memory may not be
 * touched unless it is pinned.
 *
 * Races. Each period of a thread between two events that order it has a number, its stamp. Stamps count up; a block
 * takes 32 for each warp at its start and at each barrier, and a warp 32 new ones at each __syncwarp. So the stamp of
 * an earlier access tells whether it was another block (never ordered within a launch), an earlier interval of this
 * block (ordered by a barrier), or this interval: then the warp it belongs to is looked up. (Stamps of a partial
 * __syncwarp count for the whole warp: a race hidden behind one is missed.) Each byte has a cell: the last write's
 * stamp, the last read's, and whether others have read too. Shuffles and votes order nothing, as CUDA says. */
#include "check.h"
#include "runtime.h"
#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <vector>

static const uint32_t stamp_mask = 0x1fffffffu;
/* Above the stamp of a write: it was atomic. Above the stamp of a read: who else has read. */
static const uint32_t atomic_write = 1u << 29, read_by_blocks = 1u << 29, read_by_warps = 1u << 30,
                      read_by_lanes = 1u << 31;

struct cell {
    uint32_t write, read;
};

struct area {
    char *base;
    size_t bytes;
    cell *cells;
};

static bool wanted;
static thread_local bool active; /* of the thread that runs the kernel: another one's host code is no kernel's */
static area global_area, static_area, dynamic_area;
static uint32_t clock_now = 1, launch_base, block_base, interval_base, my_stamp, my_chunk;
static unsigned my_warp, my_block, n_warps;
static uint32_t warp_chunk[32]; /* the first stamp of each warp's present chunk */
/* The warp of each 32 stamps since interval_base; each block that has run in this launch, and its first stamp. Never
 * destroyed, for the helper thread of stream.cpp. */
static std::vector<uint8_t> &chunk_owner = *new std::vector<uint8_t>;
static std::vector<uint32_t> &block_stamps = *new std::vector<uint32_t>;
static std::vector<unsigned> &block_numbers = *new std::vector<unsigned>;

/* ---- Areas */

static cell *map_cells(size_t bytes)
{
    void *cells =
        mmap(nullptr, bytes * sizeof(cell), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (cells == MAP_FAILED) {
        perror("cudahost: cannot reserve addresses for the race check");
        abort();
    }
    return static_cast<cell *>(cells);
}

static void set_area(area *a, char *base, size_t bytes)
{
    if (a->bytes < bytes) {
        if (a->cells != nullptr)
            munmap(a->cells, a->bytes * sizeof(cell));
        a->cells = map_cells(bytes);
    }
    a->base = base;
    a->bytes = bytes;
}

/* The main program's thread-local segment as this thread sees it. */
static int find_thread_segment(struct dl_phdr_info *info, size_t, void *data)
{
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_TLS && info->dlpi_tls_data != nullptr)
            *static_cast<area *>(data) = {static_cast<char *>(info->dlpi_tls_data), info->dlpi_phdr[i].p_memsz,
                                          nullptr};
    return 1; /* the first object is the program */
}

static int find_image(struct dl_phdr_info *info, size_t, void *data)
{
    const char *address = *static_cast<const char **>(data);
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const char *low = reinterpret_cast<const char *>(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
        if (info->dlpi_phdr[i].p_type == PT_LOAD && address >= low && address < low + info->dlpi_phdr[i].p_memsz)
            return 1;
    }
    return 0;
}

static bool in_image(const char *address)
{
    return dl_iterate_phdr(find_image, &address) != 0;
}

static void forget_cells(const area &a)
{
    if (a.cells != nullptr)
        madvise(a.cells, a.bytes * sizeof(cell), MADV_DONTNEED);
}

/* ---- Events */

static void take_stamps(unsigned chunks)
{
    clock_now += 32 * chunks;
    if (clock_now < stamp_mask - 32 * 1024)
        return;
    /* Stamps are used up: forget what has been accessed. Races across this moment are missed. */
    forget_cells(global_area);
    forget_cells(static_area);
    forget_cells(dynamic_area);
    clock_now = 1 + 32 * chunks;
    launch_base = block_base = interval_base = 1;
    chunk_owner.clear();
    block_stamps.clear();
    block_numbers.clear();
}

void check_launch_begin()
{
    static thread_local char this_thread;
    static const char *last_thread;
    wanted = order_environment("CUDAHOST_CHECK", 1) != 0;
    active = false;
    if (!wanted)
        return;
    if (global_area.cells == nullptr)
        set_area(&global_area, memory_device.base, memory_device.bytes);
    if (last_thread != &this_thread) {
        area here = {};
        dl_iterate_phdr(find_thread_segment, &here);
        set_area(&static_area, here.base, here.bytes);
        last_thread = &this_thread;
    }
    size_t dynamic_bytes;
    char *dynamic_base = block_dynamic_shared(&dynamic_bytes);
    set_area(&dynamic_area, dynamic_base, BLOCK_DYNAMIC_ROOM);
    take_stamps(1);
    launch_base = clock_now;
    block_stamps.clear();
    block_numbers.clear();
    active = true;
}

void check_launch_end()
{
    active = false;
}

void check_pause(bool pause)
{
    active = wanted && !pause;
}

static void begin_interval()
{
    take_stamps(n_warps);
    interval_base = clock_now - 32 * n_warps;
    chunk_owner.resize(n_warps);
    for (unsigned w = 0; w < n_warps; w++) {
        chunk_owner[w] = (uint8_t)w;
        warp_chunk[w] = interval_base + 32 * w;
    }
}

void check_block_begin(unsigned block, unsigned threads)
{
    if (!active)
        return;
    my_block = block;
    n_warps = (threads + 31) / 32;
    begin_interval();
    block_base = interval_base;
    block_stamps.push_back(block_base);
    block_numbers.push_back(block);
}

void check_block_interval()
{
    if (active)
        begin_interval();
}

void check_warp_interval(unsigned warp)
{
    if (!active)
        return;
    take_stamps(1);
    warp_chunk[warp] = clock_now - 32;
    chunk_owner.push_back((uint8_t)warp);
}

void check_thread(unsigned thread)
{
    my_warp = thread / 32;
    my_chunk = warp_chunk[my_warp];
    my_stamp = my_chunk + thread % 32;
}

/* ---- Races */

/* How an earlier access is related to the running thread. */
enum relation { ordered, self, other_lane, other_warp, other_block };

static relation relate(uint32_t stamp, uint32_t since)
{
    if (stamp < since)
        return ordered;
    if (stamp < block_base)
        return other_block;
    if (stamp < interval_base)
        return ordered;
    if (stamp == my_stamp)
        return self;
    if (stamp >= my_chunk && stamp < my_chunk + 32)
        return other_lane;
    return chunk_owner[(stamp - interval_base) / 32] == my_warp ? ordered : other_warp;
}

static std::string name_of(uint32_t stamp)
{
    if (stamp >= interval_base)
        return block_thread_name(my_block,
                                 chunk_owner[(stamp - interval_base) / 32] * 32 + (stamp - interval_base) % 32);
    size_t i = block_stamps.size();
    while (i > 0 && block_stamps[i - 1] > stamp)
        i--;
    return i == 0 ? "another thread" : "a thread of block number " + std::to_string(block_numbers[i - 1]);
}

static void report_race(const char *address, size_t size, const char *does, const char *did, const std::string &other,
                        bool shared, const void *pc)
{
    report_fault(cudaErrorLaunchFailure,
                 "data race at %s: %s %s %zu bytes of %s memory that %s %s with no barrier in between%s%s",
                 report_place(pc).c_str(), block_thread_name().c_str(), does, size, shared ? "shared" : "global",
                 other.c_str(), did, shared ? "" : "; ", shared ? "" : memory_describe(address).c_str());
}

/* Returns the cell after a write, or reports. */
static cell write_cell(cell c, uint32_t since, bool atomic, const char *address, size_t size, bool shared,
                       const void *pc)
{
    uint32_t wrote = c.write & stamp_mask, read = c.read & stamp_mask;
    relation w = relate(wrote, since), r = relate(read, since);
    if (w > self && !(atomic && (c.write & atomic_write) != 0))
        report_race(address, size, "writes", "wrote", name_of(wrote), shared, pc);
    if (r > self)
        report_race(address, size, "writes", "read", name_of(read), shared, pc);
    bool others = (read >= since && (c.read & read_by_blocks) != 0) ||
                  (read >= interval_base && (c.read & read_by_warps) != 0) ||
                  (r == self && (c.read & read_by_lanes) != 0);
    if (others)
        report_race(address, size, "writes", "read", "another thread", shared, pc);
    c.write = my_stamp | (atomic ? atomic_write : 0);
    return c;
}

static cell read_cell(cell c, uint32_t since, const char *address, size_t size, bool shared, const void *pc)
{
    uint32_t wrote = c.write & stamp_mask, read = c.read & stamp_mask, flags = c.read & ~stamp_mask;
    if (relate(wrote, since) > self)
        report_race(address, size, "reads", "wrote", name_of(wrote), shared, pc);
    switch (relate(read, since)) {
    case ordered:
        if (read < since)
            flags = 0;
        else
            flags &= read < interval_base ? read_by_blocks : read_by_blocks | read_by_warps;
        break;
    case self: break;
    case other_lane: flags |= read_by_lanes; break;
    case other_warp: flags = (flags & read_by_blocks) | read_by_warps; break;
    case other_block: flags = read_by_blocks; break;
    }
    c.read = my_stamp | flags;
    return c;
}

static bool same(cell a, cell b)
{
    return a.write == b.write && a.read == b.read;
}

static void touch(const area &a, const char *address, size_t size, check_kind kind, bool shared, const void *pc)
{
    cell *cells = a.cells + (address - a.base);
    uint32_t since = shared ? block_base : launch_base;
    for (size_t i = 0; i < size;) {
        cell before = cells[i], after;
        if (shared && kind != check_write && (before.write & stamp_mask) < block_base)
            memset(const_cast<char *>(address) + i, 0xff, 1); /* never written by this block: NaN */
        after = kind == check_read ? read_cell(before, since, address, size, shared, pc)
                                   : write_cell(before, since, kind == check_atomic, address, size, shared, pc);
        /* The bytes of one number nearly always have one history. */
        do {
            cells[i++] = after;
        } while (i < size && same(cells[i], before) && !(shared && kind != check_write));
    }
}

/* ---- Bounds */

static const char *does(check_kind kind)
{
    return kind == check_read ? "reads" : kind == check_write ? "writes" : "changes";
}

static void out_of_bounds(const char *address, size_t size, check_kind kind, const char *what, const void *pc)
{
    report_fault(cudaErrorIllegalAddress, "%s at %s: %s %s %zu bytes; %s", what, report_place(pc).c_str(),
                 block_thread_name().c_str(), does(kind), size, memory_describe(address).c_str());
}

static bool touchable(size_t offset, size_t size)
{
    while (size > 0) {
        size_t within = offset % memory_grain, part = memory_grain - within < size ? memory_grain - within : size;
        if (within + part > memory_device.valid[offset / memory_grain])
            return false;
        offset += part;
        size -= part;
    }
    return true;
}

/* What is neither global nor shared memory. */
static void judge_other(const char *address, size_t size, check_kind kind, const void *pc)
{
    char *low, *high;
    block_stack(&low, &high);
    if (address >= low && address + size <= high)
        return;
    block_stacks(&low, &high);
    if (address >= low && address < high)
        return out_of_bounds(address, size, kind, "access to another thread's local memory", pc);
    const cudahost::closure *arguments = block_closure();
    const char *object = static_cast<const char *>(arguments->object);
    if (address >= object && address + size <= object + arguments->bytes && kind == check_read)
        return;
    if (memory_is_pinned(address, size) || (kind == check_read && in_image(address)))
        return;
    out_of_bounds(address, size, kind, "host memory touched by a kernel", pc);
}

void check_access(const void *pointer, size_t size, check_kind kind, const void *pc)
{
    if (!active || size == 0)
        return;
    const char *address = static_cast<const char *>(pointer);
    size_t offset = (size_t)(address - global_area.base);
    if (offset < global_area.bytes) {
        if (!touchable(offset, size))
            out_of_bounds(address, size, kind, "out-of-bounds global access", pc);
        touch(global_area, address, size, kind, false, pc);
        return;
    }
    if ((size_t)(address - static_area.base) < static_area.bytes) {
        if ((size_t)(address - static_area.base) + size > static_area.bytes)
            out_of_bounds(address, size, kind, "out-of-bounds shared access", pc);
        touch(static_area, address, size, kind, true, pc);
        return;
    }
    if ((size_t)(address - dynamic_area.base) < dynamic_area.bytes) {
        size_t bytes;
        block_dynamic_shared(&bytes);
        if ((size_t)(address - dynamic_area.base) + size > bytes)
            report_fault(
                cudaErrorIllegalAddress,
                "out-of-bounds shared access at %s: %s %s %zu bytes at offset %zu of %zu bytes of dynamic shared "
                "memory",
                report_place(pc).c_str(), block_thread_name().c_str(), does(kind), size,
                (size_t)(address - dynamic_area.base), bytes);
        touch(dynamic_area, address, size, kind, true, pc);
        return;
    }
    judge_other(address, size, kind, pc);
}

bool check_active()
{
    return active;
}
