/* hidden_states_tokens.c - the tokens that a mask and skipped positions leave: their number, hidden
 * states and labels; see model/hidden_states.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "model/hidden_states_private.h"

/* Number of tokens left in sequence i, and index of the first; with a mask an index into `kept`. */
static size_t left_of(const cbe_hidden_states *states, size_t i, size_t skip, size_t *first)
{
    const size_t s = states->context_length, b = states->first_sequence + i;
    const size_t begin = states->kept ? states->starts[b] : b * s;
    const size_t count = states->kept ? states->starts[b + 1] - begin : s;
    *first = begin + skip;
    return skip < count ? count - skip : 0;
}

static size_t token_of(const cbe_hidden_states *states, size_t i)
{
    return states->kept ? states->kept[i] : i;
}

size_t cbe_hidden_states_n_tokens(const cbe_hidden_states *states, size_t skip)
{
    size_t n = 0, first;
    if (!states->kept)
        return skip < states->context_length ? states->n_sequences * (states->context_length - skip)
                                             : 0;
    for (size_t b = 0; b < states->n_sequences; b++) n += left_of(states, b, skip, &first);
    return n;
}

void cbe_hidden_states_sequence_tokens(const cbe_hidden_states *states, size_t skip, size_t *out)
{
    size_t first;
    for (size_t b = 0; b < states->n_sequences; b++) out[b] = left_of(states, b, skip, &first);
}

/* State of copying tokens one after the other, from memory or a file. */
typedef struct {
    const float *captured;    /* (B S, d); NULL: read from the file */
    cbe_array_reader *reader; /* stands at token `at` */
    size_t at, hidden_size;
} token_source;

static cbe_status copy_tokens(token_source *from, size_t token, size_t count, float *to,
                              cbe_error *err)
{
    const size_t d = from->hidden_size;
    cbe_status st = CBE_OK;
    if (from->captured) {
        memcpy(to, from->captured + token * d, count * d * sizeof *to);
        return CBE_OK;
    }
    if (token > from->at)
        st = cbe_array_reader_next(from->reader, (token - from->at) * d, NULL, err);
    if (st == CBE_OK) st = cbe_array_reader_next(from->reader, count * d, to, err);
    from->at = token + count;
    return st;
}

cbe_status cbe_hidden_states_read(const cbe_hidden_states *states, size_t layer, size_t skip,
                                  float *out, cbe_error *err)
{
    const size_t s = states->context_length, d = states->hidden_size;
    const char *path = states->file ? cbe_array_file_path(states->file) : "",
               *colon = states->file ? ": " : "";
    token_source from = {.hidden_size = d};
    cbe_status st = CBE_OK;
    if (!cbe_hidden_states_has(states, layer))
        return cbe_fail(err, CBE_ERR_ARG, -1, "there is no hidden_states.%zu%s%s", layer,
                        states->file ? " in " : "", path);
    if (cbe_hidden_states_n_tokens(states, skip) == 0)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "skipping %zu positions leaves nothing of sequences of %zu", skip, s);
    if (states->file)
        st = cbe_array_reader_open(&from.reader, states->file, states->names[layer], err);
    else
        from.captured = states->captured[layer];
    for (size_t b = 0; b < states->n_sequences && st == CBE_OK; b++) {
        size_t first, n = left_of(states, b, skip, &first);
        for (size_t i = 0, run; i < n && st == CBE_OK; i += run, out += run * d) {
            /* Neighbouring tokens are copied together. */
            const size_t token = token_of(states, first + i);
            for (run = 1; i + run < n && token_of(states, first + i + run) == token + run;) run++;
            st = copy_tokens(&from, token, run, out, err);
            for (size_t k = 0; k < run * d && st == CBE_OK; k++)
                if (!isfinite(out[k]))
                    st = cbe_fail(
                        err, CBE_ERR_NUMERIC, -1,
                        "%s%shidden_states.%zu: sequence %zu, position %zu holds %g; hidden states "
                        "must be "
                        "finite%s",
                        path, colon, layer, (token + k / d) / s, (token + k / d) % s,
                        (double)out[k],
                        states->file || states->given
                            ? ""
                            : ": the model's numbers overflow float32 with these weights");
        }
    }
    cbe_array_reader_close(from.reader);
    return st;
}

cbe_status cbe_hidden_states_labels(const cbe_hidden_states *states, size_t skip, int64_t *out,
                                    cbe_error *err)
{
    const size_t s = states->context_length;
    if (!states->ids)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        CBE_TERM("objective", "objective") " ce needs the next tokens: %s",
                        states->given ? "cbe_hidden_states_set_ids gives the token ids"
                                      : "the hidden-state file has no input_ids");
    for (size_t b = 0; b < states->n_sequences; b++) {
        size_t first;
        const size_t n = left_of(states, b, skip, &first);
        for (size_t i = 0; i < n; i++) {
            const size_t token = token_of(states, first + i), next = token + 1;
            const bool labelled =
                next % s != 0 &&
                (!states->kept || (i + 1 < n && states->kept[first + i + 1] == next));
            *out++ = labelled ? states->ids[next] : -1;
        }
    }
    return CBE_OK;
}

static int compare_floats(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double median(float *x, size_t n)
{
    qsort(x, n, sizeof *x, compare_floats);
    return n % 2 ? (double)x[n / 2] : ((double)x[n / 2 - 1] + (double)x[n / 2]) / 2;
}

cbe_status cbe_hidden_states_first_norm_ratio(const cbe_hidden_states *states, size_t layer,
                                              double *ratio, cbe_error *err)
{
    const size_t d = states->hidden_size, b = states->n_sequences,
                 n = cbe_hidden_states_n_tokens(states, 0);
    float *hidden = cbe_alloc(n * d, sizeof *hidden, "hidden states", err);
    float *norms = cbe_alloc(n + b, sizeof *norms, "norms", err);
    cbe_status st =
        hidden && norms ? cbe_hidden_states_read(states, layer, 0, hidden, err) : CBE_ERR_NOMEM;
    if (st == CBE_OK) {
        float *firsts = norms + n;
        size_t n_firsts = 0;
        for (size_t i = 0; i < n; i++) {
            double norm2 = 0;
            for (size_t k = 0; k < d; k++)
                norm2 += (double)hidden[i * d + k] * (double)hidden[i * d + k];
            norms[i] = (float)sqrt(norm2);
        }
        for (size_t k = 0, at = 0; k < b; k++) {
            size_t first;
            const size_t count = left_of(states, k, 0, &first);
            if (count > 0) firsts[n_firsts++] = norms[at];
            at += count;
        }
        const double all = median(norms, n), at_first = median(firsts, n_firsts);
        *ratio = all > 0 ? at_first / all : at_first > 0 ? HUGE_VAL : 1;
    }
    cbe_free(hidden);
    cbe_free(norms);
    return st;
}
