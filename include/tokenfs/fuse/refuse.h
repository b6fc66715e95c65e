#pragma once
/* Answering requests that no worker can: in a crash loop readers are told so, rather than left waiting. */

#include "tokenfs/fuse/session.h"

/* Answers requests that wait, and those that a dead worker had taken (where the kernel sends them again), with EIO: some
 * hundreds of them; the descriptor tells whether there are more. Returns how many. */
unsigned refuse_waiting(Session *session);
