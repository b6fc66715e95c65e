/* Copies that outlive the process.
 *
 * Why: a DNS client's token can be what makes names resolve at all. After a reboot, with the API, the sign-in or DNS itself
 * out of reach, a mount that starts empty would keep the machine from ever resolving the API's name. How: one encrypted
 * file holds the caches' copies, and a new worker starts with them. They are stale from the start: the API is asked as
 * always. They serve only while it fails, within `stale` of their fetch by the wall clock, and never past expiresAt.
 *
 * A wall clock that was set back must not prolong them. So the file has the time of its writing, and time goes on from
 * there. While such copies are in use, the file is written again now and then.
 *
 * A change is written after a moment, a later fetch of the same content after a while, a refusal of the API at once.
 * Encryption and fsync may take long: a thread does them, one at a time. */

#include "tokenfs/persist/persist.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "file.h"
#include "format.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/log.h"

#define CHANGED_DELAY_NS (2 * NS_PER_S)
#define RENEWED_DELAY_MAX_NS (300 * NS_PER_S)
#define FAILED_DELAY_NS (30 * NS_PER_S)
#define READ_LATELY_NS (86400 * NS_PER_S)
/* Of a longer listing the file holds the items of its tokens alone. */
#define ITEMS_MAX 20000

/* One write. */
typedef struct Job {
        Buf plain;
        const Secret *key;
        int directory;
        int done; /* an eventfd */
        int result;
} Job;

struct Persist {
        PersistSettings settings;
        Secret key;
        char *identity;
        int directory; /* -1: it can't be used */
        int64_t clock_wall_ns; /* the latest known time */
        uint64_t clock_ns; /* CLOCK_BOOTTIME at that time */

        LoopTimer timer; /* set: the time of the next write */
        bool is_running; /* a thread writes */
        bool has_restored; /* the file holds copies of an earlier process */
        bool is_refused; /* the API ended a copy that the thread may be writing */
        pthread_t thread;
        Job job;
        LoopFd *done;

        PersistStatus status;
        char error[200];
};

static void set_clock(Persist *persist, int64_t wall_ns)
{
        persist->clock_wall_ns = wall_ns;
        persist->clock_ns = clock_now_ns();
}

/* The latest known time, advanced to now; at least the wall clock. */
static int64_t advance_clock(Persist *persist)
{
        int64_t known_ns = persist->clock_wall_ns + (int64_t)(clock_now_ns() - persist->clock_ns);
        int64_t wall_ns = clock_wall_ns();
        set_clock(persist, wall_ns > known_ns ? wall_ns : known_ns);
        return persist->clock_wall_ns;
}

/* --- Writing ------------------------------------------------------------------------------------------------ */

static void set_error(Persist *persist, const char *what, int r)
{
        bool is_news = !*persist->error;
        (void)snprintf(persist->error, sizeof persist->error, "%s: %s", what, strerror(-r));
        persist->status.failures++;
        if (is_news)
                log_warning("persist: %s: %s; copies on disk are those of the last good write",
                        persist->settings.directory, persist->error);
}

typedef struct TokenWriter {
        Persist *persist;
        Buf *out;
        bool with_items; /* writes the tokens' items, not their documents */
} TokenWriter;

/* Tokens that a scope names, and those that were read lately. A document may be held though it is out of scope: only it
 * says which view it belongs to. */
static bool is_kept(const Persist *persist, const TokensEntryStatus *entry)
{
        const Scopes *scopes = persist->settings.cache->scopes;
        if (!entry->doc || entry->is_unread || !scopes_admit_doc(scopes, entry->doc))
                return false;
        return entry->unused_ns < READ_LATELY_NS ||
               (!scopes_are_open(scopes) && scopes_admit_id(scopes, entry->id));
}

static void write_token(const TokensEntryStatus *entry, void *userdata)
{
        const TokenWriter *writer = userdata;
        if (!is_kept(writer->persist, entry))
                return;
        writer->persist->has_restored |= entry->is_restored;
        if (!writer->with_items) {
                persist_write_token(writer->out, entry->success_wall_ns, entry->doc);
                return;
        }
        ListingAnswer listing;
        size_t position;
        TokenItem item;
        listing_peek(writer->persist->settings.cache->listing, &listing);
        if (items_find(listing.items, entry->id, &position) < 0)
                return;
        items_get(listing.items, position, &item);
        persist_write_item(writer->out, &item);
}

static void write_listing(Persist *persist, Buf *out)
{
        const Cache *cache = persist->settings.cache;
        ListingAnswer listing;
        listing_peek(cache->listing, &listing);
        size_t count = items_count(listing.items);
        if (!listing.items)
                return;
        persist_write_listing(out, listing_fetched_wall_ns(cache->listing));
        if (count > ITEMS_MAX) {
                TokenWriter writer = {persist, out, true};
                tokens_visit(cache->tokens, SIZE_MAX, write_token, &writer);
                return;
        }
        for (size_t i = 0; i < count; i++) {
                TokenItem item;
                items_get(listing.items, i, &item);
                persist_write_item(out, &item);
        }
}

static void write_resolver(const char *id, const char *dns_name, int64_t fetched_wall_ns, void *userdata)
{
        persist_write_resolver(userdata, fetched_wall_ns, id, dns_name);
}

static int write_content(Persist *persist, Buf *out)
{
        const Cache *cache = persist->settings.cache;
        TokenWriter writer = {persist, out, false};
        persist->has_restored = false;
        persist_write_header(out, persist->identity, advance_clock(persist));
        tokens_visit(cache->tokens, SIZE_MAX, write_token, &writer);
        write_listing(persist, out);
        resolvers_visit(cache->resolvers, write_resolver, out);
        return out->error;
}

static void job_run(Job *job)
{
        unsigned char *data = NULL;
        size_t len = 0;
        job->result = persist_seal(job->key, job->plain.data, job->plain.len, &data, &len);
        if (job->result == 0)
                job->result = persist_file_write(job->directory, data, len);
        free(data);
}

static void *job_thread(void *userdata)
{
        Job *job = userdata;
        job_run(job);
        (void)eventfd_write(job->done, 1);
        return NULL;
}

/* Times on disk lag behind by this much, which shortens a copy's life by a twentieth at most. */
static uint64_t renewed_delay_ns(const Persist *persist)
{
        uint64_t delay_ns = persist->settings.policy.stale_ns / 20;
        if (delay_ns > RENEWED_DELAY_MAX_NS)
                return RENEWED_DELAY_MAX_NS;
        return delay_ns < CHANGED_DELAY_NS ? CHANGED_DELAY_NS : delay_ns;
}

static void plan(Persist *persist, uint64_t delay_ns)
{
        uint64_t at_ns = clock_add_ns(clock_now_ns(), delay_ns);
        if (loop_timer_is_set(&persist->timer) && persist->timer.at_ns <= at_ns)
                return;
        if (loop_timer_set(&persist->timer, at_ns) < 0)
                set_error(persist, "writing", -ENOMEM);
}

static void finish_job(Persist *persist)
{
        buf_deinit(&persist->job.plain);
        persist->is_running = false;
        if (persist->job.result < 0) {
                set_error(persist, "writing", persist->job.result);
                plan(persist, FAILED_DELAY_NS);
                return;
        }
        if (*persist->error)
                log_info("persist: %s: written again", persist->settings.directory);
        persist->error[0] = '\0';
        persist->status.writes++;
        persist->status.written_wall_ns = clock_wall_ns();
        if (persist->has_restored)
                plan(persist, renewed_delay_ns(persist));
}

/* Begins a write, unless one is in progress; then it plans another. */
static void begin_write(Persist *persist)
{
        if (persist->is_running) {
                plan(persist, CHANGED_DELAY_NS);
                return;
        }
        Job *job = &persist->job;
        job->plain = BUF_INIT(PERSIST_FILE_MAX);
        persist->is_refused = false;
        int r = write_content(persist, &job->plain);
        if (r == 0)
                r = -pthread_create(&persist->thread, NULL, job_thread, job);
        persist->is_running = r == 0;
        if (r < 0) { /* else the result is the thread's to set */
                job->result = r;
                finish_job(persist);
        }
}

static void on_timer(LoopTimer *timer, void *userdata)
{
        (void)timer;
        begin_write(userdata);
}

static void join(Persist *persist)
{
        (void)pthread_join(persist->thread, NULL);
        finish_job(persist);
}

static void on_done(int fd, short revents, void *userdata)
{
        (void)revents;
        Persist *persist = userdata;
        eventfd_t count;
        if (eventfd_read(fd, &count) < 0 || !persist->is_running)
                return;
        join(persist);
        if (persist->is_refused)
                begin_write(persist);
}

static void on_event(StoreEvent event, void *userdata)
{
        Persist *persist = userdata;
        /* The API accepted a signature with this time: so a clock that was once ahead is right now. */
        if (event != STORE_EXPIRED)
                set_clock(persist, clock_wall_ns());
        if (event == STORE_REFUSED && persist->is_running)
                persist->is_refused = true; /* on_done writes again */
        else if (event == STORE_REFUSED)
                plan(persist, 0);
        else
                plan(persist, event == STORE_RENEWED ? renewed_delay_ns(persist) : CHANGED_DELAY_NS);
}

/* --- Loading ------------------------------------------------------------------------------------------------ */

static const char *describe_fault(int r)
{
        switch (r) {
        case -EFBIG: return "is too large";
        case -EPERM: return "is not a file of this user alone";
        case -EPROTO: return "is of another release";
        case -EBADMSG: return "is damaged, or was written with another key";
        case -EXDEV: return "is of another endpoint or account";
        default: return strerror(-r);
        }
}

static int read_content(int directory, const Secret *key, const char *identity, PersistContent *ret_content)
{
        CLEANUP(cleanup_free) unsigned char *data = NULL;
        size_t len;
        Buf plain = BUF_INIT(PERSIST_FILE_MAX);
        int r = persist_file_read(directory, &data, &len);
        if (r == 0)
                r = persist_unseal(key, data, len, &plain);
        if (r == 0) {
                r = persist_read(buf_str(&plain), plain.len, ret_content);
                r = r == -EBADMSG ? -EPROTO : r;
        }
        buf_deinit(&plain);
        if (r == 0 && strcmp(ret_content->identity, identity) != 0) {
                persist_content_deinit(ret_content);
                r = -EXDEV;
        }
        return r;
}

/* Opens the file and reads it. 0; -ENOENT; or another negative errno with a sentence. */
static int load(
        int directory, const Secret *key, const char *identity, Buf *error, PersistContent *ret_content)
{
        int r = read_content(directory, key, identity, ret_content);
        if (r < 0 && r != -ENOENT)
                (void)buf_appendf(error, "the file of copies %s", describe_fault(r));
        return r;
}

static void restore(Persist *persist, PersistContent *content)
{
        const Cache *cache = persist->settings.cache;
        set_clock(persist, content->written_wall_ns);
        int64_t now_ns = advance_clock(persist);
        bool is_less = false;
        for (size_t i = 0; i < content->token_count; i++) {
                const PersistToken *token = &content->tokens[i];
                bool is_taken =
                        scopes_admit_doc(cache->scopes, token->doc) &&
                        tokens_restore(cache->tokens, token->doc, token->fetched_wall_ns, now_ns) == 0;
                persist->status.loaded += is_taken;
                is_less |= !is_taken;
        }
        if (content->items)
                listing_restore(cache->listing, TAKE(content->items), content->listing_wall_ns, now_ns);
        for (size_t i = 0; i < content->resolver_count; i++)
                resolvers_restore(cache->resolvers, content->resolvers[i].id, content->resolvers[i].dns_name,
                        content->resolvers[i].fetched_wall_ns, now_ns);
        persist->status.loaded_wall_ns = content->written_wall_ns;
        log_info("persist: %zu of %zu tokens from %s, as of %lld s ago; they serve while the API fails",
                persist->status.loaded, content->token_count, persist->settings.directory,
                (long long)((now_ns - content->written_wall_ns) / (int64_t)NS_PER_S));
        /* Copies that are out of scope or too old leave the file now. */
        plan(persist, is_less ? 0 : renewed_delay_ns(persist));
}

static void begin(Persist *persist)
{
        Buf error = BUF_INIT(1000);
        PersistContent content;
        int r = persist_directory_open(persist->settings.directory, &error, &persist->directory);
        if (r == 0) {
                r = load(persist->directory, &persist->key, persist->identity, &error, &content);
                if (r == 0)
                        restore(persist, &content);
                if (r == 0)
                        persist_content_deinit(&content);
                if (r < 0 && r != -ENOENT)
                        log_warning("persist: %s: %s; ignored", persist->settings.directory, buf_str(&error));
        } else {
                log_warning("persist: %s; going on without copies on disk", buf_str(&error));
                (void)snprintf(persist->error, sizeof persist->error, "%s", buf_str(&error));
        }
        buf_deinit(&error);
}

int persist_new(const PersistSettings *settings, Secret *key, Persist **ret_persist)
{
        CLEANUP(persist_free_p) Persist *persist = calloc(1, sizeof *persist);
        if (!persist)
                return -ENOMEM;
        persist->settings = *settings;
        persist->directory = persist->job.done = -1;
        persist->key = *key;
        *key = SECRET_INIT;
        set_clock(persist, clock_wall_ns());
        loop_timer_init(&persist->timer, settings->loop, on_timer, persist);
        persist->identity = strdup(settings->identity);
        persist->job.done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (!persist->identity || persist->job.done < 0)
                return -ENOMEM;
        int r = loop_fd_new(settings->loop, persist->job.done, POLLIN, on_done, persist, &persist->done);
        if (r < 0)
                return r;
        begin(persist);
        persist->job.key = &persist->key;
        persist->job.directory = persist->directory;
        if (persist->directory >= 0)
                settings->cache->store = (CacheStore){on_event, persist};
        *ret_persist = TAKE(persist);
        return 0;
}

Persist *persist_free(Persist *persist)
{
        if (!persist)
                return NULL;
        persist->settings.cache->store = (CacheStore){0};
        if (persist->is_running)
                join(persist);
        if ((loop_timer_is_set(&persist->timer) || persist->is_refused) && persist->directory >= 0) {
                Job *job = &persist->job;
                job->plain = BUF_INIT(PERSIST_FILE_MAX);
                job->result = write_content(persist, &job->plain);
                if (job->result == 0)
                        job_run(job);
                finish_job(persist);
        }
        loop_timer_cancel(&persist->timer);
        loop_fd_free(persist->done);
        cleanup_close(&persist->job.done);
        cleanup_close(&persist->directory);
        secret_deinit(&persist->key);
        free(persist->identity);
        free(persist);
        return NULL;
}

void persist_status(const Persist *persist, PersistStatus *ret_status)
{
        *ret_status = persist->status;
        ret_status->error = persist->error;
}

int persist_check(const char *directory, const Secret *key, const char *identity, Buf *text)
{
        PersistContent content = {0};
        int fd CLEANUP(cleanup_close) = -1;
        int r = persist_directory_open(directory, text, &fd);
        if (r == 0)
                r = load(fd, key, identity, text, &content);
        if (r < 0)
                return r;
        int64_t age_ns = clock_wall_ns() - content.written_wall_ns;
        (void)buf_appendf(text, "%zu tokens, written %lld s ago", content.token_count,
                (long long)((age_ns > 0 ? age_ns : 0) / (int64_t)NS_PER_S));
        persist_content_deinit(&content);
        return 0;
}
