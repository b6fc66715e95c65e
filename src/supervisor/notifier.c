/* The notifier's process, and its time.
 *
 * A notification waits for locks that readers may hold, for as long as they wait. After a while it is worth less than
 * going on: the kernel's time-outs end by themselves. */

#include "notifier.h"

#include <signal.h>
#include <string.h>

#include "tokenfs/base/clock.h"
#include "tokenfs/base/log.h"
#include "tokenfs/fuse/notify.h"

#define LIMIT_NS (10 * NS_PER_S)
#define RETRY_NS NS_PER_S /* until a process that couldn't be made is tried again */

void notifier_kill(Notifier *notifier)
{
        if (notifier->pid)
                (void)kill(notifier->pid, SIGKILL); /* reaped whenever it can die */
        notifier->pid = 0;
}

void notifier_start(Notifier *notifier)
{
        notifier_kill(notifier);
        int r = notify_start(notifier->mount->session, notifier->mount->slots, NULL, &notifier->pid);
        if (r < 0)
                log_error("the kernel can't be asked to forget: %s: trying again", strerror(-r));
        timers_set(notifier->timers, TIMER_NOTIFIER, r < 0 ? RETRY_NS : LIMIT_NS);
}

void notifier_ended(Notifier *notifier)
{
        notifier->pid = 0;
        timers_clear(notifier->timers, TIMER_NOTIFIER);
}

bool notifier_is_late(Notifier *notifier)
{
        if (!notifier->pid) {
                notifier_start(notifier);
                return false;
        }
        log_warning("the kernel can't forget while readers wait; it does when its time-outs end");
        notifier_kill(notifier);
        return true;
}
