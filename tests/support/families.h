/* families.h - names of the models under tests/golden/models: one of each family, and variants. */
#ifndef CBE_TESTS_FAMILIES_H
#define CBE_TESTS_FAMILIES_H

#define CBE_TEST_FAMILIES                                                                          \
    "bloom", "gemma", "gemma2", "gemma3", "gpt2", "gpt_neo", "gpt_neox", "gptj", "llama",          \
        "llama-bytes", "llama-tied-bf16", "llama3-rope", "mistral", "olmo2", "opt", "phi", "phi3", \
        "qwen2", "qwen3", /* variants, made by tests/tools/make_model_fixture.py: */               \
        "bloom-six-heads", "gemma3-linear", "gpt2-scaled-by-layer", "gpt_neox-sequential",         \
        "llama-biases", "llama-dynamic", "llama-linear", "llama-yarn", "opt-no-bias",              \
        "opt-post-norm", "phi-norms", "phi3-longrope", "phi3-longrope-short", "qwen2-window"

#endif
