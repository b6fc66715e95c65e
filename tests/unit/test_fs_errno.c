/* The errno table is the one that the README shows. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tokenfs/base/cleanup.h"
#include "tokenfs/fs/errno.h"

static void test_table(void **state)
{
        (void)state;
        static const struct {
                ApiError error;
                int code;
        } rows[] = {
                {API_OK, 0},
                {API_E_NOT_FOUND, ENOENT},
                {API_E_REFUSED, EBADRQC},
                {API_E_ACCESS_DENIED, EACCES},
                {API_E_NO_CREDENTIALS, ENOKEY},
                {API_E_CREDENTIALS_EXPIRED, EKEYEXPIRED},
                {API_E_CREDENTIALS_REJECTED, EKEYREJECTED},
                {API_E_THROTTLED, EBUSY},
                {API_E_SERVER, EREMOTEIO},
                {API_E_TIMEOUT, ETIMEDOUT},
                {API_E_UNREACHABLE, EHOSTUNREACH},
                {API_E_TLS, EPROTO},
                {API_E_TOO_MANY, EFBIG},
                {API_E_MALFORMED, EBADMSG},
                {API_E_MEMORY, ENOMEM},
        };
        assert_int_equal(ARRAY_LEN(rows), API_ERROR_COUNT);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++)
                assert_int_equal(fs_errno(rows[i].error), rows[i].code);
        assert_int_equal(fs_errno(API_ERROR_COUNT), EIO);
        assert_int_equal(fs_errno((ApiError)1000), EIO);
}

/* A reader can tell what happened: no two errors look the same. */
static void test_distinct(void **state)
{
        (void)state;
        for (ApiError a = API_OK; a < API_ERROR_COUNT; a++)
                for (ApiError b = API_OK; b < a; b++)
                        assert_int_not_equal(fs_errno(a), fs_errno(b));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_table),
                cmocka_unit_test(test_distinct),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
