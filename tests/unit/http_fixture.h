#pragma once
/* What the tests of the HTTP client share: the servers of http_server.py as a child, and a call with its outcome. */

#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/parse.h"
#include "tokenfs/net/http.h"
#include "tokenfs/net/loop.h"

extern char **environ;

typedef struct Servers {
        pid_t pid;
        int stdin_fd;
        char directory[32];
        struct {
                char name[16];
                unsigned port;
        } all[16];
        size_t count;
} Servers;
static Servers servers;

static inline unsigned port_of(const char *name)
{
        for (size_t i = 0; i < servers.count; i++)
                if (strcmp(servers.all[i].name, name) == 0)
                        return servers.all[i].port;
        return 0;
}

static int servers_start(void **state)
{
        (void)state;
        int in[2], out[2];
        (void)snprintf(servers.directory, sizeof servers.directory, "/tmp/tokenfs-test-XXXXXX");
        if (!mkdtemp(servers.directory) || pipe(in) < 0 || pipe(out) < 0)
                return -1;
        char program[] = "/usr/bin/python3", quiet[] = "-Wignore", script[] = TESTS_DIR "/http_server.py";
        char *args[] = {program, quiet, script, servers.directory, NULL};
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, in[0], 0);
        posix_spawn_file_actions_adddup2(&actions, out[1], 1);
        posix_spawn_file_actions_addclose(&actions, in[1]);
        int r = posix_spawn(&servers.pid, program, &actions, NULL, args, environ);
        posix_spawn_file_actions_destroy(&actions);
        close(in[0]);
        close(out[1]);
        if (r != 0)
                return -1;
        servers.stdin_fd = in[1];
        FILE *lines = fdopen(out[0], "r");
        while (lines && servers.count < ARRAY_LEN(servers.all) &&
                fscanf(lines, "%15s %u", servers.all[servers.count].name, &servers.all[servers.count].port) ==
                        2)
                if (strcmp(servers.all[servers.count++].name, "ready") == 0)
                        break;
        if (lines)
                (void)fclose(lines);
        (void)alarm(100); /* a loop that hangs fails the test */
        return servers.count && strcmp(servers.all[servers.count - 1].name, "ready") == 0 ? 0 : -1;
}

static int servers_stop(void **state)
{
        (void)state;
        char remove[] = "/bin/rm", how[] = "-rf";
        char *args[] = {remove, how, servers.directory, NULL};
        pid_t pid;
        close(servers.stdin_fd);
        (void)waitpid(servers.pid, NULL, 0);
        if (posix_spawn(&pid, remove, NULL, NULL, args, environ) == 0)
                (void)waitpid(pid, NULL, 0);
        return 0;
}

typedef struct Fixture {
        Loop *loop;
        Http *http;
} Fixture;
static Fixture fixture;

static int fixture_open_with(const char *ca_bundle, unsigned connections_max)
{
        HttpSettings settings = {
                .user_agent = "tokenfs-test/1", .ca_bundle = ca_bundle, .connections_max = connections_max};
        int r = loop_new(&fixture.loop);
        return r < 0 ? r : http_new(fixture.loop, &settings, &fixture.http);
}

static inline int fixture_open(void **state)
{
        (void)state;
        return fixture_open_with(NULL, 16);
}

static int fixture_close(void **state)
{
        (void)state;
        fixture.http = http_free(fixture.http);
        fixture.loop = loop_free(fixture.loop);
        return 0;
}

/* What a handler saw. */
typedef struct Outcome {
        int calls;
        HttpError error;
        int status;
        char detail[300];
        char peer[64];
        char body[4096];
        size_t body_len, header_count;
        char first[16], empty[16], space[16], missing[16];
        uint64_t started_ns, ended_ns;
} Outcome;

static void copy_header(const HttpResponse *response, const char *name, char *to, size_t size)
{
        const char *value = http_response_header(response, name);
        (void)snprintf(to, size, "%s", value ? value : "(none)");
}

static inline void on_outcome(const HttpResponse *response, void *userdata)
{
        Outcome *outcome = userdata;
        outcome->calls++;
        outcome->error = response->error;
        outcome->status = response->status;
        (void)snprintf(outcome->detail, sizeof outcome->detail, "%s", response->detail);
        (void)snprintf(outcome->peer, sizeof outcome->peer, "%s", response->peer);
        outcome->body_len = response->body.len;
        (void)snprintf(outcome->body, sizeof outcome->body, "%s", buf_str(&response->body));
        outcome->header_count = response->header_count;
        copy_header(response, "x-FIRST", outcome->first, sizeof outcome->first);
        copy_header(response, "X-Empty", outcome->empty, sizeof outcome->empty);
        copy_header(response, "X-Space", outcome->space, sizeof outcome->space);
        copy_header(response, "X-Missing", outcome->missing, sizeof outcome->missing);
        outcome->started_ns = response->started_ns;
        outcome->ended_ns = response->ended_ns;
}

/* A GET of that path, for the test to change. */
static inline HttpRequest request_of(
        char *url, size_t size, const char *scheme, const char *server, const char *path)
{
        (void)snprintf(url, size, "%s://127.0.0.1:%u%s", scheme, port_of(server), path);
        return (HttpRequest){
                .method = "GET", .url = url, .timeout_ns = 20 * NS_PER_S, .response_max = 1 << 20};
}

static inline Outcome fetch(const HttpRequest *request)
{
        Outcome outcome = {0};
        HttpCall *call;
        assert_int_equal(http_start(fixture.http, request, on_outcome, &outcome, &call), 0);
        assert_int_equal(outcome.calls, 0); /* never from inside http_start */
        while (!outcome.calls)
                assert_int_equal(loop_turn(fixture.loop, CLOCK_NEVER), 0);
        assert_int_equal(outcome.calls, 1);
        return outcome;
}
