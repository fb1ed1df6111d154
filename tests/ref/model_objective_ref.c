/* model_objective_ref.c - see model_objective_ref.h. */
#include "ref/model_objective_ref.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ref/model_ref.h"

static double *doubles(size_t count)
{
    double *memory = calloc(count, sizeof(double));
    assert(memory);
    return memory;
}

/* Logits (B S, V) from the stream `hidden`. */
static double *run(const cbe_model *model, const cbe_model_objective_options *o, size_t first,
                   const double *hidden)
{
    const cbe_model_config *c = cbe_model_get_config(model);
    const size_t n = o->n_sequences * o->context_length, d = c->hidden_size;
    double *work = doubles((c->n_layers + 1 - first) * n * d), *logits = doubles(n * c->vocab_size);
    memcpy(work, hidden, n * d * sizeof *work);
    cbe_model_ref_suffix(model, first, o->n_sequences, o->context_length, work, logits);
    free(work);
    return logits;
}

/* Logits (B S, V) of each token changed alone. */
static double *run_own(const cbe_model *model, const cbe_model_objective_options *o, size_t first,
                       const double *hidden, const double *ablated)
{
    const cbe_model_config *c = cbe_model_get_config(model);
    const size_t n = o->n_sequences * o->context_length;
    double *last = doubles(n * c->hidden_size), *logits = doubles(n * c->vocab_size);
    cbe_model_ref_own(model, first, o->n_sequences, o->context_length, hidden, ablated, last,
                      logits);
    free(last);
    return logits;
}

static double log_sum(size_t n, const double *x)
{
    double top = x[0], sum = 0;
    for (size_t i = 0; i < n; i++) top = fmax(top, x[i]);
    for (size_t i = 0; i < n; i++) sum += exp(x[i] - top);
    return top + log(sum);
}

static double divergence(size_t n, const double *clean, const double *ablated, int64_t label)
{
    const double lse = log_sum(n, clean), ablated_lse = log_sum(n, ablated);
    if (label >= 0) return (ablated_lse - ablated[label]) - (lse - clean[label]);
    double sum = 0;
    for (size_t t = 0; t < n; t++)
        sum += exp(clean[t] - lse) * ((clean[t] - lse) - (ablated[t] - ablated_lse));
    return sum;
}

double cbe_model_energy_ref(const cbe_model *model, const cbe_model_objective_options *o,
                            size_t first, const double *hidden, const double *read,
                            const double *write, double constant, bool which, double *per_token)
{
    const size_t d = cbe_model_get_config(model)->hidden_size,
                 vocab = cbe_model_get_config(model)->vocab_size;
    const size_t length = o->context_length, each = length - o->skip_positions,
                 n = o->n_sequences * each;
    double *ablated = doubles(o->n_sequences * length * d), *mean = doubles(d), counted = 0,
           total = 0;
    size_t n_mean = 0, n_rows = 0;
    memcpy(ablated, hidden, o->n_sequences * length * d * sizeof *ablated);
#define AT(token) (((token) / each * length + o->skip_positions + (token) % each))
    for (size_t i = 0; i < n; i++) {
        if (o->held_out && o->held_out[i]) continue;
        n_mean++;
        for (size_t k = 0; k < d; k++) mean[k] += hidden[AT(i) * d + k];
    }
    for (size_t i = 0; i < n; i++) {
        double c = -constant;
        for (size_t k = 0; k < d; k++) {
            double delta = hidden[AT(i) * d + k];
            if (o->ablation == CBE_ABLATE_MEAN) delta -= mean[k] / (double)n_mean;
            if (o->ablation == CBE_ABLATE_RESAMPLE)
                delta -= hidden[AT((size_t)o->derangement[i]) * d + k];
            c += delta * read[k];
        }
        for (size_t k = 0; k < d; k++) ablated[AT(i) * d + k] -= c * write[k];
    }
    double *clean_logits = run(model, o, first, hidden),
           *logits = o->scope == CBE_SCOPE_OWN ? run_own(model, o, first, hidden, ablated)
                                               : run(model, o, first, ablated);
    for (size_t i = 0; i < n; i++) {
        if ((o->held_out && o->held_out[i]) != which) continue;
        if (o->kind == CBE_LOSS_CE && o->labels[i] < 0) continue;
        const double energy =
            divergence(vocab, clean_logits + AT(i) * vocab, logits + AT(i) * vocab,
                       o->kind == CBE_LOSS_CE ? o->labels[i] : -1);
        if (per_token) per_token[n_rows] = energy;
        n_rows++;
        counted++;
        total += energy;
    }
#undef AT
    free(ablated);
    free(mean);
    free(clean_logits);
    free(logits);
    return total / counted;
}
