#pragma once
/* The text of a few elements of a small XML document. */

#include <stdbool.h>
#include <stddef.h>

#include "tokenfs/base/buf.h"

/* An element that is wanted, by the names from the root on: "ErrorResponse/Error/Code". Its text is appended to
 * `text`, decoded; an element that is there without text leaves it empty. */
typedef struct XmlWanted {
        const char *path;
        Buf text;
        bool is_found;
} XmlWanted;

/* Reads a whole document. 0, -EINVAL (malformed; a second element of a wanted path; anything that isn't an element,
 * text or the declaration at the start: document types, CDATA, comments, processing instructions), -E2BIG (deeper than
 * 16 elements, or names longer than 256 bytes in all), -ENOMEM, -EMSGSIZE (a text over its buffer's maximum). */
int xml_read(const char *data, size_t len, XmlWanted *wanted, size_t count);
