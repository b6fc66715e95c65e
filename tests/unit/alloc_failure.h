#pragma once
/* Runs out of memory on purpose: at the first allocation, at the second, and so on. */

#include <stdbool.h>

/* Does something with the code under test, frees all of it, and returns whether all went well. Must be the same in
 * each run. */
typedef bool AllocScenario(void);

/* Runs the scenario until it passes without a failure, in two ways: only the N-th allocation fails, and all from the
 * N-th on. Fails the test if the scenario can't pass, never allocates, or leaks (known with a leak sanitizer only). */
void alloc_failure_run(AllocScenario *scenario);
/* For what a scenario does for itself: allocations neither fail nor count. Nests. */
void alloc_failure_pause(void);
void alloc_failure_resume(void);
