/*
 * pulse.h - being heard while work lasts.
 *
 * Whoever starts long work sets a function for its thread. The work calls cbe_pulse now and then,
 * and the function is called at most four times a second. Products of matrices (math/gemm.h) and
 * evaluations of objectives do so.
 */
#ifndef CBE_CORE_PULSE_H
#define CBE_CORE_PULSE_H

typedef void cbe_pulse_fn(void *context);

/** Sets the function of the calling thread; NULL: none. */
void cbe_pulse_set(cbe_pulse_fn *function, void *context);
/** Calls the function of the calling thread if it is time. Other threads have none. */
void cbe_pulse(void);

#endif
