#pragma once
/* The line between supervisor and worker: a socket pair, one byte a message. Its end tells either that the other is
 * gone. */

typedef enum ControlMessage {
        CONTROL_READY = 'r', /* worker: requests are answered from now on */
        CONTROL_WARM = 'w', /* worker: the tokens of the scopes have been fetched, or tried */
        CONTROL_OUTDATED = 'o', /* worker: its sandbox no longer fits the host */
        CONTROL_RESUMED = 's', /* supervisor: the machine was suspended, or its clock set */
        CONTROL_PING = 'p', /* supervisor: are you there? */
        CONTROL_PONG = 'q', /* worker: yes */
} ControlMessage;

/* Sends one; what can't be sent (the other end is gone, or its queue is full of what it doesn't read) is dropped. */
void control_send(int fd, ControlMessage message);
