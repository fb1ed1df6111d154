/*
 * bench_forward.c - speed of the forward pass, as a share of what matrix products allow.
 *
 * bench_forward MODEL [SEQUENCES [CONTEXT_LENGTH]]: all hidden states, no logits; best of three
 * runs. The share is tokens/s * (FLOP of the products a token) / (measured SGEMM FLOP/s):
 * attention, norms and activations count as time only. The SGEMM rate is that of one large
 * product in the same run.
 */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

#include "model/model.h"
#include "sgemm_rate.h"

enum { RUNS = 3 };

static cbe_status keep(void *context, size_t layer, size_t first, size_t n_tokens,
                       const float *hidden, cbe_error *err)
{
    (void)layer, (void)first, (void)err;
    *(double *)context += (double)hidden[n_tokens - 1]; /* so that nothing can be left out */
    return CBE_OK;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: bench_forward MODEL [SEQUENCES [CONTEXT_LENGTH]]\n");
        return 2;
    }
    const size_t n_sequences = argc > 2 ? strtoul(argv[2], NULL, 10) : 8;
    const size_t context_length = argc > 3 ? strtoul(argv[3], NULL, 10) : 256;
    const size_t n_tokens = n_sequences * context_length;
    cbe_error err;
    cbe_model *model = NULL;
    double start = omp_get_wtime();
    if (cbe_model_open(&model, argv[1], &err) != CBE_OK) {
        fprintf(stderr, "bench_forward: %s\n", err.message);
        return 2;
    }
    printf("opened in %.2f s\n", omp_get_wtime() - start);
    const cbe_model_config *c = cbe_model_get_config(model);
    int64_t *ids = malloc((n_tokens + 1) * sizeof *ids);
    bool *layers = malloc((c->n_layers + 1) * sizeof *layers);
    if (!ids || !layers) return 1;
    uint64_t random = 1;
    for (size_t n = 0; n < n_tokens; n++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        ids[n] = (int64_t)((random >> 33) % c->vocab_size);
    }
    for (size_t i = 0; i <= c->n_layers; i++) layers[i] = true;

    double sum = 0, best = 1e300;
    const cbe_forward_sink sink = {.layers = layers, .hidden = keep, .context = &sum};
    for (int run = 0; run < RUNS; run++) {
        start = omp_get_wtime();
        if (cbe_model_forward(model, n_sequences, context_length, ids, &sink, &err) != CBE_OK) {
            fprintf(stderr, "bench_forward: %s\n", err.message);
            return 1;
        }
        const double seconds = omp_get_wtime() - start;
        if (seconds < best) best = seconds;
    }
    const double q = (double)(c->n_heads * c->head_size),
                 kv = (double)(c->n_kv_heads * c->head_size);
    const double d = (double)c->hidden_size, m = (double)c->mlp_size, tokens = (double)n_tokens;
    const double flop =
        2 * (double)c->n_layers * (d * (q + 2 * kv) + q * d + (c->gated_mlp ? 3 : 2) * d * m);
    const double rate = tokens * flop / best, bound = sgemm_rate();
    printf("%zu x %zu tokens, %zu blocks, %d threads: %.3f s, %.0f tokens/s\n", n_sequences,
           context_length, c->n_layers, omp_get_max_threads(), best, tokens / best);
    printf("products %.1f GFLOP/s, SGEMM %.1f GFLOP/s, share %.3f (sum %.6g)\n", rate * 1e-9,
           bound * 1e-9, rate / bound, sum);
    free(layers);
    free(ids);
    cbe_model_close(model);
    return 0;
}
