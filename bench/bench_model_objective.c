/*
 * bench_model_objective.c - time of one evaluation in the whole model, to compare with other
 * programs.
 *
 * bench_model_objective MODEL TOKENS.safetensors LAYER [RUNS [PRECISION [SCOPE]]]: energy (kl, mean
 * ablation of the output of block LAYER, all tokens of input_ids) and gradient of one direction,
 * the first unit vector. Prints two lines:
 *
 *   energy E gradient G seconds S threads T
 *   products P GFLOP/s, SGEMM R GFLOP/s, share P/R, energy alone S s
 *
 * E in nats, G the length of the gradient's part tangent to the sphere, S the median of the runs.
 * The share is that of the products' FLOP (blocks and unembedding, forward and back) in the
 * measured rate of one large product in the same run: attention, norms, activations and
 * exponentials count as time only. PRECISION: float32, bf16x3, or bf16, which here is that of a
 * sample. SCOPE: all, or own, whose clean run is made anew in each run.
 * bench/pytorch_model_objective.py prints the first line, bench/compare_model_objective.sh
 * runs both.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/hidden_states.h"
#include "objective/model/objective.h"
#include "result_line.h"
#include "sgemm_rate.h"

enum { DEFAULT_RUNS = 3, MAX_RUNS = 100 };

/* FLOP of the products for each token, forward or back. */
static double flop_of(const cbe_model_config *c, size_t n_blocks)
{
    const double q = (double)(c->n_heads * c->head_size),
                 kv = (double)(c->n_kv_heads * c->head_size);
    const double d = (double)c->hidden_size, m = (double)c->mlp_size;
    return 2 * ((double)n_blocks * (d * (q + 2 * kv) + q * d + (c->gated_mlp ? 3 : 2) * d * m) +
                d * (double)c->vocab_size);
}

int main(int argc, char **argv)
{
    const size_t layer = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
    const size_t runs = argc > 4 ? strtoul(argv[4], NULL, 10) : DEFAULT_RUNS;
    int precision = 0, scope = 0;
    while (argc > 5 && precision < CBE_N_PRECISIONS &&
           strcmp(argv[5], cbe_precision_name((cbe_precision)precision)) != 0)
        precision++;
    while (argc > 6 && scope < CBE_N_SCOPES &&
           strcmp(argv[6], cbe_scope_name((cbe_scope)scope)) != 0)
        scope++;
    if (argc < 4 || argc > 7 || runs < 1 || runs > MAX_RUNS || precision == CBE_N_PRECISIONS ||
        scope == CBE_N_SCOPES) {
        fprintf(stderr, "usage: bench_model_objective MODEL TOKENS.safetensors LAYER [RUNS "
                        "[PRECISION [SCOPE]]]\n");
        return 2;
    }
    cbe_error err;
    cbe_model *model = NULL;
    cbe_tokens tokens = {0};
    cbe_hidden_states *states = NULL;
    cbe_objective *objective = NULL;
    float *hidden = NULL;
    double *v = NULL, *grad = NULL, energy = 0, seconds[MAX_RUNS], alone = 0;
    bool *wanted = NULL;
    cbe_status st = cbe_model_open(&model, argv[1], &err);
    if (st != CBE_OK) goto done;
    const cbe_model_config *c = cbe_model_get_config(model);
    const size_t d = c->hidden_size, last = c->n_layers;
    if ((st = cbe_tokens_load(&tokens, argv[2], NULL, &err)) != CBE_OK) goto done;
    const size_t n = tokens.n_sequences * tokens.context_length;
    wanted = cbe_alloc_zero(last + 1, sizeof *wanted, "layers", &err);
    hidden = cbe_alloc(n, 2 * d * sizeof *hidden, "hidden states", &err);
    v = cbe_alloc_zero(d, sizeof *v, "direction", &err);
    grad = cbe_alloc_zero(d, sizeof *grad, "gradient", &err);
    if (!wanted || !hidden || !v || !grad || layer >= last) {
        fprintf(stderr, "bench_model_objective: out of memory, or no such layer\n");
        return 1;
    }
    v[0] = 1;
    wanted[layer + 1] = wanted[last] = true;
    if ((st = cbe_hidden_states_capture(&states, model, &tokens, wanted, NULL, NULL, &err)) !=
        CBE_OK)
        goto done;
    if ((st = cbe_hidden_states_read(states, layer + 1, 0, hidden, &err)) != CBE_OK) goto done;
    if ((st = cbe_hidden_states_read(states, last, 0, hidden + n * d, &err)) != CBE_OK) goto done;
    const cbe_model_objective_options options = {.n_sequences = tokens.n_sequences,
                                                 .context_length = tokens.context_length,
                                                 .first_block = layer + 1,
                                                 .precision = (cbe_precision)precision,
                                                 .max_batch = 1,
                                                 .scope = (cbe_scope)scope};
    if ((st = cbe_model_objective_create(&objective, model, &options, hidden + n * d, &err)) !=
        CBE_OK)
        goto done;
    if ((st = cbe_model_objective_set_layer(objective, layer + 1, hidden, NULL, &err)) != CBE_OK)
        goto done;
    /* all tokens in any case */
    cbe_objective_set_sample(objective, precision == CBE_PRECISION_BF16 ? n : 0);
    for (size_t r = 0; r <= runs && st == CBE_OK; r++) { /* the last without gradient */
        const double start = omp_get_wtime();
        if (scope == CBE_SCOPE_OWN && (st = cbe_model_objective_set_layer(
                                           objective, layer + 1, hidden, NULL, &err)) != CBE_OK)
            break;
        st = cbe_objective_eval(objective, 1, v, &energy, r < runs ? grad : NULL, NULL, &err);
        *(r < runs ? &seconds[r] : &alone) = omp_get_wtime() - start;
    }
    if (st != CBE_OK) goto done;
    const double median = bench_median(runs, seconds);
    const double rate = 2 * (double)n * flop_of(c, last - layer - 1) / median, bound = sgemm_rate();
    bench_print_result(energy, d, grad, v, median);
    printf("products %.1f GFLOP/s, SGEMM %.1f GFLOP/s, share %.3f, energy alone %.3f s\n",
           rate * 1e-9, bound * 1e-9, rate / bound, alone);
done:
    if (st != CBE_OK) fprintf(stderr, "bench_model_objective: %s\n", err.message);
    cbe_objective_free(objective);
    cbe_hidden_states_close(states);
    cbe_tokens_free(&tokens);
    cbe_free(wanted);
    cbe_free(hidden);
    cbe_free(v);
    cbe_free(grad);
    cbe_model_close(model);
    return st == CBE_OK ? 0 : 1;
}
