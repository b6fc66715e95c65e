#pragma once
/* The control socket between supervisor and worker: a socket pair, one byte a message. End of file means that the other
 * process has ended. */

typedef enum ControlMessage {
        CONTROL_READY = 'r', /* worker: it serves */
        CONTROL_WARM = 'w', /* worker: the tokens of the scopes were fetched, or failed */
        CONTROL_REPAIRED = 'd', /* worker: it dropped damaged nodes, which the kernel may hold */
        CONTROL_OUTDATED = 'o', /* worker: its sandbox no longer fits the host */
        CONTROL_RESUMED = 's', /* supervisor: the machine was suspended, or its clock set */
        CONTROL_PING = 'p', /* supervisor: the worker must answer */
        CONTROL_PONG = 'q', /* worker: the answer */
} ControlMessage;

/* Sends a message; drops it if the other process has ended, or its queue is full. */
void control_send(int fd, ControlMessage message);
