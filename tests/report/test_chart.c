/* Charts are read back: ticks give the scale, independently of how it was chosen, and points must
 * lie where it says. */
#include "report/chart.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "support/assert_close.h"
#include "support/temp_folder.h"

enum { MOST = 64 };

typedef struct {
    size_t n;
    double at[MOST], value[MOST];
} scale;

static char *drawn(void **state, const cbe_chart *chart)
{
    cbe_error err;
    size_t size;
    const char *path = temp_path(state, "chart.svg");
    cbe_assert_ok(cbe_chart_save(chart, path, &err), &err);
    return temp_read(path, &size);
}

/* Positions and labels of an axis; x: the attribute that says where. */
static scale read_scale(const char *svg, const char *name, const char *attribute)
{
    scale s = {0};
    const char *at = strstr(svg, name);
    assert_non_null(at);
    const char *end = strstr(at, "</g>");
    while ((at = strstr(at, "<line ")) && at < end && s.n < MOST) {
        char number[64];
        size_t length = 0;
        s.at[s.n] = strtod(strstr(at, attribute) + strlen(attribute), NULL);
        at = strstr(at, "<text ");
        for (at = strchr(at, '>') + 1; *at != '<' && length < 63; at++)
            if (*at != ',') number[length++] = *at;
        number[length] = 0;
        s.value[s.n++] = strtod(number, NULL);
    }
    assert_true(s.n >= 2);
    return s;
}

/* The position of a value, by the first and the last tick. */
static double position(const scale *s, double value, bool log)
{
    const double a = log ? log10(s->value[0]) : s->value[0],
                 b = log ? log10(s->value[s->n - 1]) : s->value[s->n - 1];
    return s->at[0] + (s->at[s->n - 1] - s->at[0]) * ((log ? log10(value) : value) - a) / (b - a);
}

static size_t count(const char *text, const char *part)
{
    size_t n = 0;
    for (; (text = strstr(text, part)); text += strlen(part)) n++;
    return n;
}

/* The points of the index-th polyline of the picture. */
static size_t read_line(const char *svg, size_t index, double *x, double *y)
{
    size_t n = 0;
    const char *at = svg;
    for (size_t i = 0; i <= index; i++) {
        at = strstr(at, "points=\"");
        assert_non_null(at);
        at += strlen("points=\"");
    }
    for (char *end; *at != '"' && n < MOST; n++, at = end) {
        x[n] = strtod(at, &end);
        y[n] = strtod(end + 1, &end);
    }
    return n;
}

static void check_points(void **state, bool log_x, bool log_y, size_t n, const double *x,
                         const double *y)
{
    double got_x[MOST], got_y[MOST];
    const cbe_series series = {"line", n, x, y};
    const cbe_chart chart = {"A chart", "across", "up", log_x, log_y, 1, &series};
    char *svg = drawn(state, &chart);
    const scale along = read_scale(svg, "x-ticks", "x1=\""),
                up = read_scale(svg, "y-ticks", "y1=\"");
    assert_int_equal(read_line(svg, 0, got_x, got_y), n);
    for (size_t i = 0; i < n; i++) {
        const double want_x = position(&along, x[i], log_x), want_y = position(&up, y[i], log_y);
        /* Positions are written to a hundredth. */
        cbe_assert_close(&got_x[i], &want_x, 1, 0.03, 0, "x of point %zu", i);
        cbe_assert_close(&got_y[i], &want_y, 1, 0.03, 0, "y of point %zu", i);
        assert_true(got_y[i] <= up.at[0] + 0.01 && got_y[i] >= up.at[up.n - 1] - 0.01);
    }
    assert_int_equal(count(svg, "<circle"), n);
    free(svg);
}

static void points__lie_where_the_ticks_say(void **state)
{
    static const double x[] = {0, 1, 2, 3, 7}, y[] = {13.7, -2.5, 0.001, 6, 13.7},
                        small[] = {1e-9, 2e-9, 3.3e-9, 0, 5e-9},
                        large[] = {1e8, 2.5e8, 3e8, -4e8, 5e8}, wide[] = {1e-5, 0.3, 2, 1e4, 7e6},
                        narrow[] = {1.1, 1.2, 3, 5, 8}, decade[] = {1, 2, 5, 10, 100},
                        huge[] = {-1e300, 0, 1e299, 5e299, 1e300},
                        whole[] = {12345, 23456, 34567, 45678, 56789};
    check_points(state, false, false, 5, x, y);
    check_points(state, false, false, 5, y, small);
    check_points(state, false, false, 5, x, large);
    check_points(state, false, false, 5, whole, huge);
    check_points(state, true, true, 5, wide, narrow);
    check_points(state, true, true, 5, decade, wide);
    check_points(state, true, true, 5, narrow, decade);
    check_points(state, true, false, 5, whole, whole);
}

static void constant_and_single__lie_in_the_middle(void **state)
{
    static const double x[] = {0, 1, 2}, values[] = {0, 5, -0.25, 1e-300, 1e300, 3e-7};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        const double y[] = {values[i], values[i], values[i]};
        check_points(state, false, false, 3, x, y);
        if (values[i] > 0) check_points(state, false, true, 3, x, y);
    }
    const cbe_series one = {"one", 1, x + 1, values + 1};
    const cbe_chart chart = {"One point", "x", "y", true, false, 1, &one};
    char *svg = drawn(state, &chart);
    assert_int_equal(count(svg, "<circle"), 1);
    assert_int_equal(count(svg, "<polyline"), 0);
    free(svg);
}

static void gaps__where_values_are_not_finite_or_have_no_logarithm(void **state)
{
    static const double x[] = {0, 1, 2, 3, 4, 5, 6, 7, 8},
                        y[] = {1, 2, NAN, 3, INFINITY, 4, 5, -INFINITY, DBL_MAX},
                        signs[] = {1, 2, 0, 3, -1, 4, 5, -0.0, -3};
    double px[MOST], py[MOST];
    const cbe_series series = {"gaps", 9, x, y}, logs = {"logs", 9, x, signs};
    cbe_chart chart = {"Gaps", "x", "y", false, false, 1, &series};
    for (int i = 0; i < 2; i++) {
        char *svg = drawn(state, &chart);
        assert_int_equal(count(svg, "<polyline"), 2);
        assert_int_equal(read_line(svg, 0, px, py), 2);
        assert_int_equal(read_line(svg, 1, px, py), 2);
        assert_int_equal(count(svg, "<circle"), 5);
        assert_null(strstr(svg, "nan"));
        assert_null(strstr(svg, "inf"));
        free(svg);
        chart.series = &logs;
        chart.log_y = true;
    }
}

static void long_series__has_no_dots_but_for_lone_points(void **state)
{
    static double x[300], y[300];
    for (size_t i = 0; i < 300; i++) {
        x[i] = (double)i;
        y[i] = i == 10 || i == 12 ? NAN : sqrt((double)i);
    }
    const cbe_series series = {"long", 300, x, y};
    const cbe_chart chart = {"Long", "x", "y", false, false, 1, &series};
    char *svg = drawn(state, &chart);
    assert_int_equal(count(svg, "<circle"), 1);
    assert_int_equal(count(svg, "<polyline"), 2);
    free(svg);
}

static void empty__is_a_chart_without_values(void **state)
{
    static const double x[] = {1}, y[] = {NAN};
    const cbe_series series[] = {{"nothing", 0, NULL, NULL}, {"no number", 1, x, y}};
    for (size_t n = 0; n <= 2; n++)
        for (int log = 0; log < 2; log++) {
            const cbe_chart chart = {"Empty", "x", "y", log, log, n, series};
            char *svg = drawn(state, &chart);
            assert_non_null(strstr(svg, "no values"));
            assert_int_equal(count(svg, "<polyline") + count(svg, "<circle"), 0);
            assert_true(read_scale(svg, "x-ticks", "x1=\"").n >= 2);
            free(svg);
        }
}

static void names__of_any_bytes_stay_text(void **state)
{
    static const double x[] = {1, 2};
    static const char *const names[] = {"</text><script>alert(1)</script>",
                                        "a \"quoted\" & 'single' ]]>",
                                        "\xff\xfe bytes \xc0\x80",
                                        "control \x01\x1b\x7f\n",
                                        "not a character \xef\xbf\xbf",
                                        "caf\xc3\xa9 \xf0\x9f\x98\x80",
                                        "",
                                        NULL};
    cbe_series series[8];
    for (size_t i = 0; i < 8; i++) series[i] = (cbe_series){names[i], 2, x, x};
    const cbe_chart chart = {names[0], names[1], names[2], false, false, 8, series};
    char *svg = drawn(state, &chart);
    assert_null(strstr(svg, "<script"));
    assert_null(strstr(svg, "alert(1)<"));
    assert_non_null(strstr(svg, "&#60;/text&#62;&#60;script&#62;alert(1)&#60;/script&#62;"));
    assert_non_null(strstr(svg, "a &#34;quoted&#34; &#38; &#39;single&#39; ]]&#62;"));
    assert_non_null(strstr(svg, "control \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd "));
    assert_non_null(strstr(svg, "not a character \xef\xbf\xbd<"));
    assert_non_null(strstr(svg, "caf\xc3\xa9 \xf0\x9f\x98\x80"));
    for (const char *at = svg; *at; at++) assert_true((unsigned char)*at >= 0x20 || *at == '\n');
    assert_int_equal(count(svg, "<text "), count(svg, "</text>"));
    assert_int_equal(count(svg, "<g "), count(svg, "</g>"));
    free(svg);
}

static void names__that_are_long_are_cut(void **state)
{
    static const double x[] = {1, 2};
    char name[3001] = {0};
    for (size_t i = 0; i < 3000; i += 3) memcpy(name + i, "\xe2\x82\xac", 3);
    const cbe_series series = {name, 2, x, x};
    const cbe_chart chart = {name, "x", "y", false, false, 1, &series};
    char *svg = drawn(state, &chart);
    assert_int_equal(count(svg, "\xe2\x82\xac"), 4 * 80); /* two titles, the heading, the legend */
    assert_int_equal(count(svg, "\xe2\x80\xa6"), 4);
    free(svg);
}

static void series__differ_in_colour_or_dashes(void **state)
{
    static const double x[] = {1, 2};
    cbe_series series[28];
    char looks[28][128];
    for (size_t i = 0; i < 28; i++) series[i] = (cbe_series){"s", 2, x, x};
    const cbe_chart chart = {"Many", "x", "y", false, false, 28, series};
    char *svg = drawn(state, &chart), *at = svg;
    for (size_t i = 0; i < 28; i++) {
        at = strstr(at, " stroke=\"#");
        const char *end = strstr(at, "/>");
        snprintf(looks[i], sizeof looks[i], "%.*s", (int)(end - at), at);
        at++;
        for (size_t k = 0; k < i; k++) assert_string_not_equal(looks[i], looks[k]);
    }
    free(svg);
}

static void save__is_all_or_nothing(void **state)
{
    cbe_error err;
    static const double x[] = {1, 2};
    const cbe_series series = {"line", 2, x, x};
    const cbe_chart chart = {"A chart", "x", "y", false, false, 1, &series};
    assert_int_equal(cbe_chart_save(&chart, temp_path(state, "missing/chart.svg"), &err),
                     CBE_ERR_IO);
    const char *path = temp_path(state, "kept.svg");
    temp_write(path, "old", 3);
    long n = 0;
    for (cbe_status st = CBE_ERR_NOMEM; st != CBE_OK; n++) {
        size_t size;
        cbe_memory_fail_after(n);
        st = cbe_chart_save(&chart, path, &err);
        cbe_memory_fail_after(-1);
        char *content = temp_read(path, &size);
        assert_true(st == CBE_OK ? strncmp(content, "<svg", 4) == 0
                                 : st == CBE_ERR_NOMEM && strcmp(content, "old") == 0);
        free(content);
        assert_true(n < 100);
    }
    assert_true(n > 5);
    assert_int_equal(temp_count(state, ".tmp"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(points__lie_where_the_ticks_say),
        cmocka_unit_test(constant_and_single__lie_in_the_middle),
        cmocka_unit_test(gaps__where_values_are_not_finite_or_have_no_logarithm),
        cmocka_unit_test(long_series__has_no_dots_but_for_lone_points),
        cmocka_unit_test(empty__is_a_chart_without_values),
        cmocka_unit_test(names__of_any_bytes_stay_text),
        cmocka_unit_test(names__that_are_long_are_cut),
        cmocka_unit_test(series__differ_in_colour_or_dashes),
        cmocka_unit_test(save__is_all_or_nothing),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
