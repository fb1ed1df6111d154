/* loss.c - see loss.h. */
#include "math/loss.h"

const char *cbe_loss_name(cbe_loss loss)
{
    static const char *const names[] = {"kl", "ce"};
    _Static_assert(sizeof names / sizeof *names == CBE_N_LOSSES, "one name for each loss");
    return names[loss];
}
