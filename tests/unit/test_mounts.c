/* Mount points: reading mountinfo, resolving paths. */

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tokenfs/fuse/mounts.h"
#include "tokenfs/fuse/session.h"
#include "tokenfs/base/cleanup.h"

static const char mountinfo[] =
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "40 22 0:44 / /mnt/x ro,nosuid,nodev,noexec,noatime shared:9 - fuse.tokenfs tokenfs "
        "ro,user_id=0,group_id=0\n"
        "41 22 0:45 / /mnt/with\\040blank\\134and rw - fuse.tokenfs a\\040b rw\n"
        "42 22 0:46 / /mnt/stacked rw - fuse.tokenfs one rw\n"
        "43 42 0:47 / /mnt/stacked rw - tmpfs two rw\n"
        "44 22 0:48 / /mnt/under rw - tmpfs one rw\n"
        "45 44 0:49 / /mnt/under rw master:1 propagate_from:2 - fuse.tokenfs two rw\n"
        "46 22 0:50 / /mnt/a-very-long-type rw - "
        "fuse.0123456789012345678901234567890123456789012345678901234567890123456789 two rw\n"
        "garbage\n"
        "47 22\n"
        "48 22 051 / /mnt/no-colon rw - fuse.tokenfs two rw\n"
        "49 22 0:52 / /mnt/no-dash rw fuse.tokenfs two rw\n";

static char directory[] = "/tmp/tokenfs-mounts-XXXXXX";
static char file[PATH_MAX];

static MountInfo find(const char *path)
{
        MountInfo info = {.type = "untouched"};
        assert_int_equal(mounts_find_in(file, path, &info), 0);
        return info;
}

/* The type of what is mounted right there in the test's directory. */
static const char *find_mounted(const char *name)
{
        static MountInfo info;
        char path[PATH_MAX];
        (void)snprintf(path, sizeof path, "%s/%s", directory, name);
        assert_int_equal(mounts_find(path, &info), 0);
        return info.type;
}

static void test_find(void **state)
{
        (void)state;
        MountInfo info = find("/mnt/x");
        assert_string_equal(info.type, "fuse.tokenfs");
        assert_int_equal(info.minor, 44);
        assert_true(mounts_is_ours(&info));

        info = find("/mnt/with blank\\and");
        assert_true(mounts_is_ours(&info));
        assert_int_equal(info.minor, 45);

        info = find("/");
        assert_string_equal(info.type, "ext4");
        assert_false(mounts_is_ours(&info));

        info = find("/mnt");
        assert_string_equal(info.type, "");
        assert_false(mounts_is_ours(&info));
}

static void test_topmost_counts(void **state)
{
        (void)state;
        MountInfo info = find("/mnt/stacked");
        assert_false(mounts_is_ours(&info));
        assert_int_equal(info.minor, 47);
        info = find("/mnt/under");
        assert_true(mounts_is_ours(&info));
        assert_int_equal(info.minor, 49);
}

static void test_odd_lines(void **state)
{
        (void)state;
        MountInfo info = find("/mnt/a-very-long-type");
        assert_int_equal(strlen(info.type), sizeof info.type - 1);
        assert_string_equal(find("/mnt/no-colon").type, "");
        assert_string_equal(find("/mnt/no-dash").type, "");
        assert_int_equal(mounts_find_in("/nonexistent/mountinfo", "/", &info), -ENOENT);
}

static void test_resolve(void **state)
{
        (void)state;
        char path[PATH_MAX], link[PATH_MAX];
        CLEANUP(cleanup_free)
        char *resolved = NULL, *through_link = NULL, *descriptor = NULL, *missing = NULL;
        (void)snprintf(path, sizeof path, "%s/./sub/../sub//", directory);
        (void)snprintf(link, sizeof link, "%s/link", directory);
        assert_int_equal(mounts_resolve(path, &resolved), 0);
        (void)snprintf(path, sizeof path, "%s/sub", directory);
        assert_string_equal(resolved, path);
        assert_int_equal(mounts_resolve(link, &through_link), 0);
        assert_string_equal(through_link, path);
        assert_int_equal(mounts_resolve("/dev/fd/17", &descriptor), 0);
        assert_string_equal(descriptor, "/dev/fd/17");
        assert_int_equal(mounts_descriptor(descriptor), 17);
        static const char *const none[] = {
                "/dev/fd/", "/dev/fd/-1", "/dev/fd/1/", "/dev/fd", "/dev/fd/99999999999"};
        for (size_t i = 0; i < ARRAY_LEN(none); i++)
                assert_int_equal(mounts_descriptor(none[i]), -1);
        assert_int_equal(mounts_resolve("/nonexistent/sub", &missing), -ENOENT);
        assert_null(missing);
}

static void test_prepare(void **state)
{
        (void)state;
        assert_int_equal(mounts_prepare(directory), 0);
        assert_int_equal(mounts_prepare("/dev/fd/1000"), -EBADF); /* nothing */
        assert_int_equal(mounts_prepare("/dev/fd/0"), -EBADF); /* something else */
        assert_int_equal(mounts_prepare(file), -ENOTDIR);
        assert_int_equal(mounts_prepare("/nonexistent"), -ENOENT);
}

/* A directory on the way that its owner replaces by a link, after the path was resolved. */
static void test_pin(void **state)
{
        (void)state;
        char path[PATH_MAX], moved[PATH_MAX], now[PATH_MAX];
        int fd CLEANUP(cleanup_close) = -1, none = -1;
        (void)snprintf(path, sizeof path, "%s/sub", directory);
        (void)snprintf(moved, sizeof moved, "%s/moved", directory);
        assert_int_equal(mounts_pin(path, &fd), 0);
        assert_int_equal(mounts_find_pinned(fd, now), 0);
        assert_string_equal(now, path);
        assert_int_equal(rename(path, moved), 0);
        assert_int_equal(mounts_pin(path, &none), -ENOENT);
        assert_int_equal(mounts_find_pinned(fd, now), 0);
        assert_string_equal(now, moved);
        assert_int_equal(rename(moved, path), 0);
        (void)snprintf(path, sizeof path, "%s/link", directory);
        assert_int_equal(mounts_pin(path, &none), -ESTALE);
        assert_int_equal(none, -1);
}

static void test_mount_through_link(void **state)
{
        (void)state;
        char path[PATH_MAX];
        CLEANUP(session_free_p) Session *session = NULL;
        if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) < 0)
                skip();
        (void)snprintf(path, sizeof path, "%s/link", directory);
        assert_int_equal(session_new(&(SessionSettings){0}, &session), 0);
        assert_int_equal(session_mount(session, path), -ESTALE);
        assert_string_equal(find_mounted("sub"), "");
}

static int set_up(void **state)
{
        (void)state;
        char path[PATH_MAX];
        if (!mkdtemp(directory))
                return -1;
        (void)snprintf(path, sizeof path, "%s/sub", directory);
        if (mkdir(path, 0700) < 0)
                return -1;
        (void)snprintf(path, sizeof path, "%s/link", directory);
        if (symlink("sub", path) < 0)
                return -1;
        (void)snprintf(file, sizeof file, "%s/mountinfo", directory);
        FILE *out = fopen(file, "we");
        return !out || fputs(mountinfo, out) < 0 || fclose(out) != 0 ? -1 : 0;
}

static int tear_down(void **state)
{
        (void)state;
        char path[PATH_MAX];
        (void)unlink(file);
        (void)snprintf(path, sizeof path, "%s/link", directory);
        (void)unlink(path);
        (void)snprintf(path, sizeof path, "%s/sub", directory);
        (void)rmdir(path);
        return rmdir(directory);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_find),
                cmocka_unit_test(test_topmost_counts),
                cmocka_unit_test(test_odd_lines),
                cmocka_unit_test(test_resolve),
                cmocka_unit_test(test_prepare),
                cmocka_unit_test(test_pin),
                cmocka_unit_test(test_mount_through_link),
        };
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
