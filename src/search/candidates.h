/*
 * candidates.h - directions from which a search through a lens starts.
 *
 * A direction matters when hidden states vary along it and logits answer to it. Five families; the
 * leading eigenvectors of
 *   the Gram matrix of the unembedding through the lens, F = (I + A)' C W~' W~ C (I + A)
 *     (singular directions)
 *   the second moment of D_n / s_n (principal components)
 *   both, each divided by its trace, added
 * and, since maxima may belong to a few tokens,
 *   D_n of single tokens
 *     (ablating such a direction takes that token's state away)
 *   (I + A)' C W~_t of single vocabulary entries (what moves one logit most)
 */
#ifndef CBE_SEARCH_CANDIDATES_H
#define CBE_SEARCH_CANDIDATES_H

#include "processes/processes.h"
#include "objective/ablation.h"
#include "lens/translate.h"
#include "model/decoder.h"
#include "objective/objective.h"
#include "search/starts.h"

/** Computes C W~' W~ C, (d, d), which depends on the decoder alone. */
cbe_status cbe_unembedding_gram(const cbe_decoder *decoder, double *gram, cbe_error *err);

typedef struct {
    const cbe_decoder *decoder;
    const double *gram; /* from cbe_unembedding_gram */
    cbe_translator translator;
    size_t n_tokens;
    const float *hidden; /* (N, d) */
    cbe_ablation ablation;
    const cbe_processes *processes; /* that tokens are divided over; NULL: not divided */
    size_t first_token;     /* index of `hidden`'s first token among those of all processes */
    size_t all_tokens;      /* of all processes */
    size_t sequence_tokens; /* of each sequence; 0: all tokens are one sequence */
    const bool *held_out;   /* (all_tokens): nothing is taken from these tokens; NULL: from all */
} cbe_candidate_input;

/** Finds the n leading singular directions alone, where the preset tuned-lens starts: rows of out
 * (n, d). */
cbe_status cbe_candidates_singular(const cbe_candidate_input *input, size_t n, double *out,
                                   cbe_error *err);
enum { CBE_CANDIDATE_FAMILIES = 5 };
/** Finds n <= d candidates of each family, rows of out (5 n, d): the first of each family, then the
 * second of each, and so on.
 * @param kinds [out] (5 n) */
cbe_status cbe_candidates_all(const cbe_candidate_input *input, size_t n, double *out,
                              cbe_start_kind *kinds, cbe_error *err);
/** Adds the tokens of another process while one process calls cbe_candidates_all. */
cbe_status cbe_candidates_assist(const cbe_candidate_input *input, size_t n, cbe_error *err);

#endif
