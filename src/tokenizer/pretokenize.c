/*
 * pretokenize.c - see pretokenize.h.
 *
 * A piece goes through all steps before the next piece is cut, so that only changed text is stored.
 */
#include "tokenizer/pretokenize.h"

#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "core/byte_buffer.h"
#include "core/utf8.h"
#include "tokenizer/byte_characters.h"

enum { MAX_STEPS = 64 };

typedef enum { SPLIT, PREFIX_SPACE, METASPACE, FIXED_LENGTH, BYTE_CHARACTERS } step_kind;

typedef struct cbe_pretokenizer_step {
    step_kind kind;
    cbe_regex *regex;
    cbe_split_behaviour behaviour;
    bool invert;
    char *replacement;
    size_t length; /* bytes of the replacement; characters of a piece of fixed length */
    cbe_prepend_scheme scheme;
} step;

void cbe_pretokenizer_free(cbe_pretokenizer *pretokenizer)
{
    for (size_t i = 0; i < pretokenizer->n_steps; i++) {
        cbe_regex_free(pretokenizer->steps[i].regex);
        cbe_free(pretokenizer->steps[i].replacement);
    }
    cbe_free(pretokenizer->steps);
    *pretokenizer = (cbe_pretokenizer){0};
}

/* Adds a step and takes over its memory, also on failure. */
static cbe_status add(cbe_pretokenizer *p, step made, cbe_error *err)
{
    cbe_status st = CBE_OK;
    if (p->n_steps == MAX_STEPS)
        st = cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                      "pre-tokenisation in more than %d steps cannot be read; give token ids "
                      "with " CBE_OPTION("tokens"),
                      MAX_STEPS);
    if (st == CBE_OK && !p->steps &&
        !(p->steps = cbe_alloc(MAX_STEPS, sizeof *p->steps, "pre-tokenisation", err)))
        st = CBE_ERR_NOMEM;
    if (st == CBE_OK) {
        p->steps[p->n_steps++] = made;
    } else {
        cbe_regex_free(made.regex);
        cbe_free(made.replacement);
    }
    return st;
}

cbe_status cbe_pretokenizer_add_split(cbe_pretokenizer *pretokenizer, cbe_regex *regex,
                                      cbe_split_behaviour behaviour, bool invert, cbe_error *err)
{
    return add(pretokenizer,
               (step){.kind = SPLIT, .regex = regex, .behaviour = behaviour, .invert = invert},
               err);
}

cbe_status cbe_pretokenizer_add_prefix_space(cbe_pretokenizer *pretokenizer, cbe_error *err)
{
    return add(pretokenizer, (step){.kind = PREFIX_SPACE}, err);
}

cbe_status cbe_pretokenizer_add_metaspace(cbe_pretokenizer *pretokenizer, const char *replacement,
                                          size_t length, cbe_prepend_scheme scheme, cbe_error *err)
{
    char *copy = cbe_copy_string(replacement, length, err);
    if (!copy) return CBE_ERR_NOMEM;
    return add(pretokenizer,
               (step){.kind = METASPACE, .replacement = copy, .length = length, .scheme = scheme},
               err);
}

cbe_status cbe_pretokenizer_add_fixed_length(cbe_pretokenizer *pretokenizer, size_t n,
                                             cbe_error *err)
{
    return add(pretokenizer, (step){.kind = FIXED_LENGTH, .length = n}, err);
}

cbe_status cbe_pretokenizer_add_byte_characters(cbe_pretokenizer *pretokenizer, cbe_error *err)
{
    return add(pretokenizer, (step){.kind = BYTE_CHARACTERS}, err);
}

/* State of one call of cbe_pretokenize. */
typedef struct {
    const cbe_pretokenizer *pretokenizer;
    cbe_regex_search *searches[MAX_STEPS]; /* searches of the split steps */
    cbe_word_fn *visit;
    void *user;
} run;

/* A piece of text; first: the piece begins the document. */
typedef struct {
    const char *text;
    size_t length;
    bool first;
} piece;

static cbe_status visit_piece(const run *r, size_t stage, piece p, cbe_error *err);

/* State of splitting one piece: the part that may still grow. */
typedef struct {
    const run *r;
    size_t stage;
    piece whole;
    size_t begin, end; /* the waiting part, which may be an empty match */
    bool waiting, after_match;
} cutting;

static cbe_status hand_over(cutting *c, size_t begin, size_t end, cbe_error *err)
{
    const piece part = {c->whole.text + begin, end - begin, c->whole.first && begin == 0};
    return visit_piece(c->r, c->stage + 1, part, err);
}

/* Takes the next part, a match or the text between two matches. */
static cbe_status add_part(cutting *c, cbe_split_behaviour behaviour, size_t begin, size_t end,
                           bool match, cbe_error *err)
{
    bool joins = false;
    switch (behaviour) {
    case CBE_SPLIT_REMOVED:
    case CBE_SPLIT_ISOLATED: break;
    case CBE_SPLIT_MERGED_WITH_PREVIOUS: joins = match && !c->after_match; break;
    case CBE_SPLIT_MERGED_WITH_NEXT: joins = !match && c->after_match; break;
    case CBE_SPLIT_CONTIGUOUS: joins = match == c->after_match; break;
    }
    cbe_status st = CBE_OK;
    if (c->waiting && !joins) st = hand_over(c, c->begin, c->end, err);
    if (!c->waiting || !joins) c->begin = begin;
    c->end = end;
    c->waiting = behaviour != CBE_SPLIT_REMOVED || !match;
    c->after_match = match;
    return st;
}

static cbe_status split(const run *r, size_t stage, piece p, cbe_error *err)
{
    const step *s = &r->pretokenizer->steps[stage];
    cutting c = {.r = r, .stage = stage, .whole = p};
    cbe_regex_place place = {0};
    cbe_status st = CBE_OK;
    bool found = true;
    for (size_t at = 0, begin, end; found && st == CBE_OK; at = end) {
        st =
            cbe_regex_find(r->searches[stage], p.text, p.length, &place, &found, &begin, &end, err);
        if (st == CBE_OK && at < begin) st = add_part(&c, s->behaviour, at, begin, s->invert, err);
        if (st == CBE_OK && found) st = add_part(&c, s->behaviour, begin, end, !s->invert, err);
    }
    return st == CBE_OK && c.waiting ? hand_over(&c, c.begin, c.end, err) : st;
}

static cbe_status fixed_length(const run *r, size_t stage, piece p, cbe_error *err)
{
    const size_t n = r->pretokenizer->steps[stage].length;
    cbe_status st = CBE_OK;
    for (size_t begin = 0, end = 0; begin < p.length && st == CBE_OK; begin = end) {
        for (size_t i = 0; i < n && end < p.length; i++) end += cbe_utf8_size(p.text[end]);
        st = visit_piece(r, stage + 1, (piece){p.text + begin, end - begin, p.first && begin == 0},
                         err);
    }
    return st;
}

static cbe_status byte_characters(const run *r, size_t stage, piece p, cbe_error *err)
{
    cbe_byte_buffer changed = {0};
    cbe_status st = cbe_put_byte_characters(&changed, p.text, p.length, err);
    if (st == CBE_OK)
        st = visit_piece(r, stage + 1, (piece){changed.bytes, changed.size, p.first}, err);
    cbe_free(changed.bytes);
    return st;
}

static bool begins_with(piece p, const char *bytes, size_t length)
{
    return p.length >= length && memcmp(p.text, bytes, length) == 0;
}

static cbe_status prefix_space(const run *r, size_t stage, piece p, cbe_error *err)
{
    cbe_byte_buffer changed = {0};
    cbe_status st = CBE_OK;
    if (!begins_with(p, " ", 1)) {
        st = cbe_byte_buffer_put(&changed, " ", 1, err);
        if (st == CBE_OK) st = cbe_byte_buffer_put(&changed, p.text, p.length, err);
        p.text = changed.bytes;
        p.length = changed.size;
    }
    if (st == CBE_OK) st = visit_piece(r, stage + 1, p, err);
    cbe_free(changed.bytes);
    return st;
}

static cbe_status metaspace(const run *r, size_t stage, piece p, cbe_error *err)
{
    const step *s = &r->pretokenizer->steps[stage];
    cbe_byte_buffer changed = {0};
    cbe_status st = CBE_OK;
    const bool wanted =
        s->scheme == CBE_PREPEND_ALWAYS || (s->scheme == CBE_PREPEND_FIRST && p.first);
    if (wanted && p.text[0] != ' ' && !begins_with(p, s->replacement, s->length))
        st = cbe_byte_buffer_put(&changed, s->replacement, s->length, err);
    for (size_t at = 0; at < p.length && st == CBE_OK;) {
        const char *space = memchr(p.text + at, ' ', p.length - at);
        const size_t end = space ? (size_t)(space - p.text) : p.length;
        st = cbe_byte_buffer_put(&changed, p.text + at, end - at, err);
        if (st == CBE_OK && space)
            st = cbe_byte_buffer_put(&changed, s->replacement, s->length, err);
        at = end + 1;
    }
    if (st == CBE_OK)
        st = visit_piece(r, stage + 1, (piece){changed.bytes, changed.size, p.first}, err);
    cbe_free(changed.bytes);
    return st;
}

static cbe_status visit_piece(const run *r, size_t stage, piece p, cbe_error *err)
{
    if (p.length == 0) return CBE_OK;
    if (stage == r->pretokenizer->n_steps) return r->visit(r->user, p.text, p.length, err);
    switch (r->pretokenizer->steps[stage].kind) {
    case SPLIT: return split(r, stage, p, err);
    case PREFIX_SPACE: return prefix_space(r, stage, p, err);
    case METASPACE: return metaspace(r, stage, p, err);
    case FIXED_LENGTH: return fixed_length(r, stage, p, err);
    case BYTE_CHARACTERS: return byte_characters(r, stage, p, err);
    }
    return CBE_ERR_INTERNAL;
}

cbe_status cbe_pretokenize(const cbe_pretokenizer *pretokenizer, const char *text, size_t length,
                           bool first, cbe_word_fn *visit, void *user, cbe_error *err)
{
    cbe_status st = CBE_OK;
    run r = {.pretokenizer = pretokenizer, .visit = visit, .user = user};
    for (size_t i = 0; i < pretokenizer->n_steps && st == CBE_OK; i++)
        if (pretokenizer->steps[i].kind == SPLIT)
            st = cbe_regex_search_create(&r.searches[i], pretokenizer->steps[i].regex, length, err);
    if (st == CBE_OK) st = visit_piece(&r, 0, (piece){text, length, first}, err);
    for (size_t i = 0; i < pretokenizer->n_steps; i++) cbe_regex_search_free(r.searches[i]);
    return st;
}
