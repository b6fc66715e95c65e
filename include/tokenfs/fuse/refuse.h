#pragma once
/* Answering requests that no worker can answer: in a crash loop readers get an error rather than wait. */

#include "tokenfs/fuse/session.h"

/* Answers requests that wait, and those that a dead worker had taken (where the kernel sends them again), with EIO: some
 * hundreds of them; the descriptor is readable while there are more. Returns how many. */
unsigned refuse_waiting(Session *session);
