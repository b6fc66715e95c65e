/* The API in C, for benches: GetAccessToken and nothing else, unsigned, over kept-alive HTTP/1.1 on loopback.
 *
 * Why: the Python stand-in takes ten times as long as the call that is measured, and hides the daemon's share. How: one
 * thread, one epoll loop; each answer is a fixed document with the id of the path, sent after a fixed latency.
 *
 * Usage: quick_api LATENCY_US. Prints its URL; ends with its standard input. */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 1024
#define REQUEST_MAX 8192

typedef struct Connection {
        int fd;
        size_t len;
        char request[REQUEST_MAX];
} Connection;

/* Answers that are due later; the latency is the same for all, so the first is due first. */
static struct {
        uint64_t at_ns;
        int fd;
        char id[65];
} pending[CONNECTIONS_MAX];
static size_t first, count;

static uint64_t now_ns(void)
{
        struct timespec time;
        (void)clock_gettime(CLOCK_MONOTONIC, &time);
        return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void answer(int fd, const char *id)
{
        char body[1024], text[1536];
        int len = snprintf(body, sizeof body,
                "{\"id\":\"%s\",\"arn\":\"arn:aws:route53globalresolver::1:token/%s\",\"createdAt\":"
                "\"2026-01-02T03:04:05Z\",\"dnsViewId\":\"dnsv-1\",\"expiresAt\":\"2099-12-31T00:00:00Z\","
                "\"globalResolverId\":\"gr-1\",\"name\":\"bench\",\"status\":\"OPERATIONAL\",\"updatedAt\":"
                "\"2026-01-02T03:04:05Z\",\"value\":\"0123456789abcdef0123456789abcdef\"}",
                id, id);
        int size = snprintf(text, sizeof text,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len,
                body);
        if (write(fd, text, (size_t)size) != size)
                (void)shutdown(fd, SHUT_RDWR);
}

/* Reads a request; true while the connection is open. */
static int receive(Connection *connection, uint64_t latency_ns)
{
        ssize_t size = read(
                connection->fd, connection->request + connection->len, REQUEST_MAX - 1 - connection->len);
        if (size <= 0)
                return 0;
        connection->len += (size_t)size;
        connection->request[connection->len] = '\0';
        if (!strstr(connection->request, "\r\n\r\n"))
                return connection->len < REQUEST_MAX - 1;
        connection->len = 0;
        char id[65] = "";
        (void)sscanf(connection->request, "GET /tokens/%64[-.a-zA-Z0-9] ", id);
        if (latency_ns == 0) {
                answer(connection->fd, id);
                return 1;
        }
        size_t place = (first + count++) % CONNECTIONS_MAX;
        pending[place].at_ns = now_ns() + latency_ns;
        pending[place].fd = connection->fd;
        memcpy(pending[place].id, id, sizeof id);
        return 1;
}

static struct timespec *wait_time(struct timespec *time)
{
        if (count == 0)
                return NULL;
        uint64_t now = now_ns(), at = pending[first].at_ns, left = at > now ? at - now : 0;
        *time = (struct timespec){
                .tv_sec = (time_t)(left / 1000000000u), .tv_nsec = (long)(left % 1000000000u)};
        return time;
}

int main(int argc, char **argv)
{
        uint64_t latency_ns = argc > 1 ? strtoull(argv[1], NULL, 10) * 1000 : 0;
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t size = sizeof address;
        int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), epoll = epoll_create1(EPOLL_CLOEXEC);
        if (listener < 0 || epoll < 0 || bind(listener, (struct sockaddr *)&address, size) < 0 ||
                listen(listener, 64) < 0 || getsockname(listener, (struct sockaddr *)&address, &size) < 0) {
                perror("quick_api");
                return 1;
        }
        printf("http://127.0.0.1:%u\n", ntohs(address.sin_port));
        (void)fflush(stdout);
        static Connection input = {.fd = STDIN_FILENO}, accepting;
        accepting.fd = listener;
        (void)epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO,
                &(struct epoll_event){.events = EPOLLIN, .data.ptr = &input});
        (void)epoll_ctl(epoll, EPOLL_CTL_ADD, listener,
                &(struct epoll_event){.events = EPOLLIN, .data.ptr = &accepting});
        for (;;) {
                struct epoll_event events[64];
                struct timespec time;
                int ready = epoll_pwait2(epoll, events, 64, wait_time(&time), NULL);
                for (int i = 0; i < ready; i++) {
                        Connection *connection = events[i].data.ptr;
                        if (connection == &input)
                                return 0;
                        if (connection == &accepting) {
                                Connection *made = calloc(1, sizeof *made);
                                int one = 1, fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
                                if (!made || fd < 0)
                                        return 1;
                                made->fd = fd;
                                (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                                (void)epoll_ctl(epoll, EPOLL_CTL_ADD, fd,
                                        &(struct epoll_event){.events = EPOLLIN, .data.ptr = made});
                        } else if (!receive(connection, latency_ns)) {
                                (void)close(connection->fd);
                                free(connection);
                        }
                }
                for (; count > 0 && pending[first].at_ns <= now_ns();
                        count--, first = (first + 1) % CONNECTIONS_MAX)
                        answer(pending[first].fd, pending[first].id);
        }
}
