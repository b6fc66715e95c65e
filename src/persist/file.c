/* The file of copies.
 *
 * Why: it holds secrets, and must be whole after any crash. How: AES-256-GCM encrypts it, with a fresh random nonce for each
 * write, and authenticates its head (magic, version, nonce). A write goes to a file of its own, syncs it, renames it over
 * the old one and syncs the directory. NIST SP 800-38D allows 2^32 random nonces of 96 bits for one key. */

#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tokenfs/base/cleanup.h"
#include "tokenfs/persist/persist.h"

#define FILE_NAME "copies"
#define NEW_NAME "copies.new"
#define MAGIC "tokenfs\x1a"
#define VERSION 1
#define NONCE_LEN 12
#define TAG_LEN 16

typedef struct Head {
        char magic[8];
        unsigned char version, reserved[3];
        unsigned char nonce[NONCE_LEN];
} Head;

/* --- Key and directory -------------------------------------------------------------------------------------- */

int persist_key_open(const char *path, Buf *error, int *ret_fd)
{
        /* A FIFO without a writer must not stop the start. */
        int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0) {
                int r = -errno;
                (void)buf_appendf(error, "%s can't be opened: %s", path, strerror(-r));
                return r;
        }
        *ret_fd = fd;
        return 0;
}

int persist_key_read(int fd, const char *path, Buf *error, Secret *ret_key)
{
        CLEANUP(secret_free_p) char *key = secret_malloc(PERSIST_KEY_LEN + 1);
        if (!key)
                return -ENOMEM;
        struct stat status = {0};
        ssize_t len = fstat(fd, &status) < 0 ? -1 : read(fd, key, PERSIST_KEY_LEN + 1);
        int r = len < 0 ? -errno : len != PERSIST_KEY_LEN ? -EINVAL : 0;
        if (r == 0 && (status.st_mode & 07) != 0) {
                (void)buf_appendf(error, "%s is open to every user (mode %04o): chmod 0400 %s", path,
                        (unsigned)status.st_mode & 07777, path);
                return -EPERM;
        }
        if (r == 0)
                r = secret_set(ret_key, key, PERSIST_KEY_LEN);
        if (r == -EINVAL)
                (void)buf_appendf(error,
                        "%s holds no key of 32 bytes; make one with (umask 077; head -c 32 /dev/urandom > "
                        "%s)",
                        path, path);
        else if (r < 0)
                (void)buf_appendf(error, "%s can't be read: %s", path, strerror(-r));
        return r;
}

int persist_key_load(const char *path, Buf *error, Secret *ret_key)
{
        int fd CLEANUP(cleanup_close) = -1;
        int r = persist_key_open(path, error, &fd);
        return r < 0 ? r : persist_key_read(fd, path, error, ret_key);
}

int persist_directory_open(const char *path, Buf *error, int *ret_fd)
{
        struct stat status;
        int fd CLEANUP(cleanup_close) = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &status) < 0) {
                int r = -errno;
                (void)buf_appendf(error, "%s can't be opened: %s", path, strerror(-r));
                return r;
        }
        if (status.st_uid != geteuid() || (status.st_mode & 077) != 0) {
                (void)buf_appendf(error,
                        "%s must belong to the user that serves (uid %u), and have mode 0700 (it has %04o, "
                        "uid %u)",
                        path, (unsigned)geteuid(), (unsigned)status.st_mode & 07777, (unsigned)status.st_uid);
                return -EPERM;
        }
        *ret_fd = fd;
        fd = -1;
        return 0;
}

/* --- Encryption --------------------------------------------------------------------------------------------- */

static void free_cipher(EVP_CIPHER_CTX **context)
{
        EVP_CIPHER_CTX_free(*context);
}

int persist_seal(const Secret *key, const char *plain, size_t len, unsigned char **ret_data, size_t *ret_len)
{
        if (len > PERSIST_FILE_MAX - sizeof(Head) - TAG_LEN)
                return -EFBIG;
        CLEANUP(free_cipher) EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
        CLEANUP(cleanup_free) unsigned char *data = malloc(sizeof(Head) + len + TAG_LEN);
        if (!context || !data)
                return -ENOMEM;
        Head head = {.version = VERSION};
        memcpy(head.magic, MAGIC, sizeof head.magic);
        int written = 0;
        unsigned char *at = data + sizeof head;
        if (RAND_bytes(head.nonce, NONCE_LEN) != 1 ||
                EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), NULL, (const unsigned char *)key->data,
                        head.nonce) != 1 ||
                EVP_EncryptUpdate(context, NULL, &written, (const unsigned char *)&head, sizeof head) != 1 ||
                EVP_EncryptUpdate(context, at, &written, (const unsigned char *)plain, (int)len) != 1 ||
                EVP_EncryptFinal_ex(context, at + len, &written) != 1 ||
                EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, TAG_LEN, at + len) != 1)
                return -EIO;
        memcpy(data, &head, sizeof head);
        *ret_data = TAKE(data);
        *ret_len = sizeof head + len + TAG_LEN;
        return 0;
}

int persist_unseal(const Secret *key, const unsigned char *data, size_t len, Buf *plain)
{
        Head head;
        if (len < sizeof head + TAG_LEN || len > PERSIST_FILE_MAX)
                return -EBADMSG;
        memcpy(&head, data, sizeof head);
        if (memcmp(head.magic, MAGIC, sizeof head.magic) != 0)
                return -EBADMSG;
        if (head.version != VERSION)
                return -EPROTO;
        size_t plain_len = len - sizeof head - TAG_LEN;
        const unsigned char *cipher = data + sizeof head;
        unsigned char tag[TAG_LEN];
        memcpy(tag, cipher + plain_len, TAG_LEN);
        CLEANUP(free_cipher) EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
        CLEANUP(secret_free_p) unsigned char *opened = secret_malloc(plain_len + 1);
        if (!context || !opened)
                return -ENOMEM;
        int written = 0;
        if (EVP_DecryptInit_ex(
                    context, EVP_aes_256_gcm(), NULL, (const unsigned char *)key->data, head.nonce) != 1 ||
                EVP_DecryptUpdate(context, NULL, &written, (const unsigned char *)&head, sizeof head) != 1 ||
                EVP_DecryptUpdate(context, opened, &written, cipher, (int)plain_len) != 1 ||
                EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, TAG_LEN, tag) != 1)
                return -EIO;
        if (EVP_DecryptFinal_ex(context, opened + plain_len, &written) != 1)
                return -EBADMSG;
        return buf_append(plain, opened, plain_len);
}

/* --- The file ----------------------------------------------------------------------------------------------- */

static int write_all(int fd, const unsigned char *data, size_t len)
{
        while (len > 0) {
                ssize_t written = write(fd, data, len);
                if (written < 0 && errno == EINTR)
                        continue;
                if (written <= 0)
                        return written < 0 ? -errno : -EIO;
                data += written;
                len -= (size_t)written;
        }
        return 0;
}

static int write_new(int directory, const unsigned char *data, size_t len)
{
        if (unlinkat(directory, NEW_NAME, 0) < 0 && errno != ENOENT)
                return -errno;
        int fd CLEANUP(cleanup_close) =
                openat(directory, NEW_NAME, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        int r = write_all(fd, data, len);
        if (r == 0 && fsync(fd) < 0)
                r = -errno;
        return r;
}

static int replace(int directory, const unsigned char *data, size_t len)
{
        int r = write_new(directory, data, len);
        if (r == 0 && renameat(directory, NEW_NAME, directory, FILE_NAME) < 0)
                r = -errno;
        if (r < 0) {
                (void)unlinkat(directory, NEW_NAME, 0);
                return r;
        }
        return fsync(directory) < 0 ? -errno : 0;
}

int persist_file_write(int directory, const unsigned char *data, size_t len)
{
        /* A worker that ends, and its successor, may write at the same time. */
        if (flock(directory, LOCK_EX) < 0)
                return -errno;
        int r = replace(directory, data, len);
        (void)flock(directory, LOCK_UN);
        return r;
}

int persist_file_read(int directory, unsigned char **ret_data, size_t *ret_len)
{
        struct stat status;
        int fd CLEANUP(cleanup_close) = openat(directory, FILE_NAME, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &status) < 0)
                return -errno;
        if (!S_ISREG(status.st_mode) || status.st_uid != geteuid() || (status.st_mode & 077) != 0)
                return -EPERM;
        if (status.st_size < 0 || (uint64_t)status.st_size > PERSIST_FILE_MAX)
                return -EFBIG;
        size_t size = (size_t)status.st_size, len = 0;
        CLEANUP(cleanup_free) unsigned char *data = malloc(size + 1);
        if (!data)
                return -ENOMEM;
        while (len < size) {
                ssize_t got = read(fd, data + len, size - len);
                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return -errno;
                if (got == 0)
                        break;
                len += (size_t)got;
        }
        *ret_data = TAKE(data);
        *ret_len = len;
        return 0;
}
