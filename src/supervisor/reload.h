#pragma once
/* The supervisor's side of --reload: a socket that takes a command line and an environment. */

#include "tokenfs/base/buf.h"
#include "tokenfs/options/options.h"

typedef struct ReloadRequest {
        int client_fd; /* for the answer; -1: none */
        char *directory; /* where relative paths of the command line start */
        char **argv, **environment; /* each ends with NULL */
        int argc;
        char *memory; /* what they point into */
} ReloadRequest;

#define RELOAD_REQUEST_INIT ((ReloadRequest){.client_fd = -1})

/* Listens in the service's runtime directory, in the place of a supervisor before. 0, -ENXIO (the service has none), or
 * another negative errno. */
int reload_listen(int *ret_fd);
/* Takes what a client asks for. 0, -EAGAIN (nothing to do), -EPERM (the client has another user, or is a worker in its
 * sandbox), or another negative errno: what was sent isn't a request. The environment is the client's, but for what the
 * service manager said to us. */
int reload_receive(int listen_fd, ReloadRequest *ret_request);
/* Whether a mount with `before` can go on with the options of the request: 0, or -EINVAL with a sentence. */
int reload_check(const Options *before, const ReloadRequest *request, Buf *error);
/* Answers the client that the mount goes on with the options. A request without a client does nothing, here and below. */
void reload_accept(const ReloadRequest *request);
void reload_end(ReloadRequest *request);
/* Answers the client why not, and ends the request. */
void reload_answer(ReloadRequest *request, const char *error);
