/* Accesses under way: see access.h. */

#include "access.h"

#include <stddef.h>

static size_t access_row(uint64_t node_id, pid_t task)
{
        uint64_t hash = (node_id ^ (uint64_t)(uint32_t)task << 20) * UINT64_C(0x9E3779B97F4A7C15);
        return (size_t)(hash >> 32) % ACCESS_ROWS;
}

/* The place of the access, or NULL. */
static Access *access_find(Accesses *accesses, uint64_t node_id, pid_t task)
{
        Access *row = accesses->table[access_row(node_id, task)];
        for (size_t i = 0; i < ACCESS_COLUMNS; i++)
                if (row[i].node_id == node_id && row[i].task == task)
                        return &row[i];
        return NULL;
}

/* As access_find; else the place of the oldest access in its row. */
static Access *access_take(Accesses *accesses, uint64_t node_id, pid_t task)
{
        Access *found = access_find(accesses, node_id, task);
        if (found)
                return found;
        Access *row = accesses->table[access_row(node_id, task)];
        Access *oldest = &row[0];
        for (size_t i = 1; i < ACCESS_COLUMNS; i++)
                if (row[i].began_ns < oldest->began_ns)
                        oldest = &row[i];
        return oldest;
}

void access_begin(Accesses *accesses, uint64_t node_id, pid_t task, uint32_t generation, bool is_by_path)
{
        *access_take(accesses, node_id, task) = (Access){
                .node_id = node_id,
                .began_ns = clock_now_ns(),
                .task = task,
                .generation = generation,
                .is_by_path = is_by_path,
        };
}

bool access_open(Accesses *accesses, uint64_t node_id, pid_t task)
{
        Access *access = access_find(accesses, node_id, task);
        if (access && !access->is_by_path)
                access->generation = 0;
        return access && access->generation != 0;
}

void access_enter(Accesses *accesses, uint64_t node_id, pid_t task, uint64_t came_ns)
{
        *access_take(accesses, node_id, task) = (Access){
                .node_id = node_id,
                .began_ns = clock_now_ns(),
                .came_ns = came_ns,
                .task = task,
        };
}

uint64_t access_entered_ns(Accesses *accesses, uint64_t node_id, pid_t task)
{
        Access *access = access_find(accesses, node_id, task);
        if (!access)
                return 0;
        uint64_t came_ns = clock_now_ns() < access->began_ns + ACCESS_NS ? access->came_ns : 0;
        access->came_ns = 0;
        return came_ns;
}

uint32_t access_follow(Accesses *accesses, uint64_t node_id, pid_t task)
{
        const Access *access = access_find(accesses, node_id, task);
        return access && clock_now_ns() < access->began_ns + ACCESS_NS ? access->generation : 0;
}

void access_cut_all(Accesses *accesses)
{
        for (size_t i = 0; i < ACCESS_ROWS; i++)
                for (size_t j = 0; j < ACCESS_COLUMNS; j++)
                        accesses->table[i][j].is_cut = true;
}

uint32_t access_cut_generation(Accesses *accesses, uint64_t node_id, pid_t task)
{
        const Access *access = access_find(accesses, node_id, task);
        return access && access->is_cut ? access_follow(accesses, node_id, task) : 0;
}
