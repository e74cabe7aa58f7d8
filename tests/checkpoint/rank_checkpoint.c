/* save|load RUN STEP SEED, as a rank under mpirun: test_ranks.c starts it. Rank 0 prints the hash of what it holds. */
#include "state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    ls_world *world;
    if (argc != 5 || ls_world_open(&world, NULL) != LS_OK) {
        fprintf(stderr, "rank_checkpoint: %s\n", argc == 5 ? ls_fail_sentence() : "save|load RUN STEP SEED");
        return 2;
    }
    job j = {.run = argv[2], .step = atoll(argv[3]), .seed = strtoull(argv[4], NULL, 10)};
    ls_status status = strcmp(argv[1], "save") == 0 ? save_body(world, &j) : load_body(world, &j);
    if (status == LS_OK)
        status = hash_body(world, &j);
    if (status != LS_OK)
        fprintf(stderr, "rank %d: %s\n", ls_world_rank(world), ls_fail_sentence());
    if (ls_world_rank(world) == 0)
        printf("%016" PRIx64 "\n", j.hash);
    ls_world_close(world);
    return ls_status_exit_code(status);
}
