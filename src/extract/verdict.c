/* verdict.c - see verdict.h. */
#include "extract/verdict.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "extract/report_columns.h"
#include "search/rules.h"

/* The thresholds: what each is, then its value and the reason. The ceiling is a bound. The other
 * thresholds are guesses from directions of one layer of one small model (docs/method.md): no
 * measurement on other layers or models has settled them yet. */
static const struct {
    cbe_verdict verdict;
    double limit;
    bool below; /* raised below the limit; else above it */
    const char *reason;
} alarms[CBE_N_ALARMS] = {
    /* The best constant prediction costs the ceiling: no removal of information costs more. */
    [CBE_ALARM_CEILING] = {CBE_VERDICT_INJECTION, 1, false, "more energy than the ceiling"},
    /* Principal components have 1, spans of the first 64 components at most 5.6, searched
     * directions that broke the model 111 to 360. */
    [CBE_ALARM_KAPPA] = {CBE_VERDICT_INJECTION, 10, false, "kappa above 10"},
    /* 1 where the energy grows as the square of the strength; 38 of the direction that acts past a
     * threshold. */
    [CBE_ALARM_AMPLIFICATION] = {CBE_VERDICT_INJECTION, 5, false, "amplification above 5"},
    /* 0.05 if all tokens have as much. */
    [CBE_ALARM_TOP_SHARE] = {CBE_VERDICT_FEW_TOKENS, 0.6, false,
                             "5% of the tokens have more than 0.6 of the energy"},
    /* Principal components keep nine tenths, overfitted directions a seventh. */
    [CBE_ALARM_HELD_OUT] = {CBE_VERDICT_UNSTABLE, 0.5, true, "held-out energy below half"},
    /* A lens reads each token where it is ablated. Principal components have half of their energy
     * so, the direction that acted by attention alone a twentieth. */
    [CBE_ALARM_OWN_SHARE] = {CBE_VERDICT_CONTEXT, 0.2, true, "own share in the model below 0.2"},
};

const char *cbe_verdict_name(cbe_verdict verdict)
{
    static const char *const names[] = {"removal", "injection", "few tokens", "unstable",
                                        "context"};
    _Static_assert(sizeof names / sizeof *names == CBE_N_VERDICTS, "in the order of the enum");
    return names[verdict];
}

static double number_of(const cbe_vector_report *r, double ceiling, cbe_alarm alarm)
{
    switch (alarm) {
    case CBE_ALARM_CEILING: return cbe_report_value(r, ceiling, CBE_COLUMN_SHARE);
    case CBE_ALARM_KAPPA: return r->kappa;
    case CBE_ALARM_AMPLIFICATION: return cbe_report_value(r, ceiling, CBE_COLUMN_AMPLIFICATION);
    case CBE_ALARM_TOP_SHARE: return r->top_share;
    case CBE_ALARM_HELD_OUT: return r->energy > 0 ? r->held_out_energy / r->energy : NAN;
    case CBE_ALARM_OWN_SHARE:
        return r->model_energy > CBE_ENERGY_NOISE_FLOOR ? r->own_energy / r->model_energy : NAN;
    case CBE_N_ALARMS: break;
    }
    return NAN;
}

cbe_alarm cbe_first_alarm(const cbe_vector_report *report, double ceiling)
{
    int alarm = 0;
    for (; alarm < CBE_N_ALARMS; alarm++) {
        const double x = number_of(report, ceiling, (cbe_alarm)alarm);
        if (alarms[alarm].below ? x < alarms[alarm].limit : x > alarms[alarm].limit) break;
    }
    return (cbe_alarm)alarm;
}

cbe_verdict cbe_alarm_verdict(cbe_alarm alarm)
{
    return alarm == CBE_N_ALARMS ? CBE_VERDICT_REMOVAL : alarms[alarm].verdict;
}

const char *cbe_alarm_reason(cbe_alarm alarm)
{
    return alarms[alarm].reason;
}

cbe_verdict cbe_judge(const cbe_vector_report *report, double ceiling)
{
    return cbe_alarm_verdict(cbe_first_alarm(report, ceiling));
}

/* Appends to out as far as it has room. */
static void append(char *out, size_t size, size_t *used, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void append(char *out, size_t size, size_t *used, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int n = *used < size ? vsnprintf(out + *used, size - *used, format, args) : 0;
    va_end(args);
    *used += n > 0 ? (size_t)n : 0;
}

bool cbe_verdicts_line(const cbe_layer_result *result, char *out, size_t size)
{
    enum { NAMED = 8 /* vectors by number */ };
    size_t used = 0;
    for (int alarm = 0; alarm < CBE_N_ALARMS; alarm++) {
        size_t n = 0, named = 0;
        for (size_t j = 0; j < result->basis.n_vectors; j++)
            n += cbe_first_alarm(&result->reports[j], result->ceiling) == (cbe_alarm)alarm;
        if (n == 0) continue;
        append(out, size, &used, "%svector%s", used ? "; " : "", n == 1 ? "" : "s");
        for (size_t j = 0; j < result->basis.n_vectors && named < NAMED; j++) {
            if (cbe_first_alarm(&result->reports[j], result->ceiling) != (cbe_alarm)alarm) continue;
            append(out, size, &used, "%s %zu", named ? "," : "", j + 1);
            named++;
        }
        if (n > named) append(out, size, &used, " and %zu more", n - named);
        append(out, size, &used, ": %s (%s)", cbe_verdict_name(alarms[alarm].verdict),
               alarms[alarm].reason);
    }
    return used > 0;
}
