/* token_lists.c - see token_lists.h. */
#include "extract/token_lists.h"

#include "core/fail.h"
#include "core/memory.h"
#include "math/random.h"

/* Marks the tokens of sequences held out, of all processes; *out stays NULL if there are none. */
static cbe_status hold_out(const cbe_layer_objective *o, bool **out, cbe_error *err)
{
    const cbe_sequences *sequences = &o->sequences;
    if (sequences->n_held_out == 0) return CBE_OK;
    if (!(*out = cbe_alloc(o->all_tokens, sizeof **out, "tokens held out", err)))
        return CBE_ERR_NOMEM;
    for (size_t s = 0, i = 0; s < sequences->n; s++)
        for (const size_t end = i + sequences->tokens[s]; i < end; i++)
            (*out)[i] = sequences->held_out[s];
    return CBE_OK;
}

/* Makes a random derangement of the tokens that are held out within themselves, or of the tokens
 * that are not. @param which  whether of the tokens held out */
static cbe_status derange(cbe_rng *rng, size_t n_tokens, const bool *held_out, bool which,
                          int64_t *out, cbe_error *err)
{
    size_t *tokens = cbe_alloc(n_tokens, sizeof *tokens, "derangement", err), n = 0;
    int64_t *order = cbe_alloc(n_tokens, sizeof *order, "derangement", err);
    cbe_status st = tokens && order ? CBE_OK : CBE_ERR_NOMEM;
    for (size_t i = 0; i < n_tokens && st == CBE_OK; i++)
        if ((held_out && held_out[i]) == which) tokens[n++] = i;
    if (st == CBE_OK && n == 1)
        st = cbe_fail(err, CBE_ERR_ARG, -1,
                      "resample ablation needs at least 2 tokens%s, there is 1",
                      which ? " held out" : "");
    if (st == CBE_OK && n > 0) {
        cbe_rng_derangement(rng, n, order);
        for (size_t i = 0; i < n; i++) out[tokens[i]] = (int64_t)tokens[order[i]];
    }
    cbe_free(tokens);
    cbe_free(order);
    return st;
}

/* Takes the derangement given if it can be used, else a random one. */
static cbe_status choose_derangement(cbe_layer_objective *o, const cbe_extraction_options *options,
                                     cbe_token_lists *lists, cbe_lens_options *lens, cbe_error *err)
{
    cbe_rng rng;
    const int64_t *given =
        options->derangement ? options->derangement : cbe_hidden_states_derangement(o->states);
    /* The derangement given is one of all tokens: with some of them left out it is none. */
    const bool whole = o->skip == 0 && !lists->held_out;
    lens->derangement = whole ? given : NULL;
    o->derangement_unused = !whole && given;
    if (lens->derangement) return CBE_OK;
    cbe_rng_seed(&rng, options->search.seed);
    if (!(lists->derangement =
              cbe_alloc(o->all_tokens, sizeof *lists->derangement, "derangement", err)))
        return CBE_ERR_NOMEM;
    cbe_status st = derange(&rng, o->all_tokens, lists->held_out, false, lists->derangement, err);
    if (st == CBE_OK)
        st = derange(&rng, o->all_tokens, lists->held_out, true, lists->derangement, err);
    lens->derangement = lists->derangement;
    return st;
}

cbe_status cbe_token_lists_make(cbe_token_lists *lists, cbe_layer_objective *o,
                                const cbe_extraction_options *options, cbe_lens_options *lens,
                                cbe_error *err)
{
    cbe_status st = hold_out(o, &lists->held_out, err);
    if (st != CBE_OK) return st;
    lens->held_out = lists->held_out;
    if (options->objective == CBE_LOSS_CE) {
        if (!(lists->labels = cbe_alloc(o->n_tokens, sizeof *lists->labels, "labels", err)))
            return CBE_ERR_NOMEM;
        if ((st = cbe_hidden_states_labels(o->states, o->skip, lists->labels, err)) != CBE_OK)
            return st;
        lens->labels = lists->labels;
    }
    const bool resample = options->ablation == CBE_ABLATE_RESAMPLE && o->all_tokens > 1;
    return resample ? choose_derangement(o, options, lists, lens, err) : CBE_OK;
}

void cbe_token_lists_free(cbe_token_lists *lists)
{
    cbe_free(lists->held_out);
    cbe_free(lists->labels);
    cbe_free(lists->derangement);
    *lists = (cbe_token_lists){0};
}
