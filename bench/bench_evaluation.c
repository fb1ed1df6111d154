/*
 * bench_evaluation.c - time of one evaluation on given hidden states, to compare with other
 * programs.
 *
 * bench_evaluation HIDDEN.safetensors DECODER.safetensors LAYER [RUNS]: energy (kl, mean ablation,
 * all tokens, logit lens) and gradient of one direction, the first unit vector. Prints one line:
 *
 *   energy E gradient G seconds S threads T
 *
 * E in nats, G the length of the gradient's part tangent to the sphere, S the median of the runs.
 * What is done once for a layer is not in S. bench/pytorch_evaluation.py prints the same,
 * bench/compare_pytorch.sh runs both.
 */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

#include "model/hidden_states.h"
#include "objective/lens/objective.h"
#include "core/fail.h"
#include "core/memory.h"
#include "result_line.h"

enum { DEFAULT_RUNS = 9, MAX_RUNS = 1000 };

int main(int argc, char **argv)
{
    const size_t layer = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
    const size_t runs = argc > 4 ? strtoul(argv[4], NULL, 10) : DEFAULT_RUNS;
    if (argc < 4 || argc > 5 || runs < 1 || runs > MAX_RUNS) {
        fprintf(stderr,
                "usage: bench_evaluation HIDDEN.safetensors DECODER.safetensors LAYER [RUNS]\n");
        return 2;
    }
    cbe_error err;
    cbe_decoder *decoder = NULL;
    cbe_hidden_states *states = NULL;
    cbe_objective *objective = NULL;
    float *hidden = NULL;
    double *v = NULL, *grad = NULL, energy = 0, seconds[MAX_RUNS];
    cbe_lens_options options = {.ablation = CBE_ABLATE_MEAN, .kind = CBE_LOSS_KL, .max_batch = 1};

    cbe_status st = cbe_decoder_read(&decoder, argv[2], NULL, &err);
    if (st != CBE_OK) goto done;
    if ((st = cbe_hidden_states_open(&states, argv[1], &err)) != CBE_OK) goto done;
    const size_t d = decoder->hidden_size;
    if (cbe_hidden_states_hidden_size(states) != d) {
        st = cbe_fail(&err, CBE_ERR_SHAPE, -1, "'%s' and '%s' differ in hidden size", argv[1],
                      argv[2]);
        goto done;
    }
    options.n_tokens = cbe_hidden_states_n_tokens(states, 0);
    hidden = cbe_alloc(options.n_tokens, d * sizeof *hidden, "hidden states", &err);
    v = cbe_alloc_zero(d, sizeof *v, "direction", &err);
    grad = cbe_alloc_zero(d, sizeof *grad, "gradient", &err);
    if (!hidden || !v || !grad) {
        st = CBE_ERR_NOMEM;
        goto done;
    }
    if ((st = cbe_hidden_states_read(states, layer, 0, hidden, &err)) != CBE_OK) goto done;
    v[0] = 1;
    if ((st = cbe_lens_objective_create(&objective, decoder, &options, &err)) != CBE_OK) goto done;
    st = cbe_lens_objective_set_layer(objective, hidden, (cbe_translator){NULL, NULL}, NULL, &err);
    for (size_t r = 0; r < runs && st == CBE_OK; r++) {
        const double start = omp_get_wtime();
        st = cbe_objective_eval(objective, 1, v, &energy, grad, NULL, &err);
        seconds[r] = omp_get_wtime() - start;
    }
    if (st != CBE_OK) goto done;
    bench_print_result(energy, d, grad, v, bench_median(runs, seconds));
done:
    if (st != CBE_OK) fprintf(stderr, "bench_evaluation: %s\n", err.message);
    cbe_objective_free(objective);
    cbe_free(grad);
    cbe_free(v);
    cbe_free(hidden);
    cbe_hidden_states_close(states);
    cbe_decoder_free(decoder);
    return st == CBE_OK ? 0 : 1;
}
