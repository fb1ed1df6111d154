/* loss.h - losses of a distribution q over next tokens, in nats. */
#ifndef CBE_MATH_LOSS_H
#define CBE_MATH_LOSS_H

typedef enum {
    CBE_LOSS_KL = 0, /* KL(p || q), p another distribution */
    CBE_LOSS_CE,     /* the cross-entropy -log q(next token) */
    CBE_N_LOSSES
} cbe_loss;

/** The name on the command line and in files: "kl", "ce". */
const char *cbe_loss_name(cbe_loss loss);

/** A divergence as it is: where rounding alone has left it at or below 0, it is 0. NaN stays. */
static inline double cbe_not_below_zero(double divergence)
{
    return divergence <= 0 ? 0 : divergence;
}

#endif
