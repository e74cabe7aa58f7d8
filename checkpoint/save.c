/* Saving in one call: a saver, begun and waited for. See saver.c. */
#include "checkpoint/checkpoint.h"

ls_status ls_checkpoint_save(ls_world *world, ls_state_tree *tree, const char *run, int64_t step,
                             const ls_checkpoint_options *options)
{
    const ls_saver_options few = {.buffer = options->buffer ? options->buffer : 16 << 20};
    ls_saver *saver;
    ls_status status = ls_agree(world, ls_saver_open(&saver, world, &few), "checkpoint save");
    if (status == LS_OK)
        status = ls_saver_begin(saver, tree, run, step, options);
    if (status == LS_OK)
        status = ls_saver_finish(saver);
    ls_saver_close(saver);
    return status;
}
