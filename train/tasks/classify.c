/* Task classify: which class does an image show? The loss is the cross-entropy with smoothed labels and, where the loader
 * mixed another image in, with both labels (models/classifier.h); the loop divides its sum by the step's count of images.
 * Held-out images are never mixed and their loss has no smoothing. What the evaluation counts besides becomes
 * RUN/confusion.txt (confusion.h). */
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

static ls_tensor *classify_loss(void *self, ls_tape *tape, const ls_grain *grain)
{
    const classify *task = self;
    const ls_classifier_targets targets = {grain->labels, grain->mixed_labels, grain->share, task->options.label_smoothing};
    return ls_classifier_loss(tape, task->net->logits(task->model, tape, grain->rows, grain->pixels), &targets);
}

static ls_tensor *classify_evaluate(void *self, ls_tape *tape, const ls_grain *grain, double *sums)
{
    const classify *task = self;
    if (grain->mixed_labels)
        ls_tape_raise(tape, LS_EARG, "held-out images were mixed: augmentation is for data.train alone");
    ls_tensor *logits = task->net->logits(task->model, tape, grain->rows, grain->pixels);
    const void *read = ls_tape_read(tape, logits);
    if (read)
        ls_confusion_count(task->classes, grain->rows, read, grain->labels, sums);
    return ls_classifier_loss(tape, logits, &(ls_classifier_targets){.labels = grain->labels});
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

static const ls_measure measures[] = {{"accuracy", true, NULL, false}, {"top5", true, NULL, false}, {0}};

extern const ls_task ls_task_classify;
const ls_task ls_task_classify = {
    .name = "classify", .sentence = "which class an image shows: a residual convnet or a vision transformer",
    .options = rows, .options_size = sizeof(classify_options), .families = families,
    .init = classify_init, .free = classify_free, .parameters = classify_parameters,
    .grain_loss = classify_loss, .evaluate = classify_evaluate, .measures = measures, .sums = classify_sums, .report = classify_report,
};
