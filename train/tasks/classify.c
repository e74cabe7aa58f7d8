/* Task classify: which class does an image show?
 *     L = - sum_b sum_c t_bc log p_c(x_b)
 *     t_b = (1 - s) (l onehot(y_b) + (1 - l) onehot(y'_b)) + s / classes
 * with label smoothing s (Szegedy et al. 2016, section 7) and, where the loader mixed another image in (mixup, Zhang et al.
 * 2018), its label y' and the own one's share l; the loop divides by the step's count of images. Held-out images are never
 * mixed and their loss has no smoothing. What the evaluation counts besides becomes RUN/confusion.txt (confusion.h). */
#include "datasets/images.h"
#include "models/convnet.h"
#include "models/vit.h"
#include "train/run.h"
#include "train/tasks/confusion.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    double label_smoothing;
} classify_options;

static const ls_option rows[] = {
    {"label_smoothing", LS_OPTION_FLOAT, offsetof(classify_options, label_smoothing), 0, 0, 0.99, "0", NULL, "share of the target that goes to all classes alike"},
    {0},
};

static const ls_model_family families[] = {
    {"convnet", ls_convnet_option_rows, sizeof(ls_convnet_options)},
    {"vit", ls_vit_option_rows, sizeof(ls_vit_options)},
    {0},
};
static const ls_classifier *const nets[] = {&ls_classifier_convnet, &ls_classifier_vit}; /* in the families' order */

typedef struct {
    classify_options options;
    const ls_images *images;
    const ls_classifier *net;
    void *model;
    int64_t classes;
} classify;

static void classify_free(void *self)
{
    classify *task = self;
    if (!task)
        return;
    if (task->model)
        task->net->free(task->model);
    free(task);
}

static ls_status classify_init(ls_run *run, const void *options, void **self)
{
    const ls_train_config *config = ls_run_config(run);
    const ls_images *images = ls_data_images(ls_run_data(run));
    if (!images)
        return ls_fail(LS_ERECIPE, "task classify learns images, but %s holds text; use task pretrain or sft, or pack images with `lockstep data images`",
                       config->data.train.source[0].path);
    const ls_image_shape *s = ls_images_shape(images);
    if (s->classes < 2)
        return ls_fail(LS_ERECIPE, "%s: all images are of one class: there is nothing to tell apart", ls_images_folder(images));
    classify *task = calloc(1, sizeof *task);
    if (!task)
        return ls_fail(LS_EMEM, "no memory for task classify");
    *task = (classify){.options = *(const classify_options *)options, .images = images, .net = nets[config->family - families], .classes = s->classes};
    const ls_classifier_shape shape = {.height = s->height, .width = s->width, .channels = s->channels, .classes = s->classes};
    const ls_status status = task->net->create(&task->model, config->model, &shape);
    if (status == LS_OK)
        *self = task;
    else
        classify_free(task);
    return status;
}

static int classify_parameters(void *self, ls_parameter **parameters)
{
    classify *task = self;
    return task->net->parameters(task->model, parameters);
}

/* t [images, classes]; NULL: no memory, raised. */
static float *targets(const classify *task, ls_tape *tape, const ls_grain *grain, double smoothing)
{
    const int64_t K = task->classes;
    float *t = ls_arena_array(ls_tape_arena(tape), float, grain->rows * K);
    if (!t) {
        ls_tape_raise(tape, LS_EMEM, "the arena has no room for the targets of %lld images", (long long)grain->rows);
        return NULL;
    }
    for (int64_t b = 0; b < grain->rows; b++) {
        const double share = grain->mixed_labels ? (double)grain->share[b] : 1;
        for (int64_t c = 0; c < K; c++) {
            const double own = c == grain->labels[b] ? share : 0, other = grain->mixed_labels && c == grain->mixed_labels[b] ? 1 - share : 0;
            t[b * K + c] = (float)((1 - smoothing) * (own + other) + smoothing / (double)K);
        }
    }
    return t;
}

/* Sum over the images of a grain. */
static ls_tensor *loss_of(const classify *task, ls_tape *tape, const ls_grain *grain, ls_tensor *logits, double smoothing)
{
    const float *t = targets(task, tape, grain, smoothing);
    if (!t)
        return logits;
    ls_tensor *target = ls_constant(tape, LS_F32, LS_SHAPE(grain->rows, task->classes), t);
    return ls_scale(tape, ls_sum(tape, ls_mul(tape, ls_log_softmax(tape, logits), target), LS_ALL), -1, 0);
}

static ls_tensor *classify_loss(void *self, ls_tape *tape, const ls_grain *grain)
{
    const classify *task = self;
    ls_tensor *logits = task->net->logits(task->model, tape, grain->rows, grain->pixels);
    return loss_of(task, tape, grain, logits, task->options.label_smoothing);
}

static ls_tensor *classify_evaluate(void *self, ls_tape *tape, const ls_grain *grain, double *sums)
{
    const classify *task = self;
    if (grain->mixed_labels)
        ls_tape_raise(tape, LS_EARG, "held-out images were mixed: augmentation belongs to data.train alone");
    ls_tensor *logits = task->net->logits(task->model, tape, grain->rows, grain->pixels);
    if (ls_tape_status(tape) == LS_OK)
        ls_confusion_count(task->classes, grain->rows, logits->data, grain->labels, sums);
    return loss_of(task, tape, grain, logits, 0);
}

static int64_t classify_sums(void *self)
{
    return ls_confusion_sums(((classify *)self)->classes);
}

static ls_status classify_report(void *self, const char *folder, const double *sums, int64_t counted)
{
    (void)counted;
    return ls_confusion_report(((classify *)self)->images, folder, sums);
}

static const ls_measure measures[] = {{"accuracy", true}, {"top5", true}, {0}};

extern const ls_task ls_task_classify;
const ls_task ls_task_classify = {
    .name = "classify", .sentence = "which class an image shows: a residual convnet or a vision transformer",
    .options = rows, .options_size = sizeof(classify_options), .families = families,
    .init = classify_init, .free = classify_free, .parameters = classify_parameters,
    .grain_loss = classify_loss, .evaluate = classify_evaluate, .measures = measures, .sums = classify_sums, .report = classify_report,
};
