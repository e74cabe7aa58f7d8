"""What bench/run measures: ours, the peer's, and the ratio that is wanted (issue 3). Commands may use {bench} (built
programs), {python} (the peers' interpreter), {root} and {threads}. `targets`: word in a figure's name -> wanted ratio."""


def step(shape, rows, grains, precision, target, memory=False):
    """bench_step beside peer_step.py on one shape; grains of ours stand beside PyTorch's one batch."""
    extra = "memory " if memory else ""
    return {
        "title": f"{'Memory' if memory else 'Training step'}: {shape} {precision} G={grains}",
        "about": "One process. Loader, reducer, clipping, AdamW and metrics are in ours; PyTorch: eager, fused attention and AdamW.",
        "ours": f"sh -c 'PATH=build/release/launch:$PATH bench/train/text.sh && {{bench}}/train_bench_step bench/train/{shape}.yaml {extra}"
                f"precision={precision} batch.grain={rows // grains} batch.grains={grains} threads={{threads}}'",
        "peer": f"{{python}} bench/train/peer_step.py {shape} {precision} --grains {grains}{' --memory' if memory else ''}",
        "targets": {} if memory else {shape: target},
    }


COMPARISONS = [
    step("gpt2-124m", 4, 1, "f32", 1.3),
    step("gpt2-124m", 4, 4, "f32", 1.3),
    step("llama-12m", 8, 1, "f32", 1.3),
    step("llama-12m", 8, 4, "f32", 1.3),
    step("gpt2-124m", 4, 1, "bf16", 1.5),
    step("llama-12m", 8, 1, "bf16", 1.5),
    step("gpt2-124m", 4, 1, "f32", None, memory=True),
]
