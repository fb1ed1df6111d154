/* given_inputs.c - see given_inputs.h. */
#include "run/given_inputs.h"

#include <stdio.h>

#include "core/memory.h"
#include "core/sizes.h"
#include "files/input_list.h"
#include "files/sha256.h"

static cbe_status add(cbe_inputs *inputs, cbe_input_role role, const char *path,
                      const float *numbers, size_t n, cbe_error *err)
{
    char digest[CBE_SHA256_TEXT];
    const cbe_file_identity none = {.known = false};
    cbe_sha256_bytes(numbers, n * sizeof *numbers, digest);
    return cbe_inputs_add_read(inputs, role, path, &none, n * sizeof *numbers, digest, err);
}

static cbe_status add_states(cbe_inputs *inputs, const cbe_run_inputs *in, cbe_error *err)
{
    enum { PATH = 64 };
    const size_t d = cbe_hidden_states_hidden_size(in->states),
                 n = cbe_hidden_states_n_tokens(in->states, 0);
    float *hidden = cbe_alloc(n, cbe_times(d, sizeof *hidden, 1), "hidden states", err);
    cbe_status st = hidden ? CBE_OK : CBE_ERR_NOMEM;
    for (size_t i = 0; i < in->n_layers && st == CBE_OK; i++) {
        char path[PATH];
        const size_t state = cbe_site_state(in->options.site, in->layers[i]);
        snprintf(path, sizeof path, "memory: hidden_states.%zu", state);
        st = cbe_hidden_states_read(in->states, state, 0, hidden, err);
        if (st == CBE_OK) st = add(inputs, CBE_INPUT_HIDDEN_STATES, path, hidden, n * d, err);
    }
    cbe_free(hidden);
    return st;
}

cbe_status cbe_note_given_inputs(const cbe_run_settings *settings, const cbe_run_inputs *in,
                                 cbe_error *err)
{
    cbe_inputs *inputs = settings->corpus.inputs;
    cbe_status st = CBE_OK;
    if (!inputs || !inputs->digests) return CBE_OK;
    if (settings->given_states) st = add_states(inputs, in, err);
    if (st == CBE_OK && settings->given_decoder)
        st = add(inputs, CBE_INPUT_DECODER, "memory: unembedding", in->decoder->unembedding,
                 in->decoder->vocab_size * in->decoder->hidden_size, err);
    return st;
}
