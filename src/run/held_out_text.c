/* held_out_text.c - see held_out_text.h. */
#include "run/held_out_text.h"

#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "files/input_list.h"

static bool has_standard_input(const cbe_file_names *text)
{
    for (size_t i = 0; i < text->n; i++)
        if (strcmp(text->paths[i], "-") == 0) return true;
    return false;
}

cbe_status cbe_check_held_out_text(const cbe_run_settings *run, cbe_error *err)
{
    const cbe_file_names *text = &run->held_out_text;
    if (text->n == 0) return CBE_OK;
    if (run->hidden_states || run->given_states)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%s needs a model and its tokenizer, which %s do not have: give %s, or %s "
                        "in its place",
                        CBE_OPTION("held-out-text"), CBE_OPTION("hidden-states"),
                        CBE_TERM("MODEL", "model"), CBE_OPTION("held-out"));
    if (run->held_out != CBE_SHARE_AUTO && run->held_out != 0)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        CBE_OPTION("held-out-text") " takes the place of " CBE_OPTION(
                            "held-out") ": leave out one of the two");
    if (has_standard_input(text) && has_standard_input(&run->corpus.text))
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        CBE_OPTION("held-out-text") " - and " CBE_OPTION(
                            "text") " -: standard input can be read once");
    return cbe_check_texts(text, err);
}

/* Adds the files of the text to the inputs in a role of their own, and the tokenizer's where no
 * other text has been tokenised. */
static cbe_status note_inputs(const cbe_inputs *read, const cbe_run_settings *run, cbe_error *err)
{
    cbe_status st = CBE_OK;
    for (size_t i = 0; i < read->n && st == CBE_OK; i++) {
        const cbe_input *file = &read->files[i];
        const bool text = file->role == CBE_INPUT_TEXT;
        if (text || run->corpus.tokens)
            st =
                cbe_inputs_add_read(run->corpus.inputs, text ? CBE_INPUT_HELD_OUT_TEXT : file->role,
                                    file->path, &file->identity, file->n_bytes, file->sha256, err);
    }
    return st;
}

static cbe_status join(cbe_tokens *joined, const cbe_tokens *searched, const cbe_tokens *apart,
                       cbe_error *err)
{
    const size_t s = searched->context_length, n = searched->n_sequences, m = apart->n_sequences;
    int64_t *ids = cbe_alloc(n + m, cbe_times(s, sizeof *ids, 1), "token ids", err);
    if (!ids) return CBE_ERR_NOMEM;
    memcpy(ids, searched->ids, n * s * sizeof *ids);
    memcpy(ids + n * s, apart->ids, m * s * sizeof *ids);
    *joined = (cbe_tokens){.n_sequences = n + m, .context_length = s, .ids = ids};
    return CBE_OK;
}

cbe_status cbe_read_held_out_text(cbe_tokens *joined, size_t *n_apart, const cbe_tokens *searched,
                                  const cbe_model *model, const cbe_run_settings *run,
                                  cbe_watch *watch, cbe_error *err)
{
    const size_t s = searched->context_length;
    cbe_inputs read = {.digests = run->corpus.inputs && run->corpus.inputs->digests};
    cbe_tokens apart = {0};
    cbe_corpus corpus = run->corpus;
    corpus.text = run->held_out_text;
    corpus.tokens = NULL;
    corpus.context_length = s;
    corpus.inputs = &read;
    if (run->given_model) corpus.model = cbe_model_path(run->given_model);
    cbe_status st = cbe_corpus_read_tokens(&apart, model, &corpus, corpus.max_tokens, watch, err);
    if (st == CBE_OK && apart.context_length < s)
        st = cbe_fail(err, CBE_ERR_ARG, -1,
                      CBE_OPTION("held-out-text") " %s: %zu tokens are less than one sequence of "
                                                  "%zu; give more text, or a shorter " CBE_OPTION(
                                                      "context-length"),
                      run->held_out_text.paths[0], apart.context_length, s);
    if (st == CBE_OK) st = note_inputs(&read, run, err);
    if (st == CBE_OK) st = join(joined, searched, &apart, err);
    if (st == CBE_OK) *n_apart = apart.n_sequences;
    cbe_tokens_free(&apart);
    cbe_inputs_free(&read);
    return st;
}
