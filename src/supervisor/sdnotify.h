#pragma once
/* Telling the service manager how we fare: the sd_notify protocol, without libsystemd. */

#include <stdbool.h>
#include <stdint.h>

/* True if a service manager listens (NOTIFY_SOCKET). */
bool sdnotify_is_listening(void);
/* Sends one message, "KEY=value" lines; does nothing where none listens. Failures don't matter. */
void sdnotify_notify(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* RELOADING=1 with the time stamp that Type=notify-reload asks for. */
void sdnotify_notify_reloading(void);
/* The service manager keeps a duplicate of `fd` under this name (of letters and hyphens), and gives it to the next
 * process of the service. 0 or a negative errno (-ENOENT: none listens). */
int sdnotify_keep(const char *name, int fd);
/* It keeps those of that name no longer. */
void sdnotify_drop(const char *name);
/* One more than the last of the descriptors that it kept for us; 3: it kept none. */
int sdnotify_kept_end(void);
/* The descriptor that was kept under that name, made close-on-exec; -1: none. The caller owns it. */
int sdnotify_kept(const char *name);
/* How often WATCHDOG=1 is expected; 0: never. */
uint64_t sdnotify_watchdog_ns(void);
