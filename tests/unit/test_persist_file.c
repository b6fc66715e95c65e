/* The file of copies: its key, its content, and a write that is cut at every call. */

#include "cache_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "persist/file.h"
#include "persist/format.h"
#include "tokenfs/persist/persist.h"

static char directory[64];

/* --- Calls that a process may be cut at ---------------------------------------------------------------------- */

static int cut_at = -1; /* the call that the process doesn't survive; -1: it survives all */
static int calls;

static void count_call(void)
{
        if (cut_at >= 0 && calls++ == cut_at)
                _exit(0);
}

int __real_openat(int fd, const char *path, int flags, ...);
ssize_t __real_write(int fd, const void *data, size_t len);
int __real_fsync(int fd);
int __real_renameat(int from, const char *old, int to, const char *new);
int __real_unlinkat(int fd, const char *path, int flags);
int __wrap_openat(int fd, const char *path, int flags, mode_t mode);
ssize_t __wrap_write(int fd, const void *data, size_t len);
int __wrap_fsync(int fd);
int __wrap_renameat(int from, const char *old, int to, const char *new);
int __wrap_unlinkat(int fd, const char *path, int flags);

int __wrap_openat(int fd, const char *path, int flags, mode_t mode)
{
        count_call();
        return __real_openat(fd, path, flags, mode);
}

/* A piece at a time, so that there are cuts in the middle. */
ssize_t __wrap_write(int fd, const void *data, size_t len)
{
        count_call();
        return __real_write(fd, data, cut_at >= 0 && len > 100 ? len / 2 : len);
}

int __wrap_fsync(int fd)
{
        count_call();
        return __real_fsync(fd);
}

int __wrap_renameat(int from, const char *old, int to, const char *new)
{
        count_call();
        return __real_renameat(from, old, to, new);
}

int __wrap_unlinkat(int fd, const char *path, int flags)
{
        count_call();
        return __real_unlinkat(fd, path, flags);
}

/* --- Tests ---------------------------------------------------------------------------------------------------- */

static int make_directory(void **state)
{
        (void)state;
        fake_source_init(&fake);
        (void)snprintf(directory, sizeof directory, "/tmp/tokenfs-test-XXXXXX");
        return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
        (void)state;
        static const char *const names[] = {"copies", "copies.new", "key"};
        fake_source_deinit(&fake);
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                char path[96];
                (void)snprintf(path, sizeof path, "%s/%s", directory, names[i]);
                (void)unlink(path);
        }
        return rmdir(directory);
}

/* A process that is killed at any call of a write leaves the file as it was, or as it was to be. */
static void test_cut_at_every_call(void **state)
{
        (void)state;
        Secret key = SECRET_INIT;
        assert_int_equal(secret_set(&key, "0123456789abcdef0123456789abcdef", PERSIST_KEY_LEN), 0);
        int kept = 0, replaced = 0;
        for (int at = 0; at < 100; at++) {
                int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                assert_true(fd >= 0);
                unsigned char *data;
                size_t len;
                Buf plain = BUF_INIT(10000);
                assert_int_equal(persist_seal(&key, "before", 6, &data, &len), 0);
                assert_int_equal(persist_file_write(fd, data, len), 0);
                free(data);
                char after[1000];
                memset(after, 'a', sizeof after);
                assert_int_equal(persist_seal(&key, after, sizeof after, &data, &len), 0);
                pid_t pid = fork();
                assert_true(pid >= 0);
                if (pid == 0) {
                        cut_at = at;
                        (void)persist_file_write(fd, data, len);
                        _exit(1);
                }
                int ended;
                assert_int_equal(waitpid(pid, &ended, 0), pid);
                free(data);
                assert_int_equal(persist_file_read(fd, &data, &len), 0);
                assert_int_equal(persist_unseal(&key, data, len, &plain), 0);
                bool is_old = plain.len == 6 && memcmp(plain.data, "before", 6) == 0;
                assert_true(
                        is_old || (plain.len == sizeof after && memcmp(plain.data, after, plain.len) == 0));
                kept += is_old;
                replaced += !is_old;
                free(data);
                buf_deinit(&plain);
                (void)close(fd);
                if (WEXITSTATUS(ended) == 1) { /* all calls were made */
                        assert_true(at > 5 && kept > 3 && replaced > 1);
                        secret_deinit(&key);
                        return;
                }
        }
        fail_msg("a write without end");
}

static void test_format(void **state)
{
        (void)state;
        TokenDoc *doc = fake_doc(&(FakeToken){.id = "at-1", .value = "first", .name = "web"});
        TokenItem item;
        fake_item(&(FakeToken){.id = "at-2", .name = "mail", .dns_view_id = "v-1"}, &item);
        Buf out = BUF_INIT(10000);
        persist_write_header(&out, "identity", 5);
        persist_write_token(&out, 6, doc);
        persist_write_listing(&out, 7);
        persist_write_item(&out, &item);
        persist_write_resolver(&out, 8, "gr-1", "a.example");
        assert_int_equal(out.error, 0);
        PersistContent content;
        assert_int_equal(persist_read(out.data, out.len, &content), 0);
        assert_string_equal(content.identity, "identity");
        assert_true(content.written_wall_ns == 5 && content.listing_wall_ns == 7);
        assert_int_equal(content.token_count, 1);
        assert_int_equal(content.tokens[0].fetched_wall_ns, 6);
        assert_true(
                token_doc_fingerprint(content.tokens[0].doc) == token_doc_fingerprint(doc)); /* no change */
        TokenItem got;
        assert_int_equal(items_count(content.items), 1);
        items_get(content.items, 0, &got);
        assert_memory_equal(&got, &item, sizeof got);
        assert_int_equal(content.resolver_count, 1);
        assert_string_equal(content.resolvers[0].dns_name, "a.example");
        persist_content_deinit(&content);
        for (size_t len = 0; len < out.len; len++) { /* cut anywhere but between records */
                int r = persist_read(out.data, len, &content);
                assert_true(r == 0 || r == -EBADMSG);
                if (r == 0)
                        persist_content_deinit(&content);
        }
        out.data[0] = 99;
        assert_int_equal(persist_read(out.data, out.len, &content), -EBADMSG);
        buf_deinit(&out);
        token_doc_unref(doc);
}

static void test_key(void **state)
{
        (void)state;
        static const size_t lengths[] = {0, 31, 33, 32};
        char path[96];
        (void)snprintf(path, sizeof path, "%s/key", directory);
        for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
                Secret key = SECRET_INIT;
                Buf error = BUF_INIT(1000);
                int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
                assert_int_equal(write(fd, "0123456789abcdef0123456789abcdefx", lengths[i]), lengths[i]);
                (void)close(fd);
                assert_int_equal(persist_key_load(path, &error, &key), lengths[i] == 32 ? 0 : -EINVAL);
                assert_int_equal(strstr(buf_str(&error), "head -c 32") != NULL, lengths[i] != 32);
                secret_deinit(&key);
                buf_deinit(&error);
        }
        Secret key = SECRET_INIT;
        Buf error = BUF_INIT(1000);
        assert_int_equal(truncate(path, 32), 0);
        assert_int_equal(chmod(path, 0604), 0);
        assert_int_equal(persist_key_load(path, &error, &key), -EPERM);
        assert_non_null(strstr(buf_str(&error), "chmod 0400"));
        buf_clear(&error);
        (void)unlink(path);
        /* A FIFO that nobody writes to doesn't stop the start. */
        assert_int_equal(mkfifo(path, 0600), 0);
        assert_int_equal(persist_key_load(path, &error, &key), -EINVAL);
        buf_clear(&error);
        (void)unlink(path);
        assert_int_equal(persist_key_load(path, &error, &key), -ENOENT);
        assert_non_null(strstr(buf_str(&error), path));
        buf_deinit(&error);
}

/* What one writes, the other reads. */
static void test_identity(void **state)
{
        (void)state;
        char identity[PERSIST_IDENTITY_MAX + 2];
        memset(identity, 'x', sizeof identity);
        identity[PERSIST_IDENTITY_MAX + 1] = '\0';
        Buf out = BUF_INIT(2 * PERSIST_IDENTITY_MAX);
        persist_write_header(&out, identity, 1);
        assert_int_equal(out.error, -EMSGSIZE);
        buf_deinit(&out);

        PersistContent content;
        identity[PERSIST_IDENTITY_MAX] = '\0';
        out = BUF_INIT(2 * PERSIST_IDENTITY_MAX);
        persist_write_header(&out, identity, 1);
        assert_int_equal(out.error, 0);
        assert_int_equal(persist_read(buf_str(&out), out.len, &content), 0);
        assert_string_equal(content.identity, identity);
        persist_content_deinit(&content);
        buf_deinit(&out);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_cut_at_every_call, make_directory, remove_directory),
                cmocka_unit_test_setup_teardown(test_format, make_directory, remove_directory),
                cmocka_unit_test(test_identity),
                cmocka_unit_test_setup_teardown(test_key, make_directory, remove_directory),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
