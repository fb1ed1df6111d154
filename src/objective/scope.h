/* scope.h - which tokens an ablation in the whole model changes at once. */
#ifndef CBE_OBJECTIVE_SCOPE_H
#define CBE_OBJECTIVE_SCOPE_H

typedef enum {
    CBE_SCOPE_ALL = 0, /* all tokens together: what one loses reaches the others by attention */
    /* Each token alone: it is read where it is ablated, among clean keys and values of others. */
    CBE_SCOPE_OWN,
    CBE_N_SCOPES
} cbe_scope;

/** Name as on the command line: "all", "own". */
const char *cbe_scope_name(cbe_scope scope);

#endif
