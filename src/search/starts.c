/* starts.c - see starts.h. */
#include "search/starts.h"

const char *cbe_start_kind_name(cbe_start_kind kind)
{
    static const char *const names[] = {"random",    "given", "lens",  "both",     "unembedding",
                                        "component", "token", "entry", "identity", "runner-up"};
    _Static_assert(sizeof names / sizeof *names == CBE_N_START_KINDS, "one name for each kind");
    return names[kind];
}
