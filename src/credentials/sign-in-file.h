#pragma once
/* A sign-in that an AWS tool left in a file below ~/.aws, and that is renewed there. */

#include "tokenfs/base/buf.h"

/* Appends a sign-in's text. Returns 0 or an error of provider_read_file; -ENOENT: there is none (any more). */
int sign_in_file_load(const char *path, Buf *text);
/* Replaces the file's content, whole or not at all; its owner and mode stay. Text that can't be written is kept in this
 * process: sign_in_file_load returns it until something changes the file. Returns 0, -ENOENT: the user has signed out, and
 * nothing is kept; or another -errno: why it wasn't written. */
int sign_in_file_save(const char *path, const Buf *text);
/* Logs the failure of sign_in_file_save. `command` signs in again. */
void sign_in_file_log_failure(const char *path, int r, const char *command);
