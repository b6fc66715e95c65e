#pragma once
/* When a dead worker is replaced: at once if it had done well, later and later if it dies again and again. */

#include <stdbool.h>
#include <stdint.h>

typedef struct Backoff {
        uint64_t delay_ns; /* before the last start */
        unsigned deaths; /* in a row, of workers that hadn't earned an immediate restart */
        uint64_t served_ns; /* when a worker last was seen to serve */
} Backoff;

/* At the mount: as if a worker had served just now. */
void backoff_init(Backoff *backoff);
/* A worker that had been started at `started_ns` died now. Returns how long to wait before the next one. */
uint64_t backoff_death(Backoff *backoff, uint64_t started_ns);
/* True while workers die faster than they are of use. */
bool backoff_is_loop(const Backoff *backoff);
/* When the worker that was started at `started_ns` will have ended the row, if it lives. */
uint64_t backoff_recovers_ns(const Backoff *backoff, uint64_t started_ns);
/* It lives. */
void backoff_recovered(Backoff *backoff);
/* True if no worker has served for `limit_ns`: then waiting requests are refused. */
bool backoff_is_hopeless(const Backoff *backoff, uint64_t limit_ns);
