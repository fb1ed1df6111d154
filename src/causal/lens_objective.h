/*
 * lens_objective.h - the state behind an objective that is read through a lens.
 *
 * Ablating v moves each hidden state along v alone, so before the final norm's scale all rows of logits
 * move along one vector u: the stored logits Z give energy and gradient without unembedding again.
 *
 *   x_n = h_n + A h_n + b     xc_n = C x_n (C centres for LayerNorm, else identity)    W~ = W diag(gamma)
 *   Z = xc W~'                s_n^2 = |xc_n|^2 / d + eps            logits_n = cap(Z_n / s_n + offset)
 *   ablated:  a = v + A v,  ac = C a,  u = W~ ac,  c_n = D_n . v
 *   s'_n^2 = (|xc_n|^2 - 2 c_n xc_n.ac + c_n^2 |ac|^2) / d + eps      logits'_n = cap((Z_n - c_n u) / s'_n + offset)
 *
 * Maths and derivatives: docs/maths.md. Float64 twin: tests/ref/lens_ref.c.
 * lens_layer.c makes what is the same for all directions; lens_eval.c evaluates.
 *
 * N tokens, d hidden size, V vocabulary; a row is a token that has an energy (for ce: a label).
 */
#ifndef CBE_CAUSAL_LENS_OBJECTIVE_H
#define CBE_CAUSAL_LENS_OBJECTIVE_H

#include <stdbool.h>

#include "causal/kernels.h"
#include "causal/objective.h"

enum {
    CBE_LENS_PARTS = 32,         /* parts of the rows, each with a gradient vector of its own */
    CBE_LENS_MIN_PART = 64,      /* rows in a part, at least: a part costs a pass over V floats */
    CBE_LENS_TOKEN_BLOCK = 256,  /* tokens of one task in sums over d */
    CBE_LENS_VOCAB_BLOCK = 1024, /* vocabulary entries of one task in products with W~ */
    CBE_LENS_EXACT_ROWS = 32     /* cancelled rows recomputed together */
};

/** What one row and one direction give, before the sums over rows. */
typedef struct {
    double energy;
    double weight;     /* c / s': factor of (p - q) in d KL / d ac */
    double xc_coeff;   /* factor of xc_n in d KL / d ac (of xc_n - c_n ac for exact rows) */
    double ac_coeff;   /* factor of ac */
    double c_coeff;    /* d KL / d c_n, which multiplies D_n */
} cbe_lens_row;

/** Rank-1 change of one row. */
typedef struct {
    double c, s, inverse_s; /* c_n, s'_n, 1 / s'_n */
    bool exact;             /* cancels too much for the stored logits: recompute the row */
    double left_ac;         /* (xc_n - c_n ac) . ac, set for exact rows */
} cbe_lens_shift;

typedef struct {
    cbe_objective head;
    const cbe_decoder *decoder;
    const cbe_kernels *kernels;
    cbe_ablation ablation;
    cbe_objective_kind kind;
    size_t n_tokens, hidden_size, vocab_size;
    size_t n_rows, *row_token;
    int64_t *derangement, *labels;
    bool capped, layernorm, has_probs; /* has_probs: E is kept (kl without cap) */
    int n_threads;

    float *w;      /* (V, d) W~ */
    float *offset; /* (V) W beta + bias, times log2(e) unless capped; NULL: zero */
    float offset_low, offset_high; /* its smallest and largest entry */

    /* The layer. */
    const float *hidden;
    cbe_translator translator;
    float *x_buffer; /* (N, d), only with a translator */
    const float *x;  /* hidden or x_buffer */
    double *mean;    /* (d) of hidden */
    float *z;        /* (rows, V): Z_n - shift_n, shift_n = s_n lse_n (0 when capped) */
    float *e;        /* (rows, d): W~' p_n */
    double *norm2, *inverse_s; /* (rows): |xc_n|^2, 1 / s_n */
    double *log_sum; /* (rows): logsumexp of the stored row, about 0; when capped the row's lse */
    double *p_z;     /* (rows): sum p z, or z at the label; not when capped */
    float *z_low, *z_high; /* (rows): smallest and largest stored logit */
    bool layer_set;

    /* The sample in force. */
    size_t n_active, *active; /* rows, rising */
    size_t n_parts;

    /* Scratch of an evaluation, sized for max_batch directions. */
    double *a, *ac, *mean_dot, *ac_norm2; /* (m, d), (m, d), (m), (m) */
    float *ac32;                          /* (m, d) */
    double *h_dot, *x_dot, *e_dot;        /* (m, N), (m, N), (m, rows) */
    float *u;                             /* (m, V) */
    float *u_low, *u_high;                /* (m): smallest and largest entry of u */
    float *g;                             /* (CBE_LENS_PARTS + 1, m, V) */
    bool *g_used;                         /* (CBE_LENS_PARTS + 1, m) */
    float *g_total;                       /* (m, V) */
    float *row_buffer;                    /* (n_threads, CBE_ROW_GROUP, 1 or 2, V) */
    cbe_lens_shift *shifts;               /* (m, rows) */
    cbe_lens_row *rows;                   /* (m, rows) */
    size_t *exact_pairs;                  /* (m rows): direction * n_active + active row */
    float *exact_x, *exact_rows;          /* (CBE_LENS_EXACT_ROWS, d), (.., 2 or 3, V) */
    double *exact_left, *exact_grad;      /* (CBE_LENS_EXACT_ROWS, d), (m, d) */
    double *coeff;                        /* (3, m, max(N, rows)) */
    double *block_sums;                   /* (3 token blocks or vocabulary blocks, m, d) */
    float *sum_scratch;                   /* (n_threads, d) */
    double *grad_sums, *c_total, *lens_grad; /* (4, m, d), (m), (d) */
} cbe_lens_objective;

/** 1 / ln 2: kernels take exponents of two. */
static const double CBE_LOG2E = 1.4426950408889634074;
static const double CBE_LN2 = 0.69314718055994530942;

/** The factor nearest to x that a kernel, which takes x log2(e) in float, applies exactly: formulas that
 * use it have no error of first order from the rounding. */
static inline double cbe_lens_round(double x)
{
    return (double)(float)(x * CBE_LOG2E) * CBE_LN2;
}

/** Evaluation, see lens_eval.c; the cbe_objective's own call. */
cbe_status cbe_lens_eval(cbe_objective *self, size_t m, const double *v, double *energy, double *grad,
                         double *per_token, cbe_error *err);

#endif
