/* The XML of STS: what is found, and what is refused. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "credentials/xml.h"
#include "tokenfs/base/cleanup.h"

static XmlWanted wanted[2];

static int read_two(const char *text)
{
        for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
                buf_deinit(&wanted[i].text);
        wanted[0] = (XmlWanted){.path = "a/b/c", .text = BUF_INIT(16)};
        wanted[1] = (XmlWanted){.path = "a/d", .text = BUF_INIT(16)};
        /* a copy without a NUL behind it, so that ASan sees a read past the end */
        size_t len = strlen(text);
        char *copy = malloc(len ? len : 1);
        assert_non_null(copy);
        memcpy(copy, text, len);
        int r = xml_read(copy, len, wanted, ARRAY_LEN(wanted));
        free(copy);
        return r;
}

static int teardown(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
                buf_deinit(&wanted[i].text);
        return 0;
}

static void test_finds(void **state)
{
        (void)state;
        assert_int_equal(
                read_two("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<a xmlns=\"https://x/?a>b\" y = 'z'>\n"
                         "<x/><e><c>no</c></e><b><c>yes &lt;&amp;&gt;&quot;&apos;</c></b> text &unknown; <d "
                         ">D</d\n></a>\n"),
                0);
        assert_string_equal(buf_str(&wanted[0].text), "yes <&>\"'");
        assert_string_equal(buf_str(&wanted[1].text), "D");

        assert_int_equal(read_two("<a><b><c/></b></a>"), 0);
        assert_true(wanted[0].is_found && wanted[0].text.len == 0);
        assert_false(wanted[1].is_found);

        assert_int_equal(read_two("<b><c>another root</c></b>"), 0);
        assert_false(wanted[0].is_found);
        assert_int_equal(read_two("<a><b/><c>x</c><d>\xC3\xA4</d></a>"), 0);
        assert_false(wanted[0].is_found);
        assert_string_equal(buf_str(&wanted[1].text), "\xC3\xA4");
}

static void test_refuses(void **state)
{
        (void)state;
        static const char *const texts[] = {
                "",
                " ",
                "text",
                "<a>",
                "<a",
                "<a ",
                "<",
                "</a>",
                "<a></b>",
                "<a><b></a></b>",
                "<a></a><a></a>",
                "<a></a>x",
                "x<a></a>",
                "<a></a></a>",
                "<a/ >",
                "< a/>",
                "<a><></></a>",
                "<a b></a>",
                "<a b=c></a>",
                "<a b=\"c></a>",
                "<a b=\"<\"></a>",
                "<a b=\"c\"d=\"e\"></a>",
                "<a><!-- x --></a>",
                "<a><![CDATA[x]]></a>",
                "<!DOCTYPE a [<!ENTITY x \"y\">]><a><d>&x;</d></a>",
                "<?xml version=\"1.0\"",
                "<?xml <?>?><a/>",
                "<a><?php ?></a>",
                "<a><d>&nbsp;</d></a>",
                "<a><d>&#65;</d></a>",
                "<a><d>&</d></a>",
                "<a><d>&am",
                "<a><d>x<e/>y</d></a>",
                "<a><d>1</d><d>2</d></a>",
                "<a><b><c>1</c></b><b><c>2</c></b></a>",
                "<a>\xFF</a>",
        };
        for (size_t i = 0; i < ARRAY_LEN(texts); i++)
                if (read_two(texts[i]) != -EINVAL)
                        fail_msg("taken: %s", texts[i]);
        assert_int_equal(xml_read("<a>\0</a>", 8, wanted, 0), -EINVAL);
}

static void test_bounds(void **state)
{
        (void)state;
        assert_int_equal(read_two("<a><d>0123456789abcdef</d></a>"), 0);
        assert_int_equal(read_two("<a><d>0123456789abcdefg</d></a>"), -EMSGSIZE);

        char deep[17 * 7 + 1] = "";
        for (int depth = 16; depth <= 17; depth++) {
                char *at = deep;
                for (int i = 0; i < depth; i++)
                        at = mempcpy(at, "<x>", 3);
                for (int i = 0; i < depth; i++)
                        at = mempcpy(at, "</x>", 4);
                *at = '\0';
                assert_int_equal(read_two(deep), depth == 16 ? 0 : -E2BIG);
        }

        char name[264];
        for (size_t len = 256; len <= 257; len++) {
                memset(name, 'n', sizeof(name));
                name[0] = '<';
                memcpy(name + 1 + len, "/>", 3);
                assert_int_equal(read_two(name), len == 256 ? 0 : -E2BIG);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(test_finds, teardown),
                cmocka_unit_test_teardown(test_refuses, teardown),
                cmocka_unit_test_teardown(test_bounds, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
