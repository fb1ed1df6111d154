/* print.c - see print.h. */
#include "cli/print.h"

#include <math.h>
#include <stdbool.h>

#include "core/memory.h"
#include "core/printable.h"

void cli_vprint(FILE *stream, const char *end, const char *format, va_list args)
{
    char usual[1024], *text = usual, *longer = NULL;
    va_list again;
    va_copy(again, args);
    const int length = vsnprintf(usual, sizeof usual, format, args);
    size_t n = length > 0 ? (size_t)length : 0;
    if (n >= sizeof usual && (longer = cbe_alloc(n + 1, 1, "line", NULL)))
        vsnprintf(text = longer, n + 1, format, again);
    else if (n >= sizeof usual) /* Memory is short, so the line is cut. */
        n = cbe_whole_characters(usual, sizeof usual - 1);
    va_end(again);
    cbe_printable(text, n + 1, text, n);
    fputs(text, stream);
    fputs(end, stream);
    cbe_free(longer);
}

void cli_line(FILE *stream, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    cli_vprint(stream, "\n", format, args);
    va_end(args);
}

void cli_text(FILE *stream, const char *text, size_t length)
{
    enum { PART = 512 };
    for (size_t i = 0, n; i < length; i += n) {
        char clean[PART + 1];
        if (text[i] == '\n' || text[i] == '\t') {
            putc(text[i], stream);
            n = 1;
            continue;
        }
        for (n = 0; n < PART && i + n < length && text[i + n] != '\n' && text[i + n] != '\t';) n++;
        if (n == PART) n = cbe_whole_characters(text + i, n);
        cbe_printable(clean, sizeof clean, text + i, n);
        fputs(clean, stream);
    }
}

void cli_number(double value, int width, int digits)
{
    if (!isfinite(value)) {
        printf("%*s", width, "-");
        return;
    }
    const bool touches = snprintf(NULL, 0, "%.*g", digits, value) >= width;
    printf("%*.*g", width, touches && digits > 1 ? digits - 1 : digits, value);
}

void cli_ratio(double value, int width)
{
    if (isfinite(value))
        printf("%*.*f", width, fabs(value) < 100 ? 2 : 0, value);
    else
        printf("%*s", width, "-");
}
