#pragma once
/* Accesses under way: which task was told which version of a node a moment ago.
 *
 * Why: one access is several questions (the look-up or the first read, and the read that finds the end of the file),
 * and a program that is given the end of another version glues two together. How: the task that was given a version
 * goes on with it for a moment, whatever happens to the token meanwhile. A small table, in which a newer access takes
 * the place of the oldest in its row: what is forgotten too early is asked for anew. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "tokenfs/base/clock.h"

/* How long an access goes on with the version that it began with. */
#define ACCESS_NS (NS_PER_S / 4)
#define ACCESS_ROWS 256
#define ACCESS_COLUMNS 4

typedef struct Access {
        uint64_t node_id;
        uint64_t began_ns;
        pid_t task;
        uint32_t generation;
        bool is_by_path; /* begun by a look-up: the opening that follows is part of it */
        bool is_cut; /* its version was forgotten meanwhile */
} Access;

typedef struct Accesses {
        Access table[ACCESS_ROWS][ACCESS_COLUMNS];
} Accesses;

/* The task was told `generation` of the node, freshly. */
void access_begin(Accesses *accesses, uint64_t node_id, pid_t task, uint32_t generation, bool is_by_path);
/* The task opens the node: an access that it began by reading has ended. */
void access_open(Accesses *accesses, uint64_t node_id, pid_t task);
/* Versions are forgotten: no access can go on, but with the same bytes. */
void access_cut_all(Accesses *accesses);
/* The task is in an access that can't go on: the generation that it began with. Else 0. */
uint32_t access_cut_generation(Accesses *accesses, uint64_t node_id, pid_t task);
/* The generation that the task goes on with; 0: it begins. */
uint32_t access_follow(Accesses *accesses, uint64_t node_id, pid_t task);
