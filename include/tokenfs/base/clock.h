#pragma once
/* The two clocks. Ages, deadlines and timers use the first, which counts suspend and never jumps. The second is for
 * expiresAt and for signing. */

#include <stdint.h>

#define NS_PER_S UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)
#define CLOCK_NEVER UINT64_MAX

/* Nanoseconds since boot (CLOCK_BOOTTIME). */
uint64_t clock_now_ns(void);
/* Nanoseconds since 1970 UTC (CLOCK_REALTIME). */
int64_t clock_wall_ns(void);

/* "2026-01-31T12:00:00Z". 0, or -EINVAL for a time that has no such form. */
int clock_format_utc(int64_t wall_ns, char ret_text[static 32]);

/* a + b, or CLOCK_NEVER if that overflows. */
uint64_t clock_add_ns(uint64_t a_ns, uint64_t b_ns);

/* A descriptor (close-on-exec) that becomes readable when CLOCK_REALTIME is set, and when the machine resumes after suspend.
 * It wakes nothing at rest. 0 or a negative errno. */
int clock_watch_open(int *ret_fd);
/* Takes the event; the descriptor becomes readable again at the next one. */
void clock_watch_take(int fd);

/* Tests: from the first call on, both clocks stand still at the times that are set. */
void clock_set_fake(uint64_t now_ns, int64_t wall_ns);
/* Tests: moves both fake clocks. */
void clock_advance_fake(uint64_t by_ns);
/* Tests: returns to the real clocks. */
void clock_unset_fake(void);
