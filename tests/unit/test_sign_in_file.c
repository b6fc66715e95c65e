/* Files of sign-ins: a renewed one replaces the old one; what a killed process left beside it is removed. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "credentials/sign-in-file.h"
#include "tokenfs/base/cleanup.h"

static void write_file(const char *path, const char *text, mode_t mode)
{
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        (void)close(fd);
}

static void make_old(const char *name)
{
        const struct timespec times[] = {{.tv_sec = 1}, {.tv_sec = 1}};
        assert_int_equal(utimensat(AT_FDCWD, name, times, 0), 0);
}

static bool is_directory_synced;

/* In the place of the C library's. */
int fsync(int fd)
{
        struct stat status;
        is_directory_synced = fstat(fd, &status) == 0 && S_ISDIR(status.st_mode);
        return (int)syscall(SYS_fsync, fd);
}

static char directory[40], path[80];

static int set_up(void **state)
{
        (void)state;
        (void)snprintf(directory, sizeof directory, "/tmp/tokenfs-sign-in-XXXXXX");
        assert_non_null(mkdtemp(directory));
        (void)snprintf(path, sizeof path, "%s/session.json", directory);
        write_file(path, "old", 0640);
        return chmod(path, 0640);
}

static int tear_down(void **state)
{
        (void)state;
        (void)unlink(path);
        return rmdir(directory); /* nothing else is left */
}

static void save(const char *text)
{
        Buf renewed = BUF_INIT(100), read_back = BUF_INIT(100);
        assert_int_equal(buf_append_str(&renewed, text), 0);
        assert_int_equal(sign_in_file_save(path, &renewed), 0);
        assert_int_equal(sign_in_file_load(path, &read_back), 0);
        assert_string_equal(buf_str(&read_back), text);
        buf_deinit(&renewed);
        buf_deinit(&read_back);
}

static void test_save(void **state)
{
        (void)state;
        struct stat status;
        save("renewed");
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_mode & 07777, 0640);
        assert_true(is_directory_synced); /* last: the rename survives a power failure */
}

/* Files beside it: whether a renewal removes them. */
static void test_leftovers(void **state)
{
        (void)state;
        enum { NOW, OLD };
        static const struct {
                const char *name;
                int age;
                bool stays;
        } files[] = {
                {"session.json.tokenfs-aB3xYz", OLD, false},
                {"another.json.tokenfs-000000", OLD, false},
                {"session.json.tokenfs-writes", NOW, true}, /* another mount's, perhaps */
                {"session.json.tokenfs-toolong", OLD, true},
                {"session.json.aB3xYz", OLD, true},
                {".tokenfs-aB3xYz", OLD, true},
                {"another.json", OLD, true},
        };
        char name[120], link[120];
        for (size_t i = 0; i < ARRAY_LEN(files); i++) {
                (void)snprintf(name, sizeof name, "%s/%s", directory, files[i].name);
                write_file(name, "cut", 0600);
                if (files[i].age == OLD)
                        make_old(name);
        }
        (void)snprintf(link, sizeof link, "%s/session.json.tokenfs-a_link", directory);
        assert_int_equal(symlink("another.json", link), 0);
        save("renewed");
        assert_int_equal(unlink(link), 0);
        for (size_t i = 0; i < ARRAY_LEN(files); i++) {
                (void)snprintf(name, sizeof name, "%s/%s", directory, files[i].name);
                if ((unlink(name) == 0) != files[i].stays)
                        fail_msg("%s", name);
        }
}

/* Only root can make another user's file. */
static void test_leftover_of_another_user(void **state)
{
        (void)state;
        char name[120];
        if (geteuid() != 0)
                skip();
        (void)snprintf(name, sizeof name, "%s/session.json.tokenfs-theirs", directory);
        write_file(name, "cut", 0600);
        make_old(name);
        assert_int_equal(lchown(name, 1, 1), 0);
        save("renewed");
        assert_int_equal(unlink(name), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_save, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_leftovers, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_leftover_of_another_user, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
