/* terms.c - see terms.h. */
#include "core/terms.h"

#include <string.h>

/* MARK and PROGRAM, or MARK and LIBRARY, begin a wording of a term; MARK and END end the term. */
enum { MARK = 1, PROGRAM = 2, LIBRARY = 3, END = 4 };

static bool is_mark(const char *c, char kind)
{
    return c[0] == MARK && c[1] == kind;
}

/* Whether a whole term begins at c, both its wordings and its end. Text of users may hold bytes
 * that look like a part of one, and is shown. */
static bool begins_term(const char *c)
{
    if (!is_mark(c, PROGRAM)) return false;
    char next = LIBRARY;
    for (c += 2; *c; c++) {
        if (c[0] != MARK || c[1] < PROGRAM || c[1] > END) continue;
        if (c[1] != next) return false;
        if (next == END) return true;
        next = END;
    }
    return false;
}

bool cbe_choose_terms(char *out, size_t size, const char *message, cbe_side side, bool *all)
{
    const char wanted = side == CBE_IN_PROGRAM ? PROGRAM : LIBRARY;
    size_t length = 0;
    char part = END;
    bool has_terms = false;
    *all = true;
    for (const char *c = message; *c && *all; c++) {
        const bool begins = part == END && begins_term(c);
        if (begins || (part == PROGRAM && is_mark(c, LIBRARY)) ||
            (part == LIBRARY && is_mark(c, END))) {
            part = *++c;
            has_terms = true;
        } else if (part == END || part == wanted) {
            *all = length + 1 < size;
            if (*all) out[length++] = *c;
        }
    }
    out[length] = 0;
    return has_terms;
}

void cbe_first_option(char *out, size_t size, const char *message)
{
    const char *at = message;
    out[0] = 0;
    while ((at = strstr(at, "\x01\x03"))) {
        at += 2;
        const bool behind = at[0] == MARK && at[1] == END;
        if (behind) at += 2;
        const size_t length = strspn(at, "abcdefghijklmnopqrstuvwxyz-");
        if (length == 0 || length >= size || (!behind && at[length] != MARK)) continue;
        memcpy(out, at, length);
        out[length] = 0;
        return;
    }
}
