/*
 * verdict.h - whether ablating a direction takes information away, or does something else.
 *
 * Energies alone do not tell: a search that maximises them finds directions that write what the
 * model never sees, and directions that only the tokens of the search know. Alarms are numbers of a
 * report beyond a threshold; the first that is raised decides. A number that was not measured
 * raises none.
 */
#ifndef CBE_EXTRACT_VERDICT_H
#define CBE_EXTRACT_VERDICT_H

#include "extract/layer_result.h"

typedef enum {
    CBE_VERDICT_REMOVAL = 0, /* no alarm: what is lost is what the direction carried */
    CBE_VERDICT_INJECTION,   /* ablation writes states that the model is not used to */
    CBE_VERDICT_FEW_TOKENS,  /* the energy is that of a few tokens */
    CBE_VERDICT_UNSTABLE,    /* the energy is that of the text of the search */
    CBE_VERDICT_CONTEXT,     /* the direction acts through other tokens */
    CBE_N_VERDICTS
} cbe_verdict;

/** "removal", "injection", "few tokens", "unstable", "context". */
const char *cbe_verdict_name(cbe_verdict verdict);

/** In the order in which they decide. */
typedef enum {
    CBE_ALARM_CEILING = 0,
    CBE_ALARM_KAPPA,
    CBE_ALARM_AMPLIFICATION,
    CBE_ALARM_TOP_SHARE,
    CBE_ALARM_HELD_OUT,
    CBE_ALARM_OWN_SHARE,
    CBE_N_ALARMS /* none */
} cbe_alarm;

/** Returns the alarm that decides; CBE_N_ALARMS: none. @param ceiling  of the layer */
cbe_alarm cbe_first_alarm(const cbe_vector_report *report, double ceiling);
/** Returns what an alarm means; CBE_N_ALARMS: removal. */
cbe_verdict cbe_alarm_verdict(cbe_alarm alarm);
/** Returns why an alarm is raised: "kappa above 10". CBE_N_ALARMS is not allowed. */
const char *cbe_alarm_reason(cbe_alarm alarm);
/** The verdict of a report. */
cbe_verdict cbe_judge(const cbe_vector_report *report, double ceiling);
/** Names the vectors of a layer that are no removal, and why, in one line: "vectors 1, 3: injection
 * (kappa above 10); vector 2: unstable (held-out energy below half)".
 * @param out  size bytes
 * @return false: all are removals */
bool cbe_verdicts_line(const cbe_layer_result *result, char *out, size_t size);

#endif
