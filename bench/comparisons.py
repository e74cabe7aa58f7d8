"""What bench/run measures: ours, the peers', and the ratio that is wanted (issue 3). Commands may use {bench} (built programs),
{python} (the peers' interpreter), {root} and {threads}; `&&` stands between commands of one side. `targets`: word in a figure's
name -> what is wanted of its ratio, or, with a %, of our own figure."""


def step(shape, *runs):
    """One process, as `lockstep train` takes a step; one command for each `runs`."""
    return " && ".join(f"{{bench}}/train_bench_step bench/train/{shape}.yaml threads={{threads}} {run}".strip() for run in runs)


def text_peers(shape, kind, options=""):
    command = f"{{python}} bench/train/peer_step.py {shape} {kind} {options}".strip()
    return {"PyTorch eager": command, "PyTorch compiled": command + " --compile"}


def image_peers(shape):
    command = f"{{python}} bench/train/peer_images.py {shape}"
    return {"PyTorch eager": command, "channels last": command + " --channels-last", "PyTorch compiled": command + " --compile"}


def generation(precision, batch, peer, target=""):
    name, command = {"transformers": ("transformers' generate() in PyTorch", "{python} bench/models/peer_generate.py %s %d --transformers"),
                     "PyTorch loop": ("a loop over a preallocated key/value cache in PyTorch", "{python} bench/models/peer_generate.py %s %d"),
                     "llama.cpp": ("llama.cpp (PyPI's llama-cpp-python; bench/models/llama_cpp.sh), built for this processor, its key/value cache f16 as it comes, ours in the weights' type",
                                   "{python} bench/models/peer_llama.py %s %d --threads {threads}")}[peer]
    return {"title": f"Generation with the 124M GPT-2 shape beside {peer}, {precision}, batch {batch}",
            "about": f"Greedy, a prompt of 16 tokens and 64 new ones a row; rates count prompts' time in. The peer: {name}.",
            "ours": f"{{bench}}/models_bench_generate {precision} batch={batch} threads={{threads}}", "peers": {peer: command % (precision, batch)},
            "targets": {"generate": target} if target else {}}


TEXT = ("A training step (forward, backward, clipping, AdamW) as the loop takes it, with loader and metrics; PyTorch with fused attention and AdamW, "
        "eager and compiled, on random ids in memory. G is the number of grains of a step; PyTorch has none, its one figure stands beside both. "
        "The share is of the rate that the same process reaches in a product of 1024 x 1024 matrices just before and after its steps.")
IMAGES = ("As above, on noise in the images' shape; PyTorch has its images in memory. PyTorch's best of NCHW, channels last and torch.compile stands beside.")
SHARE = "G=1 share of the matmul rate"

COMPARISONS = [
    {"title": "Step of a 12M Llama shape, f32", "about": TEXT + " 6 blocks of 384, vocabulary 4096, 8 x 256 tokens. Wanted: the ratio, or 85 % of the matrix product rate.",
     "ours": step("llama-12m", "steps=5", "steps=5 batch.grain=2 batch.grains=4"), "peers": text_peers("llama-12m", "f32"),
     "targets": {"share": ">= 85 %", "8 x 256": ">= 1.3"}},
    {"title": "Step of the 124M GPT-2 shape, f32", "about": TEXT + " 4 x 256 tokens.",
     "ours": step("gpt2-124m", "steps=1", "steps=1 batch.grain=1 batch.grains=4"), "peers": text_peers("gpt2-124m", "f32", "--steps 1"),
     "targets": {SHARE: ">= 70 %", "share": ">= 85 %", "4 x 256": ">= 1.3"}},
    {"title": "Step of a 12M Llama shape, bf16", "about": TEXT + " Where the processor has no bf16 arithmetic (AVX512_BF16), weights and activations are stored in it and products are f32.",
     "ours": step("llama-12m", "steps=5 precision=bf16", "steps=5 precision=bf16 batch.grain=2 batch.grains=4"),
     "peers": {"bf16 weights": "{python} bench/train/peer_step.py llama-12m bf16 --steps 2", "autocast": "{python} bench/train/peer_step.py llama-12m bf16 --autocast --steps 2"},
     "targets": {"share": ">= 85 %", "8 x 256 G=1": ">= 1.5"}},
    {"title": "Step of the 124M GPT-2 shape, bf16", "about": TEXT,
     "ours": step("gpt2-124m", "steps=3 precision=bf16", "steps=3 precision=bf16 batch.grain=1 batch.grains=4"),
     "peers": {"bf16 weights": "{python} bench/train/peer_step.py gpt2-124m bf16 --steps 3"},
     "targets": {SHARE: ">= 50 %", "4 x 256 G=1": ">= 1.5"}},
    {"title": "Memory of the 124M GPT-2 shape", "about": "The most that is resident, less what is before model and data are made; a parameter's 16 bytes (weight, gradient, two moments) "
     "are taken off in the first row of each. Two steps on both sides: PyTorch has no moments before its first step has ended. The ratio is PyTorch's memory over ours: 60 % is 1.67, 40 % is 2.5.",
     "ours": step("gpt2-124m", "memory steps=1", "memory steps=1 batch.grain=8 batch.tokens=1024"), "turns": 1,
     "peers": {"PyTorch eager": "{python} bench/train/peer_step.py gpt2-124m f32 --memory --steps 1 --grains 1 && "
               "{python} bench/train/peer_step.py gpt2-124m f32 --memory --steps 1 --grains 1 --rows 8 --tokens 1024"},
     "targets": {"4 x 256 G=1 memory beyond": ">= 1.667", "8 x 1024 G=1 memory beyond": ">= 2.5", "memory in all": ">= 1"}, "limit": 1500},
    {"title": "Step of a residual convnet, f32", "about": IMAGES + " ResNet-18 and ResNet-20 as on CIFAR, batch 64. The share counts a convolution's plain operations; of 3 x 3 in f32 fewer are done (tensor/cpu/winograd.h), so it may be above 100 %.",
     "ours": step("resnet18-cifar", "steps=3") + " && " + step("resnet20-cifar", "steps=7"),
     "peers": {side: command + " --grains 1 --steps 3 && " + command.replace("resnet18", "resnet20") + " --grains 1 --steps 7" for side, command in image_peers("resnet18-cifar").items()},
     "targets": {"share": "", "images": ">= 1"}},
    {"title": "Step of ViT-S/16, f32", "about": IMAGES + " 16 images of 224 x 224.",
     "ours": step("vit-s16", "steps=2"),
     "peers": {side: command + " --grains 1 --steps 2" for side, command in image_peers("vit-s16").items() if side != "channels last"},
     "targets": {"share": "", "images": ">= 1"}},
    {"title": "Generation of the 124M GPT-2 shape", "about": "Greedy, one text, a prompt of 16 tokens and 128 new ones, the median of three calls after a short one; PyTorch: a loop over a "
     "preallocated key/value cache (bench/models/peer_generate.py). In bf16 the first of ours packs the weights (docs/generation.md).",
     "ours": "{bench}/models_bench_generate f32 batch=1 tokens=128 threads={threads} && {bench}/models_bench_generate bf16 batch=1 tokens=128 threads={threads}",
     "peers": {"PyTorch": "{python} bench/models/peer_generate.py f32 1 --tokens 128 && {python} bench/models/peer_generate.py bf16 1 --tokens 128"},
     "targets": {"": ">= 2"}},
    {"title": "Rollout", "about": "Iterations of task grpo from random weights (bench/train/bench_rollout.py): drawing, judging and measuring of 16 rows of the GPT-2 shape with 14 blocks (100M), and of "
     "128 rows, 32 at once, of a small one. The share is processor time over time x threads; a thread that spins for work, 50 us at most, counts as busy.",
     "ours": "bench/train/bench_rollout.py --threads {threads}", "targets": {"busy": ">= 85 %"}},
    {"title": "Ranks and threads", "about": "The same recipe (12M Llama shape, 4 grains of 2 x 256) as 1 rank x 2 threads, 2 x 1, and 4 x 2, which is four times what the cores can do at once. "
     "Ratios of steps/s.",
     "ours": "bench/dist/bench_layouts.sh bench/train/llama-12m.yaml 1 batch.grain=2 batch.grains=4 max_steps=4",
     "targets": {"2x1": ">= 1", "4x2": ">= 0.5"}, "limit": 900},
    {"title": "Reduction", "about": "Until the sum of one gradient a rank is there, less the pass that hands the gradient over (any trainer that accumulates has it). `reduce`: each rank has its "
     "slice of the sum, as the optimiser needs it. `reduce and gather`: each rank has all of the sum, as MPI_Allreduce leaves it; lockstep gathers new weights instead. MPI_Allreduce on the same buffers in the "
     "same run, as Open MPI comes; what its other algorithms reach stands in performance-notes.md.",
     "ours": "mpirun --bind-to core -n 2 {bench}/dist_bench_tree 256", "targets": {"reduce 256": ">= 8"}},
    {"title": "Price of determinism", "about": "A step with fixed grains and the fixed tree against the same step, same kernels, with gradients added to one buffer in whatever order and MPI's own sum. Lower is better: 1 is no price.",
     "ours": "mpirun --bind-to core -n 2 {bench}/dist_bench_price 4 2 && mpirun --bind-to core -n 2 {bench}/dist_bench_price 8 1", "targets": {"price": "<= 1.05"}},
    {"title": "Start", "about": "From mpirun to the begin of step 1 of the 12M Llama shape, two ranks.",
     "ours": "bench/dist/bench_start.sh bench/train/llama-12m.yaml 2 1 batch.grain=2 batch.grains=4", "targets": {"first step": "<= 1 s"}},
    generation("f32", 1, "transformers", ">= 2"),
    generation("bf16", 1, "transformers", ">= 2"),
    generation("f32", 16, "transformers"),
    generation("f32", 16, "PyTorch loop"),
    *[generation(precision, batch, "llama.cpp", ">= 0.8") for precision in ("f32", "bf16") for batch in (1, 16)],
]
