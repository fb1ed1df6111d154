/*
 * plan.h - a forecast of an extraction through a lens: memory, time, and traffic between processes.
 *
 * The cost model has two parts: rates of this machine, from some seconds of evaluations of a small
 * problem of the model's shape, and the number of a search's evaluations, from runs
 * (docs/scaling.md).
 */
#ifndef CBE_PLAN_PLAN_H
#define CBE_PLAN_PLAN_H

#include "model/model.h"

/** Seconds of work on this machine with the threads measured. An evaluation has three parts, for
 * each of which there are three rates: `score` of the energy alone, in a batch; `one` of energy and
 * gradient of a single direction; `many` of energy and gradient, in a batch. */
typedef struct {
    size_t threads;  /* OpenMP threads that were at work */
    double multiply; /* a multiplication and addition in a large matrix product */
    double set;      /* setting a layer, for each token and vocabulary entry, without products */
    /* For each token, vocabulary entry and direction. */
    double score, one, many;
    /* For each vocabulary entry, number of a hidden state and direction. */
    double score_product, one_product, many_product;
    /* For each token, number of a hidden state and direction. */
    double score_state, one_state, many_state;
} cbe_plan_rates;

/** Measures the rates on random numbers of a decoder's shape, cut to a size that takes seconds and
 * about 300 MB.
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_plan_measure(cbe_plan_rates *out, size_t hidden_size, size_t vocab_size,
                            cbe_error *err);

typedef struct {
    cbe_model_config model;
    size_t file_bytes; /* bytes of the mapped weights; 0: not known */
    size_t n_tokens, context_length;
    size_t n_layers;    /* layers of the run */
    size_t n_vectors;   /* k */
    size_t n_processes; /* processes of the run */
    size_t n_machines;  /* machines of the processes */
    size_t threads;     /* threads of a process */
    /* Groups of processes, each with layers of its own. 0: as many as `cbe extract --divide auto`
     * makes. */
    size_t n_groups;
    size_t memory;    /* bytes that a process may use; 0: no limit */
    double bandwidth; /* bandwidth between machines, bytes a second */
    double latency;   /* latency between machines, seconds */
} cbe_plan_run;

/** Bytes are of one process, seconds of the run. */
typedef struct {
    size_t n_groups, group_size;
    const char *logits; /* how logits are kept, "float32" */
    /* Bytes of the parts of a process. */
    size_t program, weights, states, objective, covariance, search;
    size_t memory; /* bytes of all parts together, at most */
    /* Seconds of the parts of the run. */
    double forward, set, search_time, report, network_time;
    double seconds; /* of all parts together */
    double sent;    /* bytes that a process sends and receives */
} cbe_plan;

/** Returns the bytes of a model's weights as float32 in memory. If all do not fit memory, blocks
 * are expanded one at a time. @param block [out] bytes of one block */
size_t cbe_plan_weight_bytes(const cbe_model_config *model, size_t *block);

/** Plans a run.
 * @return CBE_OK; CBE_ERR_ARG (an impossible division; too little memory: the message says how much
 * is needed) */
cbe_status cbe_plan_make(cbe_plan *out, const cbe_plan_run *run, const cbe_plan_rates *rates,
                         cbe_error *err);

#endif
