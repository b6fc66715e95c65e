/* JSON from outside.
 *
 * Why: cJSON limits neither depth nor memory: one byte of text becomes forty. It cuts strings at U+0000, and accepts
 * invalid UTF-8 and numbers and white space that JSON doesn't have. Of several members with one name it returns the
 * first. It leaves secrets in the C library's heap. How: one pass over the bytes checks depth, number of values,
 * encoding, NULs and numbers before cJSON parses them. The hooks put every node in the secret heap. A look-up counts
 * the members. */

#include "tokenfs/base/json.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "tokenfs/base/parse.h"
#include "tokenfs/base/secret.h"

/* cJSON returns NULL for invalid JSON and for lack of memory alike; the hook notes the second. */
static _Thread_local bool ran_out;

static void *hook_malloc(size_t size)
{
        void *memory = secret_malloc(size);
        ran_out |= !memory;
        return memory;
}

static void set_hooks(void)
{
        cJSON_InitHooks(&(cJSON_Hooks){.malloc_fn = hook_malloc, .free_fn = secret_free});
}

void json_init(void)
{
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        (void)pthread_once(&once, set_hooks);
}

static bool is_space(char c)
{
        return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static size_t skip_digits(const char *data, size_t len, size_t i)
{
        while (i < len && data[i] >= '0' && data[i] <= '9')
                i++;
        return i;
}

/* The length of the JSON number that begins here; 0 if there is none (strtod() accepts more). */
static size_t number_length(const char *data, size_t len)
{
        size_t i = data[0] == '-', start = i;
        i = skip_digits(data, len, i);
        if (i == start || (data[start] == '0' && i > start + 1))
                return 0;
        if (i < len && data[i] == '.') {
                start = i + 1;
                i = skip_digits(data, len, start);
                if (i == start)
                        return 0;
        }
        if (i < len && (data[i] == 'e' || data[i] == 'E')) {
                start = i + 1;
                if (start < len && (data[start] == '+' || data[start] == '-'))
                        start++;
                i = skip_digits(data, len, start);
                if (i == start)
                        return 0;
        }
        return i < len && strchr("+-.eE", data[i]) ? 0 : i;
}

/* The length, quotes included, of the string that begins here; 0 if a C string can't hold it. */
static size_t string_length(const char *data, size_t len)
{
        for (size_t i = 1; i < len; i++) {
                if (data[i] == '"')
                        return i + 1;
                if ((unsigned char)data[i] < 0x20 || (len - i >= 6 && memcmp(data + i, "\\u0000", 6) == 0))
                        return 0;
                i += data[i] == '\\';
        }
        return 0;
}

static int check_text(const char *data, size_t len, unsigned depth_max)
{
        if (memchr(data, '\0', len) || !parse_is_utf8(data, len))
                return -EINVAL;
        unsigned depth = 0;
        size_t values = 0;
        for (size_t i = 0, step = 1; i < len; i += step) {
                char c = data[i];
                step = 1;
                if (c == '"')
                        step = string_length(data + i, len - i);
                else if (c == '-' || (c >= '0' && c <= '9'))
                        step = number_length(data + i, len - i);
                else if (c == '{' || c == '[')
                        depth++;
                else if ((c == '}' || c == ']') && depth-- == 0)
                        return -EINVAL;
                else if (!is_space(c) && !strchr(",:}]truefalsn", c))
                        return -EINVAL;
                if (step == 0)
                        return -EINVAL;
                values += c == ',' || c == '{' || c == '[';
                if (depth > depth_max || values > JSON_VALUES_MAX)
                        return -E2BIG;
        }
        return depth > 0 ? -EINVAL : 0;
}

int json_parse(const char *data, size_t len, unsigned depth_max, cJSON **ret)
{
        if (len == 0)
                return -EINVAL;
        int r = check_text(data, len, depth_max);
        if (r < 0)
                return r;
        json_init();
        const char *end = NULL;
        ran_out = false;
        CLEANUP(json_free_p) cJSON *json = cJSON_ParseWithLengthOpts(data, len, &end, 0);
        if (!json)
                return ran_out ? -ENOMEM : -EINVAL;
        for (; end < data + len; end++)
                if (!is_space(*end))
                        return -EINVAL;
        *ret = TAKE(json);
        return 0;
}

cJSON *json_free(cJSON *json)
{
        cJSON_Delete(json);
        return NULL;
}

int json_member(const cJSON *object, const char *key, const cJSON **ret_member)
{
        const cJSON *found = NULL;
        if (!cJSON_IsObject(object))
                return -ENOENT;
        for (const cJSON *member = object->child; member; member = member->next) {
                if (strcmp(member->string, key) != 0)
                        continue;
                if (found)
                        return -ENOTUNIQ;
                found = member;
        }
        if (!found)
                return -ENOENT;
        *ret_member = found;
        return 0;
}

const char *json_string(const cJSON *object, const char *key)
{
        const cJSON *member = NULL;
        if (json_member(object, key, &member) < 0 || !cJSON_IsString(member))
                return NULL;
        return member->valuestring;
}

int json_uint(const cJSON *object, const char *key, uint64_t *ret_value)
{
        const cJSON *member = NULL;
        int r = json_member(object, key, &member);
        if (r < 0)
                return r;
        if (!cJSON_IsNumber(member) || !(member->valuedouble >= 0) ||
                member->valuedouble > 9007199254740992.0)
                return -EINVAL;
        uint64_t value = (uint64_t)member->valuedouble;
        if ((double)value != member->valuedouble)
                return -EINVAL;
        *ret_value = value;
        return 0;
}
