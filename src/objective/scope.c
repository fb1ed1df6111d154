/* scope.c - see scope.h. */
#include "objective/scope.h"

const char *cbe_scope_name(cbe_scope scope)
{
    static const char *const names[] = {"all", "own"};
    _Static_assert(sizeof names / sizeof *names == CBE_N_SCOPES, "one name for each scope");
    return names[scope];
}
