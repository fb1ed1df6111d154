/* pulse.c - see pulse.h. */
#include "core/pulse.h"

#include <stddef.h>

#include "core/clock.h"

static const double period = 0.25; /* seconds */

static _Thread_local struct {
    cbe_pulse_fn *function;
    void *context;
    double next; /* cbe_now of the next call */
} pulse;

void cbe_pulse_set(cbe_pulse_fn *function, void *context)
{
    pulse.function = function;
    pulse.context = context;
    pulse.next = function ? cbe_now() + period : 0;
}

void cbe_pulse(void)
{
    if (!pulse.function) return;
    const double now = cbe_now();
    if (now < pulse.next) return;
    pulse.next = now + period;
    pulse.function(pulse.context);
}
