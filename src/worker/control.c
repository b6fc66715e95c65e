/* The control socket between supervisor and worker. */

#include "tokenfs/worker/control.h"

#include <sys/socket.h>

void control_send(int fd, ControlMessage message)
{
        char byte = (char)message;
        (void)send(fd, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}
