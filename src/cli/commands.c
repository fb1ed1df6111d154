/* commands.c - see commands.h. */
#include "cli/commands.h"

const cli_entry cli_commands[] = {
    {"extract", "causal bases of a model's layers", cli_extract, &cli_extract_command, NULL, true},
    {"probe", "energies and gradients of given directions", cli_probe, &cli_probe_command, NULL,
     false},
    {"ablate", "what removing a basis does to the model's output", cli_ablate, &cli_ablate_command,
     NULL, false},
    {"fidelity", "whether a lens answers ablations as the model does", cli_fidelity,
     &cli_fidelity_command, NULL, false},
    {"spectrum", "how many dimensions of each layer's states reach the output", cli_spectrum,
     &cli_spectrum_command, NULL, true},
    {"capture", "hidden states of a text, to a file", cli_capture, &cli_capture_command, NULL,
     false},
    {"decoder", "final norm and unembedding of a model, to a file", cli_decoder,
     &cli_decoder_command, NULL, false},
    {"lens", "tuned lenses: fit, train, eval, convert", cli_lens, NULL, cli_lens_commands, false},
    {"plan", "what an extraction will take: memory, time, network traffic", cli_plan,
     &cli_plan_command, NULL, false},
    {"tokenize", "text to token ids, and back", cli_tokenize, &cli_tokenize_command, NULL, false},
    {"info", "what a model, lens or tensor file holds", cli_info, &cli_info_command, NULL, false},
    {NULL, NULL, NULL, NULL, NULL, false},
};
