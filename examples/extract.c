/*
 * extract.c - the causal basis of one layer, from an array of hidden states and a decoder file.
 *
 * usage: extract N_SEQUENCES CONTEXT_LENGTH HIDDEN_SIZE LAYER DECODER OUT <STATES.f32
 * Standard input holds float32 numbers (N_SEQUENCES, CONTEXT_LENGTH, HIDDEN_SIZE), as NumPy's
 * tofile writes them. DECODER is a file of `cbe decoder`. Results go to the folder OUT.
 */
#include <cbe/cbe.h>
#include <stdio.h>
#include <stdlib.h>

static int extract(const float *hidden, size_t b, size_t s, size_t d, size_t layer,
                   const char *decoder_path, const char *out)
{
    cbe_hidden_states *states = NULL;
    cbe_decoder *decoder = NULL;
    cbe_run *run = NULL;
    cbe_error err = {0};
    const double *energies;
    if (cbe_decoder_load(&decoder, decoder_path, &err) ||
        cbe_hidden_states_create(&states, b, s, d, &err) ||
        cbe_hidden_states_set(states, layer, hidden, false, &err) ||
        cbe_run_create(&run, "extract", &err) || cbe_run_set_states(run, states, &err) ||
        cbe_run_set_decoder(run, decoder, &err) || cbe_run_set(run, "vectors", "3", &err) ||
        cbe_run_execute(run, &err) || cbe_run_save(run, out, &err))
        fprintf(stderr, "extract: %s\n", err.message);
    for (size_t j = 0, k = cbe_run_values(run, layer, "energy", &energies); j < k; j++)
        printf("vector %zu: %.17g nats\n", j, energies[j]);
    cbe_run_free(run);
    cbe_hidden_states_close(states);
    cbe_decoder_free(decoder);
    return err.code != CBE_OK;
}

int main(int argc, char **argv)
{
    if (argc != 7) return fprintf(stderr, "extract: 6 arguments expected; see extract.c\n"), 2;
    const size_t b = strtoul(argv[1], NULL, 10), s = strtoul(argv[2], NULL, 10),
                 d = strtoul(argv[3], NULL, 10), n = b * s * d;
    float *hidden = calloc(n, sizeof *hidden);
    if (!hidden || fread(hidden, sizeof *hidden, n, stdin) != n)
        return fprintf(stderr, "extract: standard input does not hold %zu numbers\n", n), 2;
    const int status = extract(hidden, b, s, d, strtoul(argv[4], NULL, 10), argv[5], argv[6]);
    free(hidden);
    return status;
}
