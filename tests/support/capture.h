/*
 * capture.h - running a model in tests and keeping what the forward pass hands over.
 */
#ifndef CBE_TESTS_CAPTURE_H
#define CBE_TESTS_CAPTURE_H

#include "model/model.h"
#include "formats/safetensors.h"

/* The hidden states and logits that a forward pass handed over, and counts of its calls. */
typedef struct {
    size_t n_tokens, hidden_size, vocab_size, n_layers;
    float *hidden; /* (n_layers + 1, N, d) */
    float *logits; /* (N, V) */
    bool *layers;
    size_t hidden_calls, logit_calls, next_logit, progress_calls, stop_after;
    size_t last_done, total;
    cbe_status answer; /* status that the sinks return at call stop_after */
} capture;

/** Allocates for all hidden states and logits of n_tokens, and asks for all layers. */
void capture_init(capture *c, const cbe_model *model, size_t n_tokens);
void capture_free(capture *c);
/** A sink that takes hidden states and logits and checks that they come in order. */
cbe_forward_sink sink_of(capture *c);
/** A progress callback that checks that progress rises, and cancels at call stop_after. */
bool take_progress(void *context, size_t done, size_t total);
/** For a sink that takes only hidden states or only logits. */
cbe_status take_hidden(void *context, size_t layer, size_t first, size_t n_tokens,
                       const float *hidden, cbe_error *err);
cbe_status take_logits(void *context, size_t first, size_t n_tokens, const float *logits,
                       cbe_error *err);

/** capture_init, then a forward pass that must succeed. */
void capture_run(capture *c, const cbe_model *model, size_t n_sequences, size_t context_length,
                 const int64_t *ids);

cbe_model *open_model(const char *path);
cbe_safetensors *open_golden(const char *path);
double largest(const float *x, size_t n);

/** Runs the golden file's input_ids and compares hidden states named PREFIXhidden_states.i (within
 * hidden_tolerance of the layer's largest entry) and logits named PREFIXlogits, if the file has
 * them. */
void compare_with_golden(const cbe_model *model, const char *golden_path, const char *prefix,
                         double hidden_tolerance, double logit_tolerance);

#endif
