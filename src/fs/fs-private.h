#pragma once
/* Types and functions that the files of this room share. */

#include <fuse_lowlevel.h>

#include "tokenfs/fuse/nodes.h"
#include "tokenfs/fuse/session.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/cache/prefetch.h"
#include "tokenfs/cache/resolve.h"
#include "tokenfs/fs/fs.h"
#include "versions.h"

/* A name in a directory: at worst every character of a token name is escaped. */
#define FS_NAME_MAX (3 * TOKEN_NAME_MAX)

/* Marking the tokens of a listing, some a turn. */
typedef struct Marking {
        uint32_t mark; /* 0: not under way */
        uint64_t version; /* of the listing */
        size_t position; /* in it */
        uint32_t count; /* slots that were marked */
        bool is_mixed; /* the listing was replaced meanwhile */
} Marking;

/* One access is several requests: look-ups, the question for attributes that an opening asks, those of reads. They follow
 * each other within this time, unless the machine is very busy; then the API is asked again. */
#define FS_ACCESS_NS (NS_PER_S / 10)

/* A look-up that met its deadline. */
typedef struct LateLookup {
        uint64_t directory; /* its node id; 0: none */
        char name[FS_NAME_MAX + 1];
        pid_t task;
        int error; /* an errno */
        uint64_t at_ns;
} LateLookup;
#define FS_LATE_LOOKUPS 16

struct Fs {
        FsSettings settings;
        Versions versions;
        LoopFd *source, *watchers;
        uint64_t unanswered_ns; /* when the first notification was sent that has no answer; 0: none */
        ListLink requests; /* parked */
        bool is_draining; /* no more requests are taken; the loop ends with drain_status after the last */
        int drain_status;
        Prefetch prefetch;
        LateLookup late_lookups[FS_LATE_LOOKUPS]; /* the last ones, in turn */
        size_t late_count;

        /* Which slots the root and .by_name show: marks[slot] equals the mark of its directory. */
        uint32_t *marks;
        uint32_t root_mark, names_mark, last_mark;
        uint64_t root_listing_version;
        Marking marking, names_marking; /* slots that are marked so far are shown as well */
        NamesCursor names_cursor;
        bool root_is_whole; /* a token that the listing lacks doesn't exist */
        NodesShared *shared; /* lives longer than a worker */

        uint64_t audit_retry_ns; /* no line of the audit is tried before: the last one wasn't taken */

        uint64_t service_made_ns[2]; /* when .service_metrics and .service_status were made last */
        FsCounters counters;
};

/* A request of the kernel. `step` runs when it comes, and again each time that the answer may be there. */
typedef struct Request Request;
/* 0: answered. -EINPROGRESS: it waits (request->wait or request->later is set). > 0: answer with this errno; other
 * negative ones likewise, as errno. */
typedef int RequestStep(Request *request);
struct Request {
        ListLink link; /* in fs->requests while it waits */
        Fs *fs;
        fuse_req_t fuse;
        uint64_t unique; /* its number, once it waits */
        RequestStep *step;
        uint64_t came_ns;
        uint64_t since_ns; /* an answer of the API from then on is fresh enough, even with ttl 0 */
        bool give_up; /* its deadline has passed: it is answered with a stale copy or an error */
        bool is_parked;
        CacheWait wait;
        LoopTimer deadline, later;
        LoopTimer interruption; /* set once its reader got a signal */

        Node node;
        char name[FS_NAME_MAX + 1]; /* lookup */
        size_t size; /* read, readdir */
        off_t offset;
};

/* request.c */
/* A new request, whose arguments the caller fills in before request_run. NULL: it was answered (ENOMEM, ESTALE for a
 * node of a slot that is no more). */
Request *request_new(fuse_req_t fuse, uint64_t id, RequestStep *step);
void request_run(Request *request);
/* The request belongs to an access that a look-up began: the answer to that look-up is fresh enough for it. */
void request_join_access(Request *request);
/* The errno that a look-up of the same name was given just now, since it met its deadline; 0: none. */
int request_late_error(const Request *request);
/* Runs the step again at `at_ns`. */
int request_wait_until(Request *request, uint64_t at_ns);
/* Answers everything that waits with EINTR, or drops it without an answer. */
/* Ends the loop with `status` as soon as none waits. */
void requests_drain(Fs *fs, int status);
void requests_end(Fs *fs, bool answer);

/* audit.c */
/* Logs the open that the request asks for. 0, -EINPROGRESS (syslog takes no line now), or EBUSY (it took none in time).
 */
int audit_open(Request *request, const Slot *slot);

/* content.c */
/* Brings the content of a token's, a name's or a service slot up to date. 0, -EINPROGRESS, or an errno. */
int content_get(Request *request, uint32_t index, Version **ret_version, uint64_t *ret_keep_ns);
/* The version that a file node shows. `is_asked`: the current content is brought up to date first. Returns as content_get; then the
 * kernel may keep its attributes for *ret_keep_ns. */
int content_show(Request *request, bool is_asked, Version **ret_version, uint64_t *ret_keep_ns);
/* Is a token within the scopes, as far as is known without its document? 0 (yes, or perhaps), -EINPROGRESS, or an
 * errno. */
int content_admit(Request *request, const char *id);
/* The token that a name means now. 0, -EINPROGRESS, or an errno. */
int content_choose(Request *request, const char *name, NameAnswer *ret_chosen);
/* Finds or adds the slot of a token or a name. Errors as nodes_take. */
int content_take_slot(Fs *fs, SlotKind kind, const char *key, uint32_t *ret_slot);
/* The slot of the .doh_url in the directory of a token or a name. Errors as nodes_take. */
int content_take_url_slot(Fs *fs, uint32_t directory, uint32_t *ret_slot);
/* Facts about a token without GetAccessToken: from its document, or from the listing. */
typedef enum ContentItem {
        CONTENT_UNKNOWN, /* nothing */
        CONTENT_OLD, /* a copy that is due: the token may be gone */
        CONTENT_KNOWN,
} ContentItem;
ContentItem content_peek_item(Fs *fs, const char *id, TokenItem *ret_item, uint64_t *ret_keep_ns);
void content_on_change(const char *id, TokenDoc *doc, void *userdata);

/* escape.c: a token's name as the name of a directory, and back. -EINVAL: it isn't one. */
int name_encode(const char *name, char ret_encoded[static FS_NAME_MAX + 1]);
int name_decode(const char *encoded, char ret_name[static TOKEN_NAME_MAX + 1]);

/* attributes.c */
void attributes_of_directory(const Fs *fs, uint32_t slot, int64_t mtime_ns, struct stat *ret_stat);
void attributes_of_file(const Fs *fs, Node node, const Version *version, struct stat *ret_stat);
/* A file that `secret_mode` is for, and whose opens `audit` logs. */
bool field_is_secret(uint8_t field);
/* How long the kernel may keep the attributes of the root and of .by_name. The kernel checks them on
 * each path to a file, so that a short time would cost warm reads. Entries have times of their own. */
#define FS_DIRECTORY_KEEP_NS (60 * NS_PER_S)
double timeout_s(uint64_t keep_ns);
/* The mtime of a token's or a name's directory. `item` NULL: nothing is known of its token now. */
int64_t directory_mtime_ns(const Fs *fs, uint32_t index, const TokenItem *item);

/* readdir.c */
int step_readdir(Request *request);

/* lookup.c */
int step_lookup(Request *request);

/* getattr.c */
int step_getattr(Request *request);
