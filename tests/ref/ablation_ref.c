/* ablation_ref.c - see ablation_ref.h. */
#include "ref/ablation_ref.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ref/model_ref.h"
#include "ref/subspace_ref.h"

static double *doubles(size_t count)
{
    double *memory = calloc(count, sizeof(double));
    assert(memory);
    return memory;
}

/* Log-probabilities (B S, V) from the stream `hidden`; in own scope each token alone is its. */
static double *log_probs(const cbe_ablation_case *c, const double *hidden, cbe_scope scope)
{
    const cbe_model_config *config = cbe_model_get_config(c->model);
    const size_t n = c->n_sequences * c->context_length, d = config->hidden_size,
                 vocab = config->vocab_size;
    double *work = doubles((config->n_layers + 1 - c->first) * n * d), *logits = doubles(n * vocab);
    memcpy(work, hidden, n * d * sizeof *work);
    if (scope == CBE_SCOPE_OWN)
        cbe_model_ref_own(c->model, c->first, c->n_sequences, c->context_length, c->hidden, hidden,
                          work, logits);
    else
        cbe_model_ref_suffix(c->model, c->first, c->n_sequences, c->context_length, work, logits);
    free(work);
    for (size_t i = 0; i < n; i++) {
        double *row = logits + i * vocab, top = row[0], sum = 0;
        for (size_t t = 0; t < vocab; t++) top = fmax(top, row[t]);
        for (size_t t = 0; t < vocab; t++) sum += exp(row[t] - top);
        for (size_t t = 0; t < vocab; t++) row[t] -= top + log(sum);
    }
    return logits;
}

static size_t top_of(size_t n, const double *x)
{
    size_t top = 0;
    for (size_t t = 0; t < n; t++) top = x[t] > x[top] ? t : top;
    return top;
}

void cbe_ablation_ref(const cbe_ablation_case *c, size_t m, const double *read, const double *write,
                      double out[CBE_N_EFFECTS])
{
    const size_t length = c->context_length, each = length - c->skip, n = c->n_sequences * each;
    const size_t d = cbe_model_get_config(c->model)->hidden_size,
                 vocab = cbe_model_get_config(c->model)->vocab_size;
    double *counted = doubles(n * d), *changed = doubles(n * d),
           *ablated = doubles(c->n_sequences * length * d);
    memcpy(ablated, c->hidden, c->n_sequences * length * d * sizeof *ablated);
#define AT(token) ((token) / each * length + c->skip + (token) % each)
    for (size_t i = 0; i < n; i++)
        memcpy(counted + i * d, c->hidden + AT(i) * d, d * sizeof *counted);
    cbe_subspace_ref(m, d, read, write, c->ablation, n, counted, c->derangement, changed);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < d; k++)
            ablated[AT(i) * d + k] += c->strength * (changed[i * d + k] - counted[i * d + k]);
    double *clean = log_probs(c, c->hidden, CBE_SCOPE_ALL),
           *dirty = log_probs(c, ablated, c->scope), n_labelled = 0;
    memset(out, 0, CBE_N_EFFECTS * sizeof *out);
    for (size_t i = 0; i < n; i++) {
        const double *p = clean + AT(i) * vocab, *q = dirty + AT(i) * vocab;
        for (size_t t = 0; t < vocab; t++)
            out[CBE_EFFECT_KL] += exp(p[t]) * (p[t] - q[t]) / (double)n;
        out[CBE_EFFECT_TOP1] += (top_of(vocab, p) != top_of(vocab, q)) / (double)n;
        if (i % each + 1 == each) continue;
        const size_t label = (size_t)c->ids[AT(i) + 1];
        out[CBE_EFFECT_CE] += p[label] - q[label];
        n_labelled++;
    }
    out[CBE_EFFECT_CE] /= n_labelled;
#undef AT
    free(counted);
    free(changed);
    free(ablated);
    free(clean);
    free(dirty);
}
