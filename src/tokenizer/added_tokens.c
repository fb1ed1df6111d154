/* added_tokens.c - see added_tokens.h. A sorted array serves as a trie: each byte read narrows the
 * range of tokens that begin with the bytes read, by two binary searches. */
#include "tokenizer/added_tokens.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "core/memory.h"
#include "core/utf8.h"
#include "tokenizer/sorted_texts.h"

static int compare_tokens(const void *a, const void *b)
{
    const cbe_span x = ((const cbe_added_token *)a)->text, y = ((const cbe_added_token *)b)->text;
    const int order = memcmp(x.data, y.data, x.length < y.length ? x.length : y.length);
    return order ? order : (x.length > y.length) - (x.length < y.length);
}

/* As compare_tokens, and by id where texts are equal. */
static int compare_with_ids(const void *a, const void *b)
{
    const int64_t x = ((const cbe_added_token *)a)->id, y = ((const cbe_added_token *)b)->id;
    const int order = compare_tokens(a, b);
    return order ? order : (x > y) - (x < y);
}

void cbe_added_tokens_init(cbe_added_tokens *added, cbe_added_token *tokens, size_t n_tokens,
                           cbe_added_token *lost)
{
    memset(added, 0, sizeof *added);
    added->tokens = tokens;
    if (n_tokens > 0) qsort(tokens, n_tokens, sizeof *tokens, compare_with_ids);
    for (size_t i = 0; i < n_tokens; i++) {
        added->begins[(unsigned char)tokens[i].text.data[0]] = true;
        if (i + 1 < n_tokens && compare_tokens(&tokens[i], &tokens[i + 1]) == 0) {
            if (lost) *lost = tokens[i];
            continue;
        }
        tokens[added->n_tokens++] = tokens[i];
    }
}

void cbe_added_tokens_free(cbe_added_tokens *added)
{
    cbe_free(added->tokens);
    memset(added, 0, sizeof *added);
}

static const cbe_added_token *longest_at(const cbe_added_tokens *added, const char *text,
                                         size_t length)
{
    const cbe_added_token *longest = NULL;
    size_t low = 0, high = added->n_tokens;
    for (size_t depth = 0; depth < length && low < high; depth++) {
        const unsigned byte = (unsigned char)text[depth];
        low = cbe_first_not_below(added->tokens, sizeof *added->tokens, low, high, depth, byte);
        high =
            cbe_first_not_below(added->tokens, sizeof *added->tokens, low, high, depth, byte + 1);
        if (low < high && added->tokens[low].text.length == depth + 1)
            longest = &added->tokens[low++];
    }
    return longest;
}

static int32_t character_at(const char *text, size_t length, size_t at)
{
    utf8proc_int32_t character;
    utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(length - at),
                     &character);
    return character;
}

static size_t previous(const char *text, size_t at)
{
    do at--;
    while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80);
    return at;
}

/* Whether a character is a letter, mark, digit, connecting punctuation or joiner, or a letter in a
 * circle or square: \w of the crate regex. */
static bool is_word(int32_t character)
{
    switch (utf8proc_category(character)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default:
        return character == 0x200c || character == 0x200d ||
               (character >= 0x24b6 && character <= 0x24e9) ||
               (character >= 0x1f130 && character <= 0x1f149) ||
               (character >= 0x1f150 && character <= 0x1f169) ||
               (character >= 0x1f170 && character <= 0x1f189);
    }
}

static bool stands_alone(const char *text, size_t length, size_t begin, size_t end)
{
    return (begin == 0 || !is_word(character_at(text, length, previous(text, begin)))) &&
           (end == length || !is_word(character_at(text, length, end)));
}

cbe_added_place cbe_added_tokens_find(const cbe_added_tokens *added, const char *text,
                                      size_t length, cbe_added_search *search)
{
    for (size_t at = search->next; at < length && added->n_tokens > 0; at++) {
        if (!added->begins[(unsigned char)text[at]]) continue;
        const cbe_added_token *token = longest_at(added, text + at, length - at);
        if (!token) continue;
        size_t begin = at, end = at + token->text.length;
        const bool counts = !(added->split_special && token->special) &&
                            (!token->single_word || stands_alone(text, length, begin, end));
        at = end - 1; /* the search goes on behind the token */
        if (!counts) continue;
        search->next = end;
        while (token->lstrip && begin > search->end &&
               cbe_utf8_is_space(character_at(text, length, previous(text, begin))))
            begin = previous(text, begin);
        if (token->lstrip && begin < search->end) begin = search->end;
        while (token->rstrip && end < length && cbe_utf8_is_space(character_at(text, length, end)))
            end += cbe_utf8_size(text[end]);
        search->end = end;
        /* The token before may have taken all of the white space that this one is. */
        if (begin < end) return (cbe_added_place){token, begin, end};
    }
    search->next = length;
    return (cbe_added_place){NULL, length, length};
}
