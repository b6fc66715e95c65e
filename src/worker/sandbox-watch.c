/* Watches the paths that a sandbox is made of.
 *
 * Why: once a network manager has made /etc/resolv.conf a link out of the sandbox, all look-ups fail; so do calls when
 * certificates or configuration move. How: the walk along a place's path watches each directory for the path's next name,
 * also behind links, up to the first name that doesn't exist. inotify reports names that are made there or renamed into
 * them. SETTLE_NS later the place is tested. Removals aren't watched: they open no file. inotify doesn't report mounts;
 * after a mount on a path the user sends SIGHUP.
 *
 * Landlock doesn't restrict inotify, so that the worker watches from inside the sandbox. */

#include "sandbox-private.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tokenfs/base/clock.h"
#include "tokenfs/base/log.h"

#define SETTLE_NS (NS_PER_S / 10) /* a program that configures the host makes several changes at once */
#define PAUSE_NS NS_PER_S /* between two calls of the handler */
#define NAMES_MAX 1024
#define LINKS_MAX 40 /* the kernel's limit, path_resolution(7) */

/* A name on the path of a place. */
typedef struct WatchedName {
        int watch; /* the watch descriptor of its directory */
        size_t place;
        char name[NAME_MAX + 1];
} WatchedName;

struct SandboxWatch {
        Sandbox *sandbox;
        SandboxHandler *handler;
        void *userdata;
        int fd;
        LoopFd *source;
        LoopTimer timer;
        uint64_t not_before_ns;
        WatchedName *names;
        size_t name_count;
};

static bool is_noted(const SandboxWatch *watch, int number, size_t place, const char *name)
{
        for (size_t i = 0; i < watch->name_count; i++)
                if (watch->names[i].watch == number && watch->names[i].place == place &&
                        strcmp(watch->names[i].name, name) == 0)
                        return true;
        return false;
}

static void note_name(SandboxWatch *watch, size_t place, const char *directory, const char *name)
{
        int number = inotify_add_watch(
                watch->fd, *directory ? directory : "/", IN_CREATE | IN_MOVED_TO | IN_ONLYDIR);
        if (number < 0 || strlen(name) > NAME_MAX || watch->name_count == NAMES_MAX ||
                is_noted(watch, number, place, name))
                return;
        WatchedName *names = reallocarray(watch->names, watch->name_count + 1, sizeof *names);
        if (!names)
                return;
        watch->names = names;
        WatchedName *noted = &names[watch->name_count++];
        *noted = (WatchedName){.watch = number, .place = place};
        memcpy(noted->name, name, strlen(name) + 1);
}

/* Moves the first name of a path out of `rest`. False: none is left. */
static bool take_part(char *rest, char *part)
{
        size_t start = strspn(rest, "/"), len = strcspn(rest + start, "/");
        if (len == 0 || len > NAME_MAX)
                return false;
        memcpy(part, rest + start, len);
        part[len] = '\0';
        memmove(rest, rest + start + len, strlen(rest + start + len) + 1);
        return true;
}

/* Puts a link's target before the rest of the path. False: it is no link, or the path becomes too long. */
static bool follow_link(const char *path, char *directory, char *rest)
{
        char target[PATH_MAX], whole[PATH_MAX];
        ssize_t len = readlink(path, target, sizeof target - 1);
        if (len <= 0)
                return false;
        target[len] = '\0';
        if (snprintf(whole, sizeof whole, "%s/%s", target, rest) >= (int)sizeof whole)
                return false;
        memcpy(rest, whole, strlen(whole) + 1);
        if (target[0] == '/')
                directory[0] = '\0';
        return true;
}

/* Walks along the path of a place as the kernel does, and watches each name, up to the first that doesn't exist. */
static void watch_place(SandboxWatch *watch, size_t place)
{
        char directory[PATH_MAX] = "", rest[PATH_MAX], part[NAME_MAX + 1], path[PATH_MAX];
        struct stat status;
        int links = 0;
        (void)snprintf(rest, sizeof rest, "%s", watch->sandbox->places[place].path);
        while (take_part(rest, part)) {
                if (strcmp(part, ".") == 0)
                        continue;
                if (strcmp(part, "..") == 0) {
                        char *last = strrchr(directory, '/');
                        if (last)
                                *last = '\0';
                        continue;
                }
                note_name(watch, place, directory, part);
                if (snprintf(path, sizeof path, "%s/%s", directory, part) >= (int)sizeof path ||
                        lstat(path, &status) < 0)
                        return;
                if (!S_ISLNK(status.st_mode))
                        memcpy(directory, path, strlen(path) + 1);
                else if (++links > LINKS_MAX || !follow_link(path, directory, rest))
                        return;
        }
}

/* IN_IGNORED: the directory is gone. Its names are dropped, since the kernel may reuse the watch descriptor. */
static void mark_changed(SandboxWatch *watch, const struct inotify_event *event)
{
        bool is_gone = event->mask & IN_IGNORED;
        for (size_t i = 0; i < watch->name_count;) {
                WatchedName *noted = &watch->names[i];
                bool is_lost = event->mask & IN_Q_OVERFLOW;
                bool is_same = noted->watch == event->wd || is_lost;
                bool is_made = event->len > 0 && strcmp(noted->name, event->name) == 0;
                if (is_same && (is_gone || is_lost || is_made))
                        watch->sandbox->places[noted->place].is_changed = true;
                if (is_same && is_gone)
                        *noted = watch->names[--watch->name_count];
                else
                        i++;
        }
}

static bool has_changes(const Sandbox *sandbox)
{
        for (size_t i = 0; i < sandbox->count; i++)
                if (sandbox->places[i].is_changed)
                        return true;
        return false;
}

static void on_event(int fd, short revents, void *userdata)
{
        (void)revents;
        SandboxWatch *watch = userdata;
        union {
                struct inotify_event event; /* for its alignment */
                char bytes[8 * (sizeof(struct inotify_event) + NAME_MAX + 1)];
        } buffer;
        /* One read: a program that makes files all the time must not keep the loop here. The loop calls again. */
        ssize_t len = read(fd, &buffer, sizeof buffer);
        for (ssize_t at = 0; at < len;) {
                const struct inotify_event *event = (const void *)(buffer.bytes + at);
                mark_changed(watch, event);
                at += (ssize_t)(sizeof *event + event->len);
        }
        uint64_t at_ns = clock_add_ns(clock_now_ns(), SETTLE_NS);
        if (has_changes(watch->sandbox) && !loop_timer_is_set(&watch->timer))
                (void)loop_timer_set(
                        &watch->timer, at_ns > watch->not_before_ns ? at_ns : watch->not_before_ns);
}

static void on_settled(LoopTimer *timer, void *userdata)
{
        (void)timer;
        SandboxWatch *watch = userdata;
        const char *denied = NULL;
        for (size_t i = 0; i < watch->sandbox->count; i++) {
                Place *place = &watch->sandbox->places[i];
                if (!place->is_changed)
                        continue;
                place->is_changed = false;
                watch_place(watch, i); /* before the test: inotify reports later changes */
                if (!place->is_given_up && sandbox_is_denied(place))
                        denied = place->path;
        }
        if (!denied)
                return;
        watch->not_before_ns = clock_add_ns(clock_now_ns(), PAUSE_NS);
        watch->handler(denied, watch->userdata);
}

int sandbox_watch_new(
        Sandbox *sandbox, Loop *loop, SandboxHandler *handler, void *userdata, SandboxWatch **ret_watch)
{
        *ret_watch = NULL;
        if (!sandbox)
                return 0;
        CLEANUP(sandbox_watch_free_p) SandboxWatch *watch = calloc(1, sizeof *watch);
        if (!watch)
                return -ENOMEM;
        *watch = (SandboxWatch){
                .sandbox = sandbox,
                .handler = handler,
                .userdata = userdata,
                .not_before_ns = clock_add_ns(clock_now_ns(), PAUSE_NS),
                .fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK),
        };
        loop_timer_init(&watch->timer, loop, on_settled, watch);
        int r = watch->fd < 0 ? -errno
                              : loop_fd_new(loop, watch->fd, POLLIN, on_event, watch, &watch->source);
        if (r < 0)
                return r;
        for (size_t i = 0; i < sandbox->count; i++)
                watch_place(watch, i);
        *ret_watch = TAKE(watch);
        return 0;
}

SandboxWatch *sandbox_watch_free(SandboxWatch *watch)
{
        if (!watch)
                return NULL;
        loop_timer_cancel(&watch->timer);
        loop_fd_free(watch->source);
        cleanup_close(&watch->fd);
        free(watch->names);
        free(watch);
        return NULL;
}
