/*
 * state.h - the state behind an objective of the whole model (objective/model/objective.h).
 *
 * objective.c owns the arrays and chooses their sizes. sample.c says which sequences are in force.
 * layer.c sets a layer. columns.c evaluates. optimal.c finds the constants of optimal ablation.
 * eval.c has the other calls that evaluate. What follows the layer is in model/suffix.h and
 * objective/divergence.h.
 *
 * S positions of a sequence, N tokens that are not skipped; a row is a token that has an energy
 * (for ce: a label).
 */
#ifndef CBE_OBJECTIVE_MODEL_STATE_H
#define CBE_OBJECTIVE_MODEL_STATE_H

#include "objective/divergence.h"
#include "objective/calls.h"
#include "objective/constant_track.h"
#include "objective/model/objective.h"
#include "math/long_sum.h"
#include "model/suffix.h"

/** What is fixed for the run: choices, sizes, the clean output, and this process's sequences among
 * all. */
typedef struct {
    const cbe_model *model;
    cbe_ablation ablation;
    cbe_loss kind;
    cbe_precision precision;
    cbe_scope scope;
    cbe_model_objective_plan plan;
    size_t n_sequences, context_length; /* B, S */
    size_t skip, tokens_each;           /* positions of a sequence skipped, and not skipped */
    size_t hidden_size, n_tokens;       /* d, N */
    int64_t *derangement;               /* (N); NULL unless resample */
    size_t *first_row;  /* (B + 1): the first row of each sequence, and the number of all rows */
    size_t *row_token;  /* (rows): token of each row */
    cbe_suffix *suffix; /* the blocks behind the layer */
    cbe_divergence *divergence; /* the clean output of each row */
    cbe_bf16 *bf16;             /* NULL: precision is float32 */

    const cbe_processes *processes; /* over which sequences are divided; NULL: one alone */
    size_t first_sequence;          /* index of this process's first sequence among all */
    size_t all_sequences;           /* sequences of all processes */
    size_t n_held_out;              /* sequences of all processes that are held out */
    size_t n_mean;                  /* tokens of all processes that are not held out */
    /* (processes + 1): index of each process's first position among all; NULL: one alone */
    size_t *first_states;
    size_t *order; /* (all_sequences): searched sequences, then held-out ones; each part rising */
    double *sequence_rows; /* (all_sequences): rows of each sequence */
} cbe_model_setup;

/** What setting a layer fills in. */
typedef struct {
    size_t block;             /* hidden_states.block is the layer: the first block that runs */
    const float *hidden;      /* (B S, d), borrowed; NULL: no layer is set */
    double *mean;             /* (d), over tokens that are neither skipped nor held out */
    const cbe_metric *metric; /* borrowed; NULL: plain */
    /* (N, d): hidden states of the tokens that the process's tokens are ablated with; resample of
     * several processes alone. */
    float *other;
} cbe_model_layer;

/** Directions that are removed together (together.c). Owns its arrays. */
typedef struct {
    size_t n, room;       /* directions, and for how many there is room */
    double *read, *write; /* (n, d) r and w of each */
    double *mean_dot;     /* (n): mean . r */
    double *pair_grad;    /* (pairs, n, width): gradients by r and w of each (columns.c) */
    cbe_long_sum *sums;   /* (n, width): of these */
} cbe_model_together;

/** The sequences in force. */
typedef struct {
    /* Sequences of all processes in force: all_active, evenly spread over span entries of `order`
     * from entry `first` on. */
    size_t all_active, first, span;
    double all_rows;          /* rows of all_active sequences */
    size_t n_active, *active; /* (n_active): this process's sequences in force, rising */
    size_t n_rows;            /* rows of active sequences */
    size_t place;             /* index of active[0] among the all_active sequences */
} cbe_model_sample;

/** Scratch of optimal ablation. */
typedef struct {
    cbe_constant_track *tracks; /* (m) */
    double *energy, *slope;     /* (m): of columns */
    double *grad;               /* (m, d): of columns */
    double *range;              /* (m): of each direction's coefficients */
    size_t *pending;            /* (m): directions whose constant is not settled */
    double *sorted;             /* (all_sequences tokens_each): coefficients of a direction */
} cbe_model_constants;

/** Scratch of an evaluation, sized for m = max_batch columns and plan.n_sequences pairs at work: a
 * column is a direction with a constant, a pair is a column and a sequence. */
typedef struct {
    /* What D_n is: the objective's ablation, or OPTIMAL (D_n = h_n, less a constant). */
    cbe_ablation replacement;
    /* (m, d): r and w of each direction, which are what was asked for in the plain metric and
     * point to the arrays below in others. */
    const double *read, *write;
    double *own_read, *own_write; /* (m, d) */
    double *mean_dot;             /* (m): mean . r of each direction */
    size_t *direction;            /* (m): of each column */
    double *constant;             /* (m): a of c_n = D_n . r - a */
    double *coeff;                /* (pairs, tokens_each): c_n */
    cbe_divergence_item *items;   /* (pairs tokens_each): rows of the pairs */
    double *row_energy;           /* (pairs tokens_each): of items */
    double *pair_grad;            /* (pairs, 2 d): by v; by r and by w where the two differ */
    double *pair_slope;           /* (pairs) */
    /* (m, 2 d + 2): energies, slopes and gradients, over pairs and processes */
    cbe_long_sum *sums;
    double *by_read, *by_write, *turned; /* (d): gradients of a column, and the metric's scratch */
    cbe_model_constants constants;
} cbe_model_work;

/** A function of this folder takes the members that it needs, const if it only reads them, and the
 * whole if it needs more than three. */
typedef struct {
    cbe_objective head;
    cbe_model_setup setup;
    cbe_model_layer layer;
    cbe_model_together together;
    cbe_model_sample sample;
    cbe_model_work work;
} cbe_model_objective;

/** What an evaluation of columns has to bring. */
typedef enum {
    CBE_MODEL_ENERGIES,
    CBE_MODEL_GRADIENTS /* energies, gradients, and slopes in the constant */
} cbe_model_want;

#endif
