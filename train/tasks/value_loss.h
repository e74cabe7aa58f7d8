/* What PPO has beyond the clipped policy gradient (policy_loss.h): rewards by token, advantages, and the loss of the
 * values. */
#pragma once
#include "tensor/ops.h"

/* Generalised advantage estimation (Schulman et al. 2016, equation 16) over one answer of n tokens, backwards:
 *     delta_t = r_t + gamma V_{t+1} - V_t      A_t = delta_t + gamma lambda A_{t+1}      G_t = A_t + V_t      V_n = A_n
 * = 0 value[t] is that of the state before token t. */
void ls_gae(int64_t n, double gamma, double lambda, const double *reward, const double *value, double *advantage,
            double *target);

/* (x - mean) / sqrt(var + 1e-8) over all n numbers, in their order, var with n - 1 (TRL's masked_whiten). */
void ls_whiten(int64_t n, double *x);

/* Clipped value loss (Schulman et al. 2017; TRL), a sum over tokens:
 *     sum_t  w_t / 2  max((v_t - G_t)^2, (v'_t - G_t)^2)        v' = old + clamp(v - old, -clip, clip)
 * Arrays [n] in the values' type, living until the reset. One number. */
typedef struct {
    const void *old, *target, *weight;
    double clip;
} ls_value_terms;
ls_tensor *ls_value_loss_sum(ls_tape *tape, ls_tensor *value, const ls_value_terms *terms);
