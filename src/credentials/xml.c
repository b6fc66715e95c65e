/* A reader for the XML of STS.
 *
 * Six texts of an answer matter. A library would bring document types, entities and namespaces, and the attacks that
 * use them. One pass over the tags keeps the path of open elements as a string; a wanted element is found by its path.
 * Everything must nest and end; any other construct is refused. */

#include "xml.h"

#include <errno.h>
#include <string.h>

#include "tokenfs/base/parse.h"

#define XML_DEPTH_MAX 16
#define XML_PATH_MAX 256

typedef struct XmlReader {
        const char *at, *end;
        char path[XML_PATH_MAX + 1];
        size_t path_len;
        unsigned depth;
        XmlWanted *wanted;
        size_t count;
        XmlWanted *open; /* the wanted element that is open */
} XmlReader;

static bool is_space(char c)
{
        return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_name_char(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
               c == '-' || c == '.' || c == ':';
}

static void skip_space(XmlReader *reader)
{
        while (reader->at < reader->end && is_space(*reader->at))
                reader->at++;
}

static bool take(XmlReader *reader, const char *text)
{
        size_t len = strlen(text);
        if ((size_t)(reader->end - reader->at) < len || memcmp(reader->at, text, len) != 0)
                return false;
        reader->at += len;
        return true;
}

static int take_name(XmlReader *reader, const char **ret_name, size_t *ret_len)
{
        const char *name = reader->at;
        while (reader->at < reader->end && is_name_char(*reader->at))
                reader->at++;
        if (reader->at == name)
                return -EINVAL;
        *ret_name = name;
        *ret_len = (size_t)(reader->at - name);
        return 0;
}

/* name = "value", with either quote; skipped. */
static int skip_attribute(XmlReader *reader)
{
        const char *name;
        size_t len;
        if (take_name(reader, &name, &len) < 0)
                return -EINVAL;
        skip_space(reader);
        if (!take(reader, "="))
                return -EINVAL;
        skip_space(reader);
        char quote = reader->at < reader->end ? *reader->at : '\0';
        if (quote != '"' && quote != '\'')
                return -EINVAL;
        reader->at++;
        const char *close = memchr(reader->at, quote, (size_t)(reader->end - reader->at));
        if (!close || memchr(reader->at, '<', (size_t)(close - reader->at)))
                return -EINVAL;
        reader->at = close + 1;
        return 0;
}

static int path_push(XmlReader *reader, const char *name, size_t len)
{
        size_t slash = reader->depth > 0;
        if (reader->depth == XML_DEPTH_MAX || reader->path_len + slash + len > XML_PATH_MAX)
                return -E2BIG;
        if (slash)
                reader->path[reader->path_len++] = '/';
        memcpy(reader->path + reader->path_len, name, len);
        reader->path_len += len;
        reader->path[reader->path_len] = '\0';
        reader->depth++;
        if (reader->open)
                return -EINVAL; /* an element within a wanted text */
        for (size_t i = 0; i < reader->count; i++) {
                XmlWanted *wanted = &reader->wanted[i];
                if (strcmp(wanted->path, reader->path) != 0)
                        continue;
                if (wanted->is_found)
                        return -EINVAL;
                wanted->is_found = true;
                reader->open = wanted;
        }
        return 0;
}

static void path_pop(XmlReader *reader)
{
        char *slash = memrchr(reader->path, '/', reader->path_len);
        reader->path_len = slash ? (size_t)(slash - reader->path) : 0;
        reader->path[reader->path_len] = '\0';
        reader->depth--;
        reader->open = NULL;
}

static int read_start_tag(XmlReader *reader)
{
        const char *name = NULL;
        size_t len = 0;
        if (take_name(reader, &name, &len) < 0)
                return -EINVAL;
        int r = path_push(reader, name, len);
        if (r < 0)
                return r;
        for (;;) {
                bool was_space = reader->at < reader->end && is_space(*reader->at);
                skip_space(reader);
                if (take(reader, ">"))
                        return 0;
                if (take(reader, "/>")) {
                        path_pop(reader);
                        return 0;
                }
                if (!was_space || skip_attribute(reader) < 0)
                        return -EINVAL;
        }
}

static int read_end_tag(XmlReader *reader)
{
        const char *name = NULL;
        size_t len = 0;
        if (reader->depth == 0 || take_name(reader, &name, &len) < 0)
                return -EINVAL;
        const char *slash = memrchr(reader->path, '/', reader->path_len);
        const char *open = slash ? slash + 1 : reader->path;
        if (strlen(open) != len || memcmp(open, name, len) != 0)
                return -EINVAL;
        skip_space(reader);
        if (!take(reader, ">"))
                return -EINVAL;
        path_pop(reader);
        return 0;
}

static int read_text(XmlReader *reader)
{
        static const struct {
                const char *name;
                char c;
        } entities[] = {{"&lt;", '<'}, {"&gt;", '>'}, {"&amp;", '&'}, {"&quot;", '"'}, {"&apos;", '\''}};
        while (reader->at < reader->end && *reader->at != '<') {
                char c = *reader->at;
                if (reader->depth == 0 && !is_space(c))
                        return -EINVAL;
                if (reader->open && c == '&') {
                        bool is_known = false;
                        for (size_t i = 0; !is_known && i < sizeof(entities) / sizeof(entities[0]); i++)
                                if ((is_known = take(reader, entities[i].name)))
                                        c = entities[i].c;
                        if (!is_known)
                                return -EINVAL;
                } else {
                        reader->at++;
                }
                int r = reader->open ? buf_append_char(&reader->open->text, c) : 0;
                if (r < 0)
                        return r;
        }
        return 0;
}

static int skip_declaration(XmlReader *reader)
{
        if (!take(reader, "<?xml"))
                return 0;
        const char *end = memmem(reader->at, (size_t)(reader->end - reader->at), "?>", 2);
        if (!end || memchr(reader->at, '<', (size_t)(end - reader->at)))
                return -EINVAL;
        reader->at = end + 2;
        return 0;
}

int xml_read(const char *data, size_t len, XmlWanted *wanted, size_t count)
{
        if (len == 0 || memchr(data, '\0', len) || !parse_is_utf8(data, len))
                return -EINVAL;
        XmlReader reader = {.at = data, .end = data + len, .wanted = wanted, .count = count};
        int r = skip_declaration(&reader);
        bool has_root = false;
        while (r == 0 && reader.at < reader.end) {
                if (*reader.at != '<') {
                        r = read_text(&reader);
                } else if (take(&reader, "</")) {
                        r = read_end_tag(&reader);
                } else {
                        reader.at++;
                        if (reader.depth == 0 && has_root)
                                return -EINVAL;
                        has_root = true;
                        r = read_start_tag(&reader);
                }
        }
        if (r < 0)
                return r;
        return has_root && reader.depth == 0 ? 0 : -EINVAL;
}
