/* Files of sign-ins: a renewed one replaces the old one, whatever a killed process left beside it. */

#include <fcntl.h>
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

#include "credentials/sign-in-file.h"

static void write_file(const char *path, const char *text, mode_t mode)
{
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        (void)close(fd);
}

static void save_despite_leftovers(void **state)
{
        (void)state;
        char directory[] = "/tmp/tokenfs-sign-in-XXXXXX", path[80], leftover[100];
        struct stat status;
        Buf text = BUF_INIT(100), read_back = BUF_INIT(100);
        assert_non_null(mkdtemp(directory));
        (void)snprintf(path, sizeof path, "%s/session.json", directory);
        (void)snprintf(leftover, sizeof leftover, "%s.%ld.tmp", path, (long)getpid());
        write_file(path, "old", 0640);
        assert_int_equal(chmod(path, 0640), 0);
        write_file(leftover, "cut", 0600);

        assert_int_equal(buf_append_str(&text, "renewed"), 0);
        assert_int_equal(sign_in_file_save(path, &text), 0);
        assert_int_equal(sign_in_file_load(path, &read_back), 0);
        assert_string_equal(buf_str(&read_back), "renewed");
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_mode & 07777, 0640);

        assert_int_equal(unlink(path), 0);
        assert_int_equal(unlink(leftover), 0);
        assert_int_equal(rmdir(directory), 0); /* nothing else is left */
        buf_deinit(&text);
        buf_deinit(&read_back);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(save_despite_leftovers),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
