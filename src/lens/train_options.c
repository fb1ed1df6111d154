/* train_options.c - names, defaults and limits of the options of a training; see lens/train.h. */
#include "lens/train_options.h"

#include <math.h>

#include "core/fail.h"

static const char *const optimizer_names[] = {"natural", "sgd", "adam"};
static const char *const start_names[] = {"affine", "zero", "given"};
static const double default_rates[] = {0.1, 1.0, 1e-3}, default_momenta[] = {0.5, 0.9, 0.9};
_Static_assert(sizeof optimizer_names / sizeof *optimizer_names == CBE_N_OPTIMIZERS,
               "one name for each");
_Static_assert(sizeof start_names / sizeof *start_names == CBE_N_STARTS, "one name for each");
_Static_assert(sizeof default_rates / sizeof *default_rates == CBE_N_OPTIMIZERS,
               "one rate for each");
_Static_assert(sizeof default_momenta / sizeof *default_momenta == CBE_N_OPTIMIZERS,
               "one momentum for each");

const char *cbe_optimizer_name(cbe_optimizer_kind kind)
{
    return optimizer_names[kind];
}

const char *cbe_lens_start_name(cbe_lens_start start)
{
    return start_names[start];
}

void cbe_lens_train_options_init(cbe_lens_train_options *options)
{
    *options = (cbe_lens_train_options){.momentum = CBE_MOMENTUM_DEFAULT,
                                        .damping = 30,
                                        .ridge = 1e-2,
                                        .positions = 0.2,
                                        .step_tokens = 256,
                                        .held_out = 0.05,
                                        .held_out_tokens = 512,
                                        .checkpoint_steps = 20};
}

void cbe_lens_train_options_complete(cbe_lens_train_options *o)
{
    if (o->rate == 0) o->rate = default_rates[o->optimizer];
    if (o->momentum == CBE_MOMENTUM_DEFAULT) o->momentum = default_momenta[o->optimizer];
}

cbe_status cbe_lens_train_options_check(const cbe_lens_train_options *o, cbe_error *err)
{
    const struct {
        bool right;
        const char *what;
    } checks[] = {
        {o->rate >= 0 && isfinite(o->rate), "the rate must be a positive number"},
        {o->momentum == CBE_MOMENTUM_DEFAULT || (o->momentum >= 0 && o->momentum < 1),
         "the momentum must lie in 0 .. 1, below 1"},
        {o->damping > 0 && isfinite(o->damping), "the damping must be a positive number"},
        {o->ridge > 0 && isfinite(o->ridge), "the ridge must be a positive number"},
        {o->positions > 0 && o->positions <= 1, "the share of positions must lie between 0 and 1"},
        {o->step_tokens > 0, "a step needs positions"},
        {o->held_out_tokens > 0, "held-out tokens are needed to measure by"},
    };
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
        if (!checks[i].right) return cbe_fail(err, CBE_ERR_ARG, -1, "%s", checks[i].what);
    return CBE_OK;
}
