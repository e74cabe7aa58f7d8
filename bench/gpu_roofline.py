"""Bytes and operations of a training step on a GPU, kernel by kernel, and the time that a GPU's rates allow (a roofline: Williams et
al. 2009). bench/gpu prints and measures what stands here; docs/gpu.md shows it.

Bytes are those that must pass between memory and the chip: every operand once, every result once, but a kernel that walks over
an array twice is charged twice. Operations of products are 2 m n k; of attention, pairs that are visible alone. All in bf16 with
f32 sums, gradients of weights, statistics and optimiser, as `precision: bf16` has it; one grain, so that no gradient is added."""
from dataclasses import dataclass


@dataclass
class Gpu:
    name: str
    tensor: float  # dense bf16 operations in a second, sums in f32
    memory: float  # bytes in a second


# Data sheets: dense rates, no sparsity. The first word of a name is looked for in what nvidia-smi says.
GPUS = [Gpu("H200", 989e12, 4.8e12), Gpu("H100 PCIe", 756e12, 2.0e12), Gpu("H100 NVL", 835e12, 3.9e12), Gpu("H100", 989e12, 3.35e12),
        Gpu("A100-SXM4-40GB", 312e12, 1.555e12), Gpu("A100", 312e12, 2.039e12)]


@dataclass
class Shape:
    name: str
    style: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    hidden: int
    vocabulary: int
    rows: int    # of a step on one GPU
    tokens: int  # of a row
    ranks: int = 1

    @property
    def gated(self):
        return self.style == "llama"

    @property
    def n(self):
        return self.rows * self.tokens

    @property
    def kv(self):
        return self.width // self.heads * self.kv_heads

    def products(self):
        """(outputs, inputs) of a block's weights."""
        d, h = self.width, self.hidden
        return [(d, d), (self.kv, d), (self.kv, d), (d, d), (h, d)] + ([(h, d)] if self.gated else []) + [(d, h)]

    @property
    def in_products(self):
        return self.layers * sum(m * k for m, k in self.products()) + self.vocabulary * self.width

    @property
    def parameters(self):
        """gpt2 ties the head to the embedding and has rows for positions and biases; norms are counted with neither."""
        more = self.vocabulary * self.width if self.gated else self.tokens * self.width
        return self.in_products + more

    def pairs(self):
        """Visible pairs of query and key, all heads and rows."""
        return self.rows * self.heads * self.tokens * (self.tokens + 1) / 2

    def model_operations(self):
        """What the model asks for, three times its forward pass: the numerator of MFU."""
        return 6 * self.n * self.in_products + self.layers * 12 * self.pairs() * (self.width // self.heads)


SHAPES = [Shape("gpt2-124m", "gpt2", 12, 768, 12, 12, 3072, 50257, 16, 1024),
          Shape("gpt2-1.5b", "gpt2", 48, 1600, 25, 25, 6400, 50257, 8, 1024),
          Shape("llama-7b", "llama", 32, 4096, 32, 32, 11008, 32000, 4, 4096, ranks=8)]


@dataclass
class Kernel:
    group: str  # its row in the page
    spec: str   # what bench_gpu calls it
    calls: float  # in a step
    operations: float  # of a call
    bytes: float

    def seconds(self, gpu, share=1.0):
        return max(self.operations / gpu.tensor, self.bytes / gpu.memory) / share

    def bound(self, gpu):
        return "arithmetic" if self.operations / gpu.tensor > self.bytes / gpu.memory else "memory"


def product(group, kind, m, n, k, calls, more=0):
    """m x n results; gradients of weights are added to in f32."""
    results = 8 if kind == "matmul_weight" else 2
    return Kernel(group, f"{kind} m={m} n={n} k={k}", calls, 2 * m * n * k, 2 * (m * k + n * k) + results * m * n + more * m * n)


def flat(group, kind, n, calls, per_element):
    return Kernel(group, f"{kind} n={n}", calls, 0, per_element * n)


def rows(group, kind, count, width, calls, per_element):
    return Kernel(group, f"{kind} rows={count} width={width}", calls, 0, per_element * count * width)


def layer_products(s):
    made = []
    for outputs, inputs in sorted(set(s.products())):
        calls = s.layers * s.products().count((outputs, inputs))
        gelu = not s.gated and outputs == s.hidden  # cuBLASLt adds the bias; the activation reads the sum and writes once more
        made += [product("products, forward", "matmul_gelu" if gelu else "matmul", s.n, outputs, inputs, calls, more=4 if gelu else 0),
                 product("products, gradients in x", "matmul_slope", s.n, inputs, outputs, calls),
                 product("products, gradients of weights", "matmul_weight", outputs, inputs, s.n, calls)]
    return made


def attention(s):
    width, q, k = s.width // s.heads, s.n * s.width, s.n * s.kv
    spec = f"batch={s.rows} tokens={s.tokens} heads={s.heads} kv_heads={s.kv_heads} width={width}"
    once = 2 * s.pairs() * width  # operations of one product
    return [Kernel("attention, forward", f"attention {spec}", s.layers, 2 * once, 2 * (2 * q + 2 * k) + 4 * s.n * s.heads),
            # two kernels: both read q, k, v and dout and make scores and their slopes, one reads out as well
            Kernel("attention, backward", f"attention_backward {spec}", s.layers, 7 * once, 2 * (7 * q + 8 * k) + 16 * s.n * s.heads)]


def elementwise(s):
    """Norms and results of activations are made again in backward."""
    inner, d = s.n * s.hidden, s.n * s.width
    made = [rows("norms", "norm", s.n, s.width, 2 * 2 * s.layers + 1, 4), rows("norms", "norm_backward", s.n, s.width, 2 * s.layers + 1, 8),
            flat("residual sums", "add", d, 2 * 2 * s.layers, 6)]
    if s.gated:
        made += [flat("activations", "gated", inner, 2 * s.layers, 6), flat("activations", "gated_backward", inner, s.layers, 10)]
        for heads in sorted({s.heads, s.kv_heads}):
            calls = 2 * s.layers * [s.heads, s.kv_heads].count(heads)
            made.append(Kernel("rotary positions", f"rotary rows={s.n} heads={heads} width={s.width // s.heads}", calls, 0, 4 * s.n * heads * (s.width // s.heads)))
    else:
        made += [flat("activations", "activation", inner, s.layers, 4), flat("activations", "activation_slope", inner, s.layers, 10)]
        for outputs, times in ((s.width, 5), (s.hidden, 1)):
            made.append(rows("gradients of biases", "sum_rows", s.n, outputs, times * s.layers, 2))
    return made


def ends(s):
    """Both ends of the model. The loss: for each tile of 4096 words logits twice, their slopes, and products with these."""
    n, d, v, tiles = s.n, s.width, s.vocabulary, -(-s.vocabulary // 4096)
    loss = 22 * n * v + 10 * v * d + tiles * 14 * n * d
    return [Kernel("loss", f"cross_entropy rows={n} width={d} vocabulary={v}", 1, 8 * n * v * d, loss),
            Kernel("embedding", f"embedding rows={n} width={d} vocabulary={v}", 1, 0, 4 * n * d),
            Kernel("embedding", f"embedding_gradient rows={n} width={d} vocabulary={v}", 1, 0, 2 * n * d + 8 * min(n, v) * d)]


def optimizer(s):
    own = s.parameters // s.ranks  # ZeRO-1
    return [flat("optimiser", "adamw", own, 1, 30), flat("optimiser", "squares", own, 1, 4)]


def kernels(s):
    return layer_products(s) + attention(s) + elementwise(s) + ends(s) + optimizer(s)


def step_seconds(s, gpu, share):
    return sum(k.calls * k.seconds(gpu, share) for k in kernels(s))


def conv(batch, side, channels, outputs, window, stride):
    """A convolution of square images and its gradients; padding keeps the side, up to the stride."""
    out = (side + 2 * (window // 2) - window) // stride + 1
    x, w, y = batch * side**2 * channels, outputs * window**2 * channels, batch * out**2 * outputs
    spec, operations = f"batch={batch} side={side} channels={channels} outputs={outputs} window={window} stride={stride}", 2 * y * window**2 * channels
    return [Kernel("convolutions", f"{kind} {spec}", 1, operations, 2 * (x + y) + of_w * w) for kind, of_w in (("conv", 2), ("conv_input", 2), ("conv_weight", 8))]


def convolutions():
    """One of each kind of ResNet-50 (He et al. 2016, table 1), 64 images of 224 x 224: measured, in no step here."""
    return conv(64, 224, 3, 64, 7, 2) + conv(64, 56, 64, 64, 3, 1) + conv(64, 56, 256, 64, 1, 1) + conv(64, 56, 128, 128, 3, 2) + conv(64, 7, 512, 512, 3, 1)


def tiny():
    """Shapes that the emulation can afford, with every kind of kernel among their kernels."""
    return [Shape("tiny-gpt2", "gpt2", 1, 32, 2, 2, 64, 50, 2, 16), Shape("tiny-llama", "llama", 1, 32, 2, 1, 48, 60, 1, 24, ranks=2)]
