#pragma once
/* Accesses under way: which task was told which version of a node a moment ago.
 *
 * Why: one access is several questions (the look-ups, the opening, the first read, and the read that finds the end of the
 * file), and a program that is given the end of another version glues two together. How: the task that was given a
 * version goes on with it for a moment, whatever happens to the token meanwhile; and what was answered since it looked the
 * directory up is an answer to the whole of it, even with ttl 0. A small table, in which a newer access takes
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
        uint64_t came_ns; /* of a directory: when its look-up came */
        pid_t task;
        uint32_t generation;
        bool is_by_path; /* begun by a look-up, as is each one by its path: opening and fstat are part of it */
        bool is_cut; /* its version was forgotten meanwhile */
} Access;

typedef struct Accesses {
        Access table[ACCESS_ROWS][ACCESS_COLUMNS];
} Accesses;

/* The task was told `generation` of the node, freshly. */
void access_begin(Accesses *accesses, uint64_t node_id, pid_t task, uint32_t generation, bool is_by_path);
/* The task opens the node, or asks for its size: an access that it began by reading has ended. True: one that it began by
 * a look-up goes on. */
bool access_open(Accesses *accesses, uint64_t node_id, pid_t task);
/* The task was told of a directory, in answer to a look-up that came then. */
void access_enter(Accesses *accesses, uint64_t node_id, pid_t task, uint64_t came_ns);
/* When the access came to whose look-up of a directory this one, of a file in it, belongs; 0: it begins. Said once. */
uint64_t access_entered_ns(Accesses *accesses, uint64_t node_id, pid_t task);
/* Versions are forgotten: no access can go on, but with the same bytes. */
void access_cut_all(Accesses *accesses);
/* The task is in an access that can't go on: the generation that it began with. Else 0. */
uint32_t access_cut_generation(Accesses *accesses, uint64_t node_id, pid_t task);
/* The generation that the task goes on with; 0: it begins. */
uint32_t access_follow(Accesses *accesses, uint64_t node_id, pid_t task);
