/* Logarithm, exponential, sine and cosine in f64 with fixed bits: plain +, -, *, / and sqrt in a fixed order.
 *
 * The C library picks other code on other processors (glibc: with and without FMA), so its last bit moves. Whatever
 * ends in a result (weights, rotary angles, learning rates, sampling) comes from here. Errors stay below 2 ulp of f64;
 * the vector kernels of tensor/cpu/vector have f32 versions of their own. Never use these in a hot loop. */
#pragma once
#include "base/type.h"

double ls_math_log(double x); /* x > 0 and normal; else NaN, or -infinity for 0 */
double ls_math_exp(double x);
double ls_math_pow(double x, double y);                                 /* exp(y log x), x > 0 */
double ls_math_power(double x, int64_t n);                              /* x^n by squaring, n >= 0 */
void ls_math_sincos(double angle, double *sine, double *cosine);        /* radians, |angle| < 2^30; else NaN */
void ls_math_sincos_turn(uint32_t turn, double *sine, double *cosine);  /* angle = 2 pi turn / 2^32, exact reduction */
