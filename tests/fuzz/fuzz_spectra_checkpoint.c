/* Checkpoints of cbe spectrum, as --resume reads them. */
#include <math.h>

#include "fuzz_input.h"
#include "spectra_run.h"

enum { SUMS = SPECTRA_WIDTH * (SPECTRA_WIDTH + 3) / 2 };

static void expect_sums(const cbe_long_sum *sums)
{
    for (size_t i = 0; i < SUMS; i++)
        fuzz_expect(isfinite(sums[i].high) && isfinite(sums[i].low), "sums are finite");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cbe_error err = {0};
    cbe_spectra_place place;
    cbe_safetensors *file = NULL;
    cbe_long_sum sums[2][SUMS];
    double lists[2][SPECTRA_WIDTH];
    cbe_moments hidden = {SPECTRA_WIDTH, 0, sums[0]}, gradients = {SPECTRA_WIDTH, 0, sums[1]};
    cbe_state_spectrum done = {
        .hidden_size = SPECTRA_WIDTH, .variances = lists[0], .energies = lists[1]};
    const cbe_spectra_checkpoint run = spectra_run(fuzz_file("checkpoint", data, size));
    if (!fuzz_succeeded(cbe_spectra_checkpoint_open(&file, &run, SPECTRA_STATES, SPECTRA_SEQUENCES,
                                                    &place, &err),
                        &err))
        return 0;
    fuzz_expect(file != NULL, "the file is there");
    fuzz_expect(place.states_at_once >= 1 && place.states_at_once <= SPECTRA_STATES &&
                    place.groups_done * place.states_at_once <= 2 * SPECTRA_STATES &&
                    place.sequences_done <= SPECTRA_SEQUENCES,
                "the place is one of the run");
    for (size_t i = 0; i < SPECTRA_STATES; i++) {
        if (fuzz_succeeded(
                cbe_spectra_checkpoint_sums(file, spectra_states[i], &hidden, &gradients, &err),
                &err)) {
            expect_sums(sums[0]);
            expect_sums(sums[1]);
        }
        if (fuzz_succeeded(cbe_spectra_checkpoint_spectrum(file, spectra_states[i], &done, &err),
                           &err))
            for (size_t k = 0; k < 2; k++)
                fuzz_expect(lists[k][0] >= lists[k][1] && lists[k][1] >= 0, "lists fall");
    }
    cbe_safetensors_close(file);
    return 0;
}
