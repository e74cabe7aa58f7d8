#!/usr/bin/env python3
"""Writes tests/golden/policy.json: the loss of GRPO and its relatives, in float64, by TRL's own code.

usage: make_policy_golden.py            (TRL 1.16.0, torch 2.x; its GRPOTrainer._compute_loss is called, with log-probabilities of
                                         our choosing in place of a model's)
Per case: log-probabilities now, when drawn and under the reference, rewards, lengths; advantages, loss and the loss's gradient."""
import collections, json
from pathlib import Path
from types import SimpleNamespace

import torch
import trl
from trl.trainer.grpo_trainer import GRPOTrainer

torch.set_default_dtype(torch.float64)
GROUP, GROUPS, T = 3, 2, 5


class Accelerator:
    num_processes = 1

    def gather(self, x):
        return x.reshape(-1)

    def reduce(self, x, reduction):
        return x


def advantages(rewards, scale):
    """As GRPOTrainer._generate_and_score_completions: the group's mean taken off, over its std + 1e-4."""
    grouped = rewards.view(-1, GROUP)
    mean, std = grouped.mean(1).repeat_interleave(GROUP), grouped.std(1).repeat_interleave(GROUP)
    out = rewards - mean
    return out / (std + 1e-4) if scale else out


def case(kind, seed, beta, low, high):
    g = torch.Generator().manual_seed(seed)
    B = GROUP * GROUPS
    old = -torch.rand(B, T, generator=g) * 3 - 0.05
    now = (old + torch.randn(B, T, generator=g) * 0.3).requires_grad_()
    reference = old + torch.randn(B, T, generator=g) * 0.2
    lengths = torch.randint(1, T + 1, (B,), generator=g)
    mask = (torch.arange(T)[None] < lengths[:, None]).double()
    rewards = torch.tensor([1.0, 0, 0, 1, -0.5, 1])
    gain = advantages(rewards, kind != "dr_grpo")
    me = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *a, **k: (now, torch.zeros(B, T), None), aux_loss_enabled=False, top_entropy_quantile=1.0,
        off_policy_mask_threshold=None, importance_sampling_level="token", beta=beta, loss_type=kind, epsilon_low=low, epsilon_high=high,
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=1), use_vllm=False,
        model=SimpleNamespace(training=True), current_gradient_accumulation_steps=1, max_completion_length=T, accelerator=Accelerator(),
        _entropy_bonus_enabled=False, use_adaptive_entropy=False, _metrics=collections.defaultdict(lambda: collections.defaultdict(list)))
    inputs = dict(prompt_ids=torch.zeros(B, 1).long(), prompt_mask=torch.ones(B, 1), completion_ids=torch.zeros(B, T).long(), completion_mask=mask,
                  advantages=gain, old_per_token_logps=old, ref_per_token_logps=reference, num_items_in_batch=mask.sum())
    loss = GRPOTrainer._compute_loss(me, None, inputs)
    loss.backward()
    return {"loss": kind, "beta": beta, "clip_low": low, "clip_high": high, "group": GROUP, "tokens": T, "lengths": lengths.tolist(),
            "rewards": rewards.tolist(), "old": old.flatten().tolist(), "now": now.detach().flatten().tolist(),
            "reference": reference.flatten().tolist(), "advantages": gain.tolist(), "value": loss.item(), "gradient": now.grad.flatten().tolist()}


cases = [case(kind, 10 * i + j, beta, low, high)
         for i, kind in enumerate(("grpo", "dapo", "dr_grpo"))
         for j, (beta, low, high) in enumerate(((0.0, 0.2, 0.2), (0.04, 0.2, 0.28)))]
out = Path(__file__).resolve().parent / "policy.json"
out.write_text(json.dumps({"trl": trl.__version__, "cases": cases}) + "\n")
print(f"{out.name}: {len(cases)} cases")
