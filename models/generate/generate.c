/* One call, one engine. See generate.h. */
#include "models/generate/generate.h"

#include "models/generate/engine.h"

enum { MOST_SLOTS = 16 };

ls_status ls_generate(ls_transformer *model, ls_device *device, const ls_generate_options *options, int64_t rows,
                      const int32_t *ids, const int64_t *offsets, const int64_t *row_ids, int32_t *out,
                      int64_t *lengths, ls_generate_token token, void *context)
{
    if (rows < 1)
        return LS_OK;
    const ls_engine_options how = {.slots = rows < MOST_SLOTS ? rows : MOST_SLOTS};
    const ls_generate_rows all = {.prompts = rows,
                                  .samples = 1,
                                  .ids = ids,
                                  .offsets = offsets,
                                  .row_ids = row_ids,
                                  .out = out,
                                  .lengths = lengths};
    ls_engine *engine;
    ls_status status = ls_engine_open(&engine, model, device, &how);
    if (status == LS_OK)
        status = ls_engine_run(engine, options, &all, token, context);
    ls_engine_close(engine);
    return status;
}
