/* added_tokens.c - see added_tokens.h. A sorted array serves as a trie: each byte read narrows the range
 * of tokens that begin with what was read, by two binary searches. */
#include "text/added_tokens.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

static int compare_tokens(const void *a, const void *b)
{
    const cbe_span x = ((const cbe_added_token *)a)->text, y = ((const cbe_added_token *)b)->text;
    const int order = memcmp(x.data, y.data, x.length < y.length ? x.length : y.length);
    return order ? order : (x.length > y.length) - (x.length < y.length);
}

void cbe_added_tokens_init(cbe_added_tokens *added, cbe_added_token *tokens, size_t n_tokens)
{
    memset(added, 0, sizeof *added);
    added->tokens = tokens;
    added->n_tokens = n_tokens;
    if (n_tokens > 0) qsort(tokens, n_tokens, sizeof *tokens, compare_tokens);
    for (size_t i = 0; i < n_tokens; i++)
        added->begins[(unsigned char)tokens[i].text.data[0]] = true;
}

void cbe_added_tokens_free(cbe_added_tokens *added)
{
    cbe_free(added->tokens);
    memset(added, 0, sizeof *added);
}

/* First of tokens[low, high) whose byte at `depth` is not below `byte`; all are longer than depth. */
static size_t first_not_below(const cbe_added_token *tokens, size_t low, size_t high, size_t depth,
                              unsigned byte)
{
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if ((unsigned char)tokens[middle].text.data[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static const cbe_added_token *longest_at(const cbe_added_tokens *added, const char *text,
                                         size_t length)
{
    const cbe_added_token *longest = NULL;
    size_t low = 0, high = added->n_tokens;
    for (size_t depth = 0; depth < length && low < high; depth++) {
        const unsigned byte = (unsigned char)text[depth];
        low = first_not_below(added->tokens, low, high, depth, byte);
        high = first_not_below(added->tokens, low, high, depth, byte + 1);
        if (low < high && added->tokens[low].text.length == depth + 1)
            longest = &added->tokens[low++];
    }
    return longest;
}

size_t cbe_added_tokens_find(const cbe_added_tokens *added, const char *text, size_t length,
                             size_t from, const cbe_added_token **token)
{
    *token = NULL;
    for (size_t at = from; at < length && added->n_tokens > 0; at++) {
        if (!added->begins[(unsigned char)text[at]]) continue;
        if ((*token = longest_at(added, text + at, length - at))) return at;
    }
    return length;
}
