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
 *   ablated:  a = w + A w,  ac = C a,  u = W~ ac,  c_n = D_n . r
 *   s'_n^2 = (|xc_n|^2 - 2 c_n xc_n.ac + c_n^2 |ac|^2) / d + eps
 *   logits'_n = cap((Z_n - c_n u) / s'_n + offset)
 *
 * A direction v is read as r and written as w (covariance/metric.h), which are v in the plain
 * metric.
 *
 * Maths and derivatives: docs/maths.md. Float64 twin: tests/ref/lens_ref.c.
 *
 * objective.c   owns the arrays
 * rows.c        keeps the rows of Z
 * sample.c      says what evaluations go over
 * vocabulary.c  orders W~
 * layer.c       makes what is the same for all directions
 * row.c         takes one row of one column to its energy and its factors
 * pass.c        goes over all rows
 * exact.c       makes rows anew that cancel too much
 * gradient.c    adds up gradients
 * columns.c     evaluates columns, by the four before it
 * optimal.c     finds the constants of optimal ablation
 * eval.c        has the other calls that evaluate
 *
 * N tokens, d hidden size, V vocabulary; a row is a token that has an energy (for ce: a label).
 */
#ifndef CBE_OBJECTIVE_LENS_STATE_H
#define CBE_OBJECTIVE_LENS_STATE_H

#include <stdbool.h>

#include "math/kernels.h"
#include "objective/calls.h"
#include "objective/constant_track.h"
#include "objective/lens/objective.h"
#include "objective/lens/rules.h"
#include "math/long_sum.h"

/** What one row and one direction give, before the sums over rows. */
typedef struct {
    double energy;
    double weight;   /* c / s': factor of (p - q) in d KL / d ac */
    double xc_coeff; /* factor of xc_n in d KL / d ac (of xc_n - c_n ac for exact rows) */
    double ac_coeff; /* factor of ac in d KL / d ac */
    double c_coeff;  /* d KL / d c_n, which multiplies D_n */
} cbe_lens_row;

/** Rank-1 change of one row. */
typedef struct {
    double c, s, inverse_s; /* c_n, s'_n, 1 / s'_n */
    bool exact;             /* cancels too much for the stored logits: recompute the row */
    double left_ac;         /* (xc_n - c_n ac) . ac, set for exact rows */
} cbe_lens_shift;

/** Numbers of the clean rows, over the first entries of the vocabulary in the layer's order. */
typedef struct {
    size_t vocab; /* entries that count */
    /* (vocab): as the layer's offset; of entries that stand for others, the logarithm of their
     * number is added. NULL: 0. Borrowed. */
    const float *offset;
    float offset_low, offset_high; /* bounds of offset */
    double *log_sum; /* (rows): logsumexp of the stored row; when capped the row's lse */
    double *p_z;     /* (rows): sum p z, or z at the label; not when capped */
    float *e;        /* (rows, d): W~' p_n */
} cbe_lens_view;

typedef enum { CBE_LENS_EXACT, CBE_LENS_ROUGH, CBE_LENS_N_VIEWS } cbe_lens_view_kind;

/** An entry of the vocabulary to be ranked. */
typedef struct {
    double probability; /* summed over rows */
    size_t entry;       /* its number in the decoder */
} cbe_lens_rank;

/** What is fixed for the run: choices, sizes, and the tokens of this process among all. */
typedef struct {
    const cbe_decoder *decoder;
    const cbe_kernels *kernels;
    cbe_ablation ablation;
    cbe_loss kind;
    cbe_logit_storage storage;
    bool capped, layernorm; /* what the decoder has */
    bool has_probs;         /* E is kept: kl without cap */
    int n_threads;
    size_t n_tokens, hidden_size, vocab_size;
    size_t stride;          /* floats from a row of V to the next: whole vectors and padding */
    size_t sequence_tokens; /* tokens of each sequence; 0: all tokens are one sequence */

    size_t n_rows, *row_token; /* (n_rows): token of each row */
    size_t n_held_out;         /* rows held out, which come last */
    bool some_held_out;        /* whether the options hold tokens out */
    bool *held_out;            /* (N); NULL: none */
    int64_t *derangement;      /* (N), among tokens of all processes; NULL unless resample */
    int64_t *labels;           /* (N); NULL unless ce */

    const cbe_processes *processes; /* over which tokens are divided; NULL: one alone */
    size_t all_tokens;              /* tokens of all processes */
    size_t first_token;             /* index of this process's first token among all tokens */
    size_t *first_tokens;           /* (processes + 1): the same of each process; NULL: alone */
    size_t all_rows, all_held_out;  /* rows of all processes; rows held out of all processes */
    size_t n_mean;                  /* tokens of all processes that are not held out */
    size_t rows_before[2];          /* rows of processes of lower rank: searched, and held out */
    /* (processes): memory of each process that all on one machine see, u (m, stride) and behind it
     * the process's sum of g (m, stride); u of the first is used. They then divide the products
     * with W~ too. NULL: each process makes all products. */
    void **shared;
} cbe_lens_setup;

/** What setting a layer fills in. */
typedef struct {
    bool set; /* a layer is set, and evaluations can follow */

    /* The vocabulary in the layer's order: vocabulary.c. */
    size_t *order;        /* (V): number of each entry in the decoder; NULL: the decoder's order */
    cbe_lens_rank *ranks; /* (V): scratch for finding the order; NULL as order */
    float *w;             /* (V, d) W~ */
    float *offset;        /* (V) W beta + bias - common, times log2(e) unless capped; NULL: 0 */
    float *rough_offset; /* (V / CBE_LENS_LIKELY_SHARE) of the rough view; NULL: capped, or exact */

    const float *hidden;       /* (N, d), borrowed */
    cbe_translator translator; /* borrowed */
    cbe_metric metric;         /* its covariance borrowed */
    const float *x;            /* (N, d): hidden or x_buffer */
    float *x_buffer;           /* (N, d): states behind the translator; NULL: there was none yet */
    /* (N, d): hidden states of the tokens that the process's tokens are ablated with; resample of
     * several processes alone. */
    float *other;
    double *mean; /* (d) of hidden, over tokens that are not held out */

    /* Z_n - shift_n, shift_n = s_n lse_n (0 when capped), as storage says: see rows.c. */
    float *z;      /* (rows, stride) as floats; NULL: not kept so */
    uint16_t *z16; /* (rows, stride), divided by s_n, in half precision; NULL: not kept so */
    double *norm2, *inverse_s; /* (rows): |xc_n|^2, 1 / s_n */
    double *shift;             /* (rows): shift_n */
    float *z_low, *z_high;     /* (rows): smallest and largest stored logit */
    size_t *block_begin;       /* (rows + 1): blocks of rows that are made together */
    /* The rough view has all V entries if there is no rough evaluation of this layer. */
    cbe_lens_view views[CBE_LENS_N_VIEWS];
} cbe_lens_layer;

/** What evaluations go over: rows and entries of the vocabulary in force. */
typedef struct {
    /* Rows of all processes in force: all_active rows, evenly spread over span rows from row
     * `first` on. */
    size_t all_active, first, span;
    size_t n_active, *active; /* (n_active): this process's rows in force, rising */
    size_t place;             /* index of active[0] among the all_active rows */
    /* (rows + 1): unit i is rows unit_begin[i] .. unit_begin[i + 1] - 1 of `active`, all of one
     * group of sequences. */
    size_t n_units, *unit_begin;
    size_t n_parts;                /* parts that have units: rules.h */
    const cbe_lens_view *view;     /* in force */
    size_t vocab_begin, vocab_end; /* entries whose products with W~ this process makes */
} cbe_lens_sample;

/** Buffers of the threads, one thread after the other. */
typedef struct {
    float *rows; /* (n_threads, CBE_LENS_BLOCK, stride): rows of Z; NULL if Z is kept as floats */
    float *xc;   /* (n_threads, CBE_LENS_BLOCK, d) */
    float *p;    /* (n_threads, CBE_LENS_BLOCK, CBE_LENS_P_COLUMNS): probabilities */
    float *e;    /* (n_threads, cbe_lens_exp_rows, stride): exponentials */
} cbe_lens_threads;

/** Rows set aside, which cancel too much for the stored logits. */
typedef struct {
    size_t *pairs;      /* (m rows): column * n_active + active row */
    float *x;           /* (CBE_LENS_EXACT_ROWS, d): (xc - c ac) / s' */
    float *rows;        /* (CBE_LENS_EXACT_ROWS, 2 or 3 with a cap, stride): logits, then results */
    double *left;       /* (CBE_LENS_EXACT_ROWS, d): xc - c ac */
    cbe_long_sum *grad; /* (m, d): the sum of the rows' terms in xc and ac */
} cbe_lens_exact;

/** Scratch of optimal ablation. */
typedef struct {
    cbe_constant_track *tracks; /* (CBE_CONSTANT_TRACKS, m) */
    double *energy, *slope;     /* (m): of columns */
    double *grad;               /* (m, d): of columns */
    double *range;              /* (m): of each direction's coefficients */
    size_t *pending;            /* (m): directions whose constant is not settled */
    double *sorted;             /* (all_rows): coefficients of a direction */
} cbe_lens_constants;

/** Scratch of an evaluation, sized for m = max_batch columns: a column is a direction with a
 * constant. */
typedef struct {
    /* What D_n is: the objective's ablation, or OPTIMAL (D_n = h_n, less a constant). */
    cbe_ablation replacement;

    /* Directions: what they read and write, either v or the buffers below. */
    const double *read, *write;     /* (m, d): r, w */
    double *read_rows, *write_rows; /* (m, d): r, w unless the metric is plain */
    double *a;                      /* (m, d): w + A w */
    double *ac, *ac_norm2;          /* (m, d), (m): C a, its squared length */
    float *ac32;                    /* (m, d): ac in float */
    double *mean_dot;               /* (m): mean . r */
    double *h_dot, *x_dot;          /* (m, N): h . r and x . ac of the tokens in force */
    double *other_dot;              /* (m, N): h . r of the tokens ablated with; resample alone */
    double *e_dot;                  /* (m, rows): E . ac of the rows in force */
    float *u;                       /* (m, stride): W~ ac; in setup.shared if there is one */
    float *u_low, *u_high;          /* (m): smallest and largest entry of u */

    /* Columns. */
    size_t *direction;      /* (m): of each column */
    double *constant;       /* (m): a of c_n = D_n . r - a */
    cbe_lens_shift *shifts; /* (m, n_active) */
    cbe_lens_row *rows;     /* (m, n_active) */

    /* Gradient vectors over V: each part has one for each column. The last are of the rows set
     * aside. */
    float *g;       /* (CBE_LENS_PARTS, m, stride): of the unit in work, or a part's only unit */
    double *g_sum;  /* (CBE_LENS_PARTS + 1, m, stride): of the units before */
    bool *g_used;   /* (CBE_LENS_PARTS + 1, m): whether g holds something */
    bool *g_summed; /* (CBE_LENS_PARTS + 1, m): whether g_sum holds something */
    float *g_total; /* (m, stride): all parts together */

    /* Sums. */
    double *coeff;       /* (4, m, n_active): factors of rows */
    double *block_sums;  /* (2 units or vocabulary blocks, m, d) */
    cbe_long_sum *sums;  /* (3 m + 2 m d): what is added up over processes */
    double *c_total;     /* (m): sum c_coeff */
    double *lens_grad;   /* (d): a column's gradient in x, or a state of a row set aside */
    double *metric_grad; /* (2 d): a column's gradient in r, and scratch, unless r = w = v */

    cbe_lens_threads threads;
    cbe_lens_exact exact;
    cbe_lens_constants constants;
} cbe_lens_work;

/** A function of this folder takes the members that it needs, const if it only reads them, and the
 * whole if it needs more than three. */
typedef struct {
    cbe_objective head;
    cbe_lens_setup setup;
    cbe_lens_layer layer;
    cbe_lens_sample sample;
    cbe_lens_work work;
} cbe_lens_objective;

/** What an evaluation of columns has to bring. */
typedef enum {
    CBE_LENS_ENERGIES,
    CBE_LENS_SLOPES, /* energies, and factors of rows, from which slopes in the constant follow */
    CBE_LENS_GRADIENTS
} cbe_lens_want;

/** 1 / ln 2: kernels take exponents of two. */
static const double CBE_LOG2E = 1.4426950408889634074;
static const double CBE_LN2 = 0.69314718055994530942;

/** Gradient vectors over V are larger by this until they are added up in double: probabilities of
 * 2^-140, which rows of SmolLM2 have, would be subnormal floats, for which some CPUs take 100 times
 * as long. */
static const double CBE_LENS_G_SCALE = 0x1p40;

/** The factor nearest to x that a kernel applies exactly, since it takes x log2(e) in float:
 * formulas that use it have no error of first order from the rounding. */
static inline double cbe_lens_round(double x)
{
    return (double)(float)(x * CBE_LOG2E) * CBE_LN2;
}

/** Hidden state of the token that a token is ablated with. */
static inline const float *cbe_lens_other(const cbe_lens_setup *setup, const cbe_lens_layer *layer,
                                          size_t token)
{
    return layer->other ? layer->other + token * setup->hidden_size
                        : layer->hidden + (size_t)setup->derangement[token] * setup->hidden_size;
}

/** out = A v, both (d). There must be a translator. */
static inline void cbe_lens_translate_vector(const cbe_lens_setup *setup,
                                             const cbe_lens_layer *layer, const double *v,
                                             double *out)
{
    const size_t d = setup->hidden_size;
    for (size_t row = 0; row < d; row++) {
        const float *weight = layer->translator.weight + row * d;
        setup->kernels->rows_dot_f64(1, d, &weight, 1, v, &out[row], 1);
    }
}

/** Rows of exponentials that a thread keeps: a group's, and with a soft cap as many of clean
 * probabilities. */
static inline size_t cbe_lens_exp_rows(const cbe_lens_setup *setup)
{
    return setup->capped ? 2 * CBE_ROW_GROUP : CBE_EXP_ROWS;
}

/** Number of views of the layer: the exact one, and if it can be rough that one too. */
static inline int cbe_lens_n_views(const cbe_lens_setup *setup, const cbe_lens_layer *layer)
{
    return layer->views[CBE_LENS_ROUGH].vocab < setup->vocab_size ? CBE_LENS_N_VIEWS
                                                                  : CBE_LENS_EXACT + 1;
}

#endif
