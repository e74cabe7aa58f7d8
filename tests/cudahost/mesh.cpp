/* Unix sockets in the abstract name space: they leave no file behind. Rank r listens as NAME-r, and calls all lower
 * ranks. */
#include "mesh.h"
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static socklen_t address_of(struct sockaddr_un *address, const char *name, int rank)
{
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    int n = snprintf(address->sun_path + 1, sizeof address->sun_path - 1, "%s-%d", name, rank);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

static double now()
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

struct greeting {
    int32_t rank, ranks;
    char card[128];
};

/* A greeting each way; the socket still waits here, for `seconds` at most. */
static bool greet(int socket, const greeting &mine, greeting *theirs, int seconds)
{
    struct timeval limit = {seconds, 0};
    setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return send(socket, &mine, sizeof mine, MSG_NOSIGNAL) == (ssize_t)sizeof mine &&
           recv(socket, theirs, sizeof *theirs, MSG_WAITALL) == (ssize_t)sizeof *theirs;
}

static int call(const char *name, int rank, double until)
{
    struct sockaddr_un address;
    socklen_t length = address_of(&address, name, rank);
    do {
        int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(s, (struct sockaddr *)&address, length) == 0)
            return s;
        close(s); /* it does not listen yet */
        usleep(1000);
    } while (now() < until);
    return -1;
}

std::string mesh_join(mesh *m, const char *name, int rank, int ranks, const std::string &card, int seconds)
{
    double until = now() + seconds;
    greeting mine = {rank, ranks, ""}, theirs = {};
    snprintf(mine.card, sizeof mine.card, "%s", card.c_str());
    m->rank = rank;
    m->ranks = ranks;
    m->peers = std::vector<mesh_peer>((size_t)ranks);
    m->cards.assign((size_t)ranks, card);
    struct sockaddr_un address;
    socklen_t length = address_of(&address, name, rank);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = {seconds, 0};
    setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    std::string why;
    if (bind(listener, (struct sockaddr *)&address, length) != 0 || listen(listener, ranks) != 0)
        why = "rank " + std::to_string(rank) + " is taken already (" + strerror(errno) + ")";
    for (int i = 0; why.empty() && i < ranks - 1; i++) {
        int s = i < rank ? call(name, i, until) : accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (s < 0 || !greet(s, mine, &theirs, seconds)) {
            why = "not all " + std::to_string(ranks) + " ranks came within " + std::to_string(seconds) + " s";
        } else if (theirs.ranks != ranks || theirs.rank < 0 || theirs.rank >= ranks || theirs.rank == rank ||
                   m->peers[(size_t)theirs.rank].socket >= 0) {
            why = "a rank calls itself " + std::to_string(theirs.rank) + " of " + std::to_string(theirs.ranks);
            close(s);
        } else {
            theirs.card[sizeof theirs.card - 1] = 0;
            m->peers[(size_t)theirs.rank].socket = s;
            m->cards[(size_t)theirs.rank] = theirs.card;
            fcntl(s, F_SETFL, fcntl(s, F_GETFL) | O_NONBLOCK);
        }
    }
    close(listener);
    if (!why.empty())
        mesh_close(m);
    return why;
}

void mesh_send(mesh *m, int to, const mesh_header &header, const void *data)
{
    mesh_peer &p = m->peers[(size_t)to];
    const char *bytes = static_cast<const char *>(data);
    if (to == m->rank) {
        if (header.kind == mesh_receipt)
            p.receipts++;
        else
            p.messages[header.kind].push_back({header, std::string(bytes, header.bytes)});
        return;
    }
    p.out.append(reinterpret_cast<const char *>(&header), sizeof header);
    p.out.append(bytes == nullptr ? "" : bytes, header.bytes);
}

static bool write_some(mesh_peer *p)
{
    bool moved = false;
    while (p->written < p->out.size() && !p->gone) {
        ssize_t n =
            send(p->socket, p->out.data() + p->written, p->out.size() - p->written, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n <= 0) {
            p->gone = n < 0 && errno != EAGAIN && errno != EINTR;
            break;
        }
        p->written += (size_t)n;
        moved = true;
    }
    if (p->written == p->out.size()) {
        p->out.clear();
        p->written = 0;
    }
    return moved;
}

static void take_messages(mesh_peer *p)
{
    size_t at = 0;
    mesh_header header;
    while (p->in.size() - at >= sizeof header) {
        memcpy(&header, p->in.data() + at, sizeof header);
        if (p->in.size() - at - sizeof header < header.bytes)
            break;
        if (header.kind == mesh_receipt)
            p->receipts++;
        else
            p->messages[header.kind].push_back({header, p->in.substr(at + sizeof header, header.bytes)});
        at += sizeof header + header.bytes;
    }
    p->in.erase(0, at);
}

static bool read_some(mesh_peer *p)
{
    static char buffer[256 << 10];
    bool moved = false;
    for (;;) {
        ssize_t n = recv(p->socket, buffer, sizeof buffer, MSG_DONTWAIT);
        if (n <= 0) {
            p->gone = n == 0 || (errno != EAGAIN && errno != EINTR);
            break;
        }
        p->in.append(buffer, (size_t)n);
        moved = true;
    }
    if (moved)
        take_messages(p);
    return moved;
}

bool mesh_pump(mesh *m)
{
    bool moved = false;
    for (mesh_peer &p : m->peers)
        if (p.socket >= 0) {
            moved = write_some(&p) || moved;
            moved = read_some(&p) || moved;
        }
    return moved;
}

void mesh_close(mesh *m)
{
    for (mesh_peer &p : m->peers)
        if (p.socket >= 0) {
            close(p.socket);
            p.socket = -1;
            p.gone = true;
        }
}
