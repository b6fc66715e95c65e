/* The clocks, and the fake ones that tests set instead of sleeping. */

#include "tokenfs/base/clock.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "tokenfs/base/cleanup.h"

static bool clock_is_fake;
static uint64_t clock_fake_now_ns;
static int64_t clock_fake_wall_ns;

uint64_t clock_now_ns(void)
{
        if (clock_is_fake)
                return clock_fake_now_ns;
        struct timespec now;
        (void)clock_gettime(CLOCK_BOOTTIME, &now);
        return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

int64_t clock_wall_ns(void)
{
        if (clock_is_fake)
                return clock_fake_wall_ns;
        struct timespec now;
        (void)clock_gettime(CLOCK_REALTIME, &now);
        return (int64_t)now.tv_sec * (int64_t)NS_PER_S + now.tv_nsec;
}

int clock_format_utc(int64_t wall_ns, char ret_text[static 32])
{
        time_t seconds = (time_t)(wall_ns / (int64_t)NS_PER_S);
        struct tm tm;
        if (!gmtime_r(&seconds, &tm) || strftime(ret_text, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
                return -EINVAL;
        return 0;
}

uint64_t clock_add_ns(uint64_t a_ns, uint64_t b_ns)
{
        uint64_t sum;
        return __builtin_add_overflow(a_ns, b_ns, &sum) ? CLOCK_NEVER : sum;
}

/* timerfd_create(2), TFD_TIMER_CANCEL_ON_SET: after each change of the clock one read fails with ECANCELED, and the timer
 * stays set. It never expires. */
int clock_watch_open(int *ret_fd)
{
        static const struct itimerspec never = {.it_value = {.tv_sec = INT64_MAX}};
        int fd CLEANUP(cleanup_close) = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
        if (fd < 0 || timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) < 0)
                return -errno;
        *ret_fd = fd;
        fd = -1;
        return 0;
}

void clock_watch_take(int fd)
{
        uint64_t expirations;
        while (read(fd, &expirations, sizeof expirations) < 0 && errno == ECANCELED)
                ;
}

void clock_set_fake(uint64_t now_ns, int64_t wall_ns)
{
        clock_is_fake = true;
        clock_fake_now_ns = now_ns;
        clock_fake_wall_ns = wall_ns;
}

void clock_advance_fake(uint64_t by_ns)
{
        clock_fake_now_ns += by_ns;
        clock_fake_wall_ns += (int64_t)by_ns;
}

void clock_unset_fake(void)
{
        clock_is_fake = false;
}
