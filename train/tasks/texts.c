/* See texts.h. */
#include "train/tasks/texts.h"

static bool ends_at(const ls_grain *grain, int64_t cell)
{
    const int32_t *segments = grain->segments;
    return segments[cell] >= 0 && ((cell + 1) % grain->tokens == 0 || segments[cell + 1] != segments[cell]);
}

ls_texts ls_texts_of(ls_tape *tape, const ls_grain *grain)
{
    const int64_t cells = grain->rows * grain->tokens;
    int64_t count = 0;
    for (int64_t c = 0; c < cells; c++)
        count += ends_at(grain, c);
    int32_t *of = ls_arena_array(ls_tape_arena(tape), int32_t, cells),
            *last = ls_arena_array(ls_tape_arena(tape), int32_t, count + 1);
    float *value = ls_arena_array(ls_tape_arena(tape), float, count + 1);
    if (!of || !last || !value) {
        ls_tape_raise(tape, LS_EMEM, "the arena has no room for %lld texts", (long long)count);
        return (ls_texts){0};
    }
    int32_t text = 0;
    for (int64_t c = 0; c < cells; c++) {
        of[c] = grain->segments[c] < 0 ? -1 : text;
        if (ends_at(grain, c)) {
            last[text] = (int32_t)c;
            value[text++] = grain->values ? grain->values[c] : 0;
        }
    }
    return (ls_texts){.count = count, .last = last, .of = of, .value = value};
}

ls_status ls_texts_check_data(ls_run *run, unsigned forms)
{
    static const char *const names[] = {"texts without a judgement", "preference pairs", "answers with outcomes"};
    static const char *const ways[] = {"pack", "pack --pairs", "pack --outcome FIELD"};
    const ls_train_config *config = ls_run_config(run);
    const ls_data *data = ls_run_data(run);
    const char *path = config->data.train.source[0].path;
    const ls_shards_form form = ls_data_form(data);
    if (ls_data_images(data))
        return ls_fail(LS_ERECIPE, "task %s learns text, but %s holds images; use task classify, or pack text",
                       config->task->name, path);
    if (1u << form & forms)
        return LS_OK;
    const int wanted = forms & 1u << LS_SHARDS_TEXT ? LS_SHARDS_TEXT : LS_SHARDS_PAIRS;
    return ls_fail(LS_ERECIPE, "task %s learns from %s, but %s holds %s; pack its files with `lockstep data %s`%s",
                   config->task->name, names[wanted], path, names[form], ways[wanted],
                   wanted == LS_SHARDS_TEXT ? "" : ", or choose task sft");
}
