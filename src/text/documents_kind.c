/* documents_kind.c - see documents_kind.h. */
#include "text/documents_kind.h"

#include <string.h>
#include <strings.h>

/* Takes an ending off a name of *length bytes. */
static bool take_ending(const char *name, size_t *length, const char *ending)
{
    const size_t size = strlen(ending);
    if (*length <= size || strncasecmp(name + *length - size, ending, size) != 0) return false;
    *length -= size;
    return true;
}

cbe_documents_name cbe_documents_name_of(const char *path)
{
    static const char *const compressions[] = {".gz", ".gzip", ".zst", ".zstd"};
    static const struct {
        const char *ending;
        cbe_documents_name name;
    } endings[] = {
        {".jsonl", CBE_NAMED_JSON_LINES},  {".jsonlines", CBE_NAMED_JSON_LINES},
        {".ndjson", CBE_NAMED_JSON_LINES}, {".jl", CBE_NAMED_JSON_LINES},
        {".json", CBE_NAMED_JSON},         {".txt", CBE_NAMED_TEXT},
        {".text", CBE_NAMED_TEXT},         {".md", CBE_NAMED_TEXT},
        {".csv", CBE_NAMED_TABLE},         {".tsv", CBE_NAMED_TABLE},
    };
    size_t length = strlen(path);
    for (size_t i = 0; i < sizeof compressions / sizeof *compressions; i++)
        if (take_ending(path, &length, compressions[i])) break;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (take_ending(path, &length, endings[i].ending)) return endings[i].name;
    return CBE_NAMED_OTHERWISE;
}

/* Blanks, ends of lines, and the mark of a record (RFC 7464). */
static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == 0x1e;
}

/* Whether an object's first line, from its brace, says that more lines follow. */
static bool goes_on(const char *line, size_t length)
{
    while (length > 0 && is_blank(line[length - 1])) length--;
    return length > 0 && memchr("{[,:", line[length - 1], 4) != NULL;
}

bool cbe_documents_is_laid_out(const char *line, size_t length)
{
    size_t i = 0;
    while (i < length && is_blank(line[i])) i++;
    return i < length && (line[i] == '[' || (line[i] == '{' && goes_on(line + i, length - i)));
}

cbe_documents_beginning cbe_documents_look_at(cbe_documents_look *look, const char *text,
                                              size_t size, bool ended, size_t *length)
{
    const cbe_documents_beginning none = ended ? CBE_BEGINS_OTHERWISE : CBE_BEGINS_UNKNOWN;
    if (!look->first) {
        while (look->at < size && is_blank(text[look->at])) look->at++;
        if (look->at == size) return none;
        look->first = text[look->at];
        look->line = look->at++;
    }
    if (look->first != '{' && look->first != '[') return CBE_BEGINS_OTHERWISE;
    /* What follows decides, and may be on another line. */
    size_t next = look->line + 1;
    while (next < size && is_blank(text[next])) next++;
    if (next == size && !ended) return CBE_BEGINS_UNKNOWN;
    const char second = next < size ? text[next] : 0;
    if (look->first == '[') return second == '{' ? CBE_BEGINS_ARRAY : CBE_BEGINS_BRACKET;
    if (second != '"' && second != '}') return CBE_BEGINS_BRACE;
    const char *end = memchr(text + look->at, '\n', size - look->at);
    look->at = size;
    if (!end && !ended) return CBE_BEGINS_UNKNOWN;
    *length = (end ? (size_t)(end - text) : size) - look->line;
    return goes_on(text + look->line, *length) ? CBE_BEGINS_OBJECT : CBE_BEGINS_LINE;
}
