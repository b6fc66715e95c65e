#pragma once
/* Answering requests that no worker can: in a crash loop readers are told so, rather than left waiting. */

#include "tokenfs/fs/session.h"

/* Answers all requests that wait, and those that a dead worker had taken (where the kernel sends them again), with
 * EIO. Doesn't wait for more. Returns how many. */
unsigned refuse_waiting(FsSession *session);
