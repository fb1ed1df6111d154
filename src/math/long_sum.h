/*
 * long_sum.h - sums of doubles with twice the digits of a double, the same for any order and
 * division of the terms.
 *
 * Rounded to a double, the sums of two orders differ about once in 2^40 times. Plain sums of two
 * orders nearly always differ in the last bit, and a search carries that on to other last digits of
 * its maxima. The sum of two numbers and its rounding error: Knuth, The Art of Computer Programming
 * 2, 4.2.2, theorem B.
 */
#ifndef CBE_MATH_LONG_SUM_H
#define CBE_MATH_LONG_SUM_H

typedef struct cbe_long_sum {
    double high, low; /* the sum is high + low */
} cbe_long_sum;

static inline void cbe_long_add(cbe_long_sum *sum, double x)
{
    const double high = sum->high + x, added = high - sum->high;
    sum->low += (sum->high - (high - added)) + (x - added);
    sum->high = high;
}

static inline void cbe_long_add_sum(cbe_long_sum *sum, const cbe_long_sum *other)
{
    cbe_long_add(sum, other->high);
    sum->low += other->low;
}

static inline double cbe_long_value(const cbe_long_sum *sum)
{
    return sum->high + sum->low;
}

#endif
