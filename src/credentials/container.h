#pragma once

#include <stdbool.h>

/* True for https to any host, and for http to this machine and to the addresses of ECS and EKS Pod Identity. */
bool container_url_is_allowed(const char *url);
