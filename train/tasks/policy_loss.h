/* The clipped policy gradient of PPO, GRPO and their relatives, with a penalty on leaving a reference, as a sum over
 * tokens, rho_t = e^(lp_t - lp_old_t):
 *
 *     sum_t  w_t ( - min(rho_t A_t, clip(rho_t, 1 - low, 1 + high) A_t)  +  beta kl_t )
 *
 * Schulman et al. 2017, equation 7; Shao et al. 2024 (GRPO), equation 3; a wider upper bound as in Yu et al. 2025
 * (DAPO). With d = lp - lp_ref the estimators of KL(policy || reference) are (Schulman 2020, "Approximating KL
 * divergence")
 *
 *     k1   d                   unbiased, but its gradient has nothing to do with that of KL
 *     k2   d^2 / 2             little variance, biased
 *     k3   e^(-d) - 1 + d      unbiased, never negative: what GRPO uses
 *
 * Where lp = lp_old, rho is exactly 1 and the gradient is that of - A lp: the two equal sides of min have half of it
 * each. */
#pragma once
#include "tensor/ops.h"

typedef enum { LS_KL_K1, LS_KL_K2, LS_KL_K3 } ls_kl_estimator;
#define LS_KL_CHOICES "k1|k2|k3"

/* Arrays [n] in the costs' type, living until the reset. */
typedef struct {
    const void *old, *reference; /* log-probabilities when drawn, and under the reference (NULL: beta is 0) */
    const void *advantage, *weight;
    double clip_low, clip_high, beta;
    ls_kl_estimator kl;
} ls_policy_terms;

/* cost [n]: minus the log-probability of each token (ls_cross_entropy_groups). One number. */
ls_tensor *ls_policy_loss_sum(ls_tape *tape, ls_tensor *cost, const ls_policy_terms *terms);
/* A_i = (s_i - mean) / (std + 1e-4) of each group of rows that follow each other, std with n - 1; without `scale` not
 * divided. A group of equal rewards has advantage exactly 0 and flat 1. All arrays [rows]. */
void ls_group_advantages(int64_t rows, int64_t group, bool scale, const float *reward, float *advantage, float *flat);
/* One token's estimate from d. */
double ls_kl_estimate(ls_kl_estimator kl, double d);
