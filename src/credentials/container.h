#pragma once

#include <stdbool.h>

/* True for https to any host, and for http to this machine, to ECS' and to EKS Pod Identity's own addresses. */
bool container_url_is_allowed(const char *url);
