/* precision.c - see precision.h. */
#include "objective/model/precision.h"

const char *cbe_precision_name(cbe_precision precision)
{
    static const char *const names[] = {"float32", "bf16x3", "bf16"};
    _Static_assert(sizeof names / sizeof *names == CBE_N_PRECISIONS, "one name for each precision");
    return names[precision];
}
