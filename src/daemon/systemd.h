#pragma once
/* Telling the service manager how we fare: the sd_notify protocol, without libsystemd. */

#include <stdbool.h>
#include <stdint.h>

/* True if somebody wants to be told (NOTIFY_SOCKET). */
bool systemd_is_listening(void);
/* Sends one message, "KEY=value" lines; does nothing where nobody listens. Failures don't matter. */
void systemd_notify(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* RELOADING=1 with the time stamp that Type=notify-reload asks for. */
void systemd_notify_reloading(void);
/* How often WATCHDOG=1 is expected; 0: never. */
uint64_t systemd_watchdog_ns(void);
