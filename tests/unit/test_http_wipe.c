/* After a call its secrets are nowhere in this process: not the header and the body that carried one, nor the answer that
 * held one.
 *
 * How: the secret is computed byte by byte, so that the test itself never holds it outside of the request; then all
 * writable memory is read through /proc/self/mem, so that sanitizers don't mind. The connection is still open then. */

#include <fcntl.h>

#include "http_fixture.h"

#include "tokenfs/base/secret.h"

#define SECRET_BYTES 64
#define MAPPING_BYTES_MAX ((size_t)256 << 20) /* larger ones are a sanitizer's tables */

static unsigned secret_seed;

static char secret_byte(size_t index)
{
        return (char)('A' + (secret_seed * 2654435761u + index * index * 7 + index * 13) / 3 % 26);
}

/* Counts the places within `data` that hold the secret's first half or its second. */
static size_t count_secrets(const char *data, size_t len)
{
        size_t found = 0;
        for (size_t half = 0; half < SECRET_BYTES; half += SECRET_BYTES / 2) {
                const char *at = data, *end = data + len;
                while (at < end && (at = memchr(at, secret_byte(half), (size_t)(end - at)))) {
                        size_t match = 0;
                        while (match < SECRET_BYTES / 2 && at + match < end &&
                                at[match] == secret_byte(half + match))
                                match++;
                        found += match == SECRET_BYTES / 2;
                        at++;
                }
        }
        return found;
}

static size_t count_in_memory(void)
{
        enum { STEP = 1 << 16 };
        static char window[STEP + SECRET_BYTES];
        size_t found = 0;
        int memory CLEANUP(cleanup_close) = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
        FILE *maps = fopen("/proc/self/maps", "re");
        assert_non_null(maps);
        uintptr_t start, end;
        char permissions[8];
        while (fscanf(maps, "%lx-%lx %7s%*[^\n]", &start, &end, permissions) == 3) {
                if (permissions[1] != 'w' || end - start > MAPPING_BYTES_MAX)
                        continue;
                for (uintptr_t at = start; at < end; at += STEP) {
                        size_t want = end - at < sizeof window ? end - at : sizeof window;
                        if (at < (uintptr_t)window + sizeof window && at + want > (uintptr_t)window)
                                continue; /* what was read before would be found again */
                        ssize_t got = pread(memory, window, want, (off_t)at);
                        if (got > 0)
                                found += count_secrets(window, (size_t)got);
                        secret_wipe(window, sizeof window);
                }
        }
        (void)fclose(maps);
        return found;
}

typedef struct Seen {
        int calls;
        HttpError error;
        size_t secrets; /* in the body */
} Seen;

static void on_answer(const HttpResponse *response, void *userdata)
{
        Seen *seen = userdata;
        seen->calls++;
        seen->error = response->error;
        seen->secrets = count_secrets(buf_str(&response->body), response->body.len);
}

static void test_nothing_is_left(const char *scheme, const char *server)
{
        char url[128];
        HttpRequest request = request_of(url, sizeof url, scheme, server, "/echo");
        Seen seen = {0};
        HttpCall *call;
        request.headers = &(HttpHeader){
                "X-Amz-Security-Token", "a value that is no secret, but as long as one would be"};
        request.header_count = 1;
        request.method = "POST";
        request.body = request.headers->value;
        request.body_len = strlen(request.body);
        /* The dynamic linker saves registers to the stack when a function of a library is called for the first time. */
        assert_int_equal(fetch(&request).error, HTTP_OK);
        assert_int_equal(fetch(&request).error, HTTP_OK);
        secret_seed++;
        char *value = secret_calloc(1, SECRET_BYTES + 1);
        assert_non_null(value);
        for (size_t i = 0; i < SECRET_BYTES; i++)
                value[i] = secret_byte(i);
        request.headers = &(HttpHeader){"X-Amz-Security-Token", value};
        request.body = value;
        request.body_len = SECRET_BYTES;
        assert_true(count_in_memory() >= 2); /* what is there is found */
        assert_int_equal(http_start(fixture.http, &request, on_answer, &seen, &call), 0);
        secret_free(value);
        while (!seen.calls)
                assert_int_equal(loop_turn(fixture.loop, CLOCK_NEVER), 0);
        assert_int_equal(seen.error, HTTP_OK);
        assert_int_equal(seen.secrets, 4); /* the halves, of the header and of the body */
        assert_int_equal(count_in_memory(), 0);
}

static void test_plain(void **state)
{
        (void)state;
        test_nothing_is_left("http", "plain");
        test_nothing_is_left("http", "plain"); /* on the same connection */
}

/* libcurl frees some of its buffers only once no call is under way. */
static void test_beside_another_call(void **state)
{
        (void)state;
        char url[128];
        HttpRequest request = request_of(url, sizeof url, "http", "plain", "/hang");
        Seen seen = {0};
        HttpCall *call;
        assert_int_equal(http_start(fixture.http, &request, on_answer, &seen, &call), 0);
        test_nothing_is_left("http", "plain");
        assert_int_equal(seen.calls, 0);
        (void)http_cancel(call);
}

static void test_tls(void **state)
{
        (void)state;
        if (!port_of("good")) {
                print_message("SKIPPED: there is no openssl command to make certificates with\n");
                skip();
        }
        test_nothing_is_left("https", "good");
        test_nothing_is_left("https", "good");
}

static int open_with_bundle(void **state)
{
        (void)state;
        static char ca_bundle[64];
        (void)snprintf(ca_bundle, sizeof ca_bundle, "%s/ca.pem", servers.directory);
        return fixture_open_with(ca_bundle, 16);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_plain, fixture_open, fixture_close),
                cmocka_unit_test_setup_teardown(test_beside_another_call, fixture_open, fixture_close),
                cmocka_unit_test_setup_teardown(test_tls, open_with_bundle, fixture_close),
        };
        if (http_global_init() < 0)
                return 1;
        return cmocka_run_group_tests(tests, servers_start, servers_stop);
}
