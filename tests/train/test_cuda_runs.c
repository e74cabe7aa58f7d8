/* `device: cuda` on the emulation of tests/cudahost/: whole runs on one to four ranks and devices. The bits depend neither
 * on the rank count nor on what the emulation chooses where CUDA promises no order; a wait that is missing shows. */
#include "tests/train/run_fixture.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void begin(void)
{
    ls_fixture_begin();
    ls_expect(ls_shell("for i in $(seq 1 40); do echo \"{\\\"prompt\\\": \\\"q$i\\\", \\\"response\\\": \\\"#$((i %% 7))\\\"}\"; done > q.jsonl && "
                       "lockstep data tokenizer -v 257 -f prompt,response -o tokenizer.json q.jsonl && "
                       "lockstep data pack -t tokenizer.json --prompt prompt --response response -o q q.jsonl && "
                       "cat > sft.yaml <<'END'\n"
                       "task: sft\nrun: run\nseed: 2\nmodel: {style: llama, layers: 1, width: 32, heads: 2, kv_heads: 1, context: 24, dropout: 0.1}\n"
                       "data: {train: q, eval: q, eval_rows: 4}\nbatch: {grain: 2, grains: 4, tokens: 24}\n"
                       "optimizer: {lr: 1e-2}\nmax_steps: 2\nEND\n"),
              0, NULL);
    setenv("CUDAHOST_IDLE_MS", "20000", 1); /* a machine under load is no order that CUDA allows */
    setenv("CUDAHOST_CHECK", "0", 1);
}

TestSuite(cuda_runs, .init = begin, .fini = ls_fixture_end, .timeout = 200);

/* Trains on the emulated devices; `before` the command, and recipe with overrides. */
static const ls_answer *train(const char *before, const char *what)
{
    return ls_shell("%s $LS_BUILD/tests/lockstep_cudahost train %s device=cuda", before, what);
}

static void same_hash(const char *run, const char *want)
{
    char got[64];
    ls_hash_of(run, got);
    cr_expect_str_eq(got, want, "%s", run);
}

/* Once with every access of every kernel checked; then both schedules, and orders that CUDA leaves open. */
Test(cuda_runs, text_has_the_same_bits_on_any_rank_count_and_in_any_order)
{
    char want[64];
    ls_expect(train("CUDAHOST_CHECK=1", "sft.yaml run=one hash_log=true"), 0, "numerics cuda-emulated", "step 2/2", NULL);
    ls_hash_of("one", want);
    ls_expect(train("CUDAHOST_SEED=1 mpirun --oversubscribe -n 2", "sft.yaml run=two batch.schedule=round"), 0, "round schedule, NCCL 2.28.3, exact sums", NULL);
    same_hash("two", want);
    ls_expect(train("CUDAHOST_SEED=2 mpirun --oversubscribe -n 3", "sft.yaml run=three guard.audit_every=1 guard.replicas_every=1"), 0, NULL);
    same_hash("three", want);
    ls_expect(train("CUDAHOST_SEED=3 mpirun --oversubscribe -n 4", "sft.yaml run=four batch.bucket=4096"), 0, NULL);
    same_hash("four", want);
    ls_expect(train("", "sft.yaml run=again model.recompute=true"), 0, NULL);
    same_hash("again", want);
    ls_expect(ls_shell("lockstep train sft.yaml run=cpu"), 0, NULL);
    cr_expect_leq(fabs(ls_metric("cpu", "loss", 2) - ls_metric("one", "loss", 2)), 1e-4, "beside the CPU's %g", ls_metric("cpu", "loss", 2));
}

Test(cuda_runs, devices_add_exactly_or_fast_or_through_the_host)
{
    char want[64], got[64];
    ls_expect(train("CUDAHOST_SEED=1 mpirun --oversubscribe -n 3", "sft.yaml run=three"), 0, "block schedule, NCCL 2.28.3, exact sums", NULL);
    ls_hash_of("three", want);
    ls_expect(train("mpirun --oversubscribe -n 2", "sft.yaml run=host batch.reduce=host"), 0, "block schedule, shared sums", NULL);
    same_hash("host", want);
    ls_expect(train("mpirun --oversubscribe -n 3", "sft.yaml run=fast batch.reduce=fast"), 0, "NCCL 2.28.3, fast sums", NULL);
    ls_hash_of("fast", got);
    cr_expect_str_neq(got, want, "three ranks' sums around a ring are not the tree's");
    cr_expect_leq(fabs(ls_metric("fast", "loss", 2) - ls_metric("three", "loss", 2)), 1e-5, "fast");
    ls_expect(train("CUDAHOST_DEVICES=1 mpirun --oversubscribe -n 2", "sft.yaml run=shared"), 1, "duplicate GPU", "batch.reduce: host", NULL);
    ls_expect(ls_shell("lockstep train sft.yaml batch.reduce=fast"), 2, "batch.reduce: fast is for device: cuda", NULL);
}

/* Kills a rank of three, and goes on with another number. */
Test(cuda_runs, prove_shows_it_of_devices_too)
{
    ls_expect(ls_shell("$LS_BUILD/tests/lockstep_cudahost prove sft.yaml device=cuda --steps 2 --ranks 1,3 --threads 1 --schedules round"), 0,
              "killed after step 1", "All 3 trials agree, bit for bit", NULL);
}

Test(cuda_runs, averages_bf16_weights_and_sparse_rows_too)
{
    char want[64];
    const char *more = "precision=bf16 ema.decay=0.9 optimizer.groups='[{match: embedding/*, frozen: true}]'";
    char one[256], three[256];
    snprintf(one, sizeof one, "sft.yaml run=one %s", more);
    snprintf(three, sizeof three, "sft.yaml run=three batch.schedule=round %s", more);
    ls_expect(train("", one), 0, "frozen", NULL);
    ls_hash_of("one", want);
    ls_expect(train("CUDAHOST_SEED=4 mpirun --oversubscribe -n 3", three), 0, NULL);
    same_hash("three", want);
    ls_expect(train("", "sft.yaml run=rows model.tied=false model.sparse_embedding=true ema.decay=0.9 guard.audit_every=1"), 0, NULL);
    ls_hash_of("rows", want);
    ls_expect(train("CUDAHOST_SEED=8 mpirun --oversubscribe -n 2", "sft.yaml run=rows2 model.tied=false model.sparse_embedding=true ema.decay=0.9"), 0, NULL);
    same_hash("rows2", want);
}

/* The first steps overflow on the device as on the CPU: products, attention, convolutions and running statistics in f16. */
Test(cuda_runs, losses_are_scaled_in_fp16)
{
    char want[64], command[512];
    static const char *const recipe[] = {"sft.yaml", "digits.yaml 'model={family: convnet, blocks: [1], widths: [4]}' batch.grain=3 batch.grains=4 data.eval="};
    const char *more = "precision=fp16 max_steps=4 loss_scale.start=4294967296";
    ls_fixture_images();
    for (int r = 0; r < 2; r++) {
        snprintf(command, sizeof command, "%s run=one%d %s", recipe[r], r, more);
        ls_expect(train("", command), 0, "step 1 is skipped: gradients overflow with loss scale 4294967296", NULL);
        snprintf(command, sizeof command, "one%d", r);
        ls_hash_of(command, want);
        snprintf(command, sizeof command, "%s run=some%d %s batch.schedule=round cuda_graphs=true", recipe[r], r, more);
        ls_expect(train("CUDAHOST_SEED=2 mpirun --oversubscribe -n 3", command), 0, NULL);
        snprintf(command, sizeof command, "some%d", r);
        same_hash(command, want);
    }
    ls_expect(ls_shell("lockstep train sft.yaml run=cpu %s", more), 0, "step 1 is skipped", NULL);
    cr_expect_leq(fabs(ls_metric("cpu", "loss", 4) - ls_metric("one0", "loss", 4)), 1e-3);
}

Test(cuda_runs, a_killed_run_goes_on_and_checkpoints_cross_devices)
{
    char want[64];
    const char *four = "sft.yaml max_steps=4 checkpoint.every=1 optimizer.schedule=linear optimizer.min_lr_ratio=0 optimizer.decay_steps=2";
    char straight[256];
    snprintf(straight, sizeof straight, "%s run=straight", four);
    ls_expect(train("", straight), 0, NULL);
    ls_hash_of("straight", want);
    ls_expect(ls_shell("$LS_BUILD/tests/lockstep_cudahost train %s device=cuda & pid=$!\n"
                       "until [ -e run/checkpoints/step-00000002 ]; do sleep 0.02; done; kill -KILL $pid; wait $pid", four),
              137, NULL);
    ls_expect(train("", four), 0, "resuming", NULL);
    same_hash("run", want);
    /* From step 2 on the learning rate is 0: the weights that the CPU reads, trains on and writes are those that the device
     * wrote, and so are those that come back. */
    const char *weights = "lockstep ckpt info cross | grep ' model/'";
    ls_expect(ls_shell("$LS_BUILD/tests/lockstep_cudahost train %s run=cross max_steps=2 device=cuda && %s > there", four, weights), 0, NULL);
    ls_expect(ls_shell("lockstep train %s run=cross max_steps=3 && %s > here", four, weights), 0, "goes on under 'cpu", NULL);
    ls_expect(ls_shell("$LS_BUILD/tests/lockstep_cudahost train %s run=cross max_steps=4 device=cuda && %s > back", four, weights), 0, "goes on under 'cuda", NULL);
    ls_expect(ls_shell("wc -l < there; diff there here && diff here back && echo equal"), 0, "equal", NULL);
}

Test(cuda_runs, images_of_both_families)
{
    char want[64];
    static const char *const model[] = {"'model={family: convnet, blocks: [1, 1], widths: [4, 8]}'",
                                        "'model={family: vit, patch: 4, layers: 1, width: 16, heads: 2}' precision=bf16"};
    ls_fixture_images();
    for (int m = 0; m < 2; m++) {
        char command[512];
        const char *small = "digits.yaml batch.grain=3 batch.grains=4 max_steps=2 data.eval_rows=6";
        snprintf(command, sizeof command, "%s run=one%d %s", small, m, model[m]);
        ls_expect(train("", command), 0, "accuracy", NULL);
        snprintf(command, sizeof command, "one%d", m);
        ls_hash_of(command, want);
        snprintf(command, sizeof command, "%s run=some%d %s", small, m, model[m]);
        ls_expect(train(m ? "CUDAHOST_SEED=6 mpirun --oversubscribe -n 4" : "CUDAHOST_SEED=5 mpirun --oversubscribe -n 3", command), 0, NULL);
        snprintf(command, sizeof command, "some%d", m);
        same_hash(command, want);
    }
}

static void make_ppo(void)
{
    ls_expect(ls_shell("sed 's/^task: .*/task: ppo/; s/, dropout: 0.1//; s/^batch: .*/batch: {grain: 2, grains: 2, tokens: 24}/' sft.yaml > ppo.yaml && "
                       "echo 'ppo: {group: 2, max_tokens: 3, slots: 3, missing_end: 0.5, kl_coef: 0.1}' >> ppo.yaml"), 0, NULL);
}

Test(cuda_runs, rollouts_are_drawn_on_the_device)
{
    char want[64];
    make_ppo();
    ls_expect(train("", "ppo.yaml run=one"), 0, "step 2/2", NULL);
    ls_hash_of("one", want);
    ls_expect(train("CUDAHOST_SEED=7 mpirun --oversubscribe -n 2", "ppo.yaml run=two"), 0, NULL);
    same_hash("two", want);
}

/* Block masks, slots behind the text, and measures that the task adds up. */
Test(cuda_runs, lexical_units_are_learned_on_the_device)
{
    char want[64];
    ls_expect(ls_shell("lockstep train sft.yaml run=base && lockstep units base --data q --alpha 0.001 --out units.h5 && "
                       "sed 's/^task: .*/task: lud\\nlud: {units: units.h5}/; s/model: {/model: {from: base, slot: true, /' sft.yaml > lud.yaml"),
              0, " units at alpha", NULL);
    ls_expect(train("", "lud.yaml run=one"), 0, "slot_loss", NULL);
    ls_hash_of("one", want);
    ls_expect(train("CUDAHOST_SEED=9 mpirun --oversubscribe -n 3", "lud.yaml run=three batch.schedule=round"), 0, NULL);
    same_hash("three", want);
    ls_expect(ls_shell("lockstep train lud.yaml run=cpu"), 0, NULL);
    cr_expect_leq(fabs(ls_metric("cpu", "loss", 2) - ls_metric("one", "loss", 2)), 1e-4);
    cr_expect_gt(ls_metric("one", "eval_slots_a_token", 0), 0, "there are slots");
}

/* A planted fault: the host gathers and saves weights before the device has made them. */
/* Sums through the host, which then touches what the device has not written. */
Test(cuda_runs, a_wait_that_is_missing_shows)
{
    char want[64], got[64];
    const char *run = "mpirun --oversubscribe -n 2 $LS_BUILD/tests/train_forgetful_lockstep train sft.yaml data.eval= device=cuda batch.reduce=host";
    ls_expect(train("", "sft.yaml run=whole data.eval="), 0, NULL);
    ls_hash_of("whole", want);
    ls_expect(ls_shell("%s run=same", run), 0, NULL);
    same_hash("same", want);
    ls_expect(ls_shell("LS_TEST_FORGET=host %s run=wrong", run), 0, NULL);
    ls_hash_of("wrong", got);
    cr_expect_str_neq(got, want);
}

/* The loader's grains come on a stream of their own: a grain that does not wait for its copy reads zeros, or an older grain. On one
 * rank no other stream is waited for. */
Test(cuda_runs, a_grain_that_is_not_waited_for_shows)
{
    char want[64], got[64];
    const char *run = "$LS_BUILD/tests/train_forgetful_lockstep train %s data.eval= device=cuda";
    const char *recipe[] = {"sft.yaml", "digits.yaml 'model={family: convnet, blocks: [1], widths: [4]}' batch.grain=3 batch.grains=4 max_steps=2"};
    ls_fixture_images();
    for (int r = 0; r < 2; r++) {
        char command[512];
        snprintf(command, sizeof command, "rm -rf run && CUDAHOST_SEED=%%d %%s %s", run);
        ls_expect(ls_shell(command, 0, "", recipe[r]), 0, NULL);
        ls_hash_of("run", want);
        ls_expect(ls_shell(command, 3, "", recipe[r]), 0, NULL);
        same_hash("run", want);
        ls_expect(ls_shell(command, 0, "LS_TEST_FORGET=events", recipe[r]), 0, NULL);
        ls_hash_of("run", got);
        cr_expect_str_neq(got, want, "%s", recipe[r]);
    }
}

static long waits_of(const char *grains, const char *recipe)
{
    const ls_answer *answer = ls_shell("rm -rf run && CUDAHOST_SEED=0 $LS_BUILD/tests/train_forgetful_lockstep train %s data.eval= device=cuda batch.grains=%s", recipe, grains);
    const char *said = strstr(answer->output, "waited ");
    ls_expect(answer, 0, "waited ", NULL);
    return said ? strtol(said + 7, NULL, 10) : 0;
}

/* For its loss, at its end: forward and backward only queue. */
Test(cuda_runs, the_host_waits_once_a_grain)
{
    ls_fixture_images();
    cr_expect_eq(waits_of("5", "sft.yaml"), waits_of("2", "sft.yaml") + 2 * 3);
    const char *vit = "digits.yaml 'model={family: vit, patch: 4, layers: 1, width: 16, heads: 2}' batch.grain=3 max_steps=2";
    cr_expect_eq(waits_of("5", vit), waits_of("2", vit) + 2 * 3);
    const char *convnet = "digits.yaml 'model={family: convnet, blocks: [1, 1], widths: [4, 8]}' batch.grain=3 max_steps=2"; /* batch norm */
    cr_expect_eq(waits_of("5", convnet), waits_of("2", convnet) + 2 * 3);
}

/* Tasks that add up what the losses of their rows are, for the step's line. */
Test(cuda_runs, the_host_waits_once_a_grain_of_pairs)
{
    ls_expect(ls_shell("rm tokenizer.json"), 0, NULL);
    ls_fixture_pairs();
    ls_expect(ls_shell("sed 's/^task: .*/task: dpo/' pairs.yaml > dpo.yaml"), 0, NULL);
    const char *const recipe[] = {"pairs.yaml model.layers=1 model.width=16 max_steps=2", "dpo.yaml model.layers=1 model.width=16 max_steps=2"};
    for (int r = 0; r < 2; r++)
        cr_expect_eq(waits_of("4", recipe[r]), waits_of("2", recipe[r]) + 2 * 2, "%s", recipe[r]);
}

/* What was launched as graphs, and how many executables were made for that. */
static void graphs_of(const char *grains, long *launched, long *made)
{
    const ls_answer *answer = ls_shell("rm -rf run && CUDAHOST_SEED=0 $LS_BUILD/tests/train_forgetful_lockstep train sft.yaml device=cuda cuda_graphs=true batch.grains=%s", grains);
    const char *said = strstr(answer->output, "launched ");
    ls_expect(answer, 0, ", CUDA graphs on", "launched ", NULL);
    cr_assert(said && sscanf(said, "launched %ld graphs, made %ld", launched, made) == 2);
}

/* Rows are packed, so that attention's tiles differ from grain to grain; dropout's numbers do always. */
Test(cuda_runs, graphs_change_no_bit_and_are_made_once)
{
    char want[64], got[64];
    long few[2], more[2];
    ls_expect(train("", "sft.yaml run=plain"), 0, NULL);
    ls_hash_of("plain", want);
    graphs_of("4", &few[0], &few[1]);
    same_hash("run", want);
    graphs_of("8", &more[0], &more[1]);
    cr_expect_geq(more[0], few[0] + 2 * 4, "%ld launched, and %ld with twice the grains", few[0], more[0]);
    cr_expect_eq(more[1], few[1], "%ld made, and %ld with twice the grains", few[1], more[1]);
    ls_expect(train("CUDAHOST_SEED=1", "sft.yaml run=goes_on max_steps=1 optimizer.decay_steps=2 cuda_graphs=true"), 0, NULL);
    ls_expect(train("CUDAHOST_SEED=2 mpirun --oversubscribe -n 2", "sft.yaml run=goes_on batch.schedule=round cuda_graphs=true"), 0, "resuming", NULL);
    same_hash("goes_on", want);
    ls_expect(train("CUDAHOST_SEED=3 mpirun --oversubscribe -n 3", "sft.yaml run=three batch.bucket=4096 guard.audit_every=1 cuda_graphs=true"), 0, NULL);
    same_hash("three", want);
    const char *forgets = "LS_TEST_FORGET=%s CUDAHOST_SEED=1 mpirun --oversubscribe -n 2 $LS_BUILD/tests/train_forgetful_lockstep train sft.yaml device=cuda cuda_graphs=true run=%s %s";
    ls_expect(ls_shell(forgets, "submit", "submit", ""), 1, "StreamCapture", "cuda_graphs: false does without", NULL);
    ls_expect(ls_shell(forgets, "host", "host", "batch.reduce=host"), 0, NULL);
    ls_hash_of("host", got);
    cr_expect_str_neq(got, want);
    ls_expect(ls_shell("lockstep train sft.yaml run=cpu cuda_graphs=true"), 2, "device cpu has no graphs", NULL);
}

Test(cuda_runs, graphs_change_no_bit_of_images_and_rollouts)
{
    char want[64];
    static const char *const recipe[] = {"digits.yaml 'model={family: convnet, blocks: [1, 1], widths: [4, 8]}' batch.grain=3 batch.grains=4 max_steps=2 augment.mixup=0.2",
                                         "ppo.yaml"};
    ls_fixture_images();
    make_ppo();
    for (int r = 0; r < 2; r++) {
        char command[512];
        snprintf(command, sizeof command, "%s run=plain%d", recipe[r], r);
        ls_expect(train("", command), 0, NULL);
        snprintf(command, sizeof command, "plain%d", r);
        ls_hash_of(command, want);
        snprintf(command, sizeof command, "%s run=graphs%d cuda_graphs=true", recipe[r], r);
        ls_expect(train("CUDAHOST_SEED=5 mpirun --oversubscribe -n 2", command), 0, NULL);
        snprintf(command, sizeof command, "graphs%d", r);
        same_hash(command, want);
    }
}

Test(cuda_runs, what_is_missing_is_said)
{
    char module[4096];
    snprintf(module, sizeof module, "%s/tensor/cuda/lockstep-cuda.so", getenv("LS_BUILD"));
    ls_expect(train("CUDAHOST_DEVICES=0", "sft.yaml"), 1, "no device here", "nvidia-smi", NULL);
    ls_expect(train("CUDAHOST_MEMORY=100000", "sft.yaml"), 1, "GiB asked for", "batch.grain", NULL);
    if (access("/dev/nvidia0", F_OK) != 0)
        ls_expect(ls_shell("lockstep train sft.yaml device=cuda"), 1, access(module, F_OK) == 0 ? "no device here" : "built without CUDA", NULL);
}

/* Compute mode 2 is Prohibited; the other illnesses are tests/launch/doctor/'s. */
Test(cuda_runs, doctor_looks_at_devices_and_nccl)
{
    const char *doctor = "%s mpirun --oversubscribe -n 2 sh -c '%s exec $LS_BUILD/tests/lockstep_cudahost doctor sft.yaml device=cuda' | grep ' gpu '";
    ls_expect(ls_shell(doctor, "", ""), 0, "ok    gpu       emulated sm_90 for each rank; driver up to CUDA 1", "NCCL 2.28.3", NULL);
    ls_expect(ls_shell(doctor, "CUDAHOST_DEVICES=1", ""), 0, "fail  gpu ", "ranks 0 and 1 on ", "NCCL refuses that", NULL);
    ls_expect(ls_shell(doctor, "CUDAHOST_COMPUTE_MODE=2", ""), 0, "fail  gpu ", "-c DEFAULT", NULL);
    ls_expect(ls_shell(doctor, "CUDAHOST_DRIVER=11080", ""), 0, "fail  gpu ", "knows CUDA up to 11.8", NULL);
    ls_expect(ls_shell(doctor, "", "CUDAHOST_NCCL_VERSION=2260$OMPI_COMM_WORLD_RANK"), 0, "fail  gpu ", "has NCCL 2.26.1, rank 0", NULL);
    ls_expect(ls_shell(doctor, "CUDAHOST_DEVICES=0", ""), 0, "fail  gpu ", "no device here", NULL);
    if (access("/dev/nvidia0", F_OK) != 0)
        ls_expect(ls_shell("lockstep doctor sft.yaml device=cuda"), 1, "fail  gpu ", NULL);
}

/* cuBLASLt promises one answer on one kind of GPU and version; a rank that was answered otherwise is seen, not believed. */
Test(cuda_runs, ranks_whose_library_chooses_otherwise_are_told)
{
    const char *run = "mpirun --oversubscribe -n 2 sh -c 'CUDAHOST_CUBLASLT_ALGORITHM=%s exec $LS_BUILD/tests/lockstep_cudahost train sft.yaml device=cuda max_steps=1 tf32=%s'";
    ls_expect(ls_shell(run, "5", "true"), 0, "-tf32 cudnn-", NULL);
    ls_expect(ls_shell("rm -r run"), 0, NULL);
    ls_expect(ls_shell(run, "$OMPI_COMM_WORLD_RANK", "false"), 1, "rank 1's device chose other algorithms than rank 0's for", "library (cuda-emulated", NULL);
    ls_expect(ls_shell("lockstep train sft.yaml run=cpu tf32=true"), 2, "device cpu has no tf32", NULL);
}
