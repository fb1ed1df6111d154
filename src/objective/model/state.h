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

#include "objective/constants.h"
#include "objective/divergence.h"
#include "objective/calls.h"
#include "objective/model/objective.h"
#include "math/long_sum.h"
#include "model/suffix.h"

typedef struct {
    cbe_objective head;
    const cbe_model *model;
    cbe_ablation ablation;
    /* what D_n is in the evaluation in work: `ablation`, or OPTIMAL (D_n = h_n, a constant) */
    cbe_ablation replacement;
    cbe_objective_kind kind;
    cbe_model_objective_plan plan;
    /* B, S, S - tokens_each, tokens of a sequence */
    size_t n_sequences, context_length, skip, tokens_each;
    size_t hidden_size, n_tokens; /* d, N */
    int64_t *derangement;         /* (N); NULL unless resample */
    /* (B + 1): rows of sequence b are first_row[b] .. */
    size_t *first_row;
    size_t *row_token; /* (rows) */
    /* Of all processes together: what is above is this one's share. */
    const cbe_processes *processes; /* NULL: one alone */
    size_t first_sequence, all_sequences;
    /* (processes + 1): number of each process's first position, of all B S; NULL: alone */
    size_t *first_states;
    size_t n_mean; /* tokens that are not held out */
    /* (all_sequences): those that are searched, then those held out; each part rising */
    size_t *order;
    double *sequence_rows; /* (all_sequences) */
    size_t n_held_out;     /* sequences */
    cbe_suffix *suffix;
    cbe_divergence *divergence;
    cbe_precision precision;
    cbe_bf16 *bf16; /* NULL: precision is float32 */

    /* The layer. */
    size_t first;
    const float *hidden; /* (B S, d), borrowed; NULL: no layer is set */
    double *mean;        /* (d), of tokens that are neither skipped nor held out */
    /* (N, d): hidden states of the tokens that ours are ablated with; resample of several processes
     * alone */
    float *other;

    /* The sample in force: the process's own sequences, and their rows, among */
    size_t n_active, *active, n_rows;
    /* so many, evenly spread over active_span of `order` from active_first on; */
    size_t all_active, active_first, active_span;
    size_t active_place; /* the first of ours is that one of them */
    double all_rows;

    /* Scratch. A column is a direction with a constant; a pair is a column and a sequence. */
    size_t *direction;              /* (m) of each column */
    double *constant;               /* (m) a of c_n = D_n . v - a */
    double *mean_dot;               /* (m) mean . v of each direction */
    double *coeff;                  /* (plan.n_sequences, tokens_each): c_n of the pairs at work */
    cbe_divergence_item *items;     /* (plan.n_sequences tokens_each) */
    double *row_energy;             /* likewise */
    double *pair_grad, *pair_slope; /* (plan.n_sequences, d), (plan.n_sequences) */
    double *column_energy, *column_slope, *column_range, *column_grad; /* (m), (m), (m), (m, d) */
    cbe_constant_track *tracks;                                        /* (m) */
    double *sorted; /* (all_sequences tokens_each) */
    /* (m, d + 2): energies, slopes and gradients of columns, over pairs and processes */
    cbe_long_sum *sums;
    size_t *pending; /* (m) */
} cbe_model_objective;

/** What an evaluation has to bring. */
/* slopes come with gradients */
typedef enum { CBE_MODEL_ENERGIES, CBE_MODEL_GRADIENTS } cbe_model_want;

#endif
