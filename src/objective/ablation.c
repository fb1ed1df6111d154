/* ablation.c - see ablation.h. */
#include "objective/ablation.h"

const char *cbe_ablation_name(cbe_ablation ablation)
{
    static const char *const names[] = {"mean", "resample", "zero", "optimal"};
    _Static_assert(sizeof names / sizeof *names == CBE_N_ABLATIONS, "one name for each ablation");
    return names[ablation];
}
