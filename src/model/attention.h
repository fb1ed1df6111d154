/*
 * attention.h - causal attention of a range of one sequence's tokens, and its backward pass.
 */
#ifndef CBE_MODEL_ATTENTION_H
#define CBE_MODEL_ATTENTION_H

#include <stddef.h>

typedef struct {
    size_t n_heads, n_kv_heads, head_size;
    size_t window;  /* number of tokens that a token sees, itself included; 0: all before it */
    double scale;   /* factor of the scores q . k */
    double softcap; /* c of c tanh(score / c); 0: none */
    /* (n_heads) ALiBi (Press et al. 2021, arXiv:2108.12409): a score falls by slope times the
     * distance; NULL: no ALiBi. */
    const float *slopes;
} cbe_attention_spec;

/** Slopes of ALiBi for n_heads heads: a geometric sequence, with every other term of the next finer
 * sequence added if n_heads is no power of two. @param slopes [out] (n_heads) */
void cbe_alibi_slopes(size_t n_heads, float *slopes);

/** Number of floats of cbe_attention's scratch for sequences of context_length tokens; 0 if the
 * number overflows. */
size_t cbe_attention_scratch(const cbe_attention_spec *spec, size_t context_length);

/** Computes attention of tokens first .. last - 1 of a sequence: for each token t and head, the
 * softmax of the scores of the keys that t sees, times the values.
 * @param qkv  (at least last, stride): rows q | k | v of the sequence from its first token,
 *             rotated
 * @param out  [out] (last - first, n_heads head_size), token `first` in its first row */
void cbe_attention(const cbe_attention_spec *spec, size_t context_length, size_t first, size_t last,
                   const float *qkv, size_t stride, float *scratch, float *out);

/** Number of floats of cbe_attention_back's scratch; 0 if the number overflows. */
size_t cbe_attention_back_scratch(const cbe_attention_spec *spec, size_t context_length);

/** Backward pass of one whole sequence for key-value head g and the query heads that share it;
 * probabilities are computed anew, a block of queries at a time. Gradients of other heads are not
 * touched, so that several threads may run a head each.
 * @param qkv       (context_length, stride), as in cbe_attention
 * @param grad_out  (context_length, n_heads head_size): gradient in out
 * @param grad_qkv  [out] (context_length, stride): gradient in qkv, of these heads alone */
void cbe_attention_back(const cbe_attention_spec *spec, size_t context_length, size_t g,
                        const float *qkv, size_t stride, const float *grad_out, float *scratch,
                        float *grad_qkv);

#endif
