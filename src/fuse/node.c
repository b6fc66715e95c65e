/* Names of the files in a token's directory. */

#include "tokenfs/fuse/node.h"

#include <string.h>

#define JSON_FILE_NAME ".json"
#define DOH_URL_FILE_NAME ".doh_url"

const char *node_file_name(uint8_t field)
{
        if (field == NODE_JSON)
                return JSON_FILE_NAME;
        if (field == NODE_DOH_URL)
                return DOH_URL_FILE_NAME;
        return field >= NODE_FIELD && field < NODE_JSON ? token_field_name((TokenField)(field - NODE_FIELD))
                                                        : NULL;
}

uint8_t node_field_of(const char *file_name)
{
        for (unsigned field = NODE_FIELD; field <= NODE_JSON; field++)
                if (strcmp(node_file_name((uint8_t)field), file_name) == 0)
                        return (uint8_t)field;
        return strcmp(file_name, DOH_URL_FILE_NAME) == 0 ? NODE_DOH_URL : 0;
}
