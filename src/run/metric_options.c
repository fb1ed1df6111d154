/* metric_options.c - see metric_options.h. */
#include "run/metric_options.h"

#include <string.h>

#include "core/fail.h"

/* What stands behind "covariance=" and "pc=". */
static const cbe_option ridge_option = {.name = "metric",
                                        .kind = OPT_NUMBER,
                                        .field = offsetof(cbe_extraction_options, ridge),
                                        .bounds = CBE_BOUNDS(.low = 0, .high = CBE_MOST_NUMBER,
                                                             .above = true)},
                        within_option = {.name = "within",
                                         .kind = OPT_COUNT,
                                         .field = offsetof(cbe_extraction_options, within),
                                         .bounds = CBE_RANGE(1, CBE_MOST_COUNT)};

/* What follows a word and "="; NULL: the text begins otherwise. */
static const char *behind(const char *text, const char *word)
{
    const size_t n = strlen(word);
    return strncmp(text, word, n) == 0 && text[n] == '=' ? text + n + 1 : NULL;
}

static cbe_status take_metric(cbe_extraction_options *o, const char *text, cbe_error *err)
{
    const char *value = behind(text, "covariance");
    o->metric =
        value || strcmp(text, "covariance") == 0 ? CBE_METRIC_COVARIANCE : CBE_METRIC_EUCLIDEAN;
    if (o->metric == CBE_METRIC_EUCLIDEAN && strcmp(text, "euclidean") != 0)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        CBE_OPTION("metric") " %s: euclidean, covariance or covariance=RIDGE "
                                             "expected",
                        text);
    if (value && cbe_option_set(&ridge_option, value, o, NULL) != CBE_OK)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        CBE_OPTION("metric") " %s: a ridge above 0 and at most 1e9 expected, a "
                                             "share of the mean eigenvalue, as in covariance=1e-3",
                        text);
    return CBE_OK;
}

static cbe_status take_within(cbe_extraction_options *o, const char *text, cbe_preset preset,
                              cbe_error *err)
{
    const char *value = behind(text, "pc");
    if (strcmp(text, "all") == 0) return CBE_OK;
    if (strcmp(text, "auto") == 0) {
        const bool bounded = preset == CBE_PRESET_DEFAULT && o->metric == CBE_METRIC_EUCLIDEAN;
        o->within = bounded ? CBE_WITHIN_AUTO : 0;
        return CBE_OK;
    }
    if (!value || cbe_option_set(&within_option, value, o, NULL) != CBE_OK)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        CBE_OPTION("within") " %s: auto, all, or pc=M with a whole number M of 1 "
                                             "to 1000000 expected, as in pc=64",
                        text);
    return CBE_OK;
}

cbe_status cbe_take_metric_options(cbe_extraction_options *options, const cbe_run_settings *run,
                                   cbe_error *err)
{
    cbe_status st;
    if (run->metric && (st = take_metric(options, run->metric, err)) != CBE_OK) return st;
    if (run->within &&
        (st = take_within(options, run->within, (cbe_preset)run->preset, err)) != CBE_OK)
        return st;
    if (cbe_option_find(run->options, "strength", strlen("strength")))
        options->strength = run->strength;
    if (cbe_preset_is_of_older_program((cbe_preset)run->preset)) {
        const char *preset = cbe_preset_name((cbe_preset)run->preset);
        if (options->metric != CBE_METRIC_EUCLIDEAN)
            return cbe_fail(err, CBE_ERR_ARG, -1,
                            CBE_OPTION("metric") " %s: the preset %s searches in the Euclidean "
                                                 "metric; leave out one of the two",
                            run->metric, preset);
        if (options->within)
            return cbe_fail(err, CBE_ERR_ARG, -1,
                            CBE_OPTION("within") " %s: the preset %s searches all directions; "
                                                 "leave out one of the two",
                            run->within, preset);
    }
    if (options->within && run->vectors > options->within)
        return cbe_fail(
            err, CBE_ERR_ARG, -1,
            CBE_OPTION("within") " %s: %zu vectors cannot be orthogonal within %zu "
                                 "dimensions; give " CBE_TERM(
                                     "-k", "vectors") " %zu or less, or more components",
            run->within, run->vectors, options->within, options->within);
    return CBE_OK;
}
