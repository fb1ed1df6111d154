/* Checkpoints of cbe lens train, as --resume reads them. */
#include "fuzz_input.h"
#include "train_run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static cbe_lens_train_options options;
    cbe_error err = {0};
    cbe_train_state state;
    bool found = false;
    const char *path = fuzz_file("checkpoint", data, size);
    if (!fuzz_succeeded(train_run_init(&state, &options, path, &err), &err)) return 0;
    if (fuzz_succeeded(cbe_train_checkpoint_load(&state, &found, &err), &err)) {
        fuzz_expect(found, "the file is there");
        fuzz_expect(state.step <= TRAIN_STEPS && state.pending < TRAIN_POOL &&
                        state.next_sequence <= 1,
                    "counts are the run's");
        for (size_t i = 0; i < TRAIN_POOL; i++)
            fuzz_expect(state.labels[i] >= 0 && state.labels[i] < TRAIN_VOCABULARY,
                        "labels are tokens");
    }
    return 0;
}
