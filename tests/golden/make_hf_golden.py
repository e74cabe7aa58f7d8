"""Makes the folders hf/NAME beside this file: tiny models with random weights, as transformers saves them, and in each
golden.json what transformers computes with it.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch transformers safetensors
    /tmp/venv/bin/python tests/golden/make_hf_golden.py

    gpt2      Conv1D, fused c_attn; F32
    llama3    rope_type llama3, untied head, grouped queries; F32; by the keys of transformers before 5 (rope_scaling)
    qwen2     biases on query, key and value, tied; BF16 in several files with an index
    qwen3     head_dim that is not hidden_size / heads, query and key norms; F16
    mistral   sliding window; F32, as torch.save wrote models before safetensors (pytorch_model.bin)

tests/train/test_foreign_weights.c holds lockstep against them: logits (float64 here), greedy tokens, and the losses of
three AdamW steps. Each model is read back from the files first, so what is rounded in them is rounded here too.
"""
import json
import pathlib
import shutil

import torch
import transformers
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

HERE = pathlib.Path(__file__).parent / "hf"
V, ROWS, T, NEW = 61, 2, 20, 24
ADAMW = {"lr": 0.01, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}

common = dict(vocab_size=V, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2,
              max_position_embeddings=64, initializer_range=0.3, bos_token_id=1, eos_token_id=2)
models = {
    "gpt2": (GPT2Config(vocab_size=V, n_positions=64, n_embd=24, n_layer=2, n_head=3, initializer_range=0.3, bos_token_id=1, eos_token_id=2,
                        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0), torch.float32, "50GB"),
    "llama3": (LlamaConfig(**common, tie_word_embeddings=False, rms_norm_eps=1e-5,
                           rope_parameters={"rope_type": "llama3", "rope_theta": 50.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                            "original_max_position_embeddings": 48}, head_dim=8), torch.float32, "50GB"),
    "qwen2": (Qwen2Config(**common, tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}), torch.bfloat16, "12KB"),
    "qwen3": (Qwen3Config(**common, tie_word_embeddings=False, head_dim=10, rope_parameters={"rope_type": "linear", "rope_theta": 100.0, "factor": 2.0}),
              torch.float16, "50GB"),
    "mistral": (MistralConfig(**common, head_dim=8, sliding_window=6, tie_word_embeddings=False), torch.float32, "50GB"),
}


def old_keys(path):
    """rope_parameters as transformers 4 wrote it."""
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = rope
    config["torch_dtype"] = config.pop("dtype")
    path.write_text(json.dumps(config, indent=2) + "\n")


def numbers(x):
    return [float(f"{v:.10g}") for v in x.detach().flatten().tolist()]


def make(name, config, dtype, shard):
    torch.manual_seed(5)
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for p in model.parameters():  # gains are 1 and biases 0 in a new model: nothing would show where they go
            if p.dim() == 1:
                p.add_(torch.randn_like(p) * 0.2)
    model.to(dtype).save_pretrained(folder, max_shard_size=shard)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if name == "mistral":
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    if name == "llama3":
        old_keys(folder / "config.json")

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    ids = (torch.arange(ROWS * T) * 7 + torch.arange(ROWS * T) // 5).view(ROWS, T) % V
    prompt = ids[:1, :5]
    greedy = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=NEW, do_sample=False, eos_token_id=V + 1, pad_token_id=0)[0, 5:].tolist()
    model.double()
    logits = model(ids).logits
    again = model(torch.cat([prompt, torch.tensor([greedy])], 1)).logits[0, 4:-1]
    top = torch.topk(again, 2).values
    assert again.argmax(-1).tolist() == greedy
    assert (top[:, 0] - top[:, 1]).min() > 1e-3, "a tie would make the greedy tokens a matter of rounding"

    decayed = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() == 1]
    adamw = torch.optim.AdamW([{"params": decayed}, {"params": plain, "weight_decay": 0.0}], **ADAMW)
    losses = []
    for _ in range(4):  # the fourth loss is that of the weights after three steps
        adamw.zero_grad()
        loss = model(ids, labels=ids).loss
        losses.append(loss.item())
        loss.backward()
        adamw.step()
    golden = {"made_by": f"tests/golden/make_hf_golden.py, transformers {transformers.__version__}, PyTorch {torch.__version__}", "rows": ROWS,
              "tokens": T, "ids": ids.flatten().tolist(), "logits": numbers(logits), "greedy": greedy, "adamw": ADAMW, "losses": losses}
    (folder / "golden.json").write_text(json.dumps(golden, separators=(",", ":")).replace("],", "],\n") + "\n")
    print(name, losses, greedy[:6], sum(f.stat().st_size for f in folder.iterdir()), "bytes")


if __name__ == "__main__":
    for name, arguments in models.items():
        make(name, *arguments)
