#pragma once
/* The file of copies: its directory, its encryption and its replacement. */

#include <stddef.h>

#include "tokenfs/base/buf.h"
#include "tokenfs/base/secret.h"

#define PERSIST_KEY_LEN 32
#define PERSIST_FILE_MAX ((size_t)64 * 1024 * 1024)

/* Opens the directory, which must belong to this process's user and have mode 0700. 0 or a negative errno with a
 * sentence. */
int persist_directory_open(const char *path, Buf *error, int *ret_fd);

/* Encrypts; `*ret_data` is freed with free. 0, -ENOMEM, or -EIO (libcrypto). */
int persist_seal(const Secret *key, const char *plain, size_t len, unsigned char **ret_data, size_t *ret_len);
/* Decrypts into *plain. 0; -EBADMSG: another key, damaged, or cut; -EPROTO: of another release; -ENOMEM; -EIO (libcrypto). */
int persist_unseal(const Secret *key, const unsigned char *data, size_t len, Buf *plain);

/* Replaces the file. A process that is killed during it leaves the old or the new file whole. 0 or a negative errno. */
int persist_file_write(int directory, const unsigned char *data, size_t len);
/* `*ret_data` is freed with free. 0, -ENOENT, -EFBIG, or another negative errno. */
int persist_file_read(int directory, unsigned char **ret_data, size_t *ret_len);
