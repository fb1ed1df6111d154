/*
 * divergence_pass.h - rows through the vocabulary, a chunk at a time, and what a cbe_divergence
 * keeps for that.
 *
 * A panel of rows, one thread, goes through the vocabulary in chunks: logits of the chunk (a
 * product), exponentials less the row's largest logit so far, and their share of W' q (another
 * product). If a chunk raises the largest logit, what was summed up is scaled down (Milakov and
 * Gimelshein 2018, arXiv:1805.02867). Chunks stay in cache. Names: divergence.h.
 */
#ifndef CBE_OBJECTIVE_DIVERGENCE_PASS_H
#define CBE_OBJECTIVE_DIVERGENCE_PASS_H

#include "objective/divergence.h"

enum {
    CBE_DIVERGENCE_CHUNK = 2048,  /* vocabulary entries */
    CBE_DIVERGENCE_MAX_ROWS = 512 /* rows of a panel; cbe_panel_size gives no more */
};

struct cbe_divergence {
    const cbe_decoder *decoder;
    cbe_loss kind;
    bool capped;
    float common;     /* of the decoder's logits */
    bool keeps_e;     /* kl without a cap */
    bool keeps_clean; /* kl with a cap */
    size_t n_rows;
    size_t thread_floats; /* size of a thread's part of work */
    int n_threads;
    int64_t *labels; /* (n_rows); NULL unless ce */
    float *e;        /* (n_rows, d); NULL unless keeps_e */
    float *clean;    /* (n_rows, d): y; NULL unless keeps_clean */
    double *base;    /* (n_rows): the part of the energy that no ablation changes */
    float *work;     /* (n_threads, thread_floats) */
    cbe_bf16_matrix **forward, **back; /* (n_chunks): W' and W of each chunk; NULL: none */
    size_t n_chunks;
};

/** A thread's part of work. */
typedef struct {
    float *y, *grad, *clean_y, *grad_p; /* (CBE_DIVERGENCE_MAX_ROWS, d) */
    float *logits, *clean_logits;       /* (CBE_DIVERGENCE_MAX_ROWS, CBE_DIVERGENCE_CHUNK) */
} cbe_divergence_room;

/** What the pass over the vocabulary brings of a row. */
typedef struct {
    float top;          /* largest logit so far */
    size_t top_token;   /* the first token of that logit; only with labels given */
    double sum;         /* of exp(l - top) */
    int64_t label;      /* -1: none */
    double label_logit; /* of the label */
    float label_slope;  /* of the cap at the label */
    double change;      /* sum p (l - l'), with a cap */
} cbe_divergence_sums;

/** Takes n rows of w->y through the vocabulary.
 * @param labels     (n) in place of the rows' own, and then tokens on top are found; NULL: not
 * @param compare    with the clean rows w->clean_y
 * @param want_grad  makes W' e (times the cap's slope) less the factor exp(top) in w->grad, and if
 * it compares, W' p f in w->grad_p
 * @param sums       [out] (n) */
void cbe_divergence_pass(const cbe_divergence *o, size_t n, const cbe_divergence_item *items,
                         const int64_t *labels, bool compare, bool want_grad,
                         const cbe_divergence_room *w, cbe_divergence_sums *sums);

#endif
