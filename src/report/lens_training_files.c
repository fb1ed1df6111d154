/* lens_training_files.c - writing learning curves of a training as CSV and as a chart; see
 * lens/train.h. */
#include <stdarg.h>
#include <stdio.h>

#include "lens/train.h"
#include "core/fail.h"
#include "core/memory.h"
#include "files/atomic_file.h"
#include "files/path.h"
#include "report/chart.h"

enum { GROUPS = 6, POINTS = 60, NUMBER = 32 };

size_t cbe_lens_training_group(size_t n_layers, size_t g, size_t *first, size_t *last)
{
    const size_t n = n_layers < GROUPS ? n_layers : GROUPS;
    *first = g * n_layers / n;
    *last = (g + 1) * n_layers / n - 1;
    return n;
}

/* A text that grows in a buffer allocated for its full length. */
typedef struct {
    char *text;
    size_t size, room;
} csv;

static void add(csv *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(csv *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    c->size += (size_t)vsnprintf(c->text + c->size, c->room - c->size, format, args);
    va_end(args);
}

static void add_row(csv *c, size_t n, const double *losses)
{
    for (size_t i = 0; i < n; i++) add(c, ",%.6g", losses[i]);
    add(c, "\n");
}

static cbe_status save_csv(const cbe_lens_training *t, const char *path, cbe_error *err)
{
    csv c = {NULL, 0, 0};
    if (!cbe_mul_size(t->n_steps + 4, (t->n_layers + 2) * NUMBER, &c.room))
        return cbe_fail(err, CBE_ERR_NOMEM, -1, "%zu steps do not fit the address space",
                        t->n_steps);
    if (!(c.text = cbe_alloc(c.room, 1, "learning curves", err))) return CBE_ERR_NOMEM;
    add(&c, "step,tokens");
    for (size_t i = 0; i < t->n_layers; i++) add(&c, ",%zu", i);
    add(&c, "\n");
    for (size_t s = 0; s < t->n_steps; s++) {
        add(&c, "%zu,%zu", s + 1, (s + 1) * t->step_tokens);
        add_row(&c, t->n_layers, t->losses + s * t->n_layers);
    }
    const struct {
        const char *name;
        const double *losses;
    } rows[] = {{"logit", t->logit}, {"start", t->start}, {"trained", t->trained}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        add(&c, "%s,%zu", rows[i].name, t->n_measured);
        add_row(&c, t->n_layers, rows[i].losses);
    }
    const cbe_status st = cbe_atomic_file_save(path, c.text, c.size, err);
    cbe_free(c.text);
    return st;
}

/* Draws a curve for each group of layers: means over its layers and over steps, at most POINTS
 * points. */
static cbe_status save_chart(const cbe_lens_training *t, const char *path, cbe_error *err)
{
    const size_t window = (t->n_steps + POINTS - 1) / POINTS, n = t->n_steps / window;
    double x[POINTS], y[GROUPS][POINTS];
    char names[GROUPS][NUMBER];
    cbe_series series[GROUPS];
    size_t first, last;
    const size_t groups = cbe_lens_training_group(t->n_layers, 0, &first, &last);
    for (size_t g = 0; g < groups; g++) {
        cbe_lens_training_group(t->n_layers, g, &first, &last);
        for (size_t p = 0; p < n; p++) {
            double sum = 0;
            for (size_t s = p * window; s < (p + 1) * window; s++)
                for (size_t i = first; i <= last; i++) sum += t->losses[s * t->n_layers + i];
            x[p] = ((double)p + 0.5) * (double)window * (double)t->step_tokens;
            y[g][p] = sum / (double)(window * (last - first + 1));
        }
        if (first == last)
            snprintf(names[g], NUMBER, "layer %zu", first);
        else
            snprintf(names[g], NUMBER, "layers %zu-%zu", first, last);
        series[g] = (cbe_series){names[g], n, x, y[g]};
    }
    const cbe_chart chart = {"Loss while training, means of layers",
                             "positions trained on",
                             "nats",
                             false,
                             true,
                             groups,
                             series};
    return cbe_chart_save(&chart, path, err);
}

cbe_status cbe_lens_training_save(const cbe_lens_training *training, const char *folder,
                                  cbe_error *err)
{
    char *table = cbe_path_join(folder, "train.csv", err),
         *chart = cbe_path_join(folder, "train.svg", err);
    cbe_status st = table && chart ? save_csv(training, table, err) : CBE_ERR_NOMEM;
    if (st == CBE_OK) st = save_chart(training, chart, err);
    cbe_free(chart);
    cbe_free(table);
    return st;
}
