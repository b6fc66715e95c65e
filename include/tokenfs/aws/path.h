#pragma once
/* Paths as the AWS tools take them: with ~, ~user, $NAME and ${NAME}. */

#define AWS_PATH_MAX 4096 /* bytes */

/* Expands a path. The home directory is HOME, else the passwd entry's. A reference to an unset variable stays. Returns
 * 0 and the path (malloc'd), -ENOMEM, or -ENAMETOOLONG. */
int aws_path_expand(const char *path, char **ret_path);
