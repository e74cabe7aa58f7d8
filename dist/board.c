/* The failure board: first sentence wins, hearts beat, the dead are noticed. */
#include "dist/board.h"

#include "base/backtrace.h"
#include "base/log.h"
#include "dist/fabric.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MOST_DEADLINES = 10 };

/* Writing a sentence takes microseconds; a rank that has not done so after this long died over it. */
#define WRITTEN_SECONDS 1.0

/* Ten beats missed are a busy machine; more than that is a process that does not run. */
#define STILL_SECONDS 3.0

void ls_board_ring_all(ls_world *world)
{
    for (int k = 0; k < world->near_ranks; k++)
        ls_bell_ring(&world->board[k]->bell);
}

/* false: another was first, and what it wrote can be read. */
static bool write_failure(ls_world *world, const ls_failure *failure)
{
    int nobody = 0;
    ls_failure *board = world->failure;
    if (!atomic_compare_exchange_strong(&board->claimed, &nobody, 1)) {
        for (const double begin = ls_now(); !atomic_load(&board->written) && ls_now() - begin < WRITTEN_SECONDS;)
            usleep(50);
        return false;
    }
    board->rank = failure->rank;
    board->code = failure->code;
    board->exit_code = failure->exit_code;
    memcpy(board->sentence, failure->sentence, sizeof board->sentence);
    atomic_store(&board->written, 1);
    ls_board_ring_all(world);
    return true;
}

bool ls_board_fail(ls_world *world, ls_status code, int exit_code, const char *sentence)
{
    ls_failure failure = {.rank = world->rank, .code = code, .exit_code = exit_code};
    snprintf(failure.sentence, sizeof failure.sentence, "%s", sentence);
    if (!write_failure(world, &failure))
        return false;
    ls_log_write(LS_LOG_ERROR, "world", "%s", failure.sentence);
    return true;
}

void ls_board_hear(ls_world *world, const ls_failure *failure)
{
    if (write_failure(world, failure))
        world->told = true;
    else if (failure->rank < world->failure->rank)
        atomic_store(&world->outranked, true);
}

ls_status ls_board_status(const ls_world *world)
{
    const ls_failure *failure = world->failure;
    if (!atomic_load(&failure->written))
        return LS_OK;
    return ls_fail(failure->code, "%s", failure->sentence);
}

static void feel_pulses(ls_world *world)
{
    for (int k = 0; k < world->near_ranks; k++) {
        uint64_t beat = atomic_load(&world->board[k]->heartbeat);
        if (beat != world->pulse[k].beat)
            world->pulse[k] = (ls_pulse){beat, ls_now()};
    }
}

/* What its flight record says: "; it hangs: its process runs, but is in 'backward' of step 12, bucket 3, for 297 s". */
static void add_place(const ls_world *world, int rank, char *text, size_t size)
{
    ls_flight_record record;
    char place[160];
    if (ls_flight_read_rank(world->comm.flight, rank, &record) != LS_OK)
        return;
    static const char *const words[] = {"it hangs: its process runs, but is", "its process was stopped",
                                        "its process does not run (swapping, or its node is gone); it was", "its process is gone; it was"};
    snprintf(text + strlen(text), size - strlen(text), "; %s %s", words[ls_flight_alive(&record)], ls_flight_say(&record, place, sizeof place));
}

/* Of the dead: "; it was in 'backward' of step 12, bucket 3". */
static void add_last_place(const ls_world *world, int rank, char *text, size_t size)
{
    ls_flight_record record;
    char place[160];
    if (ls_flight_read_rank(world->comm.flight, rank, &record) == LS_OK)
        snprintf(text + strlen(text), size - strlen(text), "; it was %s", ls_flight_say(&record, place, sizeof place));
}

/* "; it last took part in 'gradient norm'", or "" for a far rank; and whether its process runs at all. */
static const char *last_seen(const ls_world *world, int rank, char *text, size_t size)
{
    int near = ls_world_near(world, rank);
    text[0] = '\0';
    if (near < 0 || !world->board[near]->phase[0])
        return text;
    double still = ls_now() - world->pulse[near].since;
    int length = snprintf(text, size, "; it last took part in '%s'", world->board[near]->phase);
    if (still > STILL_SECONDS)
        snprintf(text + length, size - (size_t)length,
                 ", and its process has stood still for %.0f s (stopped, or swapping)", still);
    return text;
}

/* A peer that ended without a word: its process is gone though the world is open. */
static void look_for_the_dead(ls_world *world)
{
    for (int rank = 0; rank < world->ranks; rank++) {
        ls_peer *peer = &world->peers[rank];
        struct pollfd gone = {.fd = peer->pidfd, .events = POLLIN};
        if (peer->pidfd < 0 || rank == world->rank || poll(&gone, 1, 0) != 1)
            continue;
        char sentence[LS_SENTENCE_SIZE];
        char where[LS_PHASE_SIZE + 384];
        last_seen(world, rank, where, sizeof where);
        add_last_place(world, rank, where, sizeof where);
        snprintf(sentence, sizeof sentence,
                 "%s died without a word (process %d is gone; killed, or out of memory: see `dmesg`)%s",
                 ls_world_name(world, rank), peer->pid, where);
        ls_board_fail(world, LS_ECOMM, 1, sentence);
        peer->pidfd = -1;
    }
}

void ls_board_beat(ls_world *world)
{
    ls_board_rank *mine = world->board[world->near_rank];
    atomic_fetch_add(&mine->heartbeat, 1);
    feel_pulses(world);
    if (!world->closing)
        look_for_the_dead(world);
    if (world->fabric->listen)
        world->fabric->listen(world);
    if (world->fabric->tell && !world->told && atomic_load(&world->failure->written)) {
        world->told = true;
        if (world->failure->rank == world->rank)
            world->fabric->tell(world);
    }
}

/* The rank that is waited for may itself wait for another, and that one is to blame: along the flight records to one that
 * does not wait. */
static int held_up_by(const ls_world *world, int rank)
{
    ls_flight_record record;
    for (int turn = 0; turn < world->ranks; turn++) {
        if (ls_flight_read_rank(world->comm.flight, rank, &record) != LS_OK || ls_flight_alive(&record) != LS_FLIGHT_ALIVE ||
            record.state != LS_FLIGHT_RUNNING || !record.waits_since || record.awaits < 0 || record.awaits == world->rank || record.awaits == rank)
            break;
        rank = record.awaits;
    }
    return rank;
}

bool ls_board_is_slow(ls_world *world, int rank, const char *phase, double seconds)
{
    rank = held_up_by(world, rank);
    ls_flight_record record;
    char place[160];
    if (ls_flight_read_rank(world->comm.flight, rank, &record) != LS_OK || ls_flight_alive(&record) != LS_FLIGHT_ALIVE ||
        record.state != LS_FLIGHT_RUNNING || ls_flight_age(&record, record.place[LS_FLIGHT_MAIN].since) > 0.9 * seconds)
        return false;
    ls_log_write(LS_LOG_WARN, "world", "%s is slow: '%s' has waited for it for %g s. It works: it is %s. Waiting on",
                 ls_world_name(world, rank), phase, seconds, ls_flight_say(&record, place, sizeof place));
    return true;
}

static void tell_frame(void *count, const char *text)
{
    ls_log_keep(LS_LOG_ERROR, "world", "  #%d %s", (*(int *)count)++, text);
}

void ls_board_tell_place(ls_world *world)
{
    ls_flight_record record;
    char place[160], waits[128] = "";
    int count = 0;
    if (world->told_place || world->failure->code != LS_ETIMEOUT)
        return;
    world->told_place = true;
    if (ls_flight_look(world->comm.flight, &record) == LS_OK) {
        if (record.waits_since > 0 && record.awaits >= 0)
            snprintf(waits, sizeof waits, "; it waits in '%s' for rank %d, for %.3g s", record.place[LS_FLIGHT_COMMUNICATION].phase,
                     record.awaits, ls_flight_age(&record, record.awaits_since));
        ls_log_keep(LS_LOG_ERROR, "world", "a deadline passed; this rank is %s%s", ls_flight_say(&record, place, sizeof place), waits);
    }
    if (!ls_backtrace_tell(tell_frame, &count))
        ls_log_keep(LS_LOG_ERROR, "world", "no backtrace: the main thread did not answer");
}

ls_status ls_board_overdue(ls_world *world, int rank, const char *phase, double seconds)
{
    char where[LS_PHASE_SIZE + 384];
    char sentence[LS_SENTENCE_SIZE];
    rank = held_up_by(world, rank);
    last_seen(world, rank, where, sizeof where);
    add_place(world, rank, where, sizeof where);
    snprintf(sentence, sizeof sentence,
             "%s did not come to '%s' within %g s%s. Look at its log, or with `gdb -p %d` there; a longer guard.deadline helps if "
             "it was only slow",
             ls_world_name(world, rank), phase, seconds, where, world->peers[rank].pid);
    ls_board_fail(world, LS_ETIMEOUT, ls_status_exit_code(LS_ETIMEOUT), sentence);
    return ls_board_status(world);
}

void ls_board_missed(ls_world *world, const char *phase, double seconds)
{
    char sentence[LS_SENTENCE_SIZE];
    for (int rank = 0; world->peers && rank < world->ranks; rank++)
        if (world->peers[rank].pidfd >= 0 && ls_flight_is_stopped(world->peers[rank].pid)) {
            snprintf(sentence, sizeof sentence, "%s did not come to '%s' within %g s; its process %d is stopped (a signal, or a debugger)",
                     ls_world_name(world, rank), phase, seconds, world->peers[rank].pid);
            ls_world_abort(world, ls_status_exit_code(LS_ETIMEOUT), sentence);
        }
    if (world->peers && seconds < MOST_DEADLINES * world->options.deadline) {
        ls_log_write(LS_LOG_WARN, "world", "'%s' has waited inside MPI for %g s; no rank of this machine is stopped. Waiting on", phase, seconds);
        return;
    }
    snprintf(sentence, sizeof sentence,
             "not all ranks came to '%s' within %g s; MPI does not say who is missed: look for one that is stopped, or whose machine hangs", phase, seconds);
    ls_world_abort(world, ls_status_exit_code(LS_ETIMEOUT), sentence);
}
