/* Checkpoints of cbe extract, as --resume reads them. */
#include <math.h>

#include "checkpoint_run.h"
#include "fuzz_input.h"

static void look_at(const cbe_search_point *point)
{
    fuzz_expect(point->hidden_size == RUN_WIDTH && point->n_vectors >= 1 &&
                    point->n_vectors <= RUN_VECTORS,
                "a point has the run's shape");
    fuzz_expect(point->n_runner_ups <= CBE_RUNNER_UPS_MOST, "runner-ups have room");
    for (size_t k = 0; k < point->n_vectors * RUN_WIDTH; k++)
        fuzz_expect(isfinite(point->vectors[k]), "a point's vectors are finite");
    for (size_t i = 0; i < point->n_runner_ups; i++)
        fuzz_expect((unsigned)point->runner_up_kinds[i] < CBE_N_START_KINDS &&
                        isfinite(point->runner_ups[i * RUN_WIDTH]),
                    "so are runner-ups");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cbe_error err = {0};
    cbe_checkpoint *checkpoint = NULL;
    size_t n_done, n_vectors;
    const char *path = fuzz_file("checkpoint", data, size);
    if (!fuzz_succeeded(run_create(&checkpoint, path, &err), &err)) return 0;
    if (fuzz_succeeded(cbe_checkpoint_load(checkpoint, &n_done, &n_vectors, &err), &err)) {
        fuzz_expect(n_done <= RUN_LAYERS && n_vectors <= RUN_LAYERS * RUN_VECTORS,
                    "no more is done than there is");
        for (size_t i = 0; i < RUN_LAYERS; i++) {
            cbe_layer_result result = {0};
            const cbe_search_point *point = cbe_checkpoint_point(checkpoint, run_layers[i]);
            if (point) look_at(point);
            if (!cbe_checkpoint_take(checkpoint, run_layers[i], &result)) continue;
            fuzz_expect(result.basis.hidden_size == RUN_WIDTH &&
                            result.basis.n_vectors <= RUN_VECTORS,
                        "a layer has the run's shape");
            for (size_t k = 0; k < result.basis.n_vectors * RUN_WIDTH; k++)
                fuzz_expect(isfinite(result.basis.vectors[k]), "vectors are finite");
            cbe_layer_results_free(1, &result);
        }
    }
    cbe_checkpoint_free(checkpoint);
    return 0;
}
