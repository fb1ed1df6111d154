/*
 * state.h - the state behind an objective that is read through a lens.
 *
 * Ablating v moves each hidden state along v alone, so before the final norm's scale all rows of
 * logits move along one vector u: the stored logits Z give energy and gradient without unembedding
 * again.
 *
 *   x_n = h_n + A h_n + b     xc_n = C x_n (C centres for LayerNorm, else identity)
 *   W~ = W diag(gamma)        Z = xc W~'
 *   s_n^2 = |xc_n|^2 / d + eps            logits_n = cap(Z_n / s_n + offset)
 *   ablated:  a = v + A v,  ac = C a,  u = W~ ac,  c_n = D_n . v
 *   s'_n^2 = (|xc_n|^2 - 2 c_n xc_n.ac + c_n^2 |ac|^2) / d + eps
 *   logits'_n = cap((Z_n - c_n u) / s'_n + offset)
 *
 * Maths and derivatives: docs/maths.md. Float64 twin: tests/ref/lens_ref.c. objective.c owns
 * the arrays. rows.c keeps Z. sample.c says what evaluations go over. vocabulary.c orders W~. layer.c
 * makes what is the same for all directions. columns.c evaluates, with pass.c for the rows and
 * gradient.c for gradients. optimal.c finds the constants of optimal ablation. eval.c has the other
 * calls that evaluate.
 *
 * N tokens, d hidden size, V vocabulary; a row is a token that has an energy (for ce: a label).
 */
#ifndef CBE_OBJECTIVE_LENS_STATE_H
#define CBE_OBJECTIVE_LENS_STATE_H

#include <stdbool.h>

#include "objective/constants.h"
#include "math/kernels.h"
#include "objective/calls.h"
#include "objective/lens/objective.h"
#include "math/long_sum.h"

enum {
    CBE_LENS_PARTS = 16, /* parts of the rows, each with a gradient vector of its own */
    /* rows whose shares of a gradient vector are added up in float, at most; */
    CBE_LENS_UNIT_ROWS = 128,
    CBE_LENS_SMALL_UNIT = 64, /* of few rows, so that several threads have some; */
    /* and at least, on average, since each costs a pass over V numbers */
    CBE_LENS_LEAST_UNIT = 16,
    CBE_LENS_UNITS_AT_ONCE = 64, /* units whose sums over d are kept side by side */
    CBE_LENS_TOKEN_CHUNK = 32,   /* tokens taken at a time in products with d */
    CBE_LENS_VOCAB_BLOCK = 1024, /* vocabulary entries of one task in products with W~ */
    CBE_LENS_EXACT_ROWS = 32,    /* cancelled rows recomputed together */
    /* rows of Z made together: with 64, BLAS puts W~ in order for its products twice as often */
    CBE_LENS_BLOCK = 128,
    /* rows of sequences that are long enough to be groups by themselves: core/groups.h */
    CBE_LENS_LONG_SEQUENCE = 64,
    /* Floats between rows of V: without, rows of 49,152 begin at the same place of every 4 KB, and
     * a batch's loads wait for stores to other rows that look like theirs (0.0165 s a direction in
     * place of 0.0133). */
    CBE_LENS_PADDING = 80,
    /* rows of Z read for one column after the other, while they stay in a cache */
    CBE_LENS_COLUMN_ROWS = 16,
    CBE_LENS_P_COLUMNS = 4096, /* probabilities made together, for the product with W~ */
    /* Rough evaluations: of vocabularies of at least this, over such a share of them at the most,
     * which so many rows choose. */
    CBE_LENS_LEAST_VOCABULARY = 16384,
    CBE_LENS_LIKELY_SHARE = 4,
    CBE_LENS_RANKED_ROWS = 256
};

/** What one row and one direction give, before the sums over rows. */
typedef struct {
    double energy;
    double weight;   /* c / s': factor of (p - q) in d KL / d ac */
    double xc_coeff; /* factor of xc_n in d KL / d ac (of xc_n - c_n ac for exact rows) */
    double ac_coeff; /* factor of ac */
    double c_coeff;  /* d KL / d c_n, which multiplies D_n */
} cbe_lens_row;

/** Rank-1 change of one row. */
typedef struct {
    double c, s, inverse_s; /* c_n, s'_n, 1 / s'_n */
    bool exact;             /* cancels too much for the stored logits: recompute the row */
    double left_ac;         /* (xc_n - c_n ac) . ac, set for exact rows */
} cbe_lens_shift;

/** What belongs to the clean rows, over the entries of the vocabulary that count. */
typedef struct {
    size_t vocab; /* the first so many, in the layer's order */
    /* (rows): logsumexp of the stored row, about 0 of all entries; when capped the row's lse */
    double *log_sum;
    double *p_z; /* (rows): sum p z, or z at the label; not when capped */
    float *e;    /* (rows, d): W~' p_n */
} cbe_lens_view;

typedef enum { CBE_LENS_EXACT, CBE_LENS_ROUGH, CBE_LENS_N_VIEWS } cbe_lens_view_kind;

typedef struct {
    double probability; /* summed over rows */
    size_t entry;
} cbe_lens_rank;

typedef struct {
    cbe_objective head;
    const cbe_decoder *decoder;
    const cbe_kernels *kernels;
    cbe_ablation ablation;
    /* what D_n is in the evaluation in work: `ablation`, or OPTIMAL (D_n = h_n, a constant) */
    cbe_ablation replacement;
    cbe_objective_kind kind;
    cbe_logit_storage storage;
    size_t n_tokens, hidden_size, vocab_size;
    size_t sequence_tokens; /* 0: all tokens are one sequence */
    size_t all_tokens;      /* of all processes */
    size_t stride;          /* V, made whole vectors: rows of V begin at multiples of it */
    size_t n_rows, *row_token;
    size_t n_held_out;             /* of the rows: they come last */
    bool some_held_out, *held_out; /* (N); NULL: none */
    /* Of all processes together: what is above is this one's share. */
    const cbe_processes *processes; /* NULL: one alone */
    size_t first_token;             /* number of its first one */
    size_t *first_tokens;           /* (processes + 1): of each process's first one; NULL: alone */
    size_t all_rows, all_held_out;
    size_t n_mean;         /* tokens that are not held out */
    size_t rows_before[2]; /* rows of processes of lower rank, searched and held out */
    /* On one machine they divide the products with W~ too: of each the memory that all see, u in
     * that of the first, and behind it its sums of g (m, stride). NULL: each makes all of them. */
    void **shared;
    size_t vocab_begin, vocab_end; /* entries whose products this one makes */
    int64_t *derangement, *labels;
    bool capped, layernorm, has_probs; /* has_probs: E is kept (kl without cap) */
    int n_threads;

    /* Entries of the vocabulary lie in the layer's order: vocabulary.c. */
    /* (V): number of each in the decoder; NULL: there is only one order, the decoder's */
    size_t *order;
    cbe_lens_rank *ranks;          /* (V): scratch; NULL likewise */
    float *w;                      /* (V, d) W~ */
    float *offset;                 /* (V) W beta + bias, times log2(e) unless capped; NULL: zero */
    float offset_low, offset_high; /* its smallest and largest entry */

    /* The layer. */
    const float *hidden;
    cbe_translator translator;
    float *x_buffer; /* (N, d), only with a translator */
    const float *x;  /* hidden or x_buffer */
    /* (N, d): hidden states of the tokens that ours are ablated with; resample of several processes
     * alone */
    float *other;
    double *mean; /* (d) of hidden, over tokens that are not held out */
    float *z;     /* (rows, stride): Z_n - shift_n, shift_n = s_n lse_n (0 when capped); or */
    /* (rows, stride): the same over s_n in half precision; or neither, see rows.c */
    uint16_t *z16;
    /* the rough one with all of V: there is none, evaluations are exact */
    cbe_lens_view views[CBE_LENS_N_VIEWS];
    const cbe_lens_view *view; /* in force */
    double *norm2, *inverse_s; /* (rows): |xc_n|^2, 1 / s_n */
    double *shift;             /* (rows): shift_n */
    float *z_low, *z_high;     /* (rows): smallest and largest stored logit */
    size_t *block_begin;       /* (rows + 1): blocks of rows that are made together */
    bool layer_set;

    /* The sample in force. */
    size_t n_active, *active; /* rows, rising: of the process's own, those among */
    /* so many, evenly spread over active_span rows of all from active_first on; */
    size_t all_active, active_first, active_span;
    size_t active_place; /* the first of ours is that one of them */
    size_t n_parts;
    /* Units of the active rows: unit i is unit_begin[i] .. unit_begin[i + 1] - 1 of `active`. None
     * has rows of two groups. */
    size_t n_units, *unit_begin; /* (rows + 1) */

    /* Scratch of threads. */
    /* (n_threads, CBE_LENS_BLOCK, stride): rows not kept as float; NULL where they are */
    float *row_work;
    float *xc_work;  /* (n_threads, CBE_LENS_BLOCK, d) */
    float *p_work;   /* (n_threads, CBE_LENS_BLOCK, CBE_LENS_P_COLUMNS) */
    float *exp_work; /* (n_threads, cbe_lens_exp_rows, stride) */

    /* Scratch of an evaluation, sized for max_batch columns: a column is a direction with a
     * constant. */
    size_t *direction;                    /* (m): of each column */
    double *constant;                     /* (m): a of c_n = D_n . v - a */
    double *a, *ac, *mean_dot, *ac_norm2; /* (m, d), (m, d), (m), (m) */
    float *ac32;                          /* (m, d) */
    double *h_dot, *x_dot, *e_dot;        /* (m, N), (m, N), (m, rows): of rows in force */
    /* (m, N), resample: h . v of the token that it is ablated with */
    double *other_dot;
    float *u;              /* (m, stride); part of `shared` where that is */
    float *u_low, *u_high; /* (m): smallest and largest entry of u */
    /* (CBE_LENS_PARTS, m, stride): of the unit in work, or a part's only one */
    float *g;
    /* (CBE_LENS_PARTS + 1, m, stride): of the units before; the last: of rows set aside */
    double *g_sum;
    /* (CBE_LENS_PARTS + 1, m): whether there is something in g; in g_sum */
    bool *g_used, *g_summed;
    float *g_total;              /* (m, stride) */
    cbe_lens_shift *shifts;      /* (m, rows) */
    cbe_lens_row *rows;          /* (m, rows) */
    size_t *exact_pairs;         /* (m rows): column * n_active + active row */
    float *exact_x, *exact_rows; /* (CBE_LENS_EXACT_ROWS, d), (.., 2 or 3, stride) */
    double *exact_left;          /* (CBE_LENS_EXACT_ROWS, d) */
    cbe_long_sum *exact_grad;    /* (m, d) */
    double *coeff;               /* (4, m, active) */
    double *block_sums;          /* (2 units or vocabulary blocks, m, d) */
    cbe_long_sum *sums;          /* (3 m + 2 m d): what is added up over processes */
    double *c_total, *lens_grad; /* (m), (d) */

    /* Scratch of optimal ablation. */
    cbe_constant_track *tracks; /* (CBE_CONSTANT_TRACKS, m) */
    double *column_energy, *column_slope, *column_range, *column_grad; /* (m), (m), (m), (m, d) */
    size_t *pending; /* (m): directions whose constant is not settled */
    double *sorted;  /* (all_rows) */
} cbe_lens_objective;

/** 1 / ln 2: kernels take exponents of two. */
static const double CBE_LOG2E = 1.4426950408889634074;
static const double CBE_LN2 = 0.69314718055994530942;

/** What gradient vectors over V are larger by, until they are added up in double: probabilities of
 * 2^-140, which rows of SmolLM2 have, would be subnormal floats, for which some CPUs take 100 times
 * as long. */
static const double CBE_LENS_G_SCALE = 0x1p40;

/** The factor nearest to x that a kernel, which takes x log2(e) in float, applies exactly: formulas
 * that use it have no error of first order from the rounding. */
static inline double cbe_lens_round(double x)
{
    return (double)(float)(x * CBE_LOG2E) * CBE_LN2;
}

/** Hidden state of the token that a token is ablated with. */
static inline const float *cbe_lens_other(const cbe_lens_objective *o, size_t token)
{
    return o->other ? o->other + token * o->hidden_size
                    : o->hidden + (size_t)o->derangement[token] * o->hidden_size;
}

/** out = A v, both (d); with a translator alone. */
static inline void cbe_lens_translate_vector(const cbe_lens_objective *o, const double *v,
                                             double *out)
{
    const size_t d = o->hidden_size;
    for (size_t row = 0; row < d; row++) {
        const float *weight = o->translator.weight + row * d;
        o->kernels->rows_dot_f64(1, d, &weight, 1, v, &out[row], 1);
    }
}

/** Rows of exponentials that a thread keeps: those of a group, with a soft cap as many of clean
 * probabilities too. */
static inline size_t cbe_lens_exp_rows(const cbe_lens_objective *o)
{
    return o->capped ? 2 * CBE_ROW_GROUP : CBE_EXP_ROWS;
}

/** Views that the layer has: the exact one alone, or the rough one too. */
static inline int cbe_lens_n_views(const cbe_lens_objective *o)
{
    return o->views[CBE_LENS_ROUGH].vocab < o->vocab_size ? CBE_LENS_N_VIEWS : CBE_LENS_EXACT + 1;
}

/** What a pass over the rows has to bring. */
typedef enum {
    CBE_LENS_ENERGIES,
    CBE_LENS_SLOPES, /* and factors of rows, from which the slope in the constant follows */
    CBE_LENS_GRADIENTS
} cbe_lens_want;

#endif
