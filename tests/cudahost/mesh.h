/* Messages between the processes of a communicator, over sockets of the host: ordered for each pair, never blocking
 * once they stand. The emulation may run its work on any thread, where MPI must not be called; so this is no MPI. */
#ifndef CUDAHOST_MESH_H
#define CUDAHOST_MESH_H

#include <stdint.h>
#include <deque>
#include <string>
#include <vector>

/* What a message is about; two ends that do not mean the same see it here. */
struct mesh_header {
    uint32_t kind; /* mesh_data or mesh_receipt, then what the user wants */
    int32_t call, type, op, root;
    uint64_t count, sequence, bytes; /* bytes follow the header */
};

enum { mesh_collective = 0, mesh_pair = 1, mesh_lanes = 2, mesh_receipt = 2 };

struct mesh_message {
    mesh_header header;
    std::string data;
};

struct mesh_peer {
    int socket = -1;
    bool gone = false;   /* it closed its end */
    std::string out, in; /* bytes to be written; bytes read that are no whole message yet */
    size_t written = 0;
    std::deque<mesh_message> messages[mesh_lanes]; /* read, not yet taken: of collectives, and of sends */
    uint64_t receipts = 0;
};

struct mesh {
    int rank = 0, ranks = 0;
    std::vector<mesh_peer> peers;
    std::vector<std::string> cards; /* what each rank said of itself */
};

/* Joins the ranks that know `name`; `card` is what this rank says of itself. Waits for all of them, `seconds` at most;
 * returns "" or why it failed. */
std::string mesh_join(mesh *m, const char *name, int rank, int ranks, const std::string &card, int seconds);

void mesh_send(mesh *m, int to, const mesh_header &header, const void *data);

/* Writes and reads what can be without waiting; true if anything moved. */
bool mesh_pump(mesh *m);

void mesh_close(mesh *m);

#endif
