/* One hash of the logical state, of a live tree and of a checkpoint. Both become a manifest, and the manifest is hashed
 * (ls_manifest_hash), so they can not come apart. */
#include "checkpoint/checkpoint.h"

#include "checkpoint/folder.h"
#include "checkpoint/gather.h"
#include "checkpoint/joining.h"

ls_status ls_state_hash(ls_world *world, ls_state_tree *tree, int kind, uint64_t *hashes, uint64_t *all)
{
    ls_share share;
    ls_manifest *manifest;
    const ls_status mine = ls_share_take(&share, tree, ls_world_rank(world), kind);
    if (mine == LS_OK)
        ls_share_hash(&share);
    ls_status status = ls_share_join(world, mine, &share, &manifest);
    if (status == LS_OK)
        status = ls_share_gather_hashes(world, &share, manifest);
    if (status == LS_OK) {
        for (int i = 0; hashes && i < ls_state_count(tree); i++) {
            int64_t tensor = ls_manifest_find(manifest, ls_state_at(tree, i)->name);
            hashes[i] = tensor < 0 ? 0 : ls_manifest_tensor_hash(manifest, tensor);
        }
        *all = ls_manifest_hash(manifest, kind);
    }
    ls_manifest_free(manifest);
    ls_share_free(&share);
    return status;
}

ls_status ls_checkpoint_hash(const char *path, uint64_t *hash)
{
    char folder[LS_PATH];
    ls_manifest *manifest = NULL;
    ls_status status = ls_folder_resolve(path, folder);
    if (status == LS_OK)
        status = ls_joining_read(folder, &manifest);
    if (status == LS_OK)
        *hash = ls_manifest_hash(manifest, -1);
    ls_manifest_free(manifest);
    return status;
}
