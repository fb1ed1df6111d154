/* constant_track.c - see constant_track.h. */
#include "objective/constant_track.h"

#include <math.h>

void cbe_constants_bound(size_t n, cbe_constant_track *tracks, double least, double most)
{
    for (size_t i = 0; i < n; i++) {
        cbe_constant_track *t = &tracks[i];
        t->least = least;
        t->most = most;
        if (t->open_low) t->high = t->low, t->constant = t->next = least;
        if (t->open_high) t->low = t->high, t->constant = t->next = most;
    }
}

/* Where the cubic through both ends, with their slopes, is least. (Nocedal and Wright, equation
 * 3.59) */
static double cubic_minimum(const cbe_constant_track *t)
{
    const double width = t->high - t->low;
    const double d1 = t->slope_low + t->slope_high - 3 * (t->energy_high - t->energy_low) / width;
    const double under = d1 * d1 - t->slope_low * t->slope_high;
    const double d2 = under > 0 ? sqrt(under) : 0;
    double share = 1 - (t->slope_high + d2 - d1) / (t->slope_high - t->slope_low + 2 * d2);
    if (!(share >= 0.02)) share = 0.02;
    if (share > 0.98) share = 0.98;
    return t->low + share * width;
}

static void choose_next(cbe_constant_track *t)
{
    const double width = t->high - t->low;
    if (t->open_low)
        t->next = t->low - 2 * width;
    else if (t->open_high)
        t->next = t->high + 2 * width;
    else
        t->next = cubic_minimum(t);
}

void cbe_constant_tell(cbe_constant_track *t, double energy, double slope)
{
    const double old_slope = slope < 0 ? t->slope_low : t->slope_high,
                 old = slope < 0 ? t->low : t->high;
    if (t->next != old) t->curvature = (slope - old_slope) / (t->next - old);
    if (energy < t->energy) {
        t->energy = energy;
        t->constant = t->next;
    }
    if (slope < 0) {
        if (t->open_low) { /* the minimum lies between here and the end that was the lowest */
            t->high = t->low, t->energy_high = t->energy_low, t->slope_high = t->slope_low;
            t->open_low = false;
        }
        t->low = t->next, t->energy_low = energy, t->slope_low = slope;
    } else {
        if (t->open_high) {
            t->low = t->high, t->energy_low = t->energy_high, t->slope_low = t->slope_high;
            t->open_high = false;
        }
        t->high = t->next, t->energy_high = energy, t->slope_high = slope;
    }
    choose_next(t);
}

size_t cbe_constants_bracket(size_t direction, size_t n, const double *a, const double *energy,
                             const double *slope, size_t room, cbe_constant_track *tracks)
{
    size_t count = 0;
    for (size_t i = 0; i <= n; i++) { /* the gap in front of constant i */
        const bool first = i == 0, last = i == n;
        if ((!first && !(slope[i - 1] < 0)) || (!last && !(slope[i] >= 0))) continue;
        if (n == 1 || (!first && !last && !(a[i] > a[i - 1]))) continue;
        const size_t low = first ? 0 : last ? n - 2 : i - 1, high = low + 1;
        const bool lower_end = energy[low] <= energy[high];
        cbe_constant_track t = {.direction = direction,
                                .low = a[low],
                                .high = a[high],
                                .energy_low = energy[low],
                                .energy_high = energy[high],
                                .slope_low = slope[low],
                                .slope_high = slope[high],
                                .energy = lower_end ? energy[low] : energy[high],
                                .constant = lower_end ? a[low] : a[high],
                                .curvature = (slope[high] - slope[low]) / (a[high] - a[low]),
                                .open_low = first,
                                .open_high = last,
                                .least = -HUGE_VAL,
                                .most = HUGE_VAL};
        choose_next(&t);
        size_t at = count < room ? count++ : room;
        for (; at > 0 && tracks[at - 1].energy > t.energy; at--)
            if (at < room) tracks[at] = tracks[at - 1];
        if (at < room) tracks[at] = t;
    }
    if (count) return count;
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (energy[i] < energy[best]) best = i;
    tracks[0] = (cbe_constant_track){.direction = direction,
                                     .next = a[best],
                                     .energy = energy[best],
                                     .constant = a[best],
                                     .least = -HUGE_VAL,
                                     .most = HUGE_VAL};
    return 1;
}

bool cbe_constant_open(const cbe_constant_track *track)
{
    return track->high > track->low && isfinite(track->energy);
}

cbe_constant_track cbe_constants_best(size_t n, const cbe_constant_track *tracks)
{
    cbe_constant_track best = tracks[0];
    for (size_t i = 1; i < n; i++)
        if (tracks[i].energy < best.energy) best = tracks[i];
    best.next = best.constant;
    return best;
}

bool cbe_constant_newton(cbe_constant_track *t, const cbe_constant_rules *rules, double energy,
                         double slope, double range, int step)
{
    if (step > 0 && t->next != t->constant) {
        const double curvature = (slope - t->slope_low) / (t->next - t->constant);
        if (curvature > 0) t->curvature = curvature;
    }
    t->constant = t->next;
    t->slope_low = slope;
    t->energy = energy;
    if (!isfinite(energy) || !isfinite(slope) ||
        fabs(slope) * range <= rules->flat * fabs(energy)) {
        t->curvature = 0;
        return true;
    }
    double size = t->curvature > 0 ? fabs(slope) / t->curvature : range / 4;
    if (size > range / 4) size = range / 4;
    if (size <= rules->step * range && fabs(slope) * size / 2 <= rules->energy * fabs(energy))
        return true;
    t->next = fmin(fmax(t->constant - copysign(size, slope), t->least), t->most);
    if (t->next != t->constant) return false;
    t->curvature = 0; /* the end of what may be tried: no step is left */
    return true;
}

double cbe_constant_last_step(const cbe_constant_track *track)
{
    return track->curvature > 0 ? -track->slope_low / track->curvature : 0;
}
