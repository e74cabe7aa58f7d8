/* Losses of preferences, as sums over pairs or answers: the loop divides by the step's count. Each log sigmoid(x) is
 * computed as -softplus(-x), which neither overflows nor loses small probabilities. Results are one number. */
#pragma once
#include "tensor/ops.h"

/* Bradley & Terry 1952; Ouyang et al. 2022, equation 1; margins as in Touvron et al. 2023b, section 3.2.2:
 *     sum_i  - log sigmoid(better_i - worse_i - margin_i)  +  center (better_i + worse_i)^2
 * rewards [2p], a pair's two after each other, the preferred one first; margin [p] in the rewards' type, living until
 * the reset; center 0: left out (TRL's center_rewards_coefficient). */
ls_tensor *ls_bradley_terry_sum(ls_tape *tape, ls_tensor *rewards, const void *margin, double center);

/* Binary cross-entropy with logits rewards [n] and targets in [0, 1] (Cobbe et al. 2021, verifiers):
 *     sum_i  softplus(r_i) - target_i r_i
 * target [n] in the rewards' type, living until the reset. */
ls_tensor *ls_outcome_sum(ls_tape *tape, ls_tensor *rewards, const void *target);

typedef enum { LS_DPO_SIGMOID, LS_DPO_IPO, LS_DPO_ROBUST, LS_DPO_HINGE } ls_dpo_kind;
#define LS_DPO_CHOICES "sigmoid|ipo|robust|hinge"

/* Losses on h [p] = (log p(better) - log p_ref(better)) - (log p(worse) - log p_ref(worse)); e = smoothing,
 * the share of labels taken to be wrong, 0 <= e < 0.5, which the last two do not read:
 *
 *     sigmoid   - (1 - e) log sigmoid(beta h) - e log sigmoid(-beta h)      Rafailov et al. 2023, equation 7
 *     robust    (- (1 - e) log sigmoid(beta h) + e log sigmoid(-beta h)) / (1 - 2 e)
 *               Chowdhury et al. 2024: unbiased under e
 *     hinge     max(0, 1 - beta h)                                          Zhao et al. 2023
 *     ipo       (h - 1 / (2 beta))^2                                        Azar et al. 2024, equation 17 */
ls_tensor *ls_dpo_sum(ls_tape *tape, ls_tensor *h, ls_dpo_kind kind, double beta, double smoothing);
