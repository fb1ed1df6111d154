/*
 * plan.h - what an extraction through a lens will take, before it is run: memory, time, and what
 * travels between processes.
 *
 * A cost model with two parts: rates of this machine, from evaluations of a small problem of the
 * model's shape that take some seconds, and how often a search evaluates, from runs
 * (docs/scaling.md).
 */
#ifndef CBE_PLAN_PLAN_H
#define CBE_PLAN_PLAN_H

#include "model/model.h"

/** Seconds of work on this machine with all threads that were measured. */
typedef struct {
    size_t threads;  /* OpenMP threads that were at work */
    double multiply; /* of a multiplication and addition in a large matrix product */
    /* of one token, vocabulary entry and direction: energy alone, in a batch; */
    double score;
    double one, many; /* with gradient, of a single direction, and of each of a batch */
    /* of one vocabulary entry, number of a hidden state and direction in what an evaluation does
     * besides: energy alone, in a batch; */
    double score_product;
    double one_product, many_product; /* with gradient, likewise */
    /* of one token and vocabulary entry when a layer is set, besides products */
    double set;
    /* of one token, number of a hidden state and direction in an evaluation, likewise */
    double score_state, one_state, many_state;
} cbe_plan_rates;

/** Measures them with random numbers of a decoder's shape, cut to a size that takes seconds and
 * about 300 MB.
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_plan_measure(cbe_plan_rates *out, size_t hidden_size, size_t vocab_size,
                            cbe_error *err);

typedef struct {
    cbe_model_config model;
    size_t file_bytes; /* of weights, mapped; 0: not known */
    size_t n_tokens, context_length;
    size_t n_layers;                /* of the run */
    size_t n_vectors;               /* k */
    size_t n_processes, n_machines; /* in all; on how many machines */
    size_t threads;                 /* of a process */
    /* of processes, each with layers of its own; 0: as many as `cbe extract --divide auto` makes */
    size_t n_groups;
    size_t memory;             /* bytes that a process may use; 0: no limit */
    double bandwidth, latency; /* of the network between machines: bytes a second, seconds */
} cbe_plan_run;

/** Of one process the bytes, of the run the seconds. */
typedef struct {
    size_t n_groups, group_size;
    const char *logits; /* how they are kept, "float32" */
    /* bytes; memory: of all together, at the most */
    size_t program, weights, states, objective, search, memory;
    double forward, set, search_time, report, network_time, seconds; /* seconds: of all together */
    double sent; /* bytes that a process sends and receives */
} cbe_plan;

/** Bytes of a model's weights as float32 in memory: all of them, and of one block; where `all` does
 * not fit memory, blocks are expanded one at a time. */
size_t cbe_plan_weight_bytes(const cbe_model_config *model, size_t *block);

/** @return CBE_OK; CBE_ERR_ARG (a division that cannot be made; too little memory: how much is
 * needed is said) */
cbe_status cbe_plan_make(cbe_plan *out, const cbe_plan_run *run, const cbe_plan_rates *rates,
                         cbe_error *err);

#endif
