"""Makes preference.json beside this file: losses and gradients of preference learning, computed by TRL's own code in float64.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch transformers trl==1.16.0
    /tmp/venv/bin/python tests/golden/make_preference_golden.py

RewardTrainer.compute_loss and DPOTrainer._compute_loss are called as they are, on an object that has what they read; the "model"
hands out rewards, or log-probabilities of tokens, so that no tokenizer and no network takes part.
tests/train/tasks/test_preference.c holds lockstep's losses against the file.
"""
import collections
import json
import pathlib
import types

import torch
import trl
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.reward_trainer import RewardTrainer

PINNED = "1.16.0"
assert trl.__version__ == PINNED, f"TRL {trl.__version__}; the file names {PINNED}"
torch.set_default_dtype(torch.float64)
torch.manual_seed(20)


class Accelerator:
    device = torch.device("cpu")
    gather = gather_for_metrics = staticmethod(lambda x: x)


def trainer(**more):
    return types.SimpleNamespace(model=types.SimpleNamespace(training=True), accelerator=Accelerator(), _tp_size=1, _total_train_tokens=0,
                                 _metrics={"train": collections.defaultdict(list)}, **more)


def figures(metrics):
    return {name: values[-1] for name, values in metrics["train"].items() if name != "num_tokens"}


def reward_case(margins, center):
    pairs = 5
    rewards = (3 * torch.randn(2 * pairs, 1)).requires_grad_()  # TRL's batch: all chosen, then all rejected
    margin = torch.rand(pairs) if margins else torch.zeros(pairs)
    self = trainer(args=types.SimpleNamespace(center_rewards_coefficient=center))
    inputs = {"attention_mask": torch.ones(2 * pairs, 3)} | ({"margin": margin} if margins else {})
    loss = RewardTrainer.compute_loss(self, lambda **_: types.SimpleNamespace(logits=rewards), inputs)
    loss.backward()
    ours = lambda x: torch.stack(x.flatten().chunk(2), 1).flatten().tolist()  # a pair's two after each other
    return {"rewards": ours(rewards.detach()), "margin": margin.tolist(), "center": center or 0, "loss": loss.item(), "gradient": ours(rewards.grad),
            "metrics": figures(self._metrics)}


def dpo_case(loss, beta, smoothing):
    pairs, tokens = 5, 12
    lengths = torch.randint(2, tokens - 1, (2 * pairs,))
    completion = torch.stack([(torch.arange(tokens) >= tokens - n) for n in lengths]).long()
    log_probs = (-3 * torch.rand(2 * pairs, tokens - 1)) * completion[:, 1:]
    log_probs.requires_grad_()
    reference = (log_probs.detach() + 0.8 * torch.randn(2 * pairs, tokens - 1) * completion[:, 1:]).sum(1)
    self = trainer(args=None, aux_loss_enabled=False, ld_alpha=None, precompute_ref_logps=True, f_divergence_type="reverse_kl", loss_types=[loss],
                   loss_weights=[1.0], beta=beta, label_smoothing=smoothing, use_weighting=False)
    nothing = torch.zeros(2 * pairs, tokens - 1)
    outputs = types.SimpleNamespace(log_probs=log_probs, entropy=nothing, mean_logits=nothing, is_top1=nothing > 1)
    inputs = {"input_ids": torch.zeros(2 * pairs, tokens).long(), "attention_mask": torch.ones(2 * pairs, tokens), "completion_mask": completion,
              "ref_chosen_logps": reference[:pairs], "ref_rejected_logps": reference[pairs:]}
    value = DPOTrainer._compute_loss(self, lambda **_: outputs, inputs, False)
    value.backward()
    ours = lambda x: torch.stack(x.chunk(2), 1).flatten().tolist()
    last = log_probs.grad[:, -1]  # the gradient by a token's log-probability is the same for all of a response
    return {"loss_type": loss, "beta": beta, "smoothing": smoothing, "tokens": ours(lengths), "log_prob": ours(log_probs.detach().sum(1)),
            "reference": ours(reference), "loss": value.item(), "gradient": ours(last), "metrics": figures(self._metrics)}


golden = {
    "made_by": f"tests/golden/make_preference_golden.py, TRL {trl.__version__}, PyTorch {torch.__version__}, float64",
    "reward": [reward_case(False, None), reward_case(True, None), reward_case(True, 0.01)],
    "dpo": [dpo_case("sigmoid", 0.1, 0.0), dpo_case("sigmoid", 0.5, 0.0), dpo_case("robust", 0.3, 0.1), dpo_case("hinge", 0.2, 0.0),
            dpo_case("ipo", 0.1, 0.0), dpo_case("sigmoid_norm", 0.7, 0.0)],
}
path = pathlib.Path(__file__).with_name("preference.json")
path.write_text(json.dumps(golden, separators=(",", ":")).replace('[{"', '[\n{"').replace('},{"', '},\n{"') + "\n")
print(path, path.stat().st_size, "bytes")
