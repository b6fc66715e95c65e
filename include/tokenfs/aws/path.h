#pragma once
/* Paths as the AWS tools take them: with ~, ~user, $NAME and ${NAME}. */

#define AWS_PATH_MAX 4096 /* bytes */

/* Expands a path. The home directory is HOME's, else the one of the passwd entry; a reference to a variable that isn't set
 * stays as it is. Returns 0 with the path (malloc'd), -ENOMEM, or -ENAMETOOLONG. */
int aws_path_expand(const char *path, char **ret_path);
