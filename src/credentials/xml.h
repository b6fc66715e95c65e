#pragma once
/* The text of a few elements of a small XML document. */

#include <stdbool.h>
#include <stddef.h>

#include "tokenfs/base/buf.h"

/* A wanted element, by the names from the root: "ErrorResponse/Error/Code". Its decoded text is appended to `text`. */
typedef struct XmlWanted {
        const char *path;
        Buf text;
        bool is_found;
} XmlWanted;

/* Reads a whole document. 0; -EINVAL: malformed, a second element with a wanted path, or anything but elements, text
 * and the declaration at the start (document types, CDATA, comments, processing instructions); -E2BIG: deeper than 16
 * elements, or names longer than 256 bytes in all; -ENOMEM; -EMSGSIZE: a text exceeds the maximum of its buffer. */
int xml_read(const char *data, size_t len, XmlWanted *wanted, size_t count);
