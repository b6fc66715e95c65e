/* The errno table of tokenfs(8), in its one place. */

#include "tokenfs/fs/errno.h"

#include <errno.h>

int fs_errno(ApiError error)
{
        switch (error) {
        case API_OK: return 0;
        case API_E_NOT_FOUND: return ENOENT;
        case API_E_ACCESS_DENIED: return EACCES;
        case API_E_NO_CREDENTIALS: return ENOKEY;
        case API_E_CREDENTIALS_EXPIRED: return EKEYEXPIRED;
        case API_E_CREDENTIALS_REJECTED: return EKEYREJECTED;
        case API_E_THROTTLED: return EBUSY;
        case API_E_REFUSED: return EBADRQC;
        case API_E_SERVER: return EREMOTEIO;
        case API_E_TIMEOUT: return ETIMEDOUT;
        case API_E_UNREACHABLE: return EHOSTUNREACH;
        case API_E_TLS: return EPROTO;
        case API_E_MALFORMED: return EBADMSG;
        case API_E_TOO_MANY: return EFBIG;
        case API_E_MEMORY: return ENOMEM;
        case API_ERROR_COUNT: break;
        }
        return EIO;
}
