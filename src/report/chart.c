/*
 * chart.c - see chart.h.
 *
 * The picture has its own background, light, or dark if the reader's page is dark
 * (prefers-color-scheme), so that it can be read on any page. Colours are those of Okabe and Ito
 * (Color Universal Design, 2008) without yellow, which is hard to see on light backgrounds; past
 * seven series, dashes tell lines of one colour apart.
 */
#include "report/chart.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "files/atomic_file.h"
#include "report/axis.h"
#include "core/byte_buffer.h"
#include "core/utf8.h"
#include "core/utf8_replace.h"

enum {
    WIDTH = 760,
    PLOT_HEIGHT = 320,
    MARGIN = 24,
    CHARACTER = 7,      /* approximate width of a character of the legend and of labels */
    LEGEND_SAMPLE = 32, /* the piece of line before a name */
    LEGEND_ROW = 22,
    MOST_CHARACTERS = 80, /* most characters of a name or title; a longer one is cut */
    MOST_DOTS = 100       /* most points of a series that is drawn with dots */
};

static const char *const colours[] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                      "#E69F00", "#56B4E9", "#808080"};
static const char *const dashes[] = {"none", "7 3", "2 3", "9 3 2 3"};
enum { N_COLOURS = sizeof colours / sizeof *colours, N_DASHES = sizeof dashes / sizeof *dashes };

/* The text so far; after a failure nothing more is added. */
typedef struct {
    cbe_byte_buffer text;
    cbe_status status;
    cbe_error *err;
} svg;

/* Appends formatted text of at most 511 bytes. */
static void put(svg *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(svg *s, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    const int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (s->status == CBE_OK && length > 0)
        s->status = cbe_byte_buffer_put(&s->text, text, (size_t)length, s->err);
}

/* Appends a character of well-formed UTF-8; XML does not allow control characters, U+FFFE and
 * U+FFFF. */
static void put_character(svg *s, const char *at)
{
    const unsigned char first = (unsigned char)*at;
    const bool noncharacter = memcmp(at, "\xef\xbf", 2) == 0 && (unsigned char)at[2] >= 0xbe;
    if (first == '\t' || first == '\n' || first == '\r')
        put(s, " ");
    else if (first < 0x20 || first == 0x7f || noncharacter)
        put(s, "\xef\xbf\xbd");
    else if (strchr("<>&\"'", first))
        put(s, "&#%d;", first);
    else
        put(s, "%.*s", (int)cbe_utf8_size(*at), at);
}

/* Appends any bytes as the text of an element; returns the number of characters. */
static size_t put_text(svg *s, const char *text)
{
    char *clean = NULL;
    size_t length, n = 0;
    if (!text || s->status != CBE_OK) return 0;
    s->status = cbe_utf8_replace(&clean, text, strlen(text), &length, NULL, s->err);
    if (s->status != CBE_OK) return 0;
    for (size_t i = 0; i < length && n < MOST_CHARACTERS; i += cbe_utf8_size(clean[i]), n++)
        put_character(s, clean + i);
    if (n == MOST_CHARACTERS) put(s, "\xe2\x80\xa6");
    cbe_free(clean);
    return n;
}

static size_t characters(const char *text)
{
    size_t n = 0;
    for (; text && *text && n < MOST_CHARACTERS; text++) n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

/* Layout in pixels. */
typedef struct {
    double left, right, top, bottom; /* edges of the plot */
    double height;                   /* height of the picture */
} layout;

static double across(const layout *l, const cbe_axis *x, double value)
{
    return l->left + cbe_axis_place(x, value) * (l->right - l->left);
}

static double upward(const layout *l, const cbe_axis *y, double value)
{
    return l->bottom + cbe_axis_place(y, value) * (l->top - l->bottom);
}

/* Lays out names from left to right in rows, and draws them unless s is NULL. Returns the number of
 * rows. */
static size_t legend(svg *s, const cbe_chart *chart, double top)
{
    double x = MARGIN;
    size_t row = 0;
    for (size_t i = 0; i < chart->n_series; i++) {
        const char *name = chart->series[i].name;
        const double width = LEGEND_SAMPLE + (double)(CHARACTER * characters(name));
        if (x > MARGIN && x + width > WIDTH - MARGIN) {
            x = MARGIN;
            row++;
        }
        if (s) {
            const double y = top + (double)(LEGEND_ROW * row);
            put(s,
                "<line x1=\"%.0f\" y1=\"%.0f\" x2=\"%.0f\" y2=\"%.0f\" stroke=\"%s\" "
                "stroke-width=\"3\" stroke-dasharray=\"%s\"/>",
                x, y, x + LEGEND_SAMPLE - 8, y, colours[i % N_COLOURS],
                dashes[i / N_COLOURS % N_DASHES]);
            put(s, "<text class=\"ink\" x=\"%.0f\" y=\"%.0f\">", x + LEGEND_SAMPLE, y + 4);
            put_text(s, name);
            put(s, "</text>\n");
        }
        x += width + MARGIN;
    }
    return chart->n_series ? row + 1 : 0;
}

static void draw_x_axis(svg *s, const layout *l, const cbe_axis *x, const char *label)
{
    put(s, "<g class=\"x-ticks\" text-anchor=\"middle\">\n");
    for (size_t i = 0; i < x->n_ticks; i++) {
        const double at = across(l, x, x->ticks[i]);
        put(s, "<line class=\"grid\" x1=\"%.2f\" y1=\"%.2f\" x2=\"%.2f\" y2=\"%.2f\"/>", at, l->top,
            at, l->bottom + 5);
        put(s, "<text class=\"ink\" x=\"%.2f\" y=\"%.2f\">%s</text>\n", at, l->bottom + 20,
            x->labels[i]);
    }
    put(s, "</g>\n<text class=\"ink\" text-anchor=\"middle\" x=\"%.1f\" y=\"%.1f\">",
        (l->left + l->right) / 2, l->bottom + 42);
    put_text(s, label);
    put(s, "</text>\n");
}

static void draw_y_axis(svg *s, const layout *l, const cbe_axis *y, const char *label)
{
    put(s, "<g class=\"y-ticks\" text-anchor=\"end\">\n");
    for (size_t i = 0; i < y->n_ticks; i++) {
        const double at = upward(l, y, y->ticks[i]);
        put(s, "<line class=\"grid\" x1=\"%.2f\" y1=\"%.2f\" x2=\"%.2f\" y2=\"%.2f\"/>",
            l->left - 5, at, l->right, at);
        put(s, "<text class=\"ink\" x=\"%.2f\" y=\"%.2f\">%s</text>\n", l->left - 9, at + 4,
            y->labels[i]);
    }
    const double middle = (l->top + l->bottom) / 2;
    put(s,
        "</g>\n<text class=\"ink\" text-anchor=\"middle\" transform=\"translate(%d %.1f) "
        "rotate(-90)\">",
        MARGIN, middle);
    put_text(s, label);
    put(s, "</text>\n");
}

static bool can_show(const cbe_chart *chart, const cbe_series *series, size_t i)
{
    return cbe_axis_can_show(series->x[i], chart->log_x) &&
           cbe_axis_can_show(series->y[i], chart->log_y);
}

/* Draws a line for each run of points without a gap, and a dot for each point without a neighbour,
 * or for all points if they are few. */
static void draw_series(svg *s, const cbe_chart *chart, size_t index, const layout *l,
                        const cbe_axis *x, const cbe_axis *y)
{
    const cbe_series *series = &chart->series[index];
    const char *colour = colours[index % N_COLOURS];
    put(s,
        "<g class=\"series\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\" "
        "stroke-linejoin=\"round\"><title>",
        colour);
    put_text(s, series->name);
    put(s, "</title>\n");
    for (size_t i = 0, end; i < series->n; i = end) {
        end = i + 1;
        if (!can_show(chart, series, i)) continue;
        while (end < series->n && can_show(chart, series, end)) end++;
        if (end - i > 1) {
            put(s, "<polyline stroke-dasharray=\"%s\" points=\"",
                dashes[index / N_COLOURS % N_DASHES]);
            for (size_t k = i; k < end; k++)
                put(s, "%s%.2f,%.2f", k > i ? " " : "", across(l, x, series->x[k]),
                    upward(l, y, series->y[k]));
            put(s, "\"/>\n");
        }
        if (end - i > 1 && series->n > MOST_DOTS) continue;
        for (size_t k = i; k < end; k++)
            put(s, "<circle cx=\"%.2f\" cy=\"%.2f\" r=\"2.5\" fill=\"%s\" stroke=\"none\"/>\n",
                across(l, x, series->x[k]), upward(l, y, series->y[k]), colour);
    }
    put(s, "</g>\n");
}

static void draw_frame(svg *s, const cbe_chart *chart, const layout *l)
{
    put(s,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"%d\" height=\"%.0f\" "
        "viewBox=\"0 0 %d %.0f\" "
        "font-family=\"system-ui, Helvetica, Arial, sans-serif\" font-size=\"13\">\n<title>",
        WIDTH, l->height, WIDTH, l->height);
    put_text(s, chart->title);
    put(s, "</"
           "title>\n<style>\n.ground{fill:#ffffff}.ink{fill:#24292f}.grid{stroke:#d8dee4}.axis{"
           "stroke:#57606a}\n"
           "@media (prefers-color-scheme:dark){"
           ".ground{fill:#161b22}.ink{fill:#e6edf3}.grid{stroke:#30363d}.axis{stroke:#8b949e}}\n</"
           "style>\n");
    put(s, "<rect class=\"ground\" width=\"%d\" height=\"%.0f\" rx=\"6\"/>\n", WIDTH, l->height);
    put(s, "<text class=\"ink\" x=\"%d\" y=\"32\" font-size=\"16\" font-weight=\"600\">", MARGIN);
    put_text(s, chart->title);
    put(s, "</text>\n");
}

static void draw(svg *s, const cbe_chart *chart)
{
    cbe_axis_range x_range = {0}, y_range = {0};
    cbe_axis x, y;
    for (size_t i = 0; i < chart->n_series; i++)
        for (size_t k = 0; k < chart->series[i].n; k++) {
            if (!can_show(chart, &chart->series[i], k)) continue;
            cbe_axis_range_add(&x_range, chart->series[i].x[k]);
            cbe_axis_range_add(&y_range, chart->series[i].y[k]);
        }
    cbe_axis_init(&x, &x_range, chart->log_x, 10, false);
    cbe_axis_init(&y, &y_range, chart->log_y, 8, true);
    size_t widest = 0;
    for (size_t i = 0; i < y.n_ticks; i++)
        if (strlen(y.labels[i]) > widest) widest = strlen(y.labels[i]);
    layout l;
    l.left = 2 * MARGIN + 8 + (double)(CHARACTER * widest);
    l.right = WIDTH - MARGIN - 8;
    l.top = 62 + (double)(LEGEND_ROW * legend(NULL, chart, 0));
    l.bottom = l.top + PLOT_HEIGHT;
    l.height = l.bottom + 42 + MARGIN;
    draw_frame(s, chart, &l);
    legend(s, chart, 60);
    draw_x_axis(s, &l, &x, chart->x_label);
    draw_y_axis(s, &l, &y, chart->y_label);
    put(s, "<path class=\"axis\" fill=\"none\" d=\"M%.2f %.2fV%.2fH%.2f\"/>\n", l.left, l.top,
        l.bottom, l.right);
    if (!x_range.n)
        put(s,
            "<text class=\"ink\" text-anchor=\"middle\" x=\"%.1f\" y=\"%.1f\">no values</text>\n",
            (l.left + l.right) / 2, (l.top + l.bottom) / 2);
    for (size_t i = 0; i < chart->n_series; i++) draw_series(s, chart, i, &l, &x, &y);
    put(s, "</svg>\n");
}

cbe_status cbe_chart_save(const cbe_chart *chart, const char *path, cbe_error *err)
{
    svg s = {{0}, CBE_OK, err};
    draw(&s, chart);
    if (s.status == CBE_OK) s.status = cbe_atomic_file_save(path, s.text.bytes, s.text.size, err);
    cbe_free(s.text.bytes);
    return s.status;
}
