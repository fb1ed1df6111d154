/*
 * evaluate.h - measures of how close lenses come to the model's output, layer by layer, on a text.
 *
 * p is the model's distribution over the next token, q the distribution of a lens at a layer, both
 * over V tokens:
 *
 *   cross-entropy   -log q(next token)                  entropy   -sum q log q
 *   divergence      KL(p || q) = sum p (log p - log q)
 *   top-1           whether the most probable token of both is the same
 *
 * Figures are means over all positions that are not skipped, those of the cross-entropy over
 * positions with a next token, all but the last of a sequence. They are in nats; top-1 is a
 * fraction. Source: Belrose et al. 2023, arXiv:2303.08112, section 3. Maths:
 * docs/lens-evaluation.md.
 */
#ifndef CBE_LENS_EVALUATE_H
#define CBE_LENS_EVALUATE_H

#include <stdbool.h>
#include <stddef.h>

#include "model/model.h"
#include "text/tokens.h"
#include "lens/tuned_lens.h"

typedef enum {
    CBE_LENS_CE = 0,
    CBE_LENS_KL,
    CBE_LENS_ENTROPY,
    CBE_LENS_TOP1,
    CBE_N_LENS_MEASURES
} cbe_lens_measure;

/** Name of a measure: "ce", "kl", "entropy", "top1". */
const char *cbe_lens_measure_name(cbe_lens_measure measure);

/** Means over tokens, and their standard errors, from the means of sequences, since tokens of one
 * sequence are not independent; NaN for a single sequence. */
typedef struct {
    double mean[CBE_N_LENS_MEASURES], error[CBE_N_LENS_MEASURES];
} cbe_lens_figures;

typedef struct {
    const char *name;           /* name in results and errors */
    const cbe_tuned_lens *lens; /* borrowed; NULL: the logit lens */
} cbe_named_lens;

/** Options of an evaluation; start with {0}. */
typedef struct {
    size_t n_layers, n_lenses;
    const size_t *layers; /* rising, below L */
    const cbe_named_lens *lenses;
    /* Evaluates each tuned lens's translators on the hidden states of every other layer too. */
    bool transfer;
    /* first positions of each sequence that do not count; they stay in the context */
    size_t skip_positions;
    size_t memory; /* bytes for hidden states, at least one sequence; 0: 256 MB */
    bool (*progress)(void *context, size_t done, size_t total); /* false cancels; NULL: none */
    void *context;
} cbe_lens_eval_options;

/** Result of an evaluation; owns the arrays marked so. */
typedef struct {
    size_t n_lenses, n_layers, n_blocks;         /* n_blocks: L */
    size_t *layers;                              /* (n_layers), owned */
    char **names;                                /* (n_lenses), owned */
    size_t n_sequences, context_length;          /* B, S */
    size_t skip_positions, n_tokens, n_labelled; /* skip, B (S - skip), B (S - skip - 1) */
    /* figures of the model itself: divergence 0, top-1 1 */
    cbe_lens_figures final;
    cbe_lens_figures *figures; /* (n_lenses, n_layers), owned */
    /* (n_lenses), owned: (n_layers, n_layers), the translator's layer by the layer of hidden
     * states; NULL for the logit lens and without transfer. */
    cbe_lens_figures **transfer;
    /* Bytes of the text that the labels stand for (cbe_lens_eval_text_bytes); 0: not known. */
    size_t text_bytes;
} cbe_lens_eval;

/** Runs the model on the tokens and measures the lenses. Memory: hidden states of some sequences,
 * two blocks of logits of at most 64 MB or 16 tokens, and the memory of a forward pass. Cost: 2 d V
 * and, through a tuned lens, 2 d^2 more, for each token, layer and lens. The result has the same
 * bits for any number of threads.
 * @param out [out] freed by cbe_lens_eval_free; text_bytes is 0
 * @return CBE_OK; CBE_ERR_ARG (no sequence has two positions that are not skipped; ids; layers);
 * CBE_ERR_SHAPE (a lens of another width or number of layers: named); CBE_ERR_NUMERIC (logits that
 * are not finite: lens, layer, sequence and position named); CBE_ERR_NOMEM; CBE_ERR_CANCELLED */
cbe_status cbe_lens_eval_run(cbe_lens_eval **out, const cbe_model *model, const cbe_tokens *tokens,
                             const cbe_lens_eval_options *options, cbe_error *err);
void cbe_lens_eval_free(cbe_lens_eval *eval); /* NULL is allowed */

/** Computes the bytes of the text that the labels stand for: the bytes of each sequence, decoded,
 * minus the bytes of its first skip + 1 tokens. Tokens that begin or end a text stand for no bytes.
 * A character cut by the end of a sequence counts as U+FFFD, 3 bytes.
 * @return CBE_OK, CBE_ERR_NOMEM, CBE_ERR_ARG (an id that the tokenizer does not have),
 * CBE_ERR_UNSUPPORTED (a decoder that is not supported) */
cbe_status cbe_lens_eval_text_bytes(size_t *bytes, const cbe_tokenizer *tokenizer,
                                    const cbe_tokens *tokens, size_t skip_positions,
                                    cbe_error *err);
/** Factor from nats a token to bits a byte: labelled tokens over text_bytes ln 2; NaN if the bytes
 * are not known. */
double cbe_lens_eval_bits_per_byte(const cbe_lens_eval *eval);

/** Description of the run, for eval.json. */
typedef struct {
    const char *model, *tokens; /* paths; tokens NULL: texts */
    size_t n_texts;
    const char *const *texts;
} cbe_lens_eval_record;

/** Writes eval.json, eval.csv and eval.svg to a folder that exists, and, with transfer,
 * transfer.csv and transfer.svg (transfer-<i>.svg for the i-th tuned lens, from the second on).
 * @return CBE_OK, CBE_ERR_IO, CBE_ERR_NOMEM */
cbe_status cbe_lens_eval_save(const cbe_lens_eval *eval, const cbe_lens_eval_record *record,
                              const char *folder, cbe_error *err);

#endif
