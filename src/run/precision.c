/* precision.c - see precision.h. */
#include "run/precision.h"

#include <stdint.h>

#include "core/sizes.h"
#include "math/bf16.h"
#include "model/bf16_blocks.h"
#include "objective/divergence.h"

cbe_precision cbe_given_precision(const cbe_run_settings *run)
{
    return run->precision == CBE_PRECISION_AUTO
               ? CBE_PRECISION_FLOAT32
               : (cbe_precision)(run->precision - CBE_PRECISION_GIVEN);
}

/* Whether the copies of the weights take half of the memory that is left at most. */
static bool fits(const cbe_run_inputs *in)
{
    const cbe_model *model = in->options.model;
    const cbe_decoder *decoder = cbe_model_decoder(model);
    const size_t first = cbe_site_state(in->options.site, in->layers[0]),
                 widest = cbe_max_size(cbe_bf16_blocks_max_size(model),
                                       cbe_divergence_bf16_max_size(decoder));
    size_t bytes = cbe_bf16_bytes(widest);
    return cbe_bf16_blocks_possible(model) &&
           cbe_add_size(bytes, cbe_bf16_blocks_bytes(model, first, true), &bytes) &&
           cbe_add_size(bytes, cbe_divergence_bf16_bytes(decoder), &bytes) &&
           (!in->options.memory || bytes <= in->options.memory / 2);
}

void cbe_choose_precision(cbe_run_inputs *in, cbe_run_settings *run, bool searches,
                          cbe_watch *watch)
{
    cbe_extraction_options *o = &in->options;
    if (run->precision != CBE_PRECISION_AUTO) return;
    double refusals = !(searches && o->model && cbe_bf16_is_fast() && fits(in));
    cbe_processes_sum(run->team->all, 1, &refusals);
    o->precision = refusals > 0 ? CBE_PRECISION_FLOAT32 : CBE_PRECISION_BF16X3;
    run->precision = (int)o->precision + CBE_PRECISION_GIVEN;
    if (o->precision != CBE_PRECISION_FLOAT32)
        cbe_note(watch, "precision: products with weights in bfloat16, three for each; " CBE_OPTION(
                            "precision") " float32 does without");
}
